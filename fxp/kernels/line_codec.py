"""The line codec over ``(H, W, C)`` images: every value as it comes back from its code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.routines import routine


@routine
def encode_decode(
    band: NDArray,
    first_column: int,
    image: NDArray,
    row: int,
    column: int,
    width: int,
    group: int,
    limits: tuple[int, int],
    base_step: int,
    levels: int,
) -> None:
    """Write what `fxp.graph.ops.line_codec.LineCodec` defines.

    `band` begins at `first_column` of an image of `width` columns; `row` and `column` say where its
    first group begins in `image`, which holds whole groups.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    first_column
        Column of the whole image at which the band begins.
    image
        The operand, ``(H, W, C)``.
    row, column
        Where in `image` the band's first group begins.
    width
        Columns of the whole image.
    group
        Columns of a group.
    limits
        Smallest and largest raw integer.
    base_step
        Bases are multiples of this above the smallest.
    levels
        How many differences from the base a code can tell.
    """
    smallest, largest = limits
    for y in range(band.shape[0]):
        x = 0
        place = column
        while x < band.shape[1]:
            start = (first_column + x) // group * group
            end = min(start + group, width)
            last = min(end - first_column, band.shape[1])
            skipped = first_column + x - start
            for c in range(band.shape[2]):
                low = high = np.int64(image[row + y, place, c])
                for i in range(1, end - start):
                    value = np.int64(image[row + y, place + i, c])
                    low, high = min(low, value), max(high, value)
                base = low - (low - smallest) % base_step
                shift = 0
                while (high - base) >> shift >= levels:
                    shift += 1
                half = (1 << shift) >> 1
                for i in range(x, last):
                    value = np.int64(image[row + y, place + skipped + i - x, c])
                    delta = min((value - base + half) >> shift, levels - 1)
                    band[y, i, c] = min(base + (delta << shift), largest)
            place += end - start
            x = last
