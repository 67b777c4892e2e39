"""Signal-to-noise measures between arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fxp.support.errors import ArgumentError


def mean_squared_error(first: ArrayLike, second: ArrayLike) -> float:
    """Mean of squared differences; raises ValueError if the shapes differ or are empty."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ArgumentError(f"cannot compare arrays of shapes {a.shape} and {b.shape}")
    return float(np.mean((a - b) ** 2))


def psnr(first: ArrayLike, second: ArrayLike, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal arrays.

    Parameters
    ----------
    first, second
        Arrays of one shape.
    peak
        Largest possible value, 255 for 8-bit images.
    """
    error = mean_squared_error(first, second)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def sqnr(reference: ArrayLike, quantized: ArrayLike) -> float:
    """Signal-to-quantization-noise ratio in dB: power of the reference over that of the error."""
    error = mean_squared_error(reference, quantized)
    power = float(np.mean(np.asarray(reference, np.float64) ** 2))
    if error == 0:
        return math.inf
    return -math.inf if power == 0 else 10 * math.log10(power / error)
