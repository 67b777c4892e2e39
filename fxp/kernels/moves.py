"""Kernels of commands that move values as they are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    FIRST_COLUMN,
    FIRST_ROW,
    INPUT,
    RESULT,
    ROWS,
    kernel,
    move_bytes,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray
from fxp.kernels.records import COPY, INTERLEAVE


@cache
def copy_kernel(channels: int) -> Any:
    """Return the kernel that copies so many neighbouring elements of every pixel."""
    record = COPY
    size = 2 * channels  # known to the compiler, so that no function is called

    @kernel
    def copy_pixels(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            place = source + y * command[INPUT + 2]
            for x in range(command[COLUMNS]):
                move_bytes(into + x * block.result_step, place + x * block.input_step, size)
        return 0

    return copy_pixels


@cache
def interleave_kernel() -> Any:
    """Return the kernel that takes channels from two runs in turns, as a channel shuffle does."""
    record = INTERLEAVE

    @kernel
    def interleave(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        length = block.length
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            place = source + y * command[INPUT + 2]
            for x in range(command[COLUMNS]):
                pixel = place + 2 * block.channels * x
                even = carray(pointer(pixel + 2 * block.even), length, np.uint16)
                odd = carray(pointer(pixel + 2 * block.odd), length, np.uint16)
                # Two elements are stored at once; the lower half comes first.
                pairs = carray(pointer(into + 4 * length * x), length, np.uint32)
                for i in range(length):
                    pairs[i] = np.uint32(even[i]) | (np.uint32(odd[i]) << np.uint32(16))
        return 0

    return interleave


@cache
def nearest_kernel(factor: int, channels: int) -> Any:
    """Return the kernel that repeats every pixel; it has no record."""
    size = 2 * channels

    @kernel
    def repeat_pixels(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        columns = command[COLUMNS]
        # Pixels of a block that begins outside the region.
        skipped_rows = command[FIRST_ROW] % factor
        skipped = command[FIRST_COLUMN] % factor
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            if y > 0 and (y + skipped_rows) % factor != 0:
                move_bytes(into, into - command[RESULT + 2], columns * size)
                continue
            place = source + (y + skipped_rows) // factor * command[INPUT + 2]
            first = min(columns, (factor - skipped) % factor)
            for _ in range(first):
                move_bytes(into, place, size)
                into += size
            if skipped > 0:
                place += size
            blocks = (columns - first) // factor
            for _ in range(blocks):
                for repetition in range(factor):
                    move_bytes(into + repetition * size, place, size)
                into += factor * size
                place += size
            for _ in range(columns - first - blocks * factor):
                move_bytes(into, place, size)
                into += size
        return 0

    return repeat_pixels


@cache
def shuffle_kernel(factor: int, channels: int) -> Any:
    """Return the pixel shuffle to so many channels; it has no record.

    Channel ``(c * f + i) * f + j`` goes to channel c of pixel ``(f*y + i, f*x + j)``.
    """
    square = factor * factor

    @kernel
    def shuffle_pixels(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        columns = command[COLUMNS]
        skipped_rows = command[FIRST_ROW] % factor
        skipped = command[FIRST_COLUMN] % factor
        pixels = (columns + skipped - 1) // factor + 1
        for y in range(command[ROWS]):
            block_row, i = divmod(y + skipped_rows, factor)
            result = carray(pointer(target + y * command[RESULT + 2]), columns * channels, np.int16)
            place = source + block_row * command[INPUT + 2]
            values = carray(pointer(place), pixels * square * channels, np.int16)
            x, j = 0, skipped
            for pixel in range(pixels):
                first = pixel * square * channels + i * factor
                while j < factor and x < columns:
                    for c in range(channels):
                        result[x * channels + c] = values[first + c * square + j]
                    j += 1
                    x += 1
                j = 0
        return 0

    return shuffle_pixels


@cache
def unshuffle_kernel(factor: int, channels: int) -> Any:
    """Return the inverse of the pixel shuffle, from so many channels; it has no record."""
    square = factor * factor

    @kernel
    def unshuffle_pixels(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        columns = command[COLUMNS]
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            result = carray(pointer(into), columns * square * channels, np.int16)
            for i in range(factor):
                place = source + (y * factor + i) * command[INPUT + 2]
                values = carray(pointer(place), columns * factor * channels, np.int16)
                for x in range(columns):
                    for j in range(factor):
                        for c in range(channels):
                            result[(x * channels + c) * square + i * factor + j] = values[
                                (x * factor + j) * channels + c
                            ]
        return 0

    return unshuffle_pixels
