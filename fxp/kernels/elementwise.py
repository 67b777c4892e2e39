"""Element-wise kernels over ``(H, W, C)`` images with broadcasting of size-1 axes."""

from __future__ import annotations

from numba import njit
from numpy.typing import NDArray

ADD, SUBTRACT, MULTIPLY = 0, 1, 2


@njit(cache=True, nogil=True)
def combine(
    band: NDArray,
    first_row: int,
    left: NDArray,
    right: NDArray,
    left_shift: int,
    right_shift: int,
    operation: int,
) -> None:
    """Add, subtract or multiply two images, each shifted left first to align the binary points."""
    # A factor of zero reads the only element of an axis of size 1.
    left_y, left_x, left_c = left.shape[0] > 1, left.shape[1] > 1, left.shape[2] > 1
    right_y, right_x, right_c = right.shape[0] > 1, right.shape[1] > 1, right.shape[2] > 1
    for y in range(band.shape[0]):
        row = first_row + y
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                a = left[row * left_y, x * left_x, c * left_c] << left_shift
                b = right[row * right_y, x * right_x, c * right_c] << right_shift
                if operation == ADD:
                    band[y, x, c] = a + b
                elif operation == SUBTRACT:
                    band[y, x, c] = a - b
                else:
                    band[y, x, c] = a * b


@njit(cache=True, nogil=True)
def clamp(band: NDArray, first_row: int, image: NDArray, low: int, high: int) -> None:
    """Clip to ``[low, high]``."""
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                band[y, x, c] = min(max(image[first_row + y, x, c], low), high)


@njit(cache=True, nogil=True)
def prelu(band: NDArray, first_row: int, image: NDArray, slope: NDArray, one: int) -> None:
    """Multiply by `one` where positive, by the channel's slope where negative."""
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                value = image[first_row + y, x, c]
                band[y, x, c] = value * (one if value >= 0 else slope[c])


@njit(cache=True, nogil=True)
def look_up(band: NDArray, first_row: int, image: NDArray, table: NDArray, smallest: int) -> None:
    """Read ``table[value - smallest]``."""
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                band[y, x, c] = table[image[first_row + y, x, c] - smallest]
