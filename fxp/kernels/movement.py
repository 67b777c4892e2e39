"""Kernels that move values of ``(H, W, C)`` images without arithmetic."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def gather(
    band: NDArray,
    first_row: int,
    image: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    channels: NDArray[np.int64],
    shift: int,
    first_channel: int,
) -> None:
    """Copy ``image[rows[y], columns[x], channels[c]] << shift``; index -1 reads zero.

    The channels are written from `first_channel` of `band` on.
    """
    for y in range(band.shape[0]):
        row = rows[first_row + y]
        for x in range(band.shape[1]):
            column = columns[x]
            for c in range(channels.size):
                value = 0
                if row >= 0 and column >= 0:
                    value = image[row, column, channels[c]] << shift
                band[y, x, first_channel + c] = value


@njit(cache=True, nogil=True)
def pixel_shuffle(band: NDArray, first_row: int, image: NDArray, factor: int) -> None:
    """Move ``factor**2`` channels to a ``factor``-times larger image."""
    for y in range(band.shape[0]):
        row = first_row + y
        for x in range(band.shape[1]):
            phase = (row % factor) * factor + x % factor
            for c in range(band.shape[2]):
                band[y, x, c] = image[row // factor, x // factor, c * factor * factor + phase]


@njit(cache=True, nogil=True)
def pixel_unshuffle(band: NDArray, first_row: int, image: NDArray, factor: int) -> None:
    """Move a ``factor``-times larger image to ``factor**2`` channels."""
    for y in range(band.shape[0]):
        row = (first_row + y) * factor
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                phase = c % (factor * factor)
                channel = c // (factor * factor)
                band[y, x, c] = image[row + phase // factor, x * factor + phase % factor, channel]
