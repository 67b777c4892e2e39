"""Kernels that move values of ``(H, W, C)`` images without arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.layout import SIDE, transpose
from fxp.kernels.routines import routine

TILE = 32
"""Side of the squares of pixels and channels that are exchanged together."""


@routine
def gather(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    first_channel: int,
    factor: np.integer,
    outside: int,
) -> None:
    """Copy ``image[rows[y], columns[x]] * factor`` to the channels from `first_channel` on.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    rows, columns
        Row and column of the image that each result reads; -1 for none.
    first_channel
        First channel of `band` that is written.
    factor
        Multiplies every value.
    outside
        Result that reads no pixel.
    """
    channels = image.shape[2]
    for y in range(band.shape[0]):
        row = rows[y]
        for x in range(band.shape[1]):
            column = columns[x]
            # A view, so that no index is tested for counting from the end.
            out = band[y, x, first_channel : first_channel + channels]
            if row < 0 or column < 0:
                for c in range(channels):
                    out[c] = outside
            elif factor == 1:
                for c in range(channels):
                    out[c] = image[row, column, c]
            else:
                for c in range(channels):
                    out[c] = image[row, column, c] * factor


@routine
def spread(band: NDArray, image: NDArray) -> None:
    """Repeat an image along the axes along which it has one element.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        ``(rows or 1, W or 1, C or 1)``.
    """
    rows, columns, channels = band.shape
    for y in range(rows):
        row = y if image.shape[0] > 1 else 0
        for x in range(columns):
            column = x if image.shape[1] > 1 else 0
            if image.shape[2] > 1:
                for c in range(channels):
                    band[y, x, c] = image[row, column, c]
            else:
                value = image[row, column, 0]
                for c in range(channels):
                    band[y, x, c] = value


@routine
def exchange(band: NDArray, image: NDArray) -> None:
    """Rows become columns.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The pixels that belong to them, ``(W, rows, C)``.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                band[y, x, c] = image[x, y, c]


@routine
def flatten(band: NDArray, image: NDArray) -> None:
    """Write planes one after the other.

    Parameters
    ----------
    band
        A vector, ``(1, 1, C * H * W)``; written.
    image
        The operand, ``(H, W, C)``.
    """
    height, width, channels = image.shape
    if image.itemsize == 2 and band.itemsize == 2:
        for y in range(height):
            row = image[y]
            transpose(
                row.ctypes.data,
                channels,
                band.ctypes.data + 2 * y * width,
                height * width,
                width,
                channels,
            )
            for x in range(width):
                first = channels // SIDE * SIDE if x < width // SIDE * SIDE else 0
                for c in range(first, channels):
                    band[0, 0, (c * height + y) * width + x] = row[x, c]
        return
    for first in range(0, channels, TILE):
        last = min(first + TILE, channels)
        for y in range(height):
            for begin in range(0, width, TILE):
                end = min(begin + TILE, width)
                for c in range(first, last):
                    place = (c * height + y) * width
                    for x in range(begin, end):
                        band[0, 0, place + x] = image[y, x, c]


@routine
def unflatten(
    band: NDArray, image: NDArray, first_row: int, first_column: int, size: tuple[int, int]
) -> None:
    """Make an image of planes that lie one after the other.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        A vector, ``(1, 1, C * H * W)``.
    first_row, first_column
        Position of the band in the whole result.
    size
        Height and width of the whole result.
    """
    height, width = size
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            place = (first_row + y) * width + first_column + x
            for c in range(band.shape[2]):
                band[y, x, c] = image[0, 0, c * height * width + place]


@routine
def slice_channels(
    band: NDArray, image: NDArray, row: int, column: int, first: int, step: int
) -> None:
    """Copy every `step`-th channel from `first` on.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    row, column
        Row and column of the image at which the band begins.
    first, step
        First channel, and channels from one to the next.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            if step == 1:
                pixel = image[row + y, column + x, first : first + band.shape[2]]
                for c in range(band.shape[2]):
                    band[y, x, c] = pixel[c]
            else:
                pixel = image[row + y, column + x, first:]
                for c in range(band.shape[2]):
                    band[y, x, c] = pixel[c * step]


@routine
def gather_channels(
    band: NDArray, image: NDArray, row: int, column: int, channels: NDArray[np.int64]
) -> None:
    """Copy listed channels; where the list has -1 the result is zero.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    row, column
        Row and column of the image at which the band begins.
    channels
        Channel of the image that each channel of the result reads, or -1.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                # Unsigned, as Numba tests a signed index for counting from the end.
                chosen = channels[c]
                pixel = image[row + y, column + x]
                band[y, x, c] = pixel[np.uint64(chosen)] if chosen >= 0 else 0


@routine
def pixel_shuffle(
    band: NDArray, first_row: int, first_column: int, image: NDArray, row: int, column: int,
    factor: int,
) -> None:  # fmt: skip
    """Move ``factor**2`` channels to a ``factor``-times larger image.

    `row` and `column` are the image position of ``image[0, 0]``.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    first_row, first_column
        Position of the band in the whole result.
    image
        The operand, ``(H, W, C)``.
    row, column
        Position of ``image[0, 0]`` in the whole image.
    factor
        How many times larger the result is.
    """
    columns = band.shape[1]
    for y in range(band.shape[0]):
        source_row = (first_row + y) // factor - row
        phase_row = (first_row + y) % factor * factor
        for x in range(min(factor, columns)):
            # Every factor-th column from here on reads the same channels.
            phase = phase_row + (first_column + x) % factor
            source_column = (first_column + x) // factor - column
            for c in range(band.shape[2]):
                channel = c * factor * factor + phase
                for i in range((columns - x - 1) // factor + 1):
                    band[y, x + i * factor, c] = image[source_row, source_column + i, channel]


@routine
def pixel_unshuffle(band: NDArray, image: NDArray, row: int, column: int, factor: int) -> None:
    """Move a ``factor``-times larger image, from `row` and `column`, to ``factor**2`` channels.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    row, column
        Row and column of the image at which the band begins.
    factor
        How many times smaller the result is.
    """
    square = factor * factor
    for y in range(band.shape[0]):
        for phase_row in range(factor):
            source = image[row + y * factor + phase_row]
            for x in range(band.shape[1]):
                for phase in range(factor):
                    out = band[y, x, phase_row * factor + phase :]
                    pixel = source[column + x * factor + phase]
                    for c in range(pixel.size):
                        out[c * square] = pixel[c]
