"""Feature vectors of length 1 and their projection, in integers.

The definition is `fxp.models.recognition.sequential.definition`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit


@njit(cache=True, nogil=True)
def normalize_rows(
    features: NDArray[np.float64],
    squares: bool,
    scaled_bits: int,
    frac: int,
    vectors: NDArray[np.int16],
) -> None:
    """Scale rows by a power of two and divide them by their length or their sum.

    Parameters
    ----------
    features
        ``(rows, features)``, finite.
    squares
        Whether to divide by the length rather than by the sum.
    scaled_bits
        Bits of the largest magnitude of a scaled row.
    frac
        Fraction bits of the result.
    vectors
        The results.
    """
    count = features.shape[1]
    values = np.empty(count, np.int64)
    for row in range(len(features)):
        largest = 0.0
        for index in range(count):
            largest = max(largest, abs(features[row, index]))
        exponent = math.frexp(largest)[1]
        total = 0
        for index in range(count):
            scaled = math.ldexp(features[row, index], scaled_bits - exponent)
            value = np.int64(np.floor(scaled + 0.5))
            values[index] = value
            total += value * value if squares else value
        divisor = total
        if squares:
            divisor = np.int64(np.sqrt(np.float64(total)))
            while divisor * divisor > total:
                divisor -= 1
            while (divisor + 1) * (divisor + 1) <= total:
                divisor += 1
        divisor = max(divisor, 1)
        for index in range(count):
            vectors[row, index] = ((values[index] << (frac + 1)) + divisor) // (2 * divisor)


@njit(cache=True, nogil=True)
def project_rows(
    vectors: NDArray[np.int16],
    axes: NDArray[np.int16],
    frac: int,
    limit: int,
    components: NDArray[np.int16],
) -> None:
    """Multiply rows by axes, round half up and limit.

    Parameters
    ----------
    vectors
        ``(rows, features)``.
    axes
        ``(components, features)``.
    frac
        Fraction bits that products have too many.
    limit
        Largest magnitude of a result.
    components
        The results.
    """
    half = np.int64(1) << (frac - 1)
    for row in range(len(vectors)):
        for number in range(len(axes)):
            total = np.int64(0)
            for index in range(axes.shape[1]):
                total += np.int64(np.int32(vectors[row, index]) * np.int32(axes[number, index]))
            components[row, number] = min(max((total + half) >> frac, -limit), limit)
