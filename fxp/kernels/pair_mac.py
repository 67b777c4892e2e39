"""Register-tile multiply-accumulate of int16 pairs, written as generic vector IR.

The innermost loop of every fast convolution: a tile of output pixels × output channels stays in
vector registers while pairs of int16 inputs meet pairs of int16 weights,
``acc += x0*w0 + x1*w1`` in int32 that wraps. The IR says just that - widen, multiply, add
neighbours - and LLVM selects ``vpmaddwd`` (AVX2, AVX-512) or ``smlal`` (NEON) for the host;
``vpdpwssd`` (VNNI) is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fxp.kernels import compiler, tile_store
from fxp.kernels.compiler import (
    I16,
    I32,
    I64,
    address,
    code_generator,
    literals,
    load,
    loop,
    splat,
)
from fxp.kernels.tile_store import WIDE, Store

llvm.initialize_native_asmparser()  # for the one instruction that is named

FINGERPRINT: Final = crc32(
    b"".join(Path(name).read_bytes() for name in (__file__, compiler.__file__, tile_store.__file__))
)
"""Of the code generators. Numba keeps a compiled kernel as long as the kernel's own file does not
change; as part of a kernel's literals, this makes it compile anew when they do."""


def _dot_instruction(lanes: int) -> str | None:
    """Name the x86 instruction that multiplies pairs and accumulates, for so many int32 lanes."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512vnni") and (lanes == 16 or features.get("avx512vl")):
        return "vpdpwssd"
    if features.get("avxvnni") and lanes in (4, 8):
        return "{vex} vpdpwssd"
    return None


def add_pairs(builder: ir.IRBuilder, total: Any, left: Any, right: Any) -> Any:
    """``total[i] + left[2i]*right[2i] + left[2i+1]*right[2i+1]`` in wrapping int32.

    Where the processor has one instruction for that, it is named: LLVM 20 recognises it, but then
    its machine combiner takes it apart again to shorten a chain that is not the bottleneck.

    Parameters
    ----------
    builder
        Writes the code.
    total
        Vector of int32 sums.
    left, right
        Vectors of int16 with twice as many elements.
    """
    sums = total.type
    lanes = sums.count
    instruction = _dot_instruction(lanes)
    if instruction is not None:
        kind = ir.FunctionType(sums, [sums, sums, sums])
        code = ir.InlineAsm(kind, f"{instruction} $3, $2, $0", "=v,0,v,v", side_effect=False)
        return builder.call(
            code, [total, builder.bitcast(left, sums), builder.bitcast(right, sums)]
        )
    wide = ir.VectorType(I32, 2 * lanes)
    product = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
    undefined = ir.Constant(wide, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(
            product,
            undefined,
            ir.Constant(ir.VectorType(I32, lanes), [2 * i + first for i in range(lanes)]),
        )
        for first in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


@code_generator
def dense_tile(typingctx, output, output_step, image, image_step, taps, rule, other, form):  # type: ignore[no-untyped-def]
    """Accumulate one tile of ``pixels × (vectors * lanes)`` outputs and store it.

    ``sum[p, c] = start[c] + Σ_r Σ_k x0*w0 + x1*w1`` with the pair
    ``x = image[runs[r] + p * image_step + 2*k ...]``; stored as it is, or finished as
    `fxp.kernels.finish` says.

    Parameters
    ----------
    output, output_step
        Address of sums or results, and elements from one pixel to the next.
    image, image_step
        Address of int16 elements, and elements from one pixel of the tile to the next.
    taps
        ``(runs, run_count, pairs, weights, start)``: address of the int64 offsets of runs of
        contiguous inputs, how many there are, pairs in each; address of int16 weights packed
        ``[run][pair][channel][2]`` and of the start per channel, int32, or int64 of a wide finish.
        Counts are at least 1.
    rule
        ``(shift, own, low, high, count_low, count_high, skipped_pixels, skipped_channels)``:
        addresses of the right shift and of the factor of the sum per channel, which have the type
        of the start, the bounds of the result, the bounds outside which it overflows, and how many
        of the first pixels and channels are not counted.
    other
        ``(address, step, factors)`` of values that are added, and the address of the factor per
        channel, of the same type.
    form
        Literals ``(pixels, vectors, lanes, stored, factor, FINGERPRINT)``; `stored` is a sum of
        the constants above. With a factor above 1, the first ``factor**2`` lanes of the only vector
        are the pixels of a block (pixel shuffle); the steps of output and other are then those from
        one row to the next.

    Returns
    -------
    int
        How many results overflowed; 0 if not counted.
    """
    values = literals(form)
    if values is None:
        return None
    signature = types.int64(output, output_step, image, image_step, taps, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return emit_dense_tile(builder, arguments, values[:5], I16, add_pairs)

    return signature, codegen


def emit_dense_tile(
    builder: ir.IRBuilder,
    arguments: Any,
    form: Sequence[int],
    element: ir.IntType,
    add_products: Callable[[ir.IRBuilder, Any, Any, Any], Any],
) -> Any:
    """Write the code of a dense tile, whose int32 lanes take four bytes of inputs at a time.

    Parameters
    ----------
    builder
        Writes the code.
    arguments
        Values of the arguments of `dense_tile`.
    form
        ``(pixels, vectors, lanes, stored, factor)``.
    element
        Type of inputs and weights; steps and offsets count in it.
    add_products
        ``add_products(builder, total, inputs, weights)`` for vectors of whole lanes.
    """
    pixels, vectors, lanes, stored, factor = form
    out, out_step, img, img_step, tap_pack, rule_pack, other_pack, _ = arguments
    runs, run_count, groups, weights, start = cgutils.unpack_tuple(builder, tap_pack)
    width = element.width // 8
    begin = start_of_sums(builder, start, vectors, lanes, stored)

    def run_body(run: Any, totals: list[Any]) -> list[Any]:
        offset = load(builder, address(builder, runs, run, I64), I64, 8)
        sources = [
            address(builder, img, builder.add(offset, builder.mul(img_step, I64(p))), element)
            for p in range(pixels)
        ]
        behind = builder.mul(builder.mul(run, groups), I64(vectors * lanes * 4 // width))
        weights_at = address(builder, weights, behind, element)
        return add_run(builder, totals, sources, weights_at, groups, (vectors, lanes), add_products)

    totals = loop(builder, run_count, begin * pixels, run_body)
    first = start if stored & WIDE else None
    finish = Store(builder, out, out_step, rule_pack, other_pack, lanes, stored, factor, first)
    for p in range(pixels):
        for v in range(0, vectors - 1, 2):
            first_total = p * vectors + v
            finish.neighbours(totals[first_total : first_total + 2], p, v * lanes)
        if vectors % 2:
            finish(totals[(p + 1) * vectors - 1], p, (vectors - 1) * lanes)
    return finish.clipped()


def start_of_sums(
    builder: ir.IRBuilder, start: Any, vectors: int, lanes: int, stored: int
) -> list[Any]:
    """First values of int32 sums: the start of every channel, or 0 if it is added in int64.

    Parameters
    ----------
    builder
        Writes the code.
    start
        Address of the start of the first channel.
    vectors, lanes
        Vectors, and channels in each.
    stored
        What the tile stores.
    """
    sums = ir.VectorType(I32, lanes)
    if stored & WIDE:
        return [ir.Constant(sums, [0] * lanes)] * vectors
    return [
        load(builder, address(builder, start, I64(v * lanes), I32), sums, 4) for v in range(vectors)
    ]


def add_run(
    builder: ir.IRBuilder,
    totals: list[Any],
    sources: list[Any],
    weights: Any,
    count: Any,
    form: tuple[int, int],
    add_products: Callable[[ir.IRBuilder, Any, Any, Any], Any] = add_pairs,
) -> list[Any]:
    """Add the products of a run of contiguous inputs to the sums of a tile; returns the sums.

    Parameters
    ----------
    builder
        Writes the code.
    totals
        Vectors of sums, those of a pixel one after the other.
    sources
        Pointer to the first input of every pixel.
    weights
        Pointer to the first weight.
    count
        How many times as many inputs as an int32 lane takes there are.
    form
        Vectors and lanes.
    add_products
        As in `emit_dense_tile`.
    """
    vectors, lanes = form
    element = weights.type.pointee
    size = element.width // 8
    together = 4 // size
    vector = ir.VectorType(element, together * lanes)

    def group_body(group: Any, totals: list[Any]) -> list[Any]:
        row = builder.gep(weights, [builder.mul(group, I64(together * vectors * lanes))])
        tap = [
            load(builder, builder.gep(row, [I64(together * v * lanes)]), vector, size)
            for v in range(vectors)
        ]
        position = builder.mul(group, I64(together))
        results = []
        for p, source in enumerate(sources):
            scalar = load(builder, builder.gep(source, [position]), I32, size)
            pixel = builder.bitcast(splat(builder, scalar, lanes), vector)
            results += [
                add_products(builder, totals[p * vectors + v], pixel, tap[v])
                for v in range(vectors)
            ]
        return results

    return loop(builder, count, totals, group_body)


def add_columns(
    builder: ir.IRBuilder,
    totals: list[Any],
    columns: list[Any],
    weights: Any,
    count: Any,
    taps: int,
) -> list[Any]:
    """Add the products of a row of a kernel's taps, of which each reads the next column.

    An input is loaded once for all taps that it meets, so that a tile of one vector is not limited
    by its loads.

    Parameters
    ----------
    builder
        Writes the code.
    totals
        A vector of sums for every pixel.
    columns
        Pointer to the first int16 input of every column: of the pixels, and ``taps - 1`` behind.
    weights
        Pointer to the first int16 weight, ``[pair][tap][channel][2]``.
    count
        Pairs of inputs.
    taps
        Taps of the row.
    """
    lanes = totals[0].type.count
    vector = ir.VectorType(I16, 2 * lanes)

    def pair_body(pair: Any, totals: list[Any]) -> list[Any]:
        row = builder.gep(weights, [builder.mul(pair, I64(2 * taps * lanes))])
        tap = [
            load(builder, builder.gep(row, [I64(2 * t * lanes)]), vector, 2) for t in range(taps)
        ]
        position = builder.mul(pair, I64(2))
        results = list(totals)
        for number, column in enumerate(columns):
            scalar = load(builder, builder.gep(column, [position]), I32, 2)
            inputs = builder.bitcast(splat(builder, scalar, lanes), vector)
            for t in range(taps):
                if 0 <= number - t < len(totals):
                    results[number - t] = add_pairs(builder, results[number - t], inputs, tap[t])
        return results

    return loop(builder, count, totals, pair_body)


def interleaved_order(channels: int) -> list[int]:
    """Order in which a depthwise tile sums its channels.

    Two vectors are interleaved within 128-bit parts, the one shuffle that every instruction set
    has; the first half of the sums then holds the lower channels of each part.
    """
    low = [part * 8 + c for part in range(channels // 8) for c in range(4)]
    return low + [c + 4 for c in low]


@code_generator
def depthwise_tile(typingctx, output, output_step, image, image_step, taps, rule, other, form):  # type: ignore[no-untyped-def]
    """Accumulate `pixels` neighbouring outputs of `channels` channels, each from its own channel.

    ``sum[p, c] = start[c] + Σ_k x0*w0 + x1*w1`` with
    ``x_i = image[offsets[k, i] + p * image_step + c]``.

    Parameters
    ----------
    output, output_step, image, image_step, rule, other
        As in `dense_tile`.
    taps
        ``(offsets, pairs, weights, start)``: address of the int64 offsets of each pair of taps and
        how many pairs there are, at least 1; address of the int16 weights
        ``[pair][channel in interleaved order][2]`` and of the start per channel.
    form
        Literals ``(pixels, channels, stored, FINGERPRINT)``; a multiple of 8 channels.
    """
    values = literals(form)
    if values is None:
        return None
    pixels, channels, stored, _ = values
    signature = types.int64(output, output_step, image, image_step, taps, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, img_step, tap_pack, rule_pack, other_pack, _ = arguments
        offsets, pairs, weights, start = cgutils.unpack_tuple(builder, tap_pack)
        (begin,) = start_of_sums(builder, start, 1, channels, stored)
        sums = emit_depthwise_sums(
            builder, img, img_step, (offsets, I64(0), pairs, weights), begin, (pixels, channels)
        )
        first = start if stored & WIDE else None
        finish = Store(builder, out, out_step, rule_pack, other_pack, channels, stored, start=first)
        for p in range(pixels):
            finish(sums[p], p, 0)
        return finish.clipped()

    return signature, codegen


def emit_depthwise_sums(
    builder: ir.IRBuilder,
    image: Any,
    image_step: Any,
    taps: tuple[Any, Any, Any, Any],
    begin: Any,
    form: tuple[int, int],
) -> list[Any]:
    """Write the sums of a depthwise tile over some pairs of taps; returns a vector per pixel.

    Parameters
    ----------
    builder
        Writes the code.
    image, image_step
        As in `depthwise_tile`.
    taps
        ``(offsets, first, count, weights)``: addresses as in `depthwise_tile`, the first pair and
        how many there are.
    begin
        What the sums of every pixel begin with.
    form
        Pixels and channels.
    """
    offsets, first_pair, count, weights = taps
    pixels, channels = form
    lanes = channels // 2
    order = interleaved_order(channels)
    sums, half = ir.VectorType(I32, channels), ir.VectorType(I32, lanes)
    narrow = ir.VectorType(I16, channels)
    halves = [order[:lanes], order[lanes:]]
    masks = [ir.Constant(sums, [c + i * channels for c in part for i in (0, 1)]) for part in halves]
    undefined = ir.Constant(sums, ir.Undefined)
    totals = [
        builder.shuffle_vector(begin, undefined, ir.Constant(half, part)) for part in halves
    ] * pixels

    def body(index: Any, totals: list[Any]) -> list[Any]:
        pair = builder.add(first_pair, index)
        sources = [
            load(
                builder,
                address(builder, offsets, builder.add(builder.mul(pair, I64(2)), I64(i)), I64),
                I64,
                8,
            )
            for i in (0, 1)
        ]
        first = builder.mul(pair, I64(2 * channels))
        factors = [
            load(
                builder,
                address(builder, weights, builder.add(first, I64(i * channels)), I16),
                narrow,
                2,
            )
            for i in (0, 1)
        ]
        results = []
        for p in range(pixels):
            inputs = [
                load(
                    builder,
                    address(builder, image, builder.add(at, builder.mul(image_step, I64(p))), I16),
                    narrow,
                    2,
                )
                for at in sources
            ]
            for i in (0, 1):
                mixed = builder.shuffle_vector(inputs[0], inputs[1], masks[i])
                results.append(add_pairs(builder, totals[2 * p + i], mixed, factors[i]))
        return results

    totals = loop(builder, count, totals, body)
    inverse = ir.Constant(sums, [order.index(c) for c in range(channels)])
    return [
        builder.shuffle_vector(totals[2 * p], totals[2 * p + 1], inverse) for p in range(pixels)
    ]
