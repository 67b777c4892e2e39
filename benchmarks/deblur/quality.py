"""PSNR and SSIM of deblurring networks trained at one budget, in float and in fixed point."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import compare, mean_quality
from fxp.models.common.photographs import Method, float_photograph, unchanged
from fxp.models.deblur.blur import blurred_pairs
from fxp.models.deblur.data import folder_pairs, read_frames, sequences
from fxp.models.deblur.fixed import quantize_weights
from fxp.models.deblur.networks import Generator
from fxp.models.deblur.pipeline import Deblurrer
from fxp.models.deblur.settings import DeblurSettings, Loss

WIDTH: Final = 16
CONVOLUTIONS: Final = 24
"""Convolutions of every network in all, as the paper has 120 whatever the number of scales."""
PATCH: Final = 64
BATCH: Final = 4
STEPS: Final = 3000
"""Of the network of three scales; the others get as many multiply-accumulates."""
FILMS: Final = (("esim_536fps", 41), ("davis_tennis", 7), ("davis_schoolgirls", 7))
"""Sharp films to blur, and how many frames become one; none of them trains."""
WINDOWS: Final = 2
"""Photographs that are made of each film."""

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Run:
    """A training of the table.

    Attributes
    ----------
    name
        File of its weights.
    title
        What the table calls it.
    scales
        Of the network.
    adversarial
        Factor of the adversarial loss.
    """

    name: str
    title: str
    scales: int
    adversarial: float = 0.0

    @property
    def blocks(self) -> int:
        """Residual blocks of each scale."""
        return (CONVOLUTIONS // self.scales - 2) // 2

    def settings(self, steps: int) -> DeblurSettings:
        """Return the options of the training.

        Parameters
        ----------
        steps
            Those of three scales.
        """
        share = multiplications(3) / multiplications(self.scales)
        own = max(1, round(steps * share))
        return DeblurSettings(
            scales=self.scales,
            width=WIDTH,
            blocks=self.blocks,
            patch=PATCH,
            batch=BATCH,
            steps=own,
            epoch=max(1, own // 4),
            loss=Loss.MSE,
            adversarial=self.adversarial,
            # A quarter of the published one, as the network has a quarter of the feature maps.
            discriminator_width=WIDTH // 2,
        )


RUNS: Final = (
    Run("k1", "K = 1", 1),
    Run("k2", "K = 2", 2),
    Run("k3", "K = 3", 3),
    Run("k3_adversarial", "K = 3, MSE + adversarial", 3, 1e-4),
)


def multiplications(scales: int) -> float:
    """Return the multiply-accumulates for a pixel of a network of `CONVOLUTIONS`.

    Parameters
    ----------
    scales
        Of the network.
    """
    blocks = (CONVOLUTIONS // scales - 2) // 2
    total = 0.0
    for level in range(scales):
        inputs = 3 if level == scales - 1 else 6
        channels = WIDTH * (inputs + 2 * blocks * WIDTH + 3)
        # What enlarges reads the smaller image, and writes 12 channels.
        enlarging = 36 / 4 if level < scales - 1 else 0
        total += 25 * (channels + enlarging) / 4**level
    return total


def gopro(data: Path, crop: int | None) -> list[Pair]:
    """Return the true GOPRO pairs.

    Parameters
    ----------
    data
        Folder of the pictures.
    crop
        Side of the part in the middle that is measured; None for the whole.
    """
    pairs = [pair.read() for pair in folder_pairs(data / "deblur" / "gopro_pairs")]
    return [tuple(_middle(image, crop) for image in pair) for pair in pairs]  # type: ignore[misc]


def synthesized(data: Path, crop: int | None) -> list[Pair]:
    """Return pairs made of `FILMS`; parameters are those of `gopro`."""
    found = sequences(data / "video")
    return [
        (_middle(blurred, crop), _middle(sharp, crop))
        for name, count in FILMS
        for blurred, sharp in blurred_pairs(read_frames(found[name][: WINDOWS * count]), count)
    ]


def _middle(image: NDArray[np.uint8], crop: int | None) -> NDArray[np.uint8]:
    if crop is None:
        return image
    top, left = (max(0, (size - crop) // 2) for size in image.shape[:2])
    return image[top : top + crop, left : left + crop]


Row = dict[str, Any]
"""A line of the table: arithmetic, ``[PSNR, SSIM]`` of GOPRO and of films, seconds."""


def cells(network: str, row: Row) -> list[str]:
    """Return the cells of a line.

    Parameters
    ----------
    network
        What the table calls it.
    row
        What was measured.
    """
    figures = [
        text
        for psnr, similarity in (row["gopro"], row["films"])
        for text in (f"{psnr:.2f}", f"{similarity:.4f}")
    ]
    return [network, row["arithmetic"], *figures, f"{row['seconds']:.2f}"]


def measured(arithmetic: str, method: Method, sets: Sequence[Sequence[Pair]]) -> Row:
    """Measure a method on GOPRO and on films; seconds are those of a photograph of GOPRO.

    Parameters
    ----------
    arithmetic
        What the table says.
    method
        What deblurs.
    sets
        Pairs of GOPRO, and of films.
    """
    qualities, seconds = [], []
    method(sets[0][0][0])  # to plan and compile
    for pairs in sets:
        found = []
        for blurred, sharp in pairs:
            started = time.perf_counter()
            result = method(blurred)
            seconds.append(time.perf_counter() - started)
            found.append(compare(sharp, result))
        qualities.append(mean_quality(found))
    mean = float(np.mean(seconds[: len(sets[0])]))
    gopro, films = map(list, qualities)
    return {"arithmetic": arithmetic, "gopro": gopro, "films": films, "seconds": mean}


def rows_of(
    title: str, network: Generator, sets: Sequence[Sequence[Pair]], threads: int
) -> Iterator[Row]:
    """Measure a network in float, with calibration alone, and refined.

    Parameters
    ----------
    title
        Of the network.
    network
        In eval mode.
    sets
        Pairs of GOPRO, and of films.
    threads
        Of the engine.
    """
    yield measured("float32", partial(float_photograph, network), sets)
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("10/14 bits, calibration alone", {"effort": "fast"}),
        ("10/14 bits, refined", {"equalization": True, "weight_rounding": "learned"}),
    )
    for arithmetic, options in kinds:
        model = quantize_weights(network, title, **options)
        yield measured(arithmetic, partial(Deblurrer(model), threads=threads), sets)


def blurred_row(sets: Sequence[Sequence[Pair]]) -> Row:
    """Measure the blurred photographs themselves."""
    return measured("", unchanged, sets)
