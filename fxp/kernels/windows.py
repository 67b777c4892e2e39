"""Pooling and resampling over ``(H, W, C)`` images, by gathered rows and columns.

`rows` and `columns` hold the row or column of the image that each output and tap reads,
``(outputs, taps)``. Both axes are treated one after the other: rows of the image are combined to a
line, as long vectors, and then its columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.routines import routine


@routine
def pool_maximum(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    smallest: int,
) -> None:
    """Largest value of each window.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, 1, W * C)``.
    rows, columns
        Row and column of the image that each output and tap reads, ``(outputs, taps)``; -1 reads
        nothing.
    smallest
        Result of a window that reads nothing.
    """
    channels = band.shape[2]
    last = columns.max() + 1
    first = last
    for x in range(columns.shape[0]):
        for tap in range(columns.shape[1]):
            if columns[x, tap] >= 0:
                first = min(first, columns[x, tap])
    length = (last - first) * channels
    line = np.empty(length, image.dtype)
    for y in range(band.shape[0]):
        empty_line = True
        for tap_y in range(rows.shape[1]):
            row = rows[y, tap_y]
            if row < 0:
                continue
            values = image[row, 0, first * channels : last * channels]
            if empty_line:
                for i in range(length):
                    line[i] = values[i]
                empty_line = False
            else:
                for i in range(length):
                    line[i] = max(line[i], values[i])
        for x in range(band.shape[1]):
            empty = True
            for tap_x in range(columns.shape[1]):
                column = columns[x, tap_x]
                if column < 0 or empty_line:
                    continue
                pixel = line[(column - first) * channels : (column - first + 1) * channels]
                if empty:
                    for c in range(channels):
                        band[y, x, c] = pixel[c]
                    empty = False
                else:
                    for c in range(channels):
                        band[y, x, c] = max(band[y, x, c], pixel[c])
            if empty:
                for c in range(channels):
                    band[y, x, c] = smallest


@routine
def resample(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    row_taps: NDArray,
    column_taps: NDArray,
    factors: NDArray,
) -> None:
    """Weighted sums of rows and columns, times ``factors[y, x]``.

    Output ``o`` of an axis has the weights ``taps[o]``.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, 1, W * C)``.
    rows, columns
        Row and column of the image that each output and tap reads, ``(outputs, taps)``.
    row_taps, column_taps
        Weight of every tap, ``(outputs, taps)``; sums of rows have the dtype of their weights.
    factors
        Factor of every result, ``(rows, columns)``.
    """
    channels = band.shape[2]
    first, last = columns.min(), columns.max() + 1
    length = (last - first) * channels
    line = np.empty(length, row_taps.dtype)
    for y in range(band.shape[0]):
        for tap_y in range(rows.shape[1]):
            weight = row_taps[y, tap_y]
            values = image[rows[y, tap_y], 0, first * channels : last * channels]
            if tap_y == 0:
                for i in range(length):
                    line[i] = weight * values[i]
            elif weight == 1:
                for i in range(length):
                    line[i] += values[i]
            elif weight != 0:
                for i in range(length):
                    line[i] += weight * values[i]
        for x in range(band.shape[1]):
            for tap_x in range(columns.shape[1]):
                weight = column_taps[x, tap_x]
                place = (columns[x, tap_x] - first) * channels
                pixel = line[place : place + channels]
                if tap_x == 0:
                    for c in range(channels):
                        band[y, x, c] = weight * pixel[c]
                elif weight == 1:
                    for c in range(channels):
                        band[y, x, c] += pixel[c]
                elif weight != 0:
                    for c in range(channels):
                        band[y, x, c] += weight * pixel[c]
            factor = factors[y, x]
            if factor != 1:
                for c in range(channels):
                    band[y, x, c] *= factor


def row_sums(
    weights: NDArray[np.int64], limits: tuple[int, int], dtype: np.dtype
) -> NDArray[np.signedinteger]:
    """Return weights of rows in int32 where the sums of rows fit it, for `resample`.

    Parameters
    ----------
    weights
        ``(outputs, taps)``.
    limits
        Smallest and largest raw integer of the operand.
    dtype
        Of the results, where sums of rows do not fit; they may wrap as the results do.
    """
    most = int(np.abs(weights).sum(axis=1).max()) * max(-limits[0], limits[1])
    return weights.astype(np.int32 if most < 2**31 else dtype)
