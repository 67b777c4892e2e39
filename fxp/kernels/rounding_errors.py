"""What rounding costs: errors of constants in formats with different fraction bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit

BLOCK = 4096
"""Numbers that are looked at together for all fraction bits, while they are in the cache."""


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def squared_errors(
    rows: NDArray[np.float64],
    fracs: NDArray[np.int64],
    limit: float,
    errors: NDArray[np.float64],
) -> None:
    """Add up squared errors of rounding, in steps of the format, for every row.

    Parameters
    ----------
    rows
        ``(R, K)``, read-only, so that one kernel is compiled for all.
    fracs
        Fraction bits to try, ``(F, R)``, each within ±1000.
    limit
        Raw integers go from ``-limit`` to ``limit - 1``.
    errors
        Result, ``(F, R)``.
    """
    for row in range(rows.shape[0]):
        for choice in range(len(fracs)):
            errors[choice, row] = 0
        for first in range(0, rows.shape[1], BLOCK):
            block = rows[row, first : first + BLOCK]
            for choice in range(len(fracs)):
                scale = math.ldexp(1.0, fracs[choice, row])
                total = 0.0
                for index in range(len(block)):
                    scaled = block[index] * scale
                    raw = min(max(np.floor(scaled + 0.5), -limit), limit - 1)
                    total += (raw - scaled) ** 2
                errors[choice, row] += total
