"""Element-wise kernels over ``(H, W, C)`` images.

Rows are taken as flat vectors, so that the inner loops are long and contiguous. A `Start` says
where in an image the band begins, as `fxp.ops.base.Window.start` returns it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Start = tuple[int, int, int, int]
"""Row, column and their steps; a step of 0 reads the only row or column again and again."""


@njit(cache=True, nogil=True)
def combine(
    band: NDArray,
    left: NDArray,
    left_start: Start,
    right: NDArray,
    right_start: Start,
    left_factor: np.integer,
    right_factor: np.integer,
    multiplies: bool,
) -> None:
    """Product of two images, or sum of their multiples, broadcast over axes of size 1."""
    rows, columns, channels = band.shape
    left_row, left_column, left_row_step, left_column_step = left_start
    right_row, right_column, right_row_step, right_column_step = right_start
    out, left_flat, right_flat = band.reshape(-1), left.reshape(-1), right.reshape(-1)
    # Without broadcasting a whole row is one vector, otherwise each pixel is.
    same = left.shape[2] == right.shape[2] and left_column_step == right_column_step
    vectors = 1 if same else columns
    pixels = columns // vectors
    size, left_size, right_size = (
        pixels * channels,
        pixels * left.shape[2],
        pixels * right.shape[2],
    )
    for y in range(rows):
        left_first = (left_row + y * left_row_step) * left.shape[1] + left_column
        right_first = (right_row + y * right_row_step) * right.shape[1] + right_column
        for x in range(vectors):
            first = (y * vectors + x) * size
            a = (left_first + x * left_column_step) * left.shape[2]
            b = (right_first + x * right_column_step) * right.shape[2]
            target = out[first : first + size]
            left_part, right_part = left_flat[a : a + left_size], right_flat[b : b + right_size]
            if multiplies:
                _product(target, left_part, right_part)
            else:
                _sum(target, left_part, right_part, left_factor, right_factor)


@njit(cache=True, nogil=True)
def _sum(
    out: NDArray,
    left: NDArray,
    right: NDArray,
    left_factor: np.integer,
    right_factor: np.integer,
) -> None:
    """Sum of multiples of two vectors, either of which may be a single value."""
    if left.size == right.size:
        for i in range(out.size):
            out[i] = left[i] * left_factor + right[i] * right_factor
    elif right.size == 1:
        constant = right[0] * right_factor
        for i in range(out.size):
            out[i] = left[i] * left_factor + constant
    else:
        constant = left[0] * left_factor
        for i in range(out.size):
            out[i] = constant + right[i] * right_factor


@njit(cache=True, nogil=True)
def _product(out: NDArray, left: NDArray, right: NDArray) -> None:
    """Product of two vectors, either of which may be a single value."""
    if left.size == right.size:
        for i in range(out.size):
            out[i] = left[i] * right[i]
    elif right.size == 1:
        for i in range(out.size):
            out[i] = left[i] * right[0]
    else:
        for i in range(out.size):
            out[i] = left[0] * right[i]


@njit(cache=True, nogil=True)
def clamp(band: NDArray, image: NDArray, start: Start, low: np.integer, high: np.integer) -> None:
    """Clip to ``[low, high]``."""
    row, column = start[:2]
    for y in range(band.shape[0]):
        out = band[y].reshape(-1)
        values = image[row + y, column : column + band.shape[1]].reshape(-1)
        for i in range(out.size):
            out[i] = min(max(values[i], low), high)


@njit(cache=True, nogil=True)
def prelu(band: NDArray, image: NDArray, start: Start, slope: NDArray, one: np.integer) -> None:
    """Multiply by `one` where positive, by the channel's slope where negative."""
    row, column = start[:2]
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, values = band[y, x], image[row + y, column + x]
            for c in range(slope.size):
                value = values[c]
                out[c] = value * (one if value >= 0 else slope[c])


@njit(cache=True, nogil=True)
def look_up(band: NDArray, image: NDArray, start: Start, table: NDArray, smallest: int) -> None:
    """Read ``table[value - smallest]``."""
    row, column = start[:2]
    for y in range(band.shape[0]):
        out = band[y].reshape(-1)
        values = image[row + y, column : column + band.shape[1]].reshape(-1)
        for i in range(out.size):
            # Unsigned, as Numba tests a signed index for counting from the end.
            out[i] = table[np.uint64(values[i] - smallest)]
