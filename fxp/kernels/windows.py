"""Pooling and resampling over ``(H, W, C)`` images, by gathered rows and columns."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def pool_maximum(
    band: NDArray,
    first_row: int,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    smallest: int,
) -> None:
    """Largest value of each window; positions of index -1 read `smallest`."""
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            best = band[y, x]
            best[:] = smallest
            for tap_y in range(rows.shape[1]):
                row = rows[first_row + y, tap_y]
                for tap_x in range(columns.shape[1]):
                    column = columns[x, tap_x]
                    if row >= 0 and column >= 0:
                        for c in range(best.size):
                            best[c] = max(best[c], image[row, column, c])


@njit(cache=True, nogil=True)
def pool_sum(
    band: NDArray,
    first_row: int,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    multiplier: NDArray[np.int64],
) -> None:
    """Sum of each window times ``multiplier[y, x]``; positions of index -1 read zero."""
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            total = band[y, x]
            total[:] = 0
            for tap_y in range(rows.shape[1]):
                row = rows[first_row + y, tap_y]
                for tap_x in range(columns.shape[1]):
                    column = columns[x, tap_x]
                    if row >= 0 and column >= 0:
                        for c in range(total.size):
                            total[c] += image[row, column, c]
            factor = multiplier[first_row + y, x]
            for c in range(total.size):
                total[c] *= factor


@njit(cache=True, nogil=True)
def resample(
    band: NDArray,
    first_row: int,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    taps: NDArray[np.int64],
) -> None:
    """Separable interpolation by two: output ``o`` of an axis has the taps of phase ``o % 2``."""
    for y in range(band.shape[0]):
        row_taps = taps[(first_row + y) % 2]
        for x in range(band.shape[1]):
            total = band[y, x]
            total[:] = 0
            column_taps = taps[x % 2]
            for tap_y in range(row_taps.size):
                row = rows[first_row + y, tap_y]
                for tap_x in range(column_taps.size):
                    weight = row_taps[tap_y] * column_taps[tap_x]
                    pixel = image[row, columns[x, tap_x]]
                    for c in range(total.size):
                        total[c] += weight * pixel[c]
