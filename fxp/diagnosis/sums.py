"""What is added up about every value while a network runs, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.diagnosis.pair import Local

WORST_DB: Final = -100.0
"""SQNR of a signal of zeros that is not kept."""
_EXPONENTS: Final = 2200
_OFFSET: Final = 1100

Floats = NDArray[np.float64]


def decibels(power: float, noise: float) -> float:
    """SQNR in dB; infinite without noise, and never below `WORST_DB`."""
    if noise <= 0:
        return math.inf
    return max(10 * math.log10(power / noise), WORST_DB) if power > 0 else WORST_DB


def per_channel(values: torch.Tensor) -> Floats:
    """Sum over batch, height and width, for every channel."""
    axes = [axis for axis in range(values.ndim) if axis != 1]
    return values.sum(dim=axes).numpy()


def squares(values: torch.Tensor) -> Floats:
    """Sum of squares of every channel."""
    return per_channel(values * values)


@dataclass
class ValueSums:
    """What was seen of one value.

    Attributes
    ----------
    power, noise
        Sums of squares of every channel: of the float value, and of what the fixed-point value is
        beside it.
    low, high
        Smallest and largest float value of every channel.
    exponents
        How many float values have a magnitude in ``[2**(e-1), 2**e)``, by ``e``.
    zeros, count, clipped
        Numbers of float values that are zero, of all, and of fixed-point values that are clipped.
    accumulator_low, accumulator_high
        Smallest and largest accumulator that was met, raw integers.
    local_power, local_noise
        Sums of squares of the float value, and of its error if it alone is quantized.
    by_weights, by_rounding, by_clipping
        Parts of that error: of the op's rounded constants, of the rounding of the result, and of
        its clipping.
    with_histogram
        Whether exponents and zeros are counted.
    mean_error
        Sum of the op's errors of every channel; a constant error is what a bias takes off.
    """

    power: Floats = field(default_factory=lambda: np.zeros(0))
    noise: Floats = field(default_factory=lambda: np.zeros(0))
    low: Floats = field(default_factory=lambda: np.zeros(0))
    high: Floats = field(default_factory=lambda: np.zeros(0))
    exponents: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_EXPONENTS, np.int64))
    zeros: int = 0
    count: int = 0
    clipped: int = 0
    accumulator_low: float | None = None
    accumulator_high: float | None = None
    local_power: float = 0.0
    local_noise: float = 0.0
    by_weights: float = 0.0
    by_rounding: float = 0.0
    by_clipping: float = 0.0
    mean_error: Floats = field(default_factory=lambda: np.zeros(0))
    local_count: int = 0
    with_histogram: bool = True

    def add(self, wanted: torch.Tensor, found: torch.Tensor, kept: torch.Tensor | None) -> None:
        """Take in one run.

        Parameters
        ----------
        wanted
            The float value.
        found
            The fixed-point value.
        kept
            Where that is not clipped; None if that is not asked for.
        """
        wanted = wanted.double()
        axes = [axis for axis in range(wanted.ndim) if axis != 1]
        low, high = wanted.amin(axes).numpy(), wanted.amax(axes).numpy()
        # Both are NaN where any value is.
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("NaN or infinity")
        first = not self.power.size
        power = squares(wanted)
        self.power = power if first else self.power + power
        error = squares(found - wanted)
        self.noise = error if first else self.noise + error
        self.low = low if first else np.minimum(self.low, low)
        self.high = high if first else np.maximum(self.high, high)
        self.count += wanted.numel()
        if kept is not None:
            self.clipped += int((~kept).sum())
        if self.with_histogram:
            _, exponents = torch.frexp(wanted)
            nonzero = exponents[wanted != 0]
            self.exponents += torch.bincount(nonzero + _OFFSET, minlength=_EXPONENTS).numpy()
            self.zeros += wanted.numel() - nonzero.numel()

    def add_accumulator(self, low: float, high: float) -> None:
        """Take in the ends of the accumulators of one run."""
        self.accumulator_low = (
            low if self.accumulator_low is None else min(self.accumulator_low, low)
        )
        self.accumulator_high = (
            high if self.accumulator_high is None else max(self.accumulator_high, high)
        )

    def add_local(self, local: Local) -> None:
        """Take in what the value becomes if it alone is quantized."""
        wanted = local.wanted.double()
        error = local.found.double() - wanted
        by_op = local.computed.double() - wanted
        kept = local.kept
        self.local_power += float((wanted**2).sum())
        self.local_noise += float((error**2).sum())
        self.by_clipping += float((error[~kept] ** 2).sum())
        self.by_weights += float((by_op[kept] ** 2).sum())
        self.by_rounding += float(((error - by_op)[kept] ** 2).sum())
        mean = per_channel(by_op)
        self.mean_error = mean if not self.mean_error.size else self.mean_error + mean
        self.local_count += local.wanted.numel()

    @property
    def sqnr(self) -> float:
        """SQNR in dB of the fixed-point value against the float value."""
        return decibels(float(self.power.sum()), float(self.noise.sum()))

    @property
    def local_sqnr(self) -> float:
        """SQNR in dB if this value alone is quantized."""
        return decibels(self.local_power, self.local_noise)

    @property
    def channel_sqnr(self) -> list[float]:
        """SQNR in dB of every channel."""
        return [decibels(p, n) for p, n in zip(self.power, self.noise, strict=True)]

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return float(max(np.abs(self.low).max(), np.abs(self.high).max()))

    @property
    def by_mean(self) -> float:
        """Part of the op's error that is constant in every channel."""
        if not self.local_count:
            return 0.0
        each = self.local_count / len(self.mean_error)
        return min(float((self.mean_error**2).sum()) / each, self.by_weights)

    @property
    def dead_channels(self) -> list[int]:
        """Channels that are zero throughout."""
        return [int(index) for index in np.flatnonzero((self.low == 0) & (self.high == 0))]

    def histogram(self) -> dict[int, int]:
        """Return the numbers of values by binary exponent, in order."""
        present = np.flatnonzero(self.exponents)
        return {int(index) - _OFFSET: int(self.exponents[index]) for index in present}
