"""Kernels of commands that compute every result from one element of each operand.

Where nothing is strided, a row is one long vector of columns times channels; what repeats for every
pixel - a constant, a slope per channel - is laid out as a *tile* of several pixels, so that the
inner loop stays long for any number of channels.

Most records (`fxp.kernels.records`) begin with the fields of a rule. Sums are int32, or int64, and
wrap; the planner proves that the result fits.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from llvmlite import ir
from numba import types

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
from fxp.kernels.compiler import I32, I64, address, carray, code_generator, literals, load, store
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
from fxp.kernels.tile_store import element_type

Sizes = tuple[int, ...]
"""Bytes of an element of each value; 2 or 4."""
SUMS: Final = (np.int32, np.int64)
"""Types of sums that are not wide, and that are."""
TILE_ELEMENTS: Final = 512
"""Elements of a tile, at least."""
CHUNK: Final = 32
"""Values that are looked up at a time."""
STORED: Final = 16
"""Bytes that are stored at a time: a vector that every processor has."""
FINGERPRINT: Final = crc32(Path(__file__).read_bytes())
"""Of the code generator, as `fxp.kernels.pair_mac.FINGERPRINT`."""


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


@code_generator
def _look_up_chunk(typingctx, target, source, table, sizes):  # type: ignore[no-untyped-def]
    """Look up a chunk of values; addresses, that of the table being its entry of 0.

    Results are stored by vectors: every other access to memory is what limits a table. Sizes are
    literals: bytes of a value, of a result and an entry, and FINGERPRINT.
    """
    values = literals(sizes)
    if values is None:
        return None
    source_type, result_type = (element_type(size) for size in values[:2])
    lanes = STORED // values[1]

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        target, source, table, _ = arguments
        for first in range(0, CHUNK, lanes):
            results = ir.Constant(ir.VectorType(result_type, lanes), ir.Undefined)
            for lane in range(lanes):
                place = address(builder, source, I64(first + lane), source_type)
                value = builder.sext(load(builder, place, source_type, values[0]), I64)
                entry = load(
                    builder, address(builder, table, value, result_type), result_type, values[1]
                )
                results = builder.insert_element(results, entry, I32(lane))
            store(builder, results, address(builder, target, I64(first), result_type), values[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, sizes), codegen


@cache
def look_up_kernel(sizes: Sizes, counted: bool) -> Any:
    """Return the kernel that reads results from a table.

    Parameters
    ----------
    sizes
        Bytes of an element of the operand, and of the result and the table.
    counted
        Whether overflows are counted.
    """
    record, fingerprint = LOOK_UP, FINGERPRINT
    source_size, result_size = sizes
    source_type, result_type = (INTEGERS[size] for size in sizes)

    @kernel
    def look_up(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        smallest, length = block.smallest, command[COLUMNS] * block.channels
        table = carray(pointer(block.table), block.entries, result_type)
        outside = carray(pointer(block.outside), block.entries, np.uint8)
        zero = block.table - result_size * smallest
        whole = length // CHUNK * CHUNK
        clipped = 0
        for y in range(command[ROWS]):
            into, place = target + y * command[RESULT + 2], source + y * command[INPUT + 2]
            result = carray(pointer(into), length, result_type)
            values = carray(pointer(place), length, source_type)
            for i in range(0, whole, CHUNK):
                _look_up_chunk(
                    into + result_size * i,
                    place + source_size * i,
                    zero,
                    (source_size, result_size, fingerprint),
                )
            for i in range(whole, length):
                # Unsigned, as Numba tests a signed index for counting from the end.
                result[i] = table[np.uint64(values[i] - smallest)]
            if counted:
                for i in range(length):
                    clipped += outside[np.uint64(values[i] - smallest)]
        return clipped

    return look_up
