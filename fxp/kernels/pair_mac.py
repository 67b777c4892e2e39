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

from fxp.kernels import compiler
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
    store,
)

llvm.initialize_native_asmparser()  # for the one instruction that is named

FINGERPRINT: Final = crc32(Path(__file__).read_bytes() + Path(compiler.__file__).read_bytes())
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


SUMS, RESULTS = 0, 1
"""What a tile stores: int32 sums, or finished results."""
PLUS_OTHER, COUNTED, INT32_OTHER, INT32_RESULTS, SCALED = 2, 4, 8, 16, 32
"""Added to RESULTS: another value is added before the shift; results that overflow are counted; the
other value, or the results, are int32 and not int16; sums are multiplied before the addition."""


def item_size(stored: int) -> int:
    """Bytes of an element that a tile stores."""
    return 4 if stored == SUMS or stored & INT32_RESULTS else 2


def other_size(stored: int) -> int:
    """Bytes of an element that a tile adds."""
    return 4 if stored & INT32_OTHER else 2


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
        ``[run][pair][channel][2]`` and of the int32 start per channel. Counts are at least 1.
    rule
        ``(shift, own, low, high, count_low, count_high, skipped_pixels, skipped_channels)``:
        addresses of the int32 right shift and of the factor of the sum per channel, the bounds of
        the result, the bounds outside which it overflows, and how many of the first pixels and
        channels are not counted.
    other
        ``(address, step, factors)`` of values that are added, and the address of the int32 factor
        per channel.
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
    size = element.width // 8
    together = 4 // size
    sums, vector = ir.VectorType(I32, lanes), ir.VectorType(element, together * lanes)
    begin = [
        load(builder, address(builder, start, I64(v * lanes), I32), sums, 4) for v in range(vectors)
    ]
    stride = vectors * lanes * together

    def run_body(run: Any, totals: list[Any]) -> list[Any]:
        offset = load(builder, address(builder, runs, run, I64), I64, 8)
        sources = [
            address(builder, img, builder.add(offset, builder.mul(img_step, I64(p))), element)
            for p in range(pixels)
        ]
        behind = builder.mul(builder.mul(run, groups), I64(stride))
        weights_at = address(builder, weights, behind, element)

        def group_body(group: Any, totals: list[Any]) -> list[Any]:
            row = builder.gep(weights_at, [builder.mul(group, I64(stride))])
            tap = [
                load(builder, builder.gep(row, [I64(together * v * lanes)]), vector, size)
                for v in range(vectors)
            ]
            position = builder.mul(group, I64(together))
            results = []
            for p in range(pixels):
                scalar = load(builder, builder.gep(sources[p], [position]), I32, size)
                pixel = builder.bitcast(splat(builder, scalar, lanes), vector)
                results += [
                    add_products(builder, totals[p * vectors + v], pixel, tap[v])
                    for v in range(vectors)
                ]
            return results

        return loop(builder, groups, totals, group_body)

    totals = loop(builder, run_count, begin * pixels, run_body)
    finish = Store(builder, out, out_step, rule_pack, other_pack, lanes, stored, factor)
    for p in range(pixels):
        for v in range(vectors):
            finish(totals[p * vectors + v], p, v * lanes)
    return finish.clipped()


class Store:
    """Emits the end of a tile: store sums, or finish them first."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        output: Any,
        output_step: Any,
        rule: Any,
        other: Any,
        lanes: int,
        stored: int,
        factor: int = 1,
    ) -> None:
        self.factor = factor
        self.builder, self.lanes, self.stored = builder, lanes, stored
        self.output, self.output_step = output, output_step
        self.shift, self.own, *bounds, self.skipped_pixels, first = cgutils.unpack_tuple(
            builder, rule
        )
        self.other, self.other_step, self.factors = cgutils.unpack_tuple(builder, other)
        self.low, self.high, self.count_low, self.count_high = (
            splat(builder, builder.trunc(scalar, I32), lanes) for scalar in bounds
        )
        self.overflows = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        indices = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        self.counted = builder.icmp_signed(
            ">=", indices, splat(builder, builder.trunc(first, I32), lanes)
        )

    def __call__(self, total: Any, pixel: Any, channel: Any) -> None:
        """Store the sums of some channels of a pixel; both numbers are integers or IR values."""
        builder = self.builder
        pixel, channel = (I64(n) if isinstance(n, int) else n for n in (pixel, channel))
        if self.stored == SUMS:
            at = builder.add(builder.mul(self.output_step, pixel), channel)
            pointer = address(builder, self.output, at, I32)
            store(builder, total, pointer, 4)
            return
        if self.stored & SCALED:
            total = builder.mul(total, self._of_channels(self.own, channel))
        if self.stored & PLUS_OTHER:
            added = self._read(self.other, self.other_step, pixel, channel)
            added = builder.mul(added, self._of_channels(self.factors, channel))
            total = builder.add(total, added)
        shift = self._of_channels(self.shift, channel)
        # As `fxp.kernels.requantize.finish_one`, over a vector.
        value = builder.ashr(total, shift)
        if self.stored & COUNTED:
            outside = builder.or_(
                builder.icmp_signed("<", value, self.count_low),
                builder.icmp_signed(">", value, self.count_high),
            )
            counted = builder.icmp_signed(">=", pixel, self.skipped_pixels)
            kept = builder.and_(outside, splat(builder, counted, self.lanes))
            kept = builder.and_(kept, self.counted)
            self.overflows = builder.add(self.overflows, builder.zext(kept, total.type))
        for bound, order in ((self.low, "<"), (self.high, ">")):
            value = builder.select(builder.icmp_signed(order, value, bound), bound, value)
        item = item_size(self.stored)
        kind = I32 if item == 4 else I16
        result = value if kind is I32 else builder.trunc(value, ir.VectorType(I16, self.lanes))
        for at, lanes in self._places(self.output_step, pixel, channel):
            part = self._lanes(result, lanes)
            pointer = address(builder, self.output, at, kind)
            store(builder, part, pointer, item)

    def _of_channels(self, base: Any, channel: Any) -> Any:
        """Load an int32 of every channel from an array of all channels."""
        kind = ir.VectorType(I32, self.lanes)
        return load(self.builder, address(self.builder, base, channel, I32), kind, 4)

    def _places(self, step: Any, pixel: Any, channel: Any) -> list[tuple[Any, list[int]]]:
        """Where the lanes of a pixel's vector lie: elements behind the first, and which lanes."""
        builder = self.builder
        if self.factor == 1:
            return [(builder.add(builder.mul(step, pixel), channel), list(range(self.lanes)))]
        first = builder.mul(pixel, I64(self.factor))
        return [
            (
                builder.add(first, builder.mul(step, I64(row))),
                [row * self.factor + column for column in range(self.factor)],
            )
            for row in range(self.factor)
        ]

    def _lanes(self, vector: Any, lanes: list[int]) -> Any:
        """Take some lanes of a vector."""
        if len(lanes) == self.lanes:
            return vector
        order = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(vector, vector, order)

    def _read(self, base: Any, step: Any, pixel: Any, channel: Any) -> Any:
        """Load values that lie as the results do as int32; lanes that do not exist are zero."""
        values = self._load(base, step, pixel, channel)
        wide = ir.VectorType(I32, self.lanes)
        return values if values.type == wide else self.builder.sext(values, wide)

    def _load(self, base: Any, step: Any, pixel: Any, channel: Any) -> Any:
        builder, total = self.builder, None
        item = other_size(self.stored)
        kind = I32 if item == 4 else I16
        for at, lanes in self._places(step, pixel, channel):
            pointer = address(builder, base, at, kind)
            part = load(builder, pointer, ir.VectorType(kind, len(lanes)), item)
            if len(lanes) == self.lanes:
                return part
            zeros = ir.Constant(part.type, [0] * len(lanes))
            order = [
                lanes.index(lane) if lane in lanes else len(lanes) for lane in range(self.lanes)
            ]
            spread = builder.shuffle_vector(
                part, zeros, ir.Constant(ir.VectorType(I32, self.lanes), order)
            )
            total = spread if total is None else builder.or_(total, spread)
        return total

    def clipped(self) -> Any:
        """How many results overflowed."""
        builder = self.builder
        if not self.stored & COUNTED:
            return I64(0)
        total = self.overflows
        for step in range(self.lanes.bit_length() - 1):
            distance = self.lanes >> (step + 1)
            order = [(lane + distance) % self.lanes for lane in range(self.lanes)]
            moved = builder.shuffle_vector(
                total, total, ir.Constant(ir.VectorType(I32, self.lanes), order)
            )
            total = builder.add(total, moved)
        return builder.zext(builder.extract_element(total, I32(0)), I64)


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
        ``[pair][channel in interleaved order][2]`` and of the int32 start per channel.
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
        lanes = channels // 2
        order = interleaved_order(channels)
        sums, half = ir.VectorType(I32, channels), ir.VectorType(I32, lanes)
        narrow = ir.VectorType(I16, channels)
        begin = load(builder, address(builder, start, I64(0), I32), sums, 4)
        halves = [order[:lanes], order[lanes:]]
        masks = [
            ir.Constant(
                ir.VectorType(I32, channels), [c + i * channels for c in part for i in (0, 1)]
            )
            for part in halves
        ]
        undefined = ir.Constant(sums, ir.Undefined)
        totals = [
            builder.shuffle_vector(begin, undefined, ir.Constant(half, part)) for part in halves
        ] * pixels

        def body(pair: Any, totals: list[Any]) -> list[Any]:
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
                        address(builder, img, builder.add(at, builder.mul(img_step, I64(p))), I16),
                        narrow,
                        2,
                    )
                    for at in sources
                ]
                for i in (0, 1):
                    mixed = builder.shuffle_vector(inputs[0], inputs[1], masks[i])
                    results.append(add_pairs(builder, totals[2 * p + i], mixed, factors[i]))
            return results

        totals = loop(builder, pairs, totals, body)
        inverse = ir.Constant(sums, [order.index(c) for c in range(channels)])
        finish = Store(builder, out, out_step, rule_pack, other_pack, channels, stored)
        for p in range(pixels):
            finish(builder.shuffle_vector(totals[2 * p], totals[2 * p + 1], inverse), p, 0)
        return finish.clipped()

    return signature, codegen
