"""Kernels that move values of ``(H, W, C)`` images without arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit


@njit(cache=True, nogil=True)
def gather(
    band: NDArray,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    first_channel: int,
    factor: np.integer,
) -> None:
    """Copy ``image[rows[y], columns[x]] * factor`` to the channels from `first_channel` on.

    Parameters
    ----------
    band
        Results of a band of rows, ``(rows, W, C)``; written.
    image
        The operand, ``(H, W, C)``.
    rows, columns
        Row and column of the image that each result reads.
    first_channel
        First channel of `band` that is written.
    factor
        Multiplies every value.
    """
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            out, pixel = band[y, x, first_channel:], image[rows[y], columns[x]]
            for c in range(pixel.size):
                out[c] = pixel[c] * factor


@njit(cache=True, nogil=True)
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
            out, pixel = band[y, x], image[row + y, column + x, first:]
            if step == 1:
                for c in range(out.size):
                    out[c] = pixel[c]
            else:
                for c in range(out.size):
                    out[c] = pixel[c * step]


@njit(cache=True, nogil=True)
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
            out, pixel = band[y, x], image[row + y, column + x]
            for c in range(out.size):
                out[c] = pixel[channels[c]] if channels[c] >= 0 else 0


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
