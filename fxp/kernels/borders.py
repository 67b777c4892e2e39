"""Padding of an image whose borders are repeated or mirrored."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    FIRST_COLUMN,
    FIRST_ROW,
    INPUT,
    RESULT,
    ROWS,
    SIZE,
    kernel,
    move_bytes,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray, njit
from fxp.kernels.records import PAD

BORDER_CODES: Final = {"replicate": 0, "reflect": 1, "symmetric": 2}


@njit(cache=True, nogil=True)
def source_position(position: int, size: int, border: int) -> int:
    """Pixel that a position, perhaps beyond the border, repeats.

    Parameters
    ----------
    position
        Row or column, which may be negative or beyond the last.
    size
        Rows or columns of the image.
    border
        A value of `BORDER_CODES`.
    """
    if border == 0:
        return min(max(position, 0), size - 1)
    if border == 1:
        return (size - 1) - abs((size - 1) - abs(position))
    folded = position % (2 * size)
    return min(folded, 2 * size - 1 - folded)


@njit(cache=True, nogil=True)
def _least(first: int, count: int, size: int, border: int) -> int:
    """Smallest pixel that some positions repeat."""
    least = size
    for position in range(first, first + count):
        least = min(least, source_position(position, size, border))
    return least


@cache
def pad_kernel(border: int) -> Any:
    """Return the kernel that pads an image."""
    record = PAD

    @kernel
    def pad(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        height, width, size = command[SIZE], command[SIZE + 1], block.pixel
        rows, columns = command[ROWS], command[COLUMNS]
        top, left = command[FIRST_ROW] - block.rows, command[FIRST_COLUMN] - block.columns
        # The operand's first element is the smallest row and column that are read.
        first_row = _least(top, rows, height, border)
        first_column = _least(left, columns, width, border)
        begin, end = max(0, -left), min(columns, width - left)
        for y in range(rows):
            row = source_position(top + y, height, border) - first_row
            place = source + row * command[INPUT + 2] - first_column * size
            into = target + y * command[RESULT + 2]
            for x in range(min(begin, columns)):
                move_bytes(
                    into + x * size, place + source_position(left + x, width, border) * size, size
                )
            if end > begin:
                move_bytes(into + begin * size, place + (left + begin) * size, (end - begin) * size)
            for x in range(max(end, 0), columns):
                move_bytes(
                    into + x * size, place + source_position(left + x, width, border) * size, size
                )
        return 0

    return pad
