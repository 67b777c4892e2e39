"""What a network's values look like on calibration data, and the fraction bits that suit them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.formats import MAX_FRAC_MAGNITUDE, Format, dequantize, quantize
from fxp.graph import Graph
from fxp.torch_forward import run

Method = Literal["minmax", "percentile", "mse"]
METHODS: Final = get_args(Method)
SAMPLE_SIZE: Final = 1 << 16
"""Values kept per tensor for the mean-squared-error rule."""
EXTRA_FRACS: Final = 5
"""How many finer formats than the min-max one the error rules consider."""


@dataclass
class Statistics:
    """Range, sample and exponent histogram of one tensor, gathered batch by batch.

    Because scales are powers of two, a histogram of binary exponents is all a percentile rule
    needs, and it is exact however much data went in.

    Attributes
    ----------
    low, high
        Smallest and largest value seen.
    count
        Number of values seen.
    exponents
        How many values have a magnitude in ``[2**(e-1), 2**e)``, by ``e``.
    """

    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    exponents: dict[int, int] = field(default_factory=dict)
    _batches: list[NDArray[np.float64]] = field(default_factory=list, repr=False)

    def update(self, values: NDArray[np.float64]) -> None:
        """Take in another batch of any shape; raises ValueError for NaN or infinity."""
        flat = values.reshape(-1)
        if not np.isfinite(flat).all():
            raise ValueError("NaN or infinity")
        self.low = min(self.low, float(flat.min()))
        self.high = max(self.high, float(flat.max()))
        self.count += flat.size
        _, exponents = np.frexp(flat[flat != 0])
        for exponent, count in zip(*np.unique(exponents, return_counts=True), strict=True):
            self.exponents[int(exponent)] = self.exponents.get(int(exponent), 0) + int(count)
        # An odd stride does not lock on to rows or channels.
        stride = -(-flat.size // SAMPLE_SIZE) | 1
        self._batches.append(flat[::stride].copy())

    @property
    def sample(self) -> NDArray[np.float64]:
        """About `SAMPLE_SIZE` values spread evenly over all batches."""
        everything = np.concatenate(self._batches)
        return everything[:: -(-everything.size // SAMPLE_SIZE)]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Statistics:
        """Return the statistics of one array."""
        statistics = cls()
        statistics.update(np.asarray(values, dtype=np.float64))
        return statistics


def observe(
    graph: Graph, calibration: Iterable[Sequence[torch.Tensor]]
) -> dict[str, Statistics]:
    """Run a float graph over calibration data and gather the statistics of every value.

    Parameters
    ----------
    graph
        A float graph.
    calibration
        For each call, one ``(N, C, H, W)`` or ``(N, F)`` tensor per input. States carry over from
        one call to the next.

    Raises
    ------
    ValueError
        If there is no data, or a value becomes NaN or infinite; the message names both.
    """
    statistics = {name: Statistics() for name in graph.values}
    states: dict[str, torch.Tensor] = {}
    calls = 0
    with torch.no_grad():
        for inputs in calibration:
            result = run(graph, inputs, states)
            states = result.states
            for name, tensor in result.values.items():
                try:
                    statistics[name].update(tensor.cpu().numpy())
                except ValueError as error:
                    raise ValueError(
                        f"calibration item {calls}: value {name!r} holds {error}"
                    ) from None
            calls += 1
    if calls == 0:
        raise ValueError("the calibration data is empty; give at least one input")
    return statistics


def choose_frac(
    statistics: Statistics, width: int, signed: bool, method: Method, percentile: float = 99.99
) -> int:
    """Return the fraction bits of a `width`-bit format for these values.

    Parameters
    ----------
    statistics
        What is known of the values.
    width, signed
        The format's other two properties.
    method
        ``minmax``: the most fraction bits that clip nothing by more than one step.
        ``percentile``: the most that clip at most ``100 - percentile`` percent of the values.
        ``mse``: the least mean squared error on the sample.
    percentile
        For the method of that name.

    Raises
    ------
    ValueError
        If the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration method {method!r}; choose one of {METHODS}")
    smallest = _covering_frac(statistics, width, signed)
    if method == "minmax" or not statistics.exponents:
        return smallest
    if method == "percentile":
        allowed = statistics.count * (1 - percentile / 100)
        top = max(statistics.exponents)
        clipped = 0
        while clipped + statistics.exponents.get(top, 0) <= allowed:
            clipped += statistics.exponents.get(top, 0)
            top -= 1
        return max(smallest, width - signed - top)
    sample = statistics.sample
    errors = [
        float(np.mean((dequantize(quantize(sample, form), form) - sample) ** 2))
        for form in (Format(width, smallest + extra, signed) for extra in range(EXTRA_FRACS))
    ]
    return smallest + int(np.argmin(errors))


def _covering_frac(statistics: Statistics, width: int, signed: bool) -> int:
    """Most fraction bits with which no value is clipped by more than one step."""
    largest = max(abs(statistics.low), abs(statistics.high))
    if largest == 0 or width == signed:
        return width - signed
    # Start where 2**frac * largest is surely too large, then walk down.
    frac = min(width - math.frexp(largest)[1] + 1, MAX_FRAC_MAGNITUDE)
    while not _covers(statistics, Format(width, frac, signed)):
        frac -= 1
    return frac


def _covers(statistics: Statistics, form: Format) -> bool:
    return (
        math.ldexp(statistics.high, form.frac) <= form.max_raw + 1
        and math.ldexp(max(statistics.low, -math.inf if form.signed else 0.0), form.frac)
        >= form.min_raw - 1
    )
