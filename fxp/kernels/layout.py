"""Planes to pixels and back: ``(C, H, W)`` arrays of users, ``(H, W, C)`` images of the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fxp.kernels.compiler import I16, I32, I64, address, code_generator, load, njit, store

SIDE = 8
"""Side of the squares that are transposed in registers."""


@code_generator
def _transpose_square(typingctx, source, source_step, target, target_step):  # type: ignore[no-untyped-def]
    """Transpose a square of int16 elements; addresses, and elements from row to row."""
    signature = types.void(source, source_step, target, target_step)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source, source_step, target, target_step = arguments
        vector = ir.VectorType(I16, SIDE)
        rows = [
            load(
                builder,
                address(builder, source, builder.mul(source_step, I64(row)), I16),
                vector,
                2,
            )
            for row in range(SIDE)
        ]
        half = SIDE // 2
        masks = [
            ir.Constant(
                ir.VectorType(I32, SIDE),
                [first + i + SIDE * other for i in range(half) for other in (0, 1)],
            )
            for first in (0, half)
        ]
        # Interleaving each row with the one half a square below, three times, transposes.
        for _ in range(SIDE.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[row], rows[row + half], mask)
                for row in range(half)
                for mask in masks
            ]
        for row, value in enumerate(rows):
            place = address(builder, target, builder.mul(target_step, I64(row)), I16)
            store(builder, value, place, 2)
        return context.get_dummy_value()

    return signature, codegen


@njit(cache=True, nogil=True)
def transpose(
    source: int, source_step: int, target: int, target_step: int, rows: int, columns: int
) -> None:
    """Transpose whole squares of a matrix of int16 elements; what is left of both sides stays.

    Parameters
    ----------
    source, target
        Addresses of the matrices.
    source_step, target_step
        Elements from one row to the next.
    rows, columns
        Of the source.
    """
    whole_rows, whole_columns = rows // SIDE * SIDE, columns // SIDE * SIDE
    for row in range(0, whole_rows, SIDE):
        for column in range(0, whole_columns, SIDE):
            _transpose_square(
                source + 2 * (row * source_step + column),
                source_step,
                target + 2 * (column * target_step + row),
                target_step,
            )


@njit(cache=True, nogil=True)
def planes_to_pixels(
    planes: NDArray[np.int16], image: NDArray[np.int16], first_row: int, last_row: int
) -> None:
    """Copy some rows of contiguous planes ``(C, H, W)`` to an image ``(H, W, C)``.

    Parameters
    ----------
    planes
        ``(C, H, W)``, contiguous.
    image
        ``(H, W, C)``, contiguous; written.
    first_row, last_row
        The rows; `last_row` is not part of them.
    """
    channels, height, width = planes.shape
    whole_channels, whole_width = channels // SIDE * SIDE, width // SIDE * SIDE
    for y in range(first_row, last_row):
        transpose(
            planes.ctypes.data + 2 * y * width,
            height * width,
            image.ctypes.data + 2 * y * width * channels,
            channels,
            channels,
            width,
        )
        for x in range(width):
            for c in range(0 if x >= whole_width else whole_channels, channels):
                image[y, x, c] = planes[c, y, x]


@njit(cache=True, nogil=True)
def pixels_to_planes(
    image: NDArray[np.int16], planes: NDArray[np.int16], first_row: int, last_row: int
) -> None:
    """Copy some rows of an image ``(H, W, C)`` to contiguous planes ``(C, H, W)``.

    Parameters
    ----------
    image
        ``(H, W, C)``, contiguous.
    planes
        ``(C, H, W)``, contiguous; written.
    first_row, last_row
        The rows; `last_row` is not part of them.
    """
    channels, height, width = planes.shape
    whole_channels, whole_width = channels // SIDE * SIDE, width // SIDE * SIDE
    for y in range(first_row, last_row):
        transpose(
            image.ctypes.data + 2 * y * width * channels,
            channels,
            planes.ctypes.data + 2 * y * width,
            height * width,
            width,
            channels,
        )
        for c in range(channels):
            for x in range(0 if c >= whole_channels else whole_width, width):
                planes[c, y, x] = image[y, x, c]
