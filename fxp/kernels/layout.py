"""Planes to pixels and back: ``(C, H, W)`` arrays of users, ``(H, W, C)`` images of the engine.

Rows follow each other in both, so that some rows are one matrix of channels and pixels. The last
square or vector of pixels overlaps the one before it, and so does the last square of channels.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fxp.kernels.compiler import I16, I32, I64, address, code_generator, literals, load, njit, store

SIDE: Final = 8
"""Side of the squares that are transposed in registers."""
STRETCH: Final = 256
"""Pixels of which all channels are copied before the next ones."""


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


@code_generator
def _move_vectors(typingctx, planes, plane_step, image, form):  # type: ignore[no-untyped-def]
    """Move a vector of pixels from planes to an image, or back.

    Parameters
    ----------
    planes, plane_step
        Address of the first plane's first pixel, and elements from one plane to the next.
    image
        Address of the first pixel.
    form
        Literals ``(channels, lanes, gives)``: planes, pixels of a vector, and whether planes are
        written instead of the image.
    """
    values = literals(form)
    if values is None:
        return None
    channels, lanes, gives = values
    signature = types.void(planes, plane_step, image, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        planes, plane_step, image, _ = arguments
        vector = ir.VectorType(I16, lanes)
        apart = [
            address(builder, planes, builder.mul(plane_step, I64(c)), I16) for c in range(channels)
        ]
        joined = [address(builder, image, I64(c * lanes), I16) for c in range(channels)]
        sources, targets = (joined, apart) if gives else (apart, joined)
        loaded = [load(builder, source, vector, 2) for source in sources]
        for number, target in enumerate(targets):
            # Where every lane of this vector comes from: which vector, and which of its lanes.
            if gives:
                places = [divmod(lane * channels + number, lanes) for lane in range(lanes)]
            else:
                first = number * lanes
                places = [(i % channels, i // channels) for i in range(first, first + lanes)]
            store(builder, _gathered(builder, loaded, places), target, 2)
        return context.get_dummy_value()

    return signature, codegen


def _gathered(builder: ir.IRBuilder, vectors: list[Any], places: list[tuple[int, int]]) -> Any:
    """Take lanes from several vectors; every place is a vector's number and a lane."""
    lanes = len(places)
    total = vectors[0]
    for number in range(1, len(vectors)):
        # What is not there yet comes with one of the next vectors.
        mask = [
            lanes + lane if vector == number else lane if number == 1 and vector == 0 else index
            for index, (vector, lane) in enumerate(places)
        ]
        total = builder.shuffle_vector(
            total, vectors[number], ir.Constant(ir.VectorType(I32, lanes), mask)
        )
    return total


@cache
def _lanes() -> int:
    """Pixels of a vector; int16 shuffles of 512 bits are one instruction where there are any."""
    return 32 if llvm.get_host_cpu_features().get("avx512bw") else SIDE


@cache
def _few_planes(channels: int, lanes: int, gives: bool) -> Any:
    """Return what copies vectors of pixels between an image and a few planes.

    Parameters
    ----------
    channels
        How many planes.
    lanes
        Pixels of a vector.
    gives
        Whether planes are written instead of the image.
    """

    @njit(cache=True, nogil=True)
    def copy(planes: NDArray, image: NDArray, first_row: int, last_row: int) -> None:
        width = planes.shape[2]
        first, count = first_row * width, (last_row - first_row) * width
        step = planes.shape[1] * width
        apart, joined = planes.ctypes.data + 2 * first, image.ctypes.data + 2 * first * channels
        done = 0
        while done < count:
            x = min(done, count - lanes)
            _move_vectors(apart + 2 * x, step, joined + 2 * x * channels, (channels, lanes, gives))
            done = x + lanes

    return copy


@njit(cache=True, nogil=True)
def _many_planes(
    planes: NDArray[np.int16], image: NDArray[np.int16], first_row: int, last_row: int, gives: bool
) -> None:
    """Copy squares between planes, as many as a square has rows or more, and an image.

    Parameters
    ----------
    planes, image, first_row, last_row
        As in `planes_to_pixels`.
    gives
        Whether planes are written instead of the image.
    """
    channels, height, width = planes.shape
    first, count = first_row * width, (last_row - first_row) * width
    step = height * width
    apart, joined = planes.ctypes.data + 2 * first, image.ctypes.data + 2 * first * channels
    for begin in range(0, count, STRETCH):
        # So many pixels stay in the cache.
        end = min(begin + STRETCH, count)
        for channel in range(0, channels, SIDE):
            c = min(channel, channels - SIDE)
            for column in range(begin, end, SIDE):
                x = min(column, count - SIDE)
                plane, pixel = apart + 2 * (c * step + x), joined + 2 * (x * channels + c)
                if gives:
                    _transpose_square(pixel, channels, plane, step)
                else:
                    _transpose_square(plane, step, pixel, channels)


def _copy(planes: NDArray, image: NDArray, rows: tuple[int, int], *, gives: bool) -> None:
    """Copy some rows between planes and an image.

    Parameters
    ----------
    planes, image
        As in `planes_to_pixels`.
    rows
        First row, and the one behind the last.
    gives
        Whether planes are written instead of the image.
    """
    channels, _, width = planes.shape
    few = channels < SIDE
    lanes = _lanes() if few else SIDE
    if (rows[1] - rows[0]) * width < lanes:
        apart, joined = planes[:, rows[0] : rows[1]], image[rows[0] : rows[1]]
        if gives:
            apart[...] = joined.transpose(2, 0, 1)
        else:
            joined[...] = apart.transpose(1, 2, 0)
    elif few:
        _few_planes(channels, lanes, gives)(planes, image, *rows)
    else:
        _many_planes(planes, image, *rows, gives)


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
    _copy(planes, image, (first_row, last_row), gives=False)


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
    _copy(planes, image, (first_row, last_row), gives=True)


@njit(cache=True, nogil=True)
def are_within(values: NDArray[np.int16], low: int, high: int) -> bool:
    """Whether all numbers of a row lie within bounds.

    Parameters
    ----------
    values
        The row.
    low, high
        The bounds.
    """
    least, most = np.int16(0), np.int16(0)
    for value in values:
        least, most = min(least, value), max(most, value)
    return bool(low <= least and most <= high)
