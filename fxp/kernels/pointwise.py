"""Kernels of commands that compute every result from one element of each operand.

Where nothing is strided, a row is one long vector of columns times channels; what repeats for every
pixel - a constant, a slope per channel - is laid out as a *tile* of several pixels, so that the
inner loop stays long for any number of channels.

Most records (`fxp.kernels.records`) begin with the fields of a rule. Sums are int32, or int64, and
wrap; the planner proves that the result fits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    INPUT,
    INTEGERS,
    OTHER,
    RESULT,
    ROWS,
    SCRATCH,
    kernel,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray
from fxp.kernels.records import CLIP, COMBINE, LOOK_UP, PRELU, SOFT_THRESHOLD
from fxp.kernels.requantize import (
    add,
    clamp,
    multiply,
    overflows,
    read_rule,
    round_sum,
    subtract,
)
from fxp.kernels.routines import VALUES

Sizes = tuple[int, ...]
"""Bytes of an element of each value; 2 or 4."""
SUMS: Final = (np.int32, np.int64)
"""Types of sums that are not wide, and that are."""
TILE_ELEMENTS: Final = 512
"""Elements of a tile, at least."""


def tile_elements(channels: int) -> int:
    """Elements of a tile: whole pixels."""
    return -(-TILE_ELEMENTS // channels) * channels


@cache
def combine_kernel(multiplies: bool, sizes: Sizes, wide: bool, counted: bool) -> Any:
    """Return the kernel of a product, or of a sum of multiples, of two operands.

    Parameters
    ----------
    multiplies
        A product instead of a sum.
    sizes
        Bytes of an element of the operands, and of the result.
    wide
        Whether sums need int64.
    counted
        Whether overflows are counted.
    """
    record, kind = COMBINE, SUMS[wide]
    left_size, _, result_size = sizes
    left_type, right_type, result_type = (INTEGERS[size] for size in sizes)

    @kernel
    def combine(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, left = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rule = read_rule(block, kind)
        left_factor, right_factor = kind(block.left_factor), kind(block.right_factor)
        length, tile = command[COLUMNS] * block.channels, block.tile
        right, right_pitch = block.repeated, 0
        if tile == 0:
            right, right_pitch = operand(command, bases, OTHER), command[OTHER + 2]
        elif right == 0:
            right = operand(command, bases, SCRATCH)
            pixel = carray(
                pointer(operand(command, bases, OTHER)), block.pixel_channels, right_type
            )
            repeated = carray(pointer(right), tile, right_type)
            for first in range(0, tile, block.pixel_channels):
                for c in range(block.pixel_channels):
                    repeated[first + c] = pixel[c]
        most = tile if tile > 0 else length
        clipped = 0
        for y in range(command[ROWS]):
            for first in range(0, length, most):
                count = min(most, length - first)
                into = target + y * command[RESULT + 2] + result_size * first
                place = left + y * command[INPUT + 2] + left_size * first
                result = carray(pointer(into), count, result_type)
                a = carray(pointer(place), count, left_type)
                b = carray(pointer(right + y * right_pitch), count, right_type)
                outside = np.int32(0)
                for i in range(count):
                    if multiplies:
                        total = multiply(kind(a[i]), kind(b[i]))
                    else:
                        total = multiply(kind(a[i]), left_factor)
                        total = add(total, multiply(kind(b[i]), right_factor))
                    rounded = round_sum(total, rule)
                    result[i] = clamp(rounded, rule)
                    if counted:
                        outside = add(outside, overflows(rounded, rule))
                clipped += outside
        return int(clipped)

    return combine


@cache
def clip_kernel(sizes: Sizes, wide: bool, counted: bool) -> Any:
    """Return the kernel that clips an operand.

    Parameters
    ----------
    sizes, wide, counted
        As for `prelu_kernel`.
    """
    record, kind = CLIP, SUMS[wide]
    source_type, result_type = (VALUES[size] for size in sizes)

    @kernel
    def clip(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rule = read_rule(block, kind)
        low, high, factor = kind(block.smallest), kind(block.largest), kind(block.factor)
        length = command[COLUMNS] * block.channels
        clipped = 0
        for y in range(command[ROWS]):
            result = carray(pointer(target + y * command[RESULT + 2]), length, result_type)
            values = carray(pointer(source + y * command[INPUT + 2]), length, source_type)
            outside = np.int32(0)
            for i in range(length):
                value = multiply(min(max(kind(values[i]), low), high), factor)
                rounded = round_sum(value, rule)
                result[i] = clamp(rounded, rule)
                if counted:
                    outside = add(outside, overflows(rounded, rule))
            clipped += outside
        return int(clipped)

    return clip


@cache
def prelu_kernel(sizes: Sizes, wide: bool, counted: bool) -> Any:
    """Return the kernel that multiplies negative elements by the slope of their channel.

    Parameters
    ----------
    sizes
        Bytes of an element of the operand, and of the result.
    wide
        Whether sums need int64.
    counted
        Whether overflows are counted.
    """
    record, kind = PRELU, SUMS[wide]
    source_size, result_size = sizes
    source_type, result_type = (INTEGERS[size] for size in sizes)

    @kernel
    def prelu(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rule = read_rule(block, kind)
        one = kind(block.one)
        length, tile = command[COLUMNS] * block.channels, block.tile
        slopes = carray(pointer(block.slopes), tile, np.int32)
        clipped = 0
        for y in range(command[ROWS]):
            for first in range(0, length, tile):
                count = min(tile, length - first)
                into = target + y * command[RESULT + 2] + result_size * first
                place = source + y * command[INPUT + 2] + source_size * first
                result = carray(pointer(into), count, result_type)
                values = carray(pointer(place), count, source_type)
                outside = np.int32(0)
                for i in range(count):
                    value = kind(values[i])
                    # Loaded whatever the sign, as vectors are.
                    slope = kind(slopes[i])
                    total = multiply(value, one if value >= 0 else slope)
                    rounded = round_sum(total, rule)
                    result[i] = clamp(rounded, rule)
                    if counted:
                        outside = add(outside, overflows(rounded, rule))
                clipped += outside
        return int(clipped)

    return prelu


@cache
def soft_threshold_kernel(sizes: Sizes, wide: bool, counted: bool) -> Any:
    """Return the kernel that moves elements toward zero by the threshold of their channel.

    Parameters
    ----------
    sizes, wide, counted
        As for `prelu_kernel`.
    """
    record, kind = SOFT_THRESHOLD, SUMS[wide]
    source_size, result_size = sizes
    source_type, result_type = (INTEGERS[size] for size in sizes)

    @kernel
    def soft_threshold(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rule = read_rule(block, kind)
        factor, zero = kind(block.factor), kind(0)
        length, tile = command[COLUMNS] * block.channels, block.tile
        thresholds = carray(pointer(block.thresholds), tile, np.int64)
        clipped = 0
        for y in range(command[ROWS]):
            for first in range(0, length, tile):
                count = min(tile, length - first)
                into = target + y * command[RESULT + 2] + result_size * first
                place = source + y * command[INPUT + 2] + source_size * first
                result = carray(pointer(into), count, result_type)
                values = carray(pointer(place), count, source_type)
                outside = np.int32(0)
                for i in range(count):
                    value = multiply(kind(values[i]), factor)
                    threshold = kind(thresholds[i])
                    above = max(subtract(value, threshold), zero)
                    below = max(subtract(subtract(zero, value), threshold), zero)
                    rounded = round_sum(subtract(above, below), rule)
                    result[i] = clamp(rounded, rule)
                    if counted:
                        outside = add(outside, overflows(rounded, rule))
                clipped += outside
        return int(clipped)

    return soft_threshold


@cache
def look_up_kernel(counted: bool) -> Any:
    """Return the kernel that reads results from a table."""
    record = LOOK_UP

    @kernel
    def look_up(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        smallest, length = block.smallest, command[COLUMNS] * block.channels
        table = carray(pointer(block.table), block.entries, np.int16)
        outside = carray(pointer(block.outside), block.entries, np.uint8)
        clipped = 0
        for y in range(command[ROWS]):
            result = carray(pointer(target + y * command[RESULT + 2]), length, np.int16)
            values = carray(pointer(source + y * command[INPUT + 2]), length, np.int16)
            for i in range(length):
                # Unsigned, as Numba tests a signed index for counting from the end.
                entry = np.uint64(values[i] - smallest)
                result[i] = table[entry]
                if counted:
                    clipped += outside[entry]
        return int(clipped)

    return look_up
