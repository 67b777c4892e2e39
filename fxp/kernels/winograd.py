"""Exact integer Winograd convolution (Lavin and Gray, CVPR 2016), two outputs per axis.

An axis of the kernel is cut into parts of three, two or one tap. A part of three meets four inputs
in four products instead of six, a part of two three inputs in three instead of four. With weights
transformed by twice the usual matrix, a part of three is integer too, and then the axis gives twice
the result. Sums wrap modulo 2**32, which is exact as long as the true sum, so enlarged, fits int32.
Where it does not, every product is exact: a sum over input channels that is cut into chunks which
fit int32 each. `fxp.engine.winograd_stages` proves that, and that transformed inputs and weights
fit int16.

A *cut* is named by its digits: 32 is three taps, then two.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
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
    SCRATCH,
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
    njit,
    splat,
    store,
)
from fxp.kernels.cook_toom import FINGERPRINT as MATRICES
from fxp.kernels.cook_toom import enlargement_bits, matrices, parts_of
from fxp.kernels.pair_mac import dense_tile
from fxp.kernels.records import WINOGRAD
from fxp.kernels.tile_store import SUMS, Store, item_size, other_size, sum_size, sum_type
from fxp.kernels.wide_mac import BEGINS, CARRIED, FINGERPRINT, wide_tile

ALIGNMENT: Final = 64
MOST_PIXELS: Final = 16
"""A register tile has fewer pixels."""


def _weighted(builder: ir.IRBuilder, values: list[Any], coefficients: list[int]) -> Any:
    """Sum of vectors with coefficients 1, 0 or -1; None if there is nothing to add."""
    total = None
    for sign in (1, -1):
        for value, coefficient in zip(values, coefficients, strict=True):
            if coefficient != sign:
                continue
            if total is None:
                total = value if sign > 0 else builder.neg(value)
            else:
                total = builder.add(total, value) if sign > 0 else builder.sub(total, value)
    return total


@code_generator
def transform_inputs(typingctx, output, output_steps, image, steps, size, less, form):  # type: ignore[no-untyped-def]
    """``output[f, i, c] = Σ_d inputs[f, d] * image[d, i, c] - less[f]`` in wrapping int16.

    Parameters
    ----------
    output, image
        Addresses of int16 elements.
    output_steps
        Elements from one f, and from one i, to the next.
    steps
        Elements from one d, and from one i, to the next.
    size
        Range of i and of c; c in a multiple of the lanes.
    less
        Address of int64 offsets.
    form
        Literals ``(cut, lanes)``.
    """
    values = literals(form)
    if values is None:
        return None
    cut, lanes = values
    signature = types.void(output, output_steps, image, steps, size, less, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_pack, img, in_pack, size_pack, less_at, _ = arguments
        out_plane, out_step = cgutils.unpack_tuple(builder, out_pack)
        in_plane, in_step = cgutils.unpack_tuple(builder, in_pack)
        rows, length = cgutils.unpack_tuple(builder, size_pack)
        vector = ir.VectorType(I16, lanes)
        coefficients = matrices(cut)[1].tolist()
        offsets = [
            splat(
                builder,
                builder.trunc(load(builder, address(builder, less_at, I64(f), I64), I64, 8), I16),
                lanes,
            )
            for f in range(len(coefficients))
        ]

        def row_body(row: Any, _: list[Any]) -> list[Any]:
            source, target = builder.mul(row, in_step), builder.mul(row, out_step)

            def body(index: Any, _: list[Any]) -> list[Any]:
                at = builder.mul(index, I64(lanes))
                first = builder.add(source, at)
                loaded = [
                    load(
                        builder,
                        address(
                            builder, img, builder.add(first, builder.mul(in_plane, I64(d))), I16
                        ),
                        vector,
                        2,
                    )
                    for d in range(len(coefficients[0]))
                ]
                place = builder.add(target, at)
                for f, row_coefficients in enumerate(coefficients):
                    value = _weighted(builder, loaded, row_coefficients)
                    value = builder.sub(value, offsets[f])
                    pointer_to = address(
                        builder, out, builder.add(place, builder.mul(out_plane, I64(f))), I16
                    )
                    store(builder, value, pointer_to, 2)
                return []

            loop(builder, builder.sdiv(length, I64(lanes)), [], body)
            return []

        loop(builder, rows, [], row_body)
        return context.get_dummy_value()

    return signature, codegen


WRAPPING, EXACT, TOTALS = 0, 1, 2
"""What is proved of products: the enlarged outputs fit int32, so that all may wrap; or products fit
int32; or they do not, and are int64."""


def product_size(sums: int) -> int:
    """Bytes of a product."""
    return 8 if sums == TOTALS else 4


@code_generator
def transform_outputs(typingctx, output, steps, products, size, start, rule, other, form):  # type: ignore[no-untyped-def]
    """Transform products to four outputs a tile, and finish them.

    ``outputs[i, j] = (Σ_f Σ_g outputs_y[i, f] * outputs_x[j, g] * products[f, g]) >> bits``.

    Parameters
    ----------
    output
        Address of the result of the first tile's first output.
    steps
        Elements from one result row, and from one pixel, to the next.
    products
        Address of products ``(n_y, n_x, plane, channels)``, of the first tile that is transformed.
    size
        Tiles, channels, which are a multiple of the lanes, and tiles of a plane.
    start
        Address of the start per channel.
    rule, other
        As in `fxp.kernels.pair_mac.dense_tile`; the step of `other` is that from one row to the
        next, pixels are as far apart as in the result.
    form
        Literals ``(cut_y, cut_x, lanes, stored, sums)``; `sums` is one of the constants above.
    """
    values = literals(form)
    if values is None:
        return None
    cut_y, cut_x, lanes, stored, proved = values
    signature = types.void(output, steps, products, size, start, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, step_pack, terms, size_pack, start_at, rule_pack, other_pack, _ = arguments
        row_step, pixel_step = cgutils.unpack_tuple(builder, step_pack)
        tiles, channels, in_plane = cgutils.unpack_tuple(builder, size_pack)
        item = I64 if proved == TOTALS else I32
        vector = ir.VectorType(item, lanes)
        summed = ir.VectorType(I32 if proved == WRAPPING else I64, lanes)
        finished = ir.VectorType(sum_type(stored), lanes)
        (outputs_y, outputs_x) = (matrices(cut)[2] for cut in (cut_y, cut_x))
        bits = enlargement_bits(cut_y) + enlargement_bits(cut_x)
        plane = builder.mul(in_plane, channels)
        _, added_row_step, _ = cgutils.unpack_tuple(builder, other_pack)

        def cast(value: Any, kind: ir.VectorType) -> Any:
            if value.type == kind:
                return value
            return (builder.sext if kind.element is I64 else builder.trunc)(value, kind)

        def outputs_at(first: Any) -> list[list[Any]]:
            """Four outputs of one vector, from all its products."""
            sums: list[list[Any]] = [[None, None], [None, None]]
            for f in range(outputs_y.shape[1]):
                loaded = [
                    load(
                        builder,
                        address(
                            builder,
                            terms,
                            builder.add(first, builder.mul(plane, I64(f * outputs_x.shape[1] + g))),
                            item,
                        ),
                        vector,
                        item.width // 8,
                    )
                    for g in range(outputs_x.shape[1])
                ]
                loaded = [cast(value, summed) for value in loaded]
                for j in (0, 1):
                    value = _weighted(builder, loaded, outputs_x[j].tolist())
                    for i in (0, 1):
                        sign = int(outputs_y[i, f])
                        if sign:
                            old = sums[i][j]
                            if old is None:
                                sums[i][j] = value if sign > 0 else builder.neg(value)
                            else:
                                sums[i][j] = (
                                    builder.add(old, value) if sign > 0 else builder.sub(old, value)
                                )
            return sums

        def tile_body(tile: Any, _: list[Any]) -> list[Any]:
            first_of_tile = builder.mul(tile, channels)
            first_pixel = builder.mul(builder.mul(tile, I64(2)), pixel_step)

            def body(index: Any, _: list[Any]) -> list[Any]:
                channel = builder.mul(index, I64(lanes))
                first = builder.add(first_of_tile, channel)
                sums = outputs_at(first)
                for i in (0, 1):
                    for j in (0, 1):
                        value = builder.ashr(sums[i][j], ir.Constant(summed, [bits] * lanes))
                        begin = load(
                            builder,
                            address(builder, start_at, channel, finished.element),
                            finished,
                            sum_size(stored),
                        )
                        value = builder.add(cast(value, finished), begin)
                        pixel = builder.add(first_pixel, builder.mul(pixel_step, I64(j)))
                        at = builder.add(pixel, builder.mul(row_step, I64(i)))
                        beside = builder.add(pixel, builder.mul(added_row_step, I64(i)))
                        finish.at(at, beside)(value, 0, channel)
                return []

            loop(builder, builder.sdiv(channels, I64(lanes)), [], body)
            return []

        finish = _MovingStore(builder, out, pixel_step, rule_pack, other_pack, lanes, stored)
        loop(builder, tiles, [], tile_body)
        return context.get_dummy_value()

    return signature, codegen


class _MovingStore(Store):
    """A store whose first element moves."""

    def at(self, output: Any, other: Any) -> Store:
        """Return the store that begins so many elements behind this one's values."""
        moved = Store.__new__(Store)
        moved.__dict__.update(self.__dict__)
        builder, sizes = self.builder, (item_size(self.stored), other_size(self.stored))
        moved.output = builder.add(self.output, builder.mul(output, I64(sizes[0])))
        moved.other = builder.add(self.other, builder.mul(other, I64(sizes[1])))
        return moved


def scratch_bytes(
    cut_y: int, cut_x: int, tiles: int, rows_of_tiles: int, channels: tuple[int, int], sums: int
) -> int:
    """Scratch memory that `winograd_kernel` needs at most.

    Parameters
    ----------
    cut_y, cut_x
        How the kernel's rows and columns are cut.
    tiles
        Tiles that are transformed together.
    rows_of_tiles
        Rows of tiles of the largest region.
    channels
        Channels of the image, and of a register tile.
    sums
        What is proved of products.
    """
    rows, columns = (len(matrices(cut)[0]) for cut in (cut_y, cut_x))
    channels_in, width = channels
    count = max(tiles, MOST_PIXELS)
    # Every row of tiles takes in a few columns beyond them.
    span = 2 * tiles + min(rows_of_tiles, tiles) * (sum(parts_of(cut_x)) - 1)
    lines = rows * span * channels_in * 2
    inputs = rows * columns * count * channels_in * 2
    products = rows * columns * count * width * product_size(sums)
    return lines + inputs + products + 4 * ALIGNMENT


@njit(cache=True, nogil=True)
def _aligned(size: int) -> int:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


@njit(cache=True, nogil=True)
def tile_grid(tiles: int, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of tiles that are transformed together: about as many every time.

    Parameters
    ----------
    tiles
        How many at most.
    rows, columns
        Of tiles, in all.
    """
    size_x = -(-columns // -(-columns // tiles))
    size_y = min(max(1, tiles // size_x), rows)
    return -(-rows // -(-rows // size_y)), size_x


@cache
def winograd_kernel(
    cut_y: int,
    cut_x: int,
    pixels: int,
    vectors: int,
    lanes: int,
    input_lanes: int,
    stored: int,
    sums: int,
) -> Any:
    """Return the convolution for one cut and tile shape; it does not count.

    A region has at least two rows and two columns; where these are odd, the last tiles overlap the
    ones before. Tiles of several rows are multiplied together, so that weights are read once for
    all of them. The last register tile may take in tiles that do not exist.

    Parameters
    ----------
    cut_y, cut_x
        How the kernel's rows and columns are cut.
    pixels, vectors, lanes
        Register tile of the products, as for `fxp.kernels.tiles.dense_kernel`.
    input_lanes
        Channels of a vector in the transform of inputs.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    sums
        What is proved of products.
    """
    width = vectors * lanes
    count_y, count_x = (len(matrices(cut)[0]) for cut in (cut_y, cut_x))
    taps_x = sum(parts_of(cut_x))

    item, beside_item, unit = item_size(stored), other_size(stored), sum_size(stored)
    wide = product_size(sums)
    totals, added = sums == TOTALS, CARRIED | BEGINS

    record, fingerprint = WINOGRAD, FINGERPRINT ^ MATRICES

    @kernel
    def convolve_winograd(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        channels_in, channels = block.channels_in, block.channels_out
        rows, columns = command[ROWS], command[COLUMNS]
        pitch, result_pitch = command[INPUT + 2] // 2, command[RESULT + 2] // item
        other_pitch = command[OTHER + 2] // beside_item
        rows_of_tiles, columns_of_tiles = (rows + 1) // 2, (columns + 1) // 2
        size_y, size_x = tile_grid(block.tiles, rows_of_tiles, columns_of_tiles)
        plane_tiles = max(size_y * size_x, pixels)
        line_length = (2 * size_x + taps_x - 1) * channels_in
        lines = operand(command, bases, SCRATCH)
        inputs = lines + _aligned(2 * size_y * count_y * line_length)
        in_plane, plane = plane_tiles * channels_in, plane_tiles * width
        products = inputs + _aligned(2 * count_y * count_x * in_plane)
        pairs, blocks = channels_in // 2, channels // width
        weight_bytes = pairs * width * 4
        chunks = carray(pointer(block.chunks), (count_y * count_x, 2), np.int64)
        for first_row in range(0, rows_of_tiles, size_y):
            last_row = min(first_row + size_y, rows_of_tiles)
            for first_column in range(0, columns_of_tiles, size_x):
                last_column = min(first_column + size_x, columns_of_tiles)
                across = last_column - first_column
                left = min(2 * first_column, columns - 2)
                last = min(2 * last_column, columns) - 2
                # Tiles that are two columns apart; the very last one may be only one behind.
                even = (last - left) // 2 + 1
                for row in range(first_row, last_row):
                    y = min(2 * row, rows - 2)
                    transform_inputs(
                        lines + 2 * (row - first_row) * count_y * line_length, (line_length, 0),
                        source + 2 * (y * pitch + left * channels_in), (pitch, 0),
                        (1, (last - left + taps_x + 1) * channels_in), block.zeros,
                        (cut_y, input_lanes),
                    )  # fmt: skip
                count = (last_row - first_row) * across
                for fy in range(count_y):
                    for row in range(last_row - first_row):
                        line = lines + 2 * (row * count_y + fy) * line_length
                        into = inputs + 2 * (fy * count_x * in_plane + row * across * channels_in)
                        transform_inputs(
                            into, (in_plane, channels_in), line,
                            (channels_in, 2 * channels_in), (even, channels_in),
                            block.offsets + 8 * fy * count_x, (cut_x, input_lanes),
                        )  # fmt: skip
                        if even < across:
                            transform_inputs(
                                into + 2 * even * channels_in, (in_plane, channels_in),
                                line + 2 * (last - left) * channels_in,
                                (channels_in, 0), (1, channels_in),
                                block.offsets + 8 * fy * count_x, (cut_x, input_lanes),
                            )  # fmt: skip
                for part in range(blocks):
                    channel = part * width
                    rule = (
                        block.shift + unit * channel, block.own + unit * channel, block.low,
                        block.high, block.count_low, block.count_high, 0, 0,
                    )  # fmt: skip
                    factors = block.factor + unit * channel
                    for number in range(count_y * count_x):
                        weights = block.weights + (part * count_y * count_x + number) * weight_bytes
                        ready = 0
                        while ready < count:
                            t = max(0, min(ready, count - pixels))
                            ready = t + pixels
                            product = products + wide * (number * plane + t * width)
                            at = inputs + 2 * (number * in_plane + t * channels_in)
                            if totals:
                                first = chunks[number, 0]
                                wide_tile(
                                    0, 0, at, channels_in,
                                    (block.table, chunks[number, 1], block.pieces + 16 * first,
                                     weights, block.starts + 4 * (first * channels + channel),
                                     channels, 0),
                                    (product, width), rule, (other, 0, 0),
                                    (pixels, vectors, lanes, SUMS, added, 1, fingerprint),
                                )  # fmt: skip
                            else:
                                dense_tile(
                                    product, width, at, channels_in,
                                    (block.zeros, 1, pairs, weights,
                                     block.starts + 4 * (number * channels + channel)),
                                    rule, (other, 0, 0),
                                    (pixels, vectors, lanes, SUMS, 1, fingerprint),
                                )  # fmt: skip
                    for row in range(first_row, last_row):
                        y = min(2 * row, rows - 2)
                        first = (row - first_row) * across
                        result = target + item * (y * result_pitch + channel)
                        beside = other + beside_item * (y * other_pitch + channel)
                        transform_outputs(
                            result + item * left * channels, (result_pitch, channels),
                            products + wide * first * width, (even, width, plane_tiles),
                            block.start + unit * channel, rule,
                            (beside + beside_item * left * channels, other_pitch, factors),
                            (cut_y, cut_x, lanes, stored, sums),
                        )  # fmt: skip
                        if even < across:
                            transform_outputs(
                                result + item * last * channels, (result_pitch, channels),
                                products + wide * (first + even) * width, (1, width, plane_tiles),
                                block.start + unit * channel, rule,
                                (beside + beside_item * last * channels, other_pitch, factors),
                                (cut_y, cut_x, lanes, stored, sums),
                            )  # fmt: skip
        return 0

    return convolve_winograd
