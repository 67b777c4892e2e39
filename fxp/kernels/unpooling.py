"""Where the largest value of a window lies, and unpooling, over ``(H, W, C)`` images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.routines import routine


@routine
def pool_indices(
    band: NDArray, image: NDArray, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> None:
    """Find the number of the first tap with the largest value of each window.

    `rows` and `columns` hold the row or column of the image that each output and tap reads,
    ``(outputs, taps)``; a negative one lies beyond the border.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    rows, columns
        Row and column of the image that each output and tap reads, ``(outputs, taps)``.
    """
    taps, integer = columns.shape[1], band.dtype.type
    largest = np.empty(band.shape[2], band.dtype)
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            number = band[y, x]
            empty = True
            for tap_y in range(rows.shape[1]):
                for tap_x in range(taps):
                    row, column = rows[y, tap_y], columns[x, tap_x]
                    if row < 0 or column < 0:
                        continue
                    pixel, tap = image[row, column], integer(tap_y * taps + tap_x)
                    if empty:
                        number[:] = tap
                        for c in range(number.size):
                            largest[c] = pixel[c]
                        empty = False
                        continue
                    for c in range(number.size):
                        value = integer(pixel[c])
                        number[c] = tap if value > largest[c] else number[c]
                        largest[c] = max(value, largest[c])


@routine
def unpool(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    indices: NDArray,
    index_rows: NDArray[np.int64],
    index_columns: NDArray[np.int64],
    taps: NDArray[np.int64],
) -> None:
    """Value where its index is ``taps[y, x]``, else zero; no index equals a negative tap.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The values, ``(H, W, C)``.
    rows, columns
        Row and column of `image` that each result reads.
    indices
        The indices, ``(H, W, C)``.
    index_rows, index_columns
        Row and column of `indices` that each result reads.
    taps
        Number of the tap that each result is, ``(rows, columns)``; negative for none.
    """
    integer = band.dtype.type
    zero = integer(0)
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, tap = band[y, x], integer(taps[y, x])
            if tap < 0:
                out[:] = zero
                continue
            pixel = image[rows[y], columns[x]]
            index = indices[index_rows[y], index_columns[x]]
            for c in range(out.size):
                out[c] = integer(pixel[c]) if integer(index[c]) == tap else zero
