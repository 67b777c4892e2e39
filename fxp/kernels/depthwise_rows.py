"""Depthwise convolutions that use every pixel for all the taps of a kernel's row.

The tiles of `fxp.kernels.pair_mac.depthwise_tile` take any taps, two at a time. These know that the
taps of a row are neighbours: the pixels ``x`` and ``x + 1`` are interleaved once, and serve several
outputs. Where the channels do not fill a vector, it holds several neighbouring pixels.

Sums lie in the order in which pixels are interleaved, within 128-bit parts. The instruction that
narrows two vectors of int32 to int16 puts them back in their own order.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import llvmlite.binding as llvm
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
from fxp.kernels.pair_mac import FINGERPRINT, add_pairs, interleaved_order
from fxp.kernels.records import DEPTHWISE_ROWS
from fxp.kernels.tile_store import RESULTS, Store, item_size, other_size

TAPS: Final = (3, 5, 7)
"""Taps in a row of the kernels that are compiled."""
STEPS: Final = (1, 2, 4)
"""Pixels from the inputs of one vector of a tile to those of the next."""


def row_pairs(taps: int, step: int) -> list[tuple[int, bool]]:
    """Pairs of neighbouring taps of a row: the first tap, and whether that one is new.

    The number of taps is odd. The last one has a partner whose weight is zero: the tap before it,
    or none, whichever is interleaved for another output anyway.

    Parameters
    ----------
    taps
        Taps in a row.
    step
        Pixels from one vector to the next.
    """
    pairs = [(first, True) for first in range(0, taps - 1, 2)]
    return [*pairs, (taps - 1, True) if step % 2 == 0 else (taps - 2, False)]


def _pack_instruction(lanes: int) -> str | None:
    """Name the instruction that narrows two vectors of so many int32 within 128-bit parts."""
    features = llvm.get_host_cpu_features()
    if lanes == 16 and features.get("avx512bw"):
        return "llvm.x86.avx512.packssdw.512"
    if lanes == 8 and features.get("avx2"):
        return "llvm.x86.avx2.packssdw"
    if lanes == 4 and features.get("sse2"):
        return "llvm.x86.sse2.packssdw.128"
    return None


def _narrowed(builder: ir.IRBuilder, halves: list[Any]) -> Any:
    """Narrow the halves of interleaved sums to int16 that saturates, in their own order."""
    lanes = halves[0].type.count
    narrow = ir.VectorType(I16, 2 * lanes)
    name = _pack_instruction(lanes)
    if name is not None:
        kind = ir.FunctionType(narrow, [half.type for half in halves])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, halves)
    order = interleaved_order(2 * lanes)
    shorts = []
    for half in halves:
        for bound, sign in ((-(2**15), "<"), (2**15 - 1, ">")):
            limit = splat(builder, I32(bound), lanes)
            half = builder.select(builder.icmp_signed(sign, half, limit), limit, half)
        shorts.append(builder.trunc(half, ir.VectorType(I16, lanes)))
    inverse = [order.index(channel) for channel in range(2 * lanes)]
    mask = ir.Constant(ir.VectorType(I32, 2 * lanes), inverse)
    return builder.shuffle_vector(shorts[0], shorts[1], mask)


@code_generator
def _depthwise_rows_tile(typingctx, output, output_step, image, steps, taps, rule, other, form):  # type: ignore[no-untyped-def]
    """Accumulate and store a tile of `vectors` neighbouring vectors of a result.

    Parameters
    ----------
    output, output_step
        Address of results, and elements from one vector to the next.
    image
        Address of int16 elements.
    steps
        ``(pixel, row)``: elements from one tap of a row to the next, and from one row of taps to
        the next.
    taps
        ``(rows, weights, start)``: rows of taps, at least 1; address of the int16 weights
        ``[row][pair][channel in interleaved order][2]`` and of the int32 start per channel.
    rule, other
        As in `fxp.kernels.pair_mac.dense_tile`.
    form
        Literals ``(vectors, width, taps, step, stored, FINGERPRINT)``: int16 elements of a vector,
        taps in a row, and pixels from the inputs of one vector to those of the next.
    """
    values = literals(form)
    if values is None:
        return None
    vectors, width, columns, step, stored, _ = values
    signature = types.int64(output, output_step, image, steps, taps, rule, other, form)
    pairs = row_pairs(columns, step)
    last = (vectors - 1) * step + columns - 1

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, step_pack, tap_pack, rule_pack, other_pack, _ = arguments
        pixel_step, row_step = cgutils.unpack_tuple(builder, step_pack)
        rows, weights, start = cgutils.unpack_tuple(builder, tap_pack)
        lanes = width // 2
        order = interleaved_order(width)
        parts = [order[:lanes], order[lanes:]]
        sums, half = ir.VectorType(I32, width), ir.VectorType(I32, lanes)
        narrow = ir.VectorType(I16, width)

        def split(whole: Any) -> list[Any]:
            undefined = ir.Constant(sums, ir.Undefined)
            return [
                builder.shuffle_vector(whole, undefined, ir.Constant(half, part)) for part in parts
            ]

        masks = [
            ir.Constant(sums, [c + second * width for c in part for second in (0, 1)])
            for part in parts
        ]

        def row_body(row: Any, totals: list[Any]) -> list[Any]:
            source = address(builder, img, builder.mul(row, row_step), I16)
            behind = builder.mul(row, I64(len(pairs) * 2 * width))
            factors_at = address(builder, weights, behind, I16)
            pixels: dict[int, Any] = {}
            mixed: dict[int, list[Any]] = {}

            def pixel(position: int) -> Any:
                if position not in pixels:
                    place = builder.gep(source, [builder.mul(pixel_step, I64(position))])
                    pixels[position] = load(builder, place, narrow, 2)
                return pixels[position]

            def interleaved(position: int) -> list[Any]:
                if position not in mixed:
                    # Nothing lies behind the last tap; its partner's weight is zero.
                    both = pixel(position), pixel(min(position + 1, last))
                    mixed[position] = [
                        builder.shuffle_vector(both[0], both[1], mask) for mask in masks
                    ]
                return mixed[position]

            factors = [
                [
                    load(builder, builder.gep(factors_at, [I64((2 * i + h) * width)]), narrow, 2)
                    for h in (0, 1)
                ]
                for i in range(len(pairs))
            ]
            results = []
            for vector in range(vectors):
                pair = totals[2 * vector : 2 * vector + 2]
                for (first, _), factor in zip(pairs, factors, strict=True):
                    both = interleaved(vector * step + first)
                    pair = [add_pairs(builder, pair[h], both[h], factor[h]) for h in (0, 1)]
                results += pair
            return results

        begin = split(load(builder, address(builder, start, I64(0), I32), sums, 4))
        totals = loop(builder, rows, begin * vectors, row_body)
        if stored != RESULTS:
            inverse = ir.Constant(sums, [order.index(c) for c in range(width)])
            finish = Store(builder, out, out_step, rule_pack, other_pack, width, stored)
            for vector in range(vectors):
                whole = builder.shuffle_vector(totals[2 * vector], totals[2 * vector + 1], inverse)
                finish(whole, vector, 0)
            return finish.clipped()
        shift_at, _, low, high, *_ = cgutils.unpack_tuple(builder, rule_pack)
        shifts = split(load(builder, address(builder, shift_at, I64(0), I32), sums, 4))
        bounds = [splat(builder, builder.trunc(bound, I16), width) for bound in (low, high)]
        for vector in range(vectors):
            halves = [
                builder.ashr(total, shift)
                for total, shift in zip(totals[2 * vector : 2 * vector + 2], shifts, strict=True)
            ]
            value = _narrowed(builder, halves)
            for bound, sign in zip(bounds, ("<", ">"), strict=True):
                value = builder.select(builder.icmp_signed(sign, value, bound), bound, value)
            place = address(builder, out, builder.mul(out_step, I64(vector)), I16)
            store(builder, value, place, 2)
        return I64(0)

    return signature, codegen


@cache
def depthwise_rows_kernel(vectors: int, width: int, taps: int, step: int, stored: int) -> Any:
    """Return the depthwise convolution of rows of neighbouring taps for one tile shape.

    Parameters
    ----------
    vectors
        Vectors of a tile, side by side.
    width
        Elements of a vector: channels of a pixel, or all channels of several pixels.
    taps
        Taps in a row, one of `TAPS`.
    step
        Pixels from the inputs of one vector to those of the next, one of `STEPS`.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    size, beside_size = item_size(stored), other_size(stored)
    block_size = 2 * 2 * width * len(row_pairs(taps, step))

    record, fingerprint = DEPTHWISE_ROWS, FINGERPRINT

    @kernel
    def convolve_depthwise_rows(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        channels, pixel_step = block.channels, block.pixel_step
        together, blocks, rows = block.together, block.blocks, block.rows
        pitch = command[INPUT + 2] // 2
        columns, most = command[COLUMNS], vectors * together
        clipped = 0
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            beside = other + y * command[OTHER + 2]
            row = source + 2 * y * block.row_step * pitch
            done = 0
            while done < columns:
                x = min(done, columns - most)
                for number in range(blocks):
                    # The last block of a pixel overlaps the one before; those of several pixels
                    # fill their vectors.
                    channel = min(number * width, channels * together - width)
                    clipped += _depthwise_rows_tile(
                        into + size * (x * channels + channel),
                        together * channels,
                        row + 2 * (x * block.stride * pixel_step + channel),
                        (pixel_step, pitch * block.dilation),
                        (rows, block.weights + number * rows * block_size,
                         block.start + 4 * channel),
                        (block.shift + 4 * channel, block.own + 4 * channel, block.low,
                         block.high, block.count_low, block.count_high, done - x,
                         number * width - channel),
                        (beside + beside_size * (x * channels + channel), together * channels,
                         block.factor + 4 * channel),
                        (vectors, width, taps, step, stored, fingerprint),
                    )  # fmt: skip
                done = x + most
        return clipped

    return convolve_depthwise_rows
