"""Element-wise kernels over ``(H, W, C)`` images.

Callers join the pixels of a row where nothing is broadcast (`fxp.kernels.routines.row_vectors`), so
that the inner loops are long. A `Start` says
where in an image the band begins, as `fxp.graph.ops.windows.Window.start` returns it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.routines import routine

Start = tuple[int, int, int, int]
"""Row, column and their steps; a step of 0 reads the only row or column again and again."""


@routine
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
    """Product of two images, or sum of their multiples, broadcast over axes of size 1.

    The right image has as many channels as the left one, or a single one.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    left, right
        The operands, ``(H, W, C)``.
    left_start, right_start
        Where the band begins in each.
    left_factor, right_factor
        Factors of a sum.
    multiplies
        Whether the result is the product.
    """
    rows, columns, channels = band.shape
    left_row, left_column, left_row_step, left_column_step = left_start
    right_row, right_column, right_row_step, right_column_step = right_start
    single = right.shape[2] < channels
    for y in range(rows):
        left_y, right_y = left_row + y * left_row_step, right_row + y * right_row_step
        # No views in these loops: counting their references would take longer than a pixel.
        for x in range(columns):
            left_x = left_column + x * left_column_step
            right_x = right_column + x * right_column_step
            if single:
                value = right[right_y, right_x, 0]
                factor = value if multiplies else left_factor
                constant = 0 if multiplies else value * right_factor
                for c in range(channels):
                    band[y, x, c] = left[left_y, left_x, c] * factor + constant
            elif multiplies:
                for c in range(channels):
                    band[y, x, c] = left[left_y, left_x, c] * right[right_y, right_x, c]
            else:
                for c in range(channels):
                    band[y, x, c] = (
                        left[left_y, left_x, c] * left_factor
                        + right[right_y, right_x, c] * right_factor
                    )


@routine
def clamp(band: NDArray, image: NDArray, start: Start, low: np.integer, high: np.integer) -> None:
    """Clip to ``[low, high]``.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    start
        Where in the image the band begins, and its steps.
    low, high
        Bounds, raw integers.
    """
    row, column = start[:2]
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                band[y, x, c] = min(max(image[row + y, column + x, c], low), high)


@routine
def prelu(band: NDArray, image: NDArray, start: Start, slope: NDArray, one: np.integer) -> None:
    """Multiply by `one` where positive, by the channel's slope where negative.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    start
        Where in the image the band begins, and its steps.
    slope
        Slope of every channel, a raw integer.
    one
        What 1.0 is in the slopes' format.
    """
    row, column = start[:2]
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, values = band[y, x], image[row + y, column + x]
            for c in range(slope.size):
                value = values[c]
                out[c] = value * (one if value >= 0 else slope[c])


@routine
def soft_threshold(
    band: NDArray, image: NDArray, start: Start, thresholds: NDArray[np.int64], factor: np.int64
) -> None:
    """``max(v - t, 0) - max(-v - t, 0)`` of the multiple ``v`` of each value, in int64.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    start
        Where in the image the band begins, and its steps.
    thresholds
        Threshold of every channel, in the results' format.
    factor
        What values are multiplied by to have that format.
    """
    row, column = start[:2]
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, values = band[y, x], image[row + y, column + x]
            for c in range(thresholds.size):
                value = np.int64(values[c]) * factor
                threshold = thresholds[c]
                out[c] = max(value - threshold, 0) - max(-value - threshold, 0)


@routine
def sign(band: NDArray, image: NDArray, start: Start, at_zero: np.integer) -> None:
    """Sign of each value, -1, 0 or 1.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    start
        Where in the image the band begins, and its steps.
    at_zero
        What the sign of zero is.
    """
    row, column = start[:2]
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                value = image[row + y, column + x, c]
                band[y, x, c] = 1 if value > 0 else (-1 if value < 0 else at_zero)


@routine
def look_up(band: NDArray, image: NDArray, start: Start, table: NDArray, smallest: int) -> None:
    """Read ``table[value - smallest]``.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    start
        Where in the image the band begins, and its steps.
    table
        Result of every value.
    smallest
        Value of the first entry.
    """
    row, column = start[:2]
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                # Unsigned, as Numba tests a signed index for counting from the end.
                band[y, x, c] = table[np.uint64(image[row + y, column + x, c] - smallest)]
