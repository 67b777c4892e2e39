"""Real values to raw integers: the common case of `fxp.formats.quantize`, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def quantize_half_up(
    values: NDArray, frac: int, low: int, high: int, result: NDArray[np.int16]
) -> bool:
    """Round half up and saturate; returns whether every value was finite.

    Scaling by a power of two is exact in float64, and so is the distance to the integer below.

    Parameters
    ----------
    values
        Flat float32 or float64 values.
    frac
        Fraction bits, within what float64's exponent holds.
    low, high
        Smallest and largest raw integer.
    result
        As many raw integers.
    """
    scale = math.ldexp(1.0, frac)
    below, above = float(low) - 1.0, float(high) + 1.0
    finite = True
    for i in range(values.size):
        value = np.float64(values[i])
        finite &= abs(value) < np.inf
        scaled = min(max(value * scale, below), above)
        floor = math.floor(scaled)
        rounded = np.int32(floor) + np.int32(scaled - floor >= 0.5)
        result[i] = min(max(rounded, np.int32(low)), np.int32(high))
    return bool(finite)
