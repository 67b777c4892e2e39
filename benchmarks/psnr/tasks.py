"""What the workers compute, and how it is handed to them.

Tasks are pure functions of picklable arguments, so they run wherever joblib sends them: in
processes of this machine, or on a Dask or Ray cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from benchmarks.psnr.methods import fixed_pixels, multiplier_bits, shipped_methods
from benchmarks.psnr.pictures import EIGHT_BITS, SCALE
from fxp.models.common.compare import Picture
from fxp.models.common.measure import pair_scores
from fxp.models.sr.fixed import quantize_shipped
from fxp.support.parallel import Task


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
    """Quantize a shipped network, and measure it on 8-bit inputs.

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
    pairs = ((EIGHT_BITS(picture), picture.truth) for picture in pictures)
    psnr, ssim = pair_scores(pairs, fixed_pixels(model), SCALE)
    return SweepPoint(weight_bits, activation_bits, multiplier_bits(model.graph), psnr, ssim)


def method_tasks(names: Iterable[str]) -> list[Task]:
    """One task for each shipped model, to quantize it and return its methods."""
    return [partial(shipped_methods, name) for name in names]


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
