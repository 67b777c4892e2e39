"""Methods compared with each other: under several conditions over many pictures, and in a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from fxp.imaging.quality import Quality
from fxp.models.common.measure import PixelFunction, pair_quality
from fxp.support.parallel import Task


@dataclass(frozen=True)
class Picture:
    """One plane of a test picture.

    Attributes
    ----------
    name
        File name.
    truth
        ``(H, W)`` uint8, cropped to what the methods give.
    colours
        What the file holds, for the tables: ``colour``, ``grey`` or ``grey as RGB``.
    seed
        Place in its set, for random degradations.
    """

    name: str
    truth: NDArray[np.uint8]
    colours: str
    seed: int


class Condition(Protocol):
    """How a true picture becomes an input; picklable."""

    @property
    def name(self) -> str:
        """Short name, unique in a run."""
        ...

    def __call__(self, picture: Picture) -> NDArray[np.float64]:
        """Return the input, one plane of pixel values from 0 to 255."""
        ...


@dataclass(frozen=True)
class ComparedMethod:
    """A method that is compared with others, and what the tables say of it.

    Attributes
    ----------
    name
        Unique name.
    model
        Name of its weights; empty for a method without.
    arithmetic
        What kind of numbers.
    run
        What it does to pixel values; picklable.
    """

    name: str
    model: str
    arithmetic: str
    run: PixelFunction


@dataclass(frozen=True)
class Comparison:
    """Methods that are compared under one condition."""

    condition: Condition
    methods: tuple[ComparedMethod, ...]


def score_picture(
    picture: Picture, comparisons: tuple[Comparison, ...], border: int
) -> dict[tuple[str, str], Quality]:
    """Measure all methods under their conditions on one picture.

    Parameters
    ----------
    picture
        With the truth.
    comparisons
        What is measured.
    border
        Pixels left out on every side.

    Returns
    -------
    dict
        Quality by names of condition and method.
    """
    scores = {}
    for comparison in comparisons:
        given = comparison.condition(picture)
        for method in comparison.methods:
            quality = pair_quality((given, picture.truth), method.run, border)
            scores[comparison.condition.name, method.name] = quality
    return scores


def score_tasks(
    pictures: Iterable[Picture], comparisons: tuple[Comparison, ...], border: int
) -> list[Task]:
    """Return one task of `score_picture` for each picture, see `fxp.support.parallel`.

    Parameters
    ----------
    pictures
        Those to measure on.
    comparisons
        What is measured.
    border
        Pixels left out on every side.
    """
    return [partial(score_picture, picture, comparisons, border) for picture in pictures]


@dataclass(frozen=True)
class MeasuredMethod:
    """What one method gave on one picture: a line of `method_table`.

    Attributes
    ----------
    name, arithmetic
        What the table says of the method.
    quality
        Against the truth.
    seconds
        Duration of the run.
    clipped
        Share of values that were clipped; None where the numbers have no limits.
    """

    name: str
    arithmetic: str
    quality: Quality
    seconds: float
    clipped: float | None = None


def method_table(rows: Iterable[MeasuredMethod], title: str) -> Table:
    """Return the table of methods that were run on one picture."""
    table = Table(title=escape(title))
    for heading in ("method", "arithmetic", "PSNR dB", "SSIM", "clipped", "seconds"):
        left = heading in ("method", "arithmetic")
        table.add_column(heading, justify="left" if left else "right")
    for row in rows:
        table.add_row(
            # What stands in brackets would be taken for markup.
            escape(row.name),
            escape(row.arithmetic),
            f"{row.quality.psnr:.3f}",
            f"{row.quality.ssim:.4f}",
            "" if row.clipped is None else f"{row.clipped:.4%}",
            f"{row.seconds:.2f}",
        )
    return table


def fixed_minus_float(fixed: Quality, real: Quality) -> str:
    """Say what fixed point costs against float, as the caption of a table."""
    loss = fixed.psnr - real.psnr
    # Both are infinite where nothing is lost, as on a black picture.
    if math.isnan(loss):
        return "fixed and float both equal the photograph"
    return f"fixed minus float: {loss:+.3f} dB"
