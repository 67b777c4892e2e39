"""What a network's values look like on calibration data, and the fraction bits that suit them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.formats import MAX_FRAC_MAGNITUDE, Format, dequantize, quantize
from fxp.graph import Graph
from fxp.quantization.data import float_results
from fxp.quantization.options import METHODS, Method
from fxp.support.errors import ArgumentError

SAMPLE_SIZE: Final = 1 << 16
"""Values kept per tensor for the mean-squared-error rule, at least; at most twice as many."""
EXTRA_FRACS: Final = 5
"""How many finer formats than the min-max one the error rules consider."""


@dataclass
class Statistics:
    """Range, sample and exponent histogram of one tensor, gathered batch by batch.

    Because scales are powers of two, a histogram of binary exponents is all a percentile rule
    needs, and it is exact however much data went in. Memory does not grow with the data.

    Attributes
    ----------
    low, high
        Smallest and largest value seen.
    count
        Number of values seen.
    exponents
        How many values have a magnitude in ``[2**(e-1), 2**e)``, by ``e``; zeros are left out.
    sample
        All values, or a random share of them, the same for every batch; equal in every run.
    """

    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    exponents: dict[int, int] = field(default_factory=dict)
    sample: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0), repr=False, compare=False
    )
    _share: float = field(default=1.0, repr=False, compare=False)
    _random: np.random.Generator = field(
        default_factory=lambda: np.random.default_rng(0), repr=False, compare=False
    )

    def update(self, values: NDArray[np.float64]) -> None:
        """Take in another batch of any shape; raises ValueError for NaN, infinity or no values."""
        flat = values.reshape(-1)
        if flat.size == 0:
            raise ArgumentError("no values")
        if not np.isfinite(flat).all():
            raise ArgumentError("NaN or infinity")
        self.low = min(self.low, float(flat.min()))
        self.high = max(self.high, float(flat.max()))
        self.count += flat.size
        _, exponents = np.frexp(flat[flat != 0])
        for exponent, count in zip(*np.unique(exponents, return_counts=True), strict=True):
            self.exponents[int(exponent)] = self.exponents.get(int(exponent), 0) + int(count)
        sample = np.concatenate((self.sample, self._thinned(flat, self._share)))
        while sample.size > 2 * SAMPLE_SIZE:
            sample = self._thinned(sample, 0.5)
            self._share /= 2
        self.sample = sample

    def _thinned(self, values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
        # A random choice does not lock on to rows, columns or channels as a stride would.
        return values if share == 1 else values[self._random.random(values.size) < share]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Statistics:
        """Return the statistics of one array."""
        statistics = cls()
        statistics.update(np.asarray(values, dtype=np.float64))
        return statistics


def observe(graph: Graph, calibration: Iterable[Sequence[torch.Tensor]]) -> dict[str, Statistics]:
    """Run a float graph over calibration data and gather the statistics of every value.

    Parameters
    ----------
    graph
        A float graph.
    calibration
        For each call, one ``(N, C, H, W)`` or ``(N, F)`` tensor per input. States carry over from
        one call to the next, and are reset by a `fxp.quantization.data.FirstStep`.

    Raises
    ------
    ValueError
        If there is no data, or a value becomes NaN or infinite; the message names both.
    """
    statistics = {name: Statistics() for name in graph.values}
    calls = 0
    for result in float_results(graph, calibration):
        for name, tensor in result.values.items():
            try:
                statistics[name].update(tensor.cpu().numpy())
            except ValueError as error:
                raise ArgumentError(
                    f"calibration item {calls}: value {name!r} holds {error}"
                ) from None
        calls += 1
    if calls == 0:
        raise ArgumentError("the calibration data is empty; give at least one input")
    return statistics


def choose_frac(
    statistics: Statistics, width: int, signed: bool, method: Method, percentile: float = 99.99
) -> int:
    """Return the fraction bits of a `width`-bit format for these values.

    Parameters
    ----------
    statistics
        What is known of the values, at least one.
    width, signed
        The format's other two properties.
    method
        ``minmax``: the most fraction bits that clip nothing by more than one step.
        ``percentile``: the most that clip at most ``100 - percentile`` percent of the values by
        more than one step, where values are told apart by their binary exponents.
        ``mse``: the least mean squared error on the sample, of one bit less than ``minmax`` up to
        `EXTRA_FRACS` - 1 more.
    percentile
        For the method of that name.

    Raises
    ------
    ValueError
        If the method is unknown, or a format would need less than ``-MAX_FRAC_MAGNITUDE`` fraction
        bits (values near the end of float64).
    """
    if method not in METHODS:
        raise ArgumentError(f"unknown calibration method {method!r}; choose one of {METHODS}")
    smallest = _covering_frac(statistics, width, signed)
    if method == "minmax" or not statistics.exponents:
        return smallest
    if method == "percentile":
        allowed = statistics.count * (100 - percentile) / 100
        # Clip the largest exponents while that is allowed, but never the smallest one.
        *larger, top = sorted(statistics.exponents, reverse=True)
        clipped = 0
        for exponent in larger:
            clipped += statistics.exponents[exponent]
            if clipped > allowed:
                top = exponent
                break
        return min(max(smallest, width - signed - top), MAX_FRAC_MAGNITUDE)
    sample = statistics.sample
    # One bit less than min-max matters when the largest values lie on the last step; it comes last
    # because the first of equal errors wins.
    fracs = [
        frac
        for frac in (*range(smallest, smallest + EXTRA_FRACS), smallest - 1)
        if abs(frac) <= MAX_FRAC_MAGNITUDE
    ]
    forms = [Format(width, frac, signed) for frac in fracs]
    errors = [np.mean((dequantize(quantize(sample, form), form) - sample) ** 2) for form in forms]
    return fracs[int(np.argmin(errors))]


def _covering_frac(statistics: Statistics, width: int, signed: bool) -> int:
    """Most fraction bits with which no value is clipped by more than one step."""
    largest = max(statistics.high, -statistics.low if signed else 0.0)
    if largest <= 0 or width == signed:
        return width - signed
    # Start where 2**frac * largest is surely too large, then walk down.
    frac = min(width - math.frexp(largest)[1] + 1, MAX_FRAC_MAGNITUDE)
    while not _covers(statistics, Format(width, frac, signed)):
        frac -= 1
    return frac


def _covers(statistics: Statistics, form: Format) -> bool:
    low = statistics.low if form.signed else 0.0
    return (
        math.ldexp(statistics.high, form.frac) <= form.max_raw + 1
        and math.ldexp(low, form.frac) >= form.min_raw - 1
    )
