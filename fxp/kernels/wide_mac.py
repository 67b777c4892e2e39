"""Register tiles whose sums need int64: chunks are summed in int32 and added to totals in memory.

A chunk is as long as the proof allows (`fxp.engine.packing.chunks`), so that totals are touched
rarely. A chunk may be shifted left before it is added: operands of more than 16 bits are
multiplied part by part.
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
from fxp.kernels.pair_mac import add_run, emit_depthwise_sums
from fxp.kernels.tile_store import SUMS, Store

FINGERPRINT: Final = pair_mac.FINGERPRINT ^ crc32(Path(__file__).read_bytes())
"""Of the code generators, as `fxp.kernels.pair_mac.FINGERPRINT`."""


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
) -> None:
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

    loop(builder, chunks, carried, chunk_body)


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
        packed ``[piece][pair][channel][2]``; address of what the int32 sums of the first chunk
        begin with per channel, and elements from there to those of the next chunk; address of the
        int64 start per channel. Counts are at least 1.
    totals
        ``(address, step)`` of int64 totals, and elements from one pixel to the next.
    form
        Literals ``(pixels, vectors, lanes, stored, FINGERPRINT)``; `stored` is SUMS or has WIDE.

    Returns
    -------
    int
        How many results overflowed; 0 if not counted.
    """
    values = literals(form)
    if values is None:
        return None
    pixels, vectors, lanes, stored, _ = values
    signature = types.int64(output, output_step, image, image_step, taps, totals, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, img_step, tap_pack, total_pack, rule_pack, other_pack, _ = arguments
        table, chunks, pieces, weights, begin, begin_step, start = cgutils.unpack_tuple(
            builder, tap_pack
        )
        at, step = cgutils.unpack_tuple(builder, total_pack)
        memory = _Totals(builder, at, step, (pixels, vectors, lanes))
        memory.clear()
        sums = ir.VectorType(I32, lanes)

        def chunk_body(chunk: Any, count: Any, shift: Any, carried: list[Any]) -> list[Any]:
            first = builder.mul(chunk, begin_step)
            begins = [
                load(
                    builder,
                    address(builder, begin, builder.add(first, I64(v * lanes)), I32),
                    sums,
                    4,
                )
                for v in range(vectors)
            ]

            def piece_body(_: Any, carried: list[Any]) -> list[Any]:
                row, at, *totals = carried
                offset = load(builder, address(builder, pieces, row, I64), I64, 8)
                behind = builder.add(row, I64(1))
                pairs = load(builder, address(builder, pieces, behind, I64), I64, 8)
                sources = [
                    address(builder, img, builder.add(offset, builder.mul(img_step, I64(p))), I16)
                    for p in range(pixels)
                ]
                taps_at = address(builder, weights, at, I16)
                totals = add_run(builder, totals, sources, taps_at, pairs, (vectors, lanes))
                following = builder.add(at, builder.mul(pairs, I64(2 * vectors * lanes)))
                return [builder.add(row, I64(2)), following, *totals]

            row, at, *totals = loop(builder, count, [*carried, *begins * pixels], piece_body)
            memory.add(totals, shift)
            return [row, at]

        _chunk_loop(builder, table, chunks, [I64(0), I64(0)], chunk_body)
        if stored == SUMS:
            return I64(0)
        store = Store(builder, out, out_step, rule_pack, other_pack, lanes, stored, start=start)
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
