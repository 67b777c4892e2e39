"""Voxel grids: the events of a window as an image with one channel for each bin of time.

The integer grid is defined exactly, so that it is the same in every implementation:

1. With the times t of the events, the first of them t0, and ``D = max(t_last - t0, 1)``, an event
   lies at ``tau = floor((bins - 1) * (t - t0) * 2**12 / D)``, in 1/4096 of a bin.
2. It adds ``p * (4096 - tau % 4096)`` to its pixel in bin ``tau // 4096``, and ``p * (tau % 4096)``
   to the bin behind, if there is one. Sums saturate at ±(2**23 - 1) in the end.
3. Hot pixels: with a limit L, sums of a greater magnitude than ``4096 * L / bins`` become zero.
4. Of the n sums V that are not zero, with the sums S of V and Q of V**2, let
   ``R = floor(sqrt(n * Q - S**2))``. The grid is ``(n * V - S) / R`` there, rounded half up to the
   fraction bits that are asked for, and saturated to the format; it is zero elsewhere, and
   everywhere if R is zero.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.kernels.compiler import njit
from fxp.models.events.events import Events, Size
from fxp.support.errors import ArgumentError

BINS: Final = 5
FRAC: Final = 12
"""Fraction bits of an event's place in time."""
ONE: Final = 1 << FRAC
LARGEST: Final = (1 << 23) - 1
"""Sums saturate at plus and minus this."""
_SAFE: Final = 1 << (31 - FRAC)
"""With fewer events than this, no sum leaves 32 bits."""


def voxel_sums(events: Events, size: Size, bins: int = BINS) -> NDArray[np.int32]:
    """Sum the events of a window into bins of time.

    Parameters
    ----------
    events
        In the order of time, and on the sensor.
    size
        Width and height of the sensor.
    bins
        Number of bins, at least 1.

    Returns
    -------
    numpy.ndarray
        Steps 1 and 2 of the definition, ``(bins, H, W)`` int32 in 1/4096.

    Raises
    ------
    ArgumentError
        For fewer bins than one, or events outside the sensor.
    """
    sums = _summed(events, size, bins)
    return np.ascontiguousarray(np.clip(sums[..., :bins], -LARGEST, LARGEST).transpose(2, 0, 1))


def fixed_grid(
    events: Events, size: Size, form: Format, *, bins: int = BINS, hot: int | None = None
) -> NDArray[np.signedinteger]:
    """Return the normalized grid of a window as raw integers of a format, by the definition.

    Parameters
    ----------
    events
        In the order of time, and on the sensor.
    size
        Width and height of the sensor.
    form
        Format of the result, for example that of a model's input.
    bins
        Number of bins, at least 1.
    hot
        Limit of hot pixels, in events over all bins, usually 25; None keeps them.

    Returns
    -------
    numpy.ndarray
        ``(bins, H, W)``, in the narrowest type of the format.

    Raises
    ------
    ArgumentError
        As `voxel_sums`, and for a format whose fraction bits are negative or more than 16, or a
        sensor of so many pixels that 64 bits do not hold the numbers of step 4.
    """
    if not 0 <= form.frac <= 16:
        raise ArgumentError(f"the format of a grid must have 0 to 16 fraction bits, not {form}")
    sums = _summed(events, size, bins)
    limit = None if hot is None else hot * ONE // bins
    count, total, squares = _moments(sums, limit is not None, limit or 0)
    if count.bit_length() + LARGEST.bit_length() + form.frac + 2 > 62:
        raise ArgumentError(f"a sensor of {size[0]}x{size[1]} is too large for a grid in {form}")
    # Python's integers hold what exceeds 64 bits.
    root = math.isqrt(count * sum(map(int, squares)) - total * total)
    height, width, _ = sums.shape
    grid = np.zeros((bins, height, width), form.dtype)
    if root:
        _normalize(sums, count, total, root, form.frac, form.min_raw, form.max_raw, grid)
    return grid


def float_grid(
    events: Events, size: Size, *, bins: int = BINS, hot: float | None = None
) -> NDArray[np.float32]:
    """Return the normalized grid of a window in floating point, as the networks' authors do.

    What is not zero has mean 0 and standard deviation 1; no place in time is rounded.

    Parameters
    ----------
    events
        In the order of time, and on the sensor.
    size
        Width and height of the sensor.
    bins
        Number of bins, at least 1.
    hot
        Limit of hot pixels, in events over all bins, usually 25; None keeps them.

    Returns
    -------
    numpy.ndarray
        ``(bins, H, W)``.
    """
    _check(events, size, bins)
    width, height = size
    sums = np.zeros((height, width, bins + 1))
    if len(events):
        span = max(int(events.t[-1] - events.t[0]), 1)
        _add_float(events.t, events.x, events.y, events.p, span, bins, sums)
    grid = np.zeros((bins, height, width), np.float32)
    _normalize_float(sums, math.inf if hot is None else hot / bins, grid)
    return grid


def _summed(events: Events, size: Size, bins: int) -> NDArray:
    """Sum events, ``(H, W, bins + 1)``, where the last bin is zero.

    Bins lie side by side, and one more spares the question if there is a bin behind.
    """
    _check(events, size, bins)
    width, height = size
    sums = np.zeros((height, width, bins + 1), np.int32 if len(events) < _SAFE else np.int64)
    if len(events):
        span = max(int(events.t[-1] - events.t[0]), 1)
        _add(events.t, events.x, events.y, events.p, span, bins, sums)
    return sums


def _check(events: Events, size: Size, bins: int) -> None:
    if bins < 1:
        raise ArgumentError(f"bins must be at least 1, not {bins}")
    width, height = size
    if len(events):
        inside = (
            int(events.x.min()) >= 0 and int(events.x.max()) < width
            and int(events.y.min()) >= 0 and int(events.y.max()) < height
        )  # fmt: skip
        if not inside:
            raise ArgumentError(f"there are events outside the sensor of {width}x{height}")


@njit(cache=True, nogil=True)
def _add(
    t: NDArray, x: NDArray, y: NDArray, p: NDArray, span: int, bins: int, sums: NDArray
) -> None:
    first = t[0]
    scale = np.uint64((bins - 1) << FRAC)
    for index in range(len(t)):
        # Unsigned division is the faster one; times never decrease.
        place = np.int64(np.uint64(t[index] - first) * scale // np.uint64(span))
        number, part = place >> FRAC, place & (ONE - 1)
        pixel = sums[y[index], x[index]]
        pixel[number] += p[index] * (ONE - part)
        pixel[number + 1] += p[index] * part


@njit(cache=True, nogil=True)
def _add_float(
    t: NDArray, x: NDArray, y: NDArray, p: NDArray, span: int, bins: int, sums: NDArray
) -> None:
    for index in range(len(t)):
        place = (bins - 1) * (t[index] - t[0]) / span
        number = int(place)
        part = place - number
        sums[y[index], x[index], number] += p[index] * (1 - part)
        sums[y[index], x[index], number + 1] += p[index] * part


@njit(cache=True, nogil=True)
def _moments(sums: NDArray, hot: bool, limit: int) -> tuple[int, int, NDArray]:
    """Saturate, remove hot pixels, and return number, sum and sums of squares of each row."""
    height = sums.shape[0]
    count, total, squares = 0, 0, np.zeros(height, np.uint64)
    for row in range(height):
        values = sums[row].ravel()
        used, first, second = 0, 0, 0
        for index in range(len(values)):
            value = min(max(np.int64(values[index]), -LARGEST), LARGEST)
            if hot and abs(value) > limit:
                value = 0
            values[index] = value
            used += value != 0
            first += value
            second += value * value
        count += used
        total += first
        squares[row] = second
    return int(count), int(total), squares


@njit(cache=True, nogil=True, error_model="numpy")
def _normalize(
    sums: NDArray, count: int, total: int, root: int, frac: int, low: int, high: int, grid: NDArray
) -> None:
    bins, height, width = grid.shape
    divisor = 2 * root
    inverse = 1 / divisor
    for row in range(height):
        for column in range(width):
            pixel = sums[row, column]
            for number in range(bins):
                value = np.int64(pixel[number])
                if value != 0:
                    # Half up: floor(a / R + 1/2) = floor((2 a + R) / 2 R). The quotient is below
                    # 2**29, so what floating point gives is off by one at most.
                    doubled = ((count * value - total) << (frac + 1)) + root
                    quotient = np.int64(np.floor(doubled * inverse))
                    rest = doubled - quotient * divisor
                    quotient += np.int64(rest >= divisor) - np.int64(rest < 0)
                    grid[number, row, column] = min(max(quotient, low), high)


@njit(cache=True, nogil=True)
def _normalize_float(sums: NDArray, limit: float, grid: NDArray) -> None:
    values = sums.ravel()
    count, total = 0, 0.0
    for index in range(len(values)):
        if abs(values[index]) > limit:
            values[index] = 0
        count += values[index] != 0
        total += values[index]
    if count == 0:
        return
    mean, squares = total / count, 0.0
    for value in values:
        if value != 0:
            squares += (value - mean) ** 2
    scale = 1 / (np.sqrt(squares / count) + 1e-8)
    bins, height, width = grid.shape
    for row in range(height):
        for column in range(width):
            for number in range(bins):
                if sums[row, column, number] != 0:
                    grid[number, row, column] = (sums[row, column, number] - mean) * scale
