"""Pooling and resampling over ``(H, W, C)`` images, by gathered rows and columns.

`rows` and `columns` hold the row or column of the image that each output and tap reads,
``(outputs, taps)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit


@njit(cache=True, nogil=True)
def pool_maximum(
    band: NDArray, image: NDArray, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> None:
    """Largest value of each window.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    rows, columns
        Row and column of the image that each output and tap reads, ``(outputs, taps)``.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            best, first = band[y, x], image[rows[y, 0], columns[x, 0]]
            for c in range(best.size):
                best[c] = first[c]
            for tap_y in range(rows.shape[1]):
                for tap_x in range(columns.shape[1]):
                    pixel = image[rows[y, tap_y], columns[x, tap_x]]
                    for c in range(best.size):
                        best[c] = max(best[c], pixel[c])


@njit(cache=True, nogil=True)
def pool_sum(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    multiplier: NDArray,
) -> None:
    """Sum of each window times ``multiplier[y, x]``.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    rows, columns
        Row and column of the image that each output and tap reads, ``(outputs, taps)``.
    multiplier
        Factor of every result, ``(rows, columns)``.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            total = band[y, x]
            total[:] = 0
            for tap_y in range(rows.shape[1]):
                for tap_x in range(columns.shape[1]):
                    pixel = image[rows[y, tap_y], columns[x, tap_x]]
                    for c in range(total.size):
                        total[c] += pixel[c]
            factor = multiplier[y, x]
            for c in range(total.size):
                total[c] *= factor


@njit(cache=True, nogil=True)
def resample(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    row_taps: NDArray,
    column_taps: NDArray,
) -> None:
    """Separable interpolation; output ``o`` of an axis has the taps ``taps[o]``.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    rows, columns
        Row and column of the image that each output and tap reads, ``(outputs, taps)``.
    row_taps, column_taps
        Weight of every tap, ``(outputs, taps)``.
    """
    channels = band.shape[2]
    first = columns.min()
    width = columns.max() + 1 - first
    line = np.empty((width, channels), band.dtype)
    flat = line.reshape(-1)
    for y in range(band.shape[0]):
        flat[:] = 0
        for tap_y in range(rows.shape[1]):
            weight = row_taps[y, tap_y]
            values = image[rows[y, tap_y], first : first + width].reshape(-1)
            for i in range(flat.size):
                flat[i] += weight * values[i]
        for x in range(band.shape[1]):
            total = band[y, x]
            total[:] = 0
            for tap_x in range(columns.shape[1]):
                weight = column_taps[x, tap_x]
                pixel = line[columns[x, tap_x] - first]
                for c in range(channels):
                    total[c] += weight * pixel[c]
