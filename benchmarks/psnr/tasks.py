"""What the workers compute, and how it is handed to them.

Tasks are pure functions of picklable arguments, so they run wherever joblib sends them: in
processes of this machine, or on a Dask or Ray cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.psnr.methods import Fixed, Method, Upscale, multiplier_bits, shipped_methods
from benchmarks.psnr.pictures import EIGHT_BITS, SCALE, Condition, Picture
from fxp.imaging.quality import Quality, compare, to_codes
from fxp.models.sr.fixed import quantize_shipped
from fxp.support.parallel import Task


@dataclass(frozen=True)
class Trial:
    """Methods to run under one condition."""

    condition: Condition
    methods: tuple[Method, ...]


def quality(picture: Picture, low: NDArray[np.float64], upscale: Upscale) -> Quality:
    """Upscale and compare with the truth, as super-resolution papers do.

    Parameters
    ----------
    picture
        With the truth.
    low
        Luma of the small picture, ``(H, W)``, from 0 to 255.
    upscale
        Returns the large luma in the same range.
    """
    return compare(picture.truth, to_codes(upscale(low)), border=SCALE)


def score_picture(picture: Picture, trials: tuple[Trial, ...]) -> dict[tuple[str, str], Quality]:
    """Measure one picture; the keys are names of conditions and methods."""
    scores = {}
    for trial in trials:
        low = trial.condition(picture)
        for method in trial.methods:
            key = (trial.condition.name, method.name)
            scores[key] = quality(picture, low, method.upscale)
    return scores


def mean_quality(qualities: Iterable[Quality]) -> Quality:
    """Average over pictures."""
    psnr, ssim = np.mean(list(qualities), axis=0)
    return Quality(float(psnr), float(ssim))


@dataclass(frozen=True)
class SweepPoint:
    """Quality at one pair of widths.

    Attributes
    ----------
    weight_bits, activation_bits
        The widths.
    multiplier_bits
        See `benchmarks.psnr.methods.multiplier_bits`.
    psnr, ssim
        Means over the pictures.
    """

    weight_bits: int
    activation_bits: int
    multiplier_bits: int
    psnr: float
    ssim: float


def sweep_point(
    name: str, weight_bits: int, activation_bits: int, pictures: list[Picture]
) -> SweepPoint:
    """Quantize a shipped network after training, and measure it on 8-bit inputs.

    Parameters
    ----------
    name
        Name of the shipped weights.
    weight_bits, activation_bits
        Widths to quantize to.
    pictures
        What to measure on.
    """
    model = quantize_shipped(name, weight_bits=weight_bits, activation_bits=activation_bits)
    upscale = Fixed(model.graph)
    psnr, ssim = mean_quality(
        quality(picture, EIGHT_BITS(picture), upscale) for picture in pictures
    )
    return SweepPoint(weight_bits, activation_bits, multiplier_bits(model.graph), psnr, ssim)


def method_tasks(names: Iterable[str]) -> list[Task]:
    """One task for each shipped model, to quantize it and return its methods."""
    return [partial(shipped_methods, name) for name in names]


def score_tasks(pictures: list[Picture], trials: tuple[Trial, ...]) -> list[Task]:
    """One task for each picture."""
    return [partial(score_picture, picture, trials) for picture in pictures]


def sweep_tasks(
    name: str,
    weight_bits: Iterable[int],
    activation_bits: Iterable[int],
    pictures: list[Picture],
) -> list[Task]:
    """One task for each pair of widths.

    Parameters
    ----------
    name
        Name of the shipped weights.
    weight_bits, activation_bits
        Widths, all pairs of which are measured.
    pictures
        What to measure on.
    """
    return [
        partial(sweep_point, name, weights, activations, pictures)
        for weights in weight_bits
        for activations in activation_bits
    ]
