"""Register tiles whose sums need int64: chunks are summed in int32 and added to totals in memory.

A chunk is as long as the proof allows (`fxp.engine.packing.chunks`), so that totals are touched
rarely. Between chunks only the high part of the int32 sums is moved to the totals: their low
`CARRIED_BITS` stay in registers and begin the next chunk. Such totals are int32 too, which halves
what is read and written. A chunk may be shifted left instead before it is added in int64: operands
of more than 16 bits are multiplied part by part.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fxp.kernels import pair_mac
from fxp.kernels.compiler import I16, I32, I64, address, code_generator, literals, load, loop, splat
from fxp.kernels.compiler import store as store_vector
from fxp.kernels.pair_mac import add_columns, add_run, emit_depthwise_sums
from fxp.kernels.tile_store import SUMS, Store

FINGERPRINT: Final = pair_mac.FINGERPRINT ^ crc32(Path(__file__).read_bytes())
"""Of the code generators, as `fxp.kernels.pair_mac.FINGERPRINT`."""


CARRIED_BITS: Final = 12
"""Low bits of sums that stay in registers from one chunk to the next, which begins with them."""
MOST_CHUNKS: Final = (1 << CARRIED_BITS) - 1
"""With more chunks, int32 might not hold the sum of the high parts."""
CARRIED, BEGINS, HIGH = 1, 2, 4
"""How `wide_tile` adds up chunks: none is shifted, so that low parts are carried on; the sums of
every chunk begin with numbers of its own; results follow from the high parts alone. 0 for chunks
that are shifted and begin with 0."""


class _Totals:
    """The int64 totals of a tile, in memory."""

    def __init__(self, builder: ir.IRBuilder, at: Any, step: Any, shape: tuple[int, int, int]):
        self.builder, self.at, self.step = builder, at, step
        self.pixels, self.vectors, self.lanes = shape
        self.kind = ir.VectorType(I64, self.lanes)

    def pointer(self, pixel: int, vector: int) -> Any:
        """Pointer to the totals of a vector of channels."""
        builder = self.builder
        place = builder.add(builder.mul(self.step, I64(pixel)), I64(vector * self.lanes))
        return address(builder, self.at, place, I64)

    def places(self) -> list[Any]:
        """Pointers to all vectors, pixel by pixel."""
        return [self.pointer(p, v) for p in range(self.pixels) for v in range(self.vectors)]

    def clear(self) -> None:
        """Set all to 0."""
        for place in self.places():
            store_vector(self.builder, ir.Constant(self.kind, [0] * self.lanes), place, 8)

    def begin(self, start: Any) -> None:
        """Set int32 totals to the start of every channel."""
        builder, kind = self.builder, ir.VectorType(I32, self.lanes)
        for v in range(self.vectors):
            value = load(builder, address(builder, start, I64(v * self.lanes), I32), kind, 4)
            for p in range(self.pixels):
                narrow = builder.bitcast(self.pointer(p, v), kind.as_pointer())
                store_vector(builder, value, narrow, 4)

    def finish_high(self, store: Store) -> None:
        """Finish the high parts, which are int32."""
        builder, kind = self.builder, ir.VectorType(I32, self.lanes)
        for p in range(self.pixels):
            high = [
                load(builder, builder.bitcast(self.pointer(p, v), kind.as_pointer()), kind, 4)
                for v in range(self.vectors)
            ]
            for v in range(0, self.vectors - 1, 2):
                store.neighbours(high[v : v + 2], p, v * self.lanes)
            if self.vectors % 2:
                store(high[-1], p, (self.vectors - 1) * self.lanes)

    def add_high(self, sums: list[Any]) -> list[Any]:
        """Add the high parts of int32 sums to totals of int32, and return the low parts."""
        builder, kind = self.builder, ir.VectorType(I32, self.lanes)
        distance = ir.Constant(kind, [CARRIED_BITS] * self.lanes)
        mask = ir.Constant(kind, [(1 << CARRIED_BITS) - 1] * self.lanes)
        for place, value in zip(self.places(), sums, strict=True):
            narrow = builder.bitcast(place, kind.as_pointer())
            high = builder.add(load(builder, narrow, kind, 4), builder.ashr(value, distance))
            store_vector(builder, high, narrow, 4)
        return [builder.and_(value, mask) for value in sums]

    def join(self, low: list[Any]) -> None:
        """Make int64 totals of the high parts, which are int32, and the low parts."""
        builder, kind = self.builder, ir.VectorType(I32, self.lanes)
        distance = ir.Constant(self.kind, [CARRIED_BITS] * self.lanes)
        for place, value in zip(self.places(), low, strict=True):
            high = load(builder, builder.bitcast(place, kind.as_pointer()), kind, 4)
            moved = builder.shl(builder.sext(high, self.kind), distance)
            total = builder.add(moved, builder.sext(value, self.kind))
            store_vector(builder, total, place, 8)

    def add(self, sums: list[Any], shift: Any) -> None:
        """Add int32 sums, shifted left."""
        builder = self.builder
        distance = splat(builder, shift, self.lanes)
        for place, value in zip(self.places(), sums, strict=True):
            moved = builder.shl(builder.sext(value, self.kind), distance)
            total = builder.add(load(builder, place, self.kind, 8), moved)
            store_vector(builder, total, place, 8)

    def finish(self, store: Store) -> None:
        """Finish all."""
        for p in range(self.pixels):
            for v in range(self.vectors):
                total = load(self.builder, self.pointer(p, v), self.kind, 8)
                store(total, p, v * self.lanes)


def _chunk_loop(
    builder: ir.IRBuilder,
    table: Any,
    chunks: Any,
    carried: list[Any],
    body: Callable[[Any, Any, Any, list[Any]], list[Any]],
) -> list[Any]:
    """Call ``body(chunk, count, shift, carried)`` for the rows ``(count, shift)`` of a table.

    Parameters
    ----------
    builder
        Writes the code.
    table, chunks
        Address of the int64 rows, and how many there are.
    carried, body
        As in `fxp.kernels.compiler.loop`.
    """

    def chunk_body(chunk: Any, carried: list[Any]) -> list[Any]:
        row = builder.mul(chunk, I64(2))
        count = load(builder, address(builder, table, row, I64), I64, 8)
        behind = builder.add(row, I64(1))
        shift = load(builder, address(builder, table, behind, I64), I64, 8)
        return body(chunk, count, shift, carried)

    return loop(builder, chunks, carried, chunk_body)


@code_generator
def wide_tile(typingctx, output, output_step, image, image_step, taps, totals, rule, other, form):  # type: ignore[no-untyped-def]
    """Accumulate one tile of ``pixels × (vectors * lanes)`` outputs in int64.

    As `fxp.kernels.pair_mac.dense_tile`, chunk by chunk. With SUMS, the totals are the result.

    Parameters
    ----------
    output, output_step, image, image_step, rule, other
        As in `dense_tile`.
    taps
        ``(chunks, chunk_count, pieces, weights, begin, begin_step, start)``: address of the int64
        rows ``(pieces, left shift)`` of the chunks and how many there are; address of the int64
        rows ``(offset, pairs)`` of the pieces, runs of contiguous inputs; address of int16 weights
        packed ``[piece][pair][channel][2]``; with BEGINS or HIGH, address of what the int32 sums of
        the first chunk begin with per channel, and elements from there to those of the next chunk;
        address of the start per channel, which is int64, or with HIGH the int32 high part, to which
        the low part in the first chunk belongs. Counts are at least 1.
    totals
        ``(address, step)`` of int64 totals, and elements from one pixel to the next.
    form
        Literals ``(pixels, vectors, lanes, stored, added, columns, FINGERPRINT)``; `added` is a sum
        of the constants above. With more columns than 1, which needs one vector, a piece is pairs
        of inputs in so many neighbouring pixels, and weights are packed
        ``[piece][pair][column][channel][2]``. With HIGH, `stored` has no WIDE, and the shift is
        that of the high parts; else it is SUMS or has WIDE.

    Returns
    -------
    int
        How many results overflowed; 0 if not counted.
    """
    values = literals(form)
    if values is None:
        return None
    pixels, vectors, lanes, stored, added, columns, _ = values
    signature = types.int64(output, output_step, image, image_step, taps, totals, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, img_step, tap_pack, total_pack, rule_pack, other_pack, _ = arguments
        table, chunks, pieces, weights, begin, begin_step, start = cgutils.unpack_tuple(
            builder, tap_pack
        )
        at, step = cgutils.unpack_tuple(builder, total_pack)
        memory = _Totals(builder, at, step, (pixels, vectors, lanes))
        if added & HIGH:
            memory.begin(start)
        else:
            memory.clear()
        sums = ir.VectorType(I32, lanes)

        zero = ir.Constant(sums, [0] * lanes)

        def begins_of(chunk: Any) -> list[Any]:
            """Load what the sums of a chunk begin with, for every pixel."""
            first = builder.mul(chunk, begin_step)
            return [
                load(
                    builder,
                    address(builder, begin, builder.add(first, I64(v * lanes)), I32),
                    sums,
                    4,
                )
                for v in range(vectors)
            ] * pixels

        def chunk_body(chunk: Any, count: Any, shift: Any, carried: list[Any]) -> list[Any]:
            row, at, *low = carried
            if added & BEGINS:
                low = [builder.add(*both) for both in zip(low, begins_of(chunk), strict=True)]

            def piece_body(_: Any, carried: list[Any]) -> list[Any]:
                row, at, *totals = carried
                offset = load(builder, address(builder, pieces, row, I64), I64, 8)
                behind = builder.add(row, I64(1))
                pairs = load(builder, address(builder, pieces, behind, I64), I64, 8)
                sources = [
                    address(builder, img, builder.add(offset, builder.mul(img_step, I64(p))), I16)
                    for p in range(pixels + columns - 1)
                ]
                taps_at = address(builder, weights, at, I16)
                if columns == 1:
                    totals = add_run(builder, totals, sources, taps_at, pairs, (vectors, lanes))
                else:
                    totals = add_columns(builder, totals, sources, taps_at, pairs, columns)
                following = builder.add(at, builder.mul(pairs, I64(2 * columns * vectors * lanes)))
                return [builder.add(row, I64(2)), following, *totals]

            row, at, *totals = loop(builder, count, [row, at, *low], piece_body)
            if added & CARRIED:
                return [row, at, *memory.add_high(totals)]
            memory.add(totals, shift)
            return [row, at, *nothing]

        nothing = [zero] * (pixels * vectors)
        first = begins_of(I64(0)) if added & HIGH else nothing
        _, _, *low = _chunk_loop(builder, table, chunks, [I64(0), I64(0), *first], chunk_body)
        if added & CARRIED and not added & HIGH:
            memory.join(low)
        if stored == SUMS:
            return I64(0)
        begun = None if added & HIGH else start
        store = Store(builder, out, out_step, rule_pack, other_pack, lanes, stored, start=begun)
        if added & HIGH:
            memory.finish_high(store)
        else:
            memory.finish(store)
        return store.clipped()

    return signature, codegen


@code_generator
def wide_depthwise_tile(  # type: ignore[no-untyped-def]
    typingctx, output, output_step, image, image_step, taps, totals, rule, other, form
):
    """Accumulate neighbouring outputs of `channels` channels, each from its own channel, in int64.

    As `fxp.kernels.pair_mac.depthwise_tile`, chunk by chunk.

    Parameters
    ----------
    output, output_step, image, image_step, rule, other
        As in `fxp.kernels.pair_mac.dense_tile`.
    taps
        ``(chunks, chunk_count, offsets, weights, start)``: as in `wide_tile`, where a chunk counts
        pairs of taps; the offsets and weights as in `depthwise_tile`.
    totals
        As in `wide_tile`.
    form
        Literals ``(pixels, channels, stored, FINGERPRINT)``; `stored` has WIDE.
    """
    values = literals(form)
    if values is None:
        return None
    pixels, channels, stored, _ = values
    signature = types.int64(output, output_step, image, image_step, taps, totals, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, img_step, tap_pack, total_pack, rule_pack, other_pack, _ = arguments
        table, chunks, offsets, weights, start = cgutils.unpack_tuple(builder, tap_pack)
        at, step = cgutils.unpack_tuple(builder, total_pack)
        memory = _Totals(builder, at, step, (pixels, 1, channels))
        memory.clear()
        zero = ir.Constant(ir.VectorType(I32, channels), [0] * channels)

        def chunk_body(_: Any, count: Any, shift: Any, carried: list[Any]) -> list[Any]:
            (first,) = carried
            sums = emit_depthwise_sums(
                builder, img, img_step, (offsets, first, count, weights), zero, (pixels, channels)
            )
            memory.add(sums, shift)
            return [builder.add(first, count)]

        _chunk_loop(builder, table, chunks, [I64(0)], chunk_body)
        store = Store(builder, out, out_step, rule_pack, other_pack, channels, stored, start=start)
        memory.finish(store)
        return store.clipped()

    return signature, codegen
