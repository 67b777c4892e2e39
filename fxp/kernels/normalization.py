"""Normalization over the channels of ``(H, W, C)`` images, with stored tables, in int64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.routines import routine


@routine
def softmax(
    band: NDArray, image: NDArray, row: int, column: int, table: NDArray[np.int64], one: np.int64
) -> None:
    """Table entry of each value's distance to the largest, times ``one // sum`` of all entries.

    `row` and `column` say where in `image` the band begins; the last entry of the table stands for
    all larger distances.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    row, column
        Row and column of the image at which the band begins.
    table
        Exponential of every distance to the largest value, a raw integer.
    one
        What is divided by the sum.
    """
    last = table.size - 1
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, values = band[y, x], image[row + y, column + x]
            largest = np.int64(values[0])
            for c in range(values.size):
                largest = max(largest, np.int64(values[c]))
            total = np.int64(0)
            for c in range(values.size):
                total += table[min(largest - values[c], last)]
            factor = one // total
            for c in range(values.size):
                out[c] = table[min(largest - values[c], last)] * factor


@routine
def local_response(
    band: NDArray,
    image: NDArray,
    row: int,
    column: int,
    table: NDArray[np.int64],
    shift: int,
    before: int,
    after: int,
) -> None:
    """Each value times the table entry of the shifted sum of squares around it.

    The sum takes in `before` channels before its own and `after` behind.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    row, column
        Row and column of the image at which the band begins.
    table
        Factor for every shifted sum of squares.
    shift
        Right shift of the sum.
    before, after
        Channels that the sum takes in on either side.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, values = band[y, x], image[row + y, column + x]
            total = np.int64(0)
            for c in range(min(after, values.size)):
                total += np.int64(values[c]) * np.int64(values[c])
            for c in range(values.size):
                if c + after < values.size:
                    total += np.int64(values[c + after]) * np.int64(values[c + after])
                if c > before:
                    total -= np.int64(values[c - before - 1]) * np.int64(values[c - before - 1])
                out[c] = values[c] * table[total >> shift]
