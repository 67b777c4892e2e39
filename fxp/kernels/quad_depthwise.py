"""Depthwise convolutions of bytes, four rows of taps a lane.

The bytes that lie below each other are interleaved, channel by channel, so that a lane takes up to
four taps of a column at a time. A row of results is walked from left to right: every column of
inputs is interleaved once, and serves as many results as the kernel has columns. Where the channels
of a pixel do not fill a vector, it holds several neighbouring pixels.

Sums lie in the order in which bytes are interleaved, within 128-bit parts. The instruction that
narrows two vectors of int32 to int16 puts them back in their own order, up to those parts.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    INPUT,
    OTHER,
    RESULT,
    ROWS,
    kernel,
    operand,
    pointer,
)
from fxp.kernels.compiler import (
    I8,
    I16,
    I32,
    I64,
    address,
    carray,
    code_generator,
    literals,
    load,
    loop,
    splat,
    store,
)
from fxp.kernels.quad_mac import FINGERPRINT, add_quads
from fxp.kernels.records import DEPTHWISE_ROWS
from fxp.kernels.tile_store import (
    BYTE_RESULTS,
    RESULTS,
    Store,
    element_type,
    item_size,
    other_size,
    pack_instruction,
    packed,
)

PART: Final = 16
"""Bytes of a part of a vector, within which instructions interleave."""


def quad_order(width: int) -> list[list[int]]:
    """Channels of the four vectors of sums, for vectors of so many bytes."""
    return [
        [part + 4 * quarter + lane for part in range(0, width, PART) for lane in range(4)]
        for quarter in range(4)
    ]


def _interleaved(builder: ir.IRBuilder, first: Any, second: Any) -> list[Any]:
    """Interleave the lower, and the upper, halves of the parts of two vectors."""
    count = first.type.count
    each = PART * 8 // first.type.element.width
    halves = []
    for begin in (0, each // 2):
        order = [
            index + which * count
            for part in range(0, count, each)
            for index in range(part + begin, part + begin + each // 2)
            for which in (0, 1)
        ]
        mask = ir.Constant(ir.VectorType(I32, count), order)
        halves.append(builder.shuffle_vector(first, second, mask))
    return halves


def _quads(builder: ir.IRBuilder, rows: list[Any]) -> list[Any]:
    """Interleave four vectors of bytes; four vectors in `quad_order`."""
    words = ir.VectorType(I16, rows[0].type.count // 2)
    upper, lower = (
        [builder.bitcast(half, words) for half in _interleaved(builder, *pair)]
        for pair in (rows[:2], rows[2:])
    )
    found = []
    for first, second in zip(upper, lower, strict=True):
        found += [
            builder.bitcast(half, rows[0].type) for half in _interleaved(builder, first, second)
        ]
    return found


@code_generator
def _quad_depthwise_row(typingctx, output, output_step, image, steps, taps, rule, other, form):  # type: ignore[no-untyped-def]
    """Compute a row of vectors of results.

    Parameters
    ----------
    output, output_step
        Address of results, and elements from one vector to the next.
    image
        Address of bytes.
    steps
        ``(pixel, row, count)``: bytes from one tap of a row to the next, and from one row of taps
        to the next; vectors of results, at least 1.
    taps
        ``(weights, start)``: address of the int8 weights
        ``[row / 4][column][channel in quad_order][4]`` and of the int32 start per channel.
    rule, other
        As in `fxp.kernels.pair_mac.dense_tile`.
    form
        Literals ``(width, rows, columns, step, stored, FINGERPRINT)``: bytes of a vector, rows and
        columns of the kernel, and pixels from the inputs of one vector to those of the next.
    """
    values = literals(form)
    if values is None:
        return None
    width, rows, columns, step, stored, _ = values
    signature = types.int64(output, output_step, image, steps, taps, rule, other, form)
    groups = range(-(-rows // 4))
    kept = max(columns - step, 0)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, step_pack, tap_pack, rule_pack, other_pack, _ = arguments
        pixel_step, row_step, count = cgutils.unpack_tuple(builder, step_pack)
        weights, start = cgutils.unpack_tuple(builder, tap_pack)
        lanes = width // 4
        order = quad_order(width)
        sums, quarter = ir.VectorType(I32, width), ir.VectorType(I32, lanes)
        byte_vector = ir.VectorType(I8, width)
        zeros = ir.Constant(byte_vector, [0] * width)
        source = address(builder, img, I64(0), I8)

        def split(base: Any) -> list[Any]:
            whole = load(builder, address(builder, base, I64(0), I32), sums, 4)
            undefined = ir.Constant(sums, ir.Undefined)
            return [
                builder.shuffle_vector(whole, undefined, ir.Constant(quarter, part))
                for part in order
            ]

        def column(pixel: Any, number: int) -> list[Any]:
            """Quads of a column of inputs, four for every group of rows."""
            across = builder.mul(pixel_step, builder.add(pixel, I64(number)))
            found = []
            for group in groups:
                inputs = [zeros] * 4
                for row in range(4 * group, min(4 * group + 4, rows)):
                    at = builder.add(across, builder.mul(row_step, I64(row)))
                    inputs[row % 4] = load(builder, builder.gep(source, [at]), byte_vector, 1)
                found += _quads(builder, inputs)
            return found

        factors = [
            [
                load(
                    builder,
                    address(builder, weights, I64(((g * columns + c) * 4 + q) * width), I8),
                    byte_vector,
                    1,
                )
                for g in groups
                for q in range(4)
            ]
            for c in range(columns)
        ]
        begin = split(start)
        is_plain = (
            stored in (RESULTS, RESULTS + BYTE_RESULTS) and pack_instruction(lanes) is not None
        )
        shift_at, _, low, high, *_ = cgutils.unpack_tuple(builder, rule_pack)
        shifts = split(shift_at) if is_plain else []
        half = ir.VectorType(I32, 2 * lanes)
        bounds = [splat(builder, builder.trunc(bound, I16), 2 * lanes) for bound in (low, high)]

        def store_plain(index: Any, totals: list[Any]) -> None:
            values = [
                builder.ashr(total, shift) for total, shift in zip(totals, shifts, strict=True)
            ]
            lower, upper = packed(builder, values[:2]), packed(builder, values[2:])
            natural = [
                part // 2 + offset + which * 2 * lanes
                for part in range(0, width, PART)
                for which in (0, 1)
                for offset in range(8)
            ]
            for number in (0, 1):
                mask = natural[number * 2 * lanes : (number + 1) * 2 * lanes]
                value = builder.shuffle_vector(lower, upper, ir.Constant(half, mask))
                for bound, sign in zip(bounds, ("<", ">"), strict=True):
                    outside = builder.icmp_signed(sign, value, bound)
                    value = builder.select(outside, bound, value)
                at = builder.add(builder.mul(out_step, index), I64(number * 2 * lanes))
                item = item_size(stored)
                if item == 1:
                    value = builder.trunc(value, ir.VectorType(I8, 2 * lanes))
                store(builder, value, address(builder, out, at, element_type(item)), item)

        def body(index: Any, carried: list[Any]) -> list[Any]:
            overflows, *before = carried
            pixel = builder.mul(index, I64(step))
            each = 4 * len(groups)
            known = [before[each * c : each * c + each] for c in range(kept)]
            known += [column(pixel, number) for number in range(kept, columns)]
            totals = list(begin)
            for quads, taps in zip(known, factors, strict=True):
                for number, (quad, tap) in enumerate(zip(quads, taps, strict=True)):
                    totals[number % 4] = add_quads(builder, totals[number % 4], quad, tap)
            if is_plain:
                store_plain(index, totals)
            else:
                natural = [0] * width
                for place, channel in enumerate(c for part in order for c in part):
                    natural[channel] = place
                join = ir.Constant(half, list(range(2 * lanes)))
                lower = builder.shuffle_vector(totals[0], totals[1], join)
                upper = builder.shuffle_vector(totals[2], totals[3], join)
                whole = builder.shuffle_vector(lower, upper, ir.Constant(sums, natural))
                finish = Store(builder, out, out_step, rule_pack, other_pack, width, stored)
                finish(whole, index, 0)
                overflows = builder.add(overflows, finish.clipped())
            return [overflows, *(quad for quads in known[columns - kept :] for quad in quads)]

        first = [quad for number in range(kept) for quad in column(I64(0), number)]
        return loop(builder, count, [I64(0), *first], body)[0]

    return signature, codegen


@cache
def quad_depthwise_kernel(width: int, rows: int, columns: int, step: int, stored: int) -> Any:
    """Return the depthwise convolution of bytes for one kernel size.

    Parameters
    ----------
    width
        Bytes of a vector: channels of a pixel, or all channels of several pixels.
    rows, columns
        Size of the kernel.
    step
        Pixels from the inputs of one vector to those of the next.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    size, beside_size = item_size(stored), other_size(stored)
    block_size = -(-rows // 4) * 4 * columns * width
    record, fingerprint = DEPTHWISE_ROWS, FINGERPRINT

    @kernel
    def convolve_quad_depthwise(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        channels, together, blocks = block.channels, block.together, block.blocks
        pitch = command[INPUT + 2]
        vectors = command[COLUMNS] // together
        clipped = 0
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            beside = other + y * command[OTHER + 2]
            row = source + y * block.row_step * pitch
            # All whole vectors, and then one that overlaps them.
            for part in range(2 if vectors * together < command[COLUMNS] else 1):
                x = command[COLUMNS] - together if part else 0
                for number in range(blocks):
                    # The last block of a pixel overlaps the one before; those of several pixels
                    # fill their vectors.
                    channel = min(number * width, channels * together - width)
                    clipped += _quad_depthwise_row(
                        into + size * (x * channels + channel),
                        together * channels,
                        row + x * block.stride * channels + channel,
                        (channels, pitch * block.dilation, 1 if part else vectors),
                        (block.weights + number * block_size, block.start + 4 * channel),
                        (block.shift + 4 * channel, block.own + 4 * channel, block.low,
                         block.high, block.count_low, block.count_high, 0,
                         number * width - channel),
                        (beside + beside_size * (x * channels + channel), together * channels,
                         block.factor + 4 * channel),
                        (width, rows, columns, step, stored, fingerprint),
                    )  # fmt: skip
        return clipped

    return convolve_quad_depthwise
