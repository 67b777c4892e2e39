"""Kernels of commands that combine neighbouring pixels: pooling, and upsampling by two.

Both work on one result row at a time: first the rows of the operand are combined, as one long
vector, to a row of int32 in the scratch memory; then its columns. Columns beyond the border are
pixels of that row once more.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fxp.kernels.borders import source_position
from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    FIRST_COLUMN,
    FIRST_ROW,
    INPUT,
    RESULT,
    ROWS,
    SCRATCH,
    SIZE,
    kernel,
    move_bytes,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray, njit
from fxp.kernels.records import POOL, UPSAMPLE
from fxp.kernels.requantize import add, clamp, multiply, overflows, read_rule, round_sum


def pool_scratch(columns: int, channels: int, width: int, step: int) -> int:
    """Bytes of scratch memory that `pool_kernel` needs for windows `step` columns apart.

    Parameters
    ----------
    columns
        Columns of the result.
    channels
        Channels.
    width
        Columns of a window.
    step
        Columns from one window to the next.
    """
    return 4 * channels * (2 * ((columns - 1) * step + width) + step + columns)


@cache
def pool_kernel(maximum: bool, channels: int, counted: bool) -> Any:
    """Return the kernel of the maximum, or of the sum, over windows.

    Padding repeats the edge for a maximum; for a sum the operand has zeros there.

    Parameters
    ----------
    maximum
        Maximum instead of the sum.
    channels
        Channels.
    counted
        Whether overflows are counted.
    """
    record = POOL
    kind = np.int16 if maximum else np.int32
    size = (2 if maximum else 4) * channels

    @kernel
    def pool(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rule = read_rule(block, np.int32)
        factor, columns = np.int32(block.factor), command[COLUMNS]
        width, step = block.window_columns, block.column_stride
        top = command[FIRST_ROW] * block.row_stride - block.padding_rows
        left = command[FIRST_COLUMN] * step - block.padding_columns
        window_columns = (columns - 1) * step + width
        # The part of the columns that the operand has, and where its rows begin.
        first, last, first_row = 0, window_columns, top
        if maximum:
            first, last = max(-left, 0), min(window_columns, command[SIZE + 1] - left)
            first_row = max(top, 0)
        row = operand(command, bases, SCRATCH)
        # The row's columns by their remainder: windows are then neighbours.
        phase_size = -(-window_columns // step) * size
        phases = row if step == 1 else row + window_columns * size
        totals = carray(
            pointer(row + window_columns * size + step * phase_size), columns * channels, kind
        )
        inside = carray(pointer(row + first * size), (last - first) * channels, kind)
        clipped = 0
        for y in range(command[ROWS]):
            for tap in range(block.window_rows):
                position = top + y * block.row_stride + tap
                if maximum:
                    position = min(max(position, 0), command[SIZE] - 1)
                place = source + (position - first_row) * command[INPUT + 2]
                values = carray(pointer(place), inside.size, np.int16)
                if tap == 0:
                    for i in range(inside.size):
                        inside[i] = values[i]
                elif maximum:
                    for i in range(inside.size):
                        inside[i] = max(inside[i], values[i])
                else:
                    for i in range(inside.size):
                        inside[i] = add(inside[i], values[i])
            for x in range(first):
                move_bytes(row + x * size, row + first * size, size)
            for x in range(last, window_columns):
                move_bytes(row + x * size, row + (last - 1) * size, size)
            if step > 1:
                for phase in range(min(step, width)):
                    into, place = phases + phase * phase_size, row + phase * size
                    for x in range((window_columns - phase - 1) // step + 1):
                        move_bytes(into + x * size, place + x * step * size, size)
            for tap in range(width):
                place = phases + tap % step * phase_size + tap // step * size
                values = carray(pointer(place), totals.size, kind)
                if tap == 0:
                    for i in range(totals.size):
                        totals[i] = values[i]
                elif maximum:
                    for i in range(totals.size):
                        totals[i] = max(totals[i], values[i])
                else:
                    for i in range(totals.size):
                        totals[i] = add(totals[i], values[i])
            result = carray(pointer(target + y * command[RESULT + 2]), totals.size, np.int16)
            outside = np.int32(0)
            for i in range(totals.size):
                rounded = round_sum(multiply(totals[i], factor), rule)
                result[i] = clamp(rounded, rule)
                if counted:
                    outside = add(outside, overflows(rounded, rule))
            clipped += outside
        return int(clipped)

    return pool


@njit(cache=True, nogil=True, inline="always")
def _first_tap(output: int, radius: int) -> int:
    """Pixel that the first tap of an output reads."""
    return output // 2 + output % 2 - radius


def upsample_scratch(columns: int, channels: int, radius: int) -> int:
    """Bytes of scratch memory that `upsample_kernel` needs.

    Parameters
    ----------
    columns
        Columns of the result.
    channels
        Channels.
    radius
        Half the number of taps.
    """
    return (4 * (columns // 2 + 2 + 2 * radius) + 4 * (columns // 2 + 1)) * channels


@cache
def upsample_kernel(radius: int, channels: int, border: int, counted: bool) -> Any:
    """Return the separable upsampling by two with ``2 * radius`` taps, radius 1 or 2.

    Beyond the borders pixels are repeated as `source_position` tells by `border`.

    Parameters
    ----------
    radius
        Half the number of taps.
    channels
        Channels.
    border
        A value of `fxp.kernels.borders.BORDER_CODES`.
    counted
        Whether overflows are counted.
    """
    record, taps = UPSAMPLE, 2 * radius
    size = 2 * channels

    @kernel
    def upsample(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rule = read_rule(block, np.int32)
        weights = (
            np.int32(block.tap_0),
            np.int32(block.tap_1),
            np.int32(block.tap_2),
            np.int32(block.tap_3),
        )
        columns, height, width = command[COLUMNS], command[SIZE], command[SIZE + 1]
        first_column, first_row = command[FIRST_COLUMN], command[FIRST_ROW]
        left = _first_tap(first_column, radius)
        right = _first_tap(first_column + columns - 1, radius) + taps
        first, last = max(left, 0), min(right, width)
        top = max(_first_tap(first_row, radius), 0)
        scratch = operand(command, bases, SCRATCH)
        row = carray(pointer(scratch), (right - left) * channels, np.int32)
        inside = row[(first - left) * channels : (last - left) * channels]
        phase_bytes = (columns + 1) // 2 * size
        phases = scratch + 4 * row.size
        clipped = 0
        for y in range(command[ROWS]):
            output = first_row + y
            for tap in range(0, taps, 2):
                lower = tap if output % 2 == 1 else taps - 1 - tap
                upper = tap + 1 if output % 2 == 1 else taps - 2 - tap
                one, two = weights[lower], weights[upper]
                position = _first_tap(output, radius) + tap
                above = source_position(position, height, border) - top
                below = source_position(position + 1, height, border) - top
                a = carray(pointer(source + above * command[INPUT + 2]), inside.size, np.int16)
                b = carray(pointer(source + below * command[INPUT + 2]), inside.size, np.int16)
                if tap == 0:
                    for i in range(inside.size):
                        inside[i] = add(multiply(a[i], one), multiply(b[i], two))
                else:
                    for i in range(inside.size):
                        sums = add(multiply(a[i], one), multiply(b[i], two))
                        inside[i] = add(inside[i], sums)
            for x in range(left, first):
                pixel = (source_position(x, width, border) - left) * channels
                for c in range(channels):
                    row[(x - left) * channels + c] = row[pixel + c]
            for x in range(last, right):
                pixel = (source_position(x, width, border) - left) * channels
                for c in range(channels):
                    row[(x - left) * channels + c] = row[pixel + c]
            outside = np.int32(0)
            for phase in range(min(columns, 2)):
                odd = (first_column + phase) % 2 == 1
                w0, w1, w2, w3 = weights
                if not odd and radius == 1:
                    w0, w1 = w1, w0
                elif not odd:
                    w0, w1, w2, w3 = w3, w2, w1, w0
                count = (columns + 1 - phase) // 2 * channels
                begin = (_first_tap(first_column + phase, radius) - left) * channels
                values = row[begin : begin + count + (taps - 1) * channels]
                results = carray(pointer(phases + phase * phase_bytes), count, np.int16)
                for i in range(count):
                    total = add(multiply(values[i], w0), multiply(values[i + channels], w1))
                    if radius == 2:
                        total = add(total, multiply(values[i + 2 * channels], w2))
                        total = add(total, multiply(values[i + 3 * channels], w3))
                    rounded = round_sum(total, rule)
                    results[i] = clamp(rounded, rule)
                    if counted:
                        outside = add(outside, overflows(rounded, rule))
            clipped += outside
            into = target + y * command[RESULT + 2]
            for x in range(columns // 2):
                move_bytes(into + 2 * x * size, phases + x * size, size)
                move_bytes(into + (2 * x + 1) * size, phases + phase_bytes + x * size, size)
            if columns % 2 == 1:
                move_bytes(into + (columns - 1) * size, phases + columns // 2 * size, size)
        return int(clipped)

    return upsample
