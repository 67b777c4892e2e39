"""Transforms of the Winograd convolution with four outputs per axis, for values of few bits.

Three taps meet six inputs in six products that give four outputs, instead of twelve products; in
two axes that is a quarter of the multiplications. Transformed inputs and weights are larger than
with two outputs per axis (`fxp.kernels.winograd`), but those of 8 bits still fit int16.

The usual transforms divide by 24 (Lavin and Gray, CVPR 2016). Here the outputs are 24 times as
large per axis instead, modulo 2**32. Of the 24, the factor 3 is odd and divides exactly modulo
2**32, whatever wraps before; the factor 8 costs three bits of the sum.
`fxp.engine.winograd_four_stages` proves that these bits are free.

A *cut* is named by its digits: 32 is three taps, then two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import lcm, prod
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from fxp.kernels.compiler import (
    I16,
    I32,
    I64,
    address,
    code_generator,
    literals,
    load,
    loop,
    store,
)
from fxp.kernels.pair_mac import FINGERPRINT as PAIR_FINGERPRINT
from fxp.kernels.tile_store import Store, element_type, item_size, other_size

OUTPUTS: Final = 4
"""Outputs of a tile, per axis."""
CUTS: Final = {3: 3, 5: 32}
"""Cut of an axis by its taps."""
EVEN_BITS: Final = 3
"""How many bits larger than the convolution the outputs of an axis are, beside a factor of 3."""
FINGERPRINT: Final = PAIR_FINGERPRINT ^ crc32(Path(__file__).read_bytes())
"""Of the code generators, as `fxp.kernels.pair_mac.FINGERPRINT`."""

_POINTS: Final = {3: (0, 1, -1, 2, -2), 2: (0, 1, -1, 2)}
"""Where the polynomials of so many taps and four outputs are evaluated, besides at infinity."""
_SCALE: Final = 3 << EVEN_BITS
_THIRD: Final = pow(3, -1, 2**32)


@dataclass(frozen=True)
class Axis:
    """Transforms of an axis.

    For taps ``g`` and inputs ``d``, ``outputs @ ((weights @ g) * (inputs @ d))`` is 24 times the
    correlation of d with g.

    Attributes
    ----------
    weights
        ``(n, taps)``.
    inputs
        ``(n, taps + 3)``.
    outputs
        ``(4, n)``.
    pairs
        Rows that belong to a point and its negative: what one adds, the other subtracts.
    """

    weights: NDArray[np.int64]
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    pairs: tuple[tuple[int, int], ...]

    @property
    def products(self) -> int:
        """How many products there are."""
        return len(self.inputs)

    @property
    def reads(self) -> int:
        """How many inputs there are."""
        return self.inputs.shape[1]


def _of_part(taps: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Matrices of a part of the taps, by interpolation at points and infinity (Toom and Cook)."""
    points = _POINTS[taps]
    count = len(points) + 1
    weights, inputs = np.zeros((count, taps), np.int64), np.zeros((count, count), np.int64)
    outputs = np.zeros((OUTPUTS, count), np.int64)
    divisors = [prod(point - other for other in points if other != point) for point in points]
    assert _SCALE % lcm(*divisors) == 0
    for row, (point, divisor) in enumerate(zip(points, divisors, strict=True)):
        roots = [other for other in points if other != point]
        weights[row] = [point**power for power in range(taps)]
        inputs[row, : count - 1] = np.round(np.poly(roots))[::-1]
        outputs[:, row] = [point**power * (_SCALE // divisor) for power in range(OUTPUTS)]
    weights[-1, -1] = 1
    inputs[-1] = np.round(np.poly(points))[::-1]
    outputs[-1, -1] = _SCALE
    return weights, inputs, outputs


@cache
def axis(cut: int) -> Axis:
    """Return the transforms of an axis that is cut into parts."""
    parts = [int(digit) for digit in str(cut)]
    total, count = sum(parts), sum(len(_POINTS[part]) + 1 for part in parts)
    weights, inputs = np.zeros((count, total), np.int64), np.zeros((count, total + 3), np.int64)
    outputs = np.zeros((OUTPUTS, count), np.int64)
    pairs: list[tuple[int, int]] = []
    row = tap = 0
    for part in parts:
        rows = slice(row, row + len(_POINTS[part]) + 1)
        weights[rows, tap : tap + part], inputs[rows, tap : tap + part + 3], outputs[:, rows] = (
            _of_part(part)
        )
        points = _POINTS[part]
        pairs += [
            (row + points.index(point), row + points.index(-point))
            for point in points
            # Where every point has its negative; else the rows do not share their halves.
            if point > 0 and all(-other in points for other in points)
        ]
        row, tap = rows.stop, tap + part
    return Axis(weights, inputs, outputs, tuple(pairs))


def _weighted(builder: ir.IRBuilder, values: list[Any], coefficients: list[int]) -> Any:
    """Sum of vectors with integer coefficients; None if there is nothing to add."""
    total = None
    for value, coefficient in sorted(
        zip(values, coefficients, strict=True), key=lambda item: item[1] < 0
    ):
        size = abs(coefficient)
        if not size:
            continue
        count = value.type.count
        if size & (size - 1):
            term = builder.mul(value, ir.Constant(value.type, [size] * count))
        elif size > 1:
            term = builder.shl(value, ir.Constant(value.type, [size.bit_length() - 1] * count))
        else:
            term = value
        if total is None:
            total = term if coefficient > 0 else builder.neg(term)
        else:
            total = builder.add(total, term) if coefficient > 0 else builder.sub(total, term)
    return total


def _to_products(builder: ir.IRBuilder, values: list[Any], transforms: Axis) -> list[Any]:
    """Return ``inputs @ values``."""
    found: list[Any] = [None] * transforms.products
    for row, other in transforms.pairs:
        even, odd = (
            _weighted(builder, values, (half // 2).tolist())
            for half in (
                transforms.inputs[row] + transforms.inputs[other],
                transforms.inputs[row] - transforms.inputs[other],
            )
        )
        found[row], found[other] = builder.add(even, odd), builder.sub(even, odd)
    for row, value in enumerate(found):
        if value is None:
            found[row] = _weighted(builder, values, transforms.inputs[row].tolist())
    return found


def _to_outputs(builder: ir.IRBuilder, values: list[Any], transforms: Axis) -> list[Any]:
    """Return ``outputs @ values``."""
    sums, differences = list(values), list(values)
    coefficients = transforms.outputs.copy()
    for row, other in transforms.pairs:
        sums[row] = builder.add(values[row], values[other])
        differences[row] = builder.sub(values[row], values[other])
        coefficients[:, other] = 0
    return [
        _weighted(builder, differences if power % 2 else sums, coefficients[power].tolist())
        for power in range(OUTPUTS)
    ]


@code_generator
def transform_four_inputs(typingctx, output, output_steps, image, steps, size, form):  # type: ignore[no-untyped-def]
    """``output[f, i, c] = Σ_d inputs[f, d] * image[d, i, c]`` in wrapping int16.

    Parameters
    ----------
    output, image
        Addresses of int16 elements; the image may have unsigned bytes.
    output_steps
        Elements from one f, and from one i, to the next.
    steps
        Elements from one d, and from one i, to the next.
    size
        Range of i and of c; c in a multiple of the lanes.
    form
        Literals ``(cut, lanes, read, FINGERPRINT)``: bytes of an element of the image.
    """
    values = literals(form)
    if values is None:
        return None
    cut, lanes, read, _ = values
    signature = types.void(output, output_steps, image, steps, size, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_pack, img, in_pack, size_pack, _ = arguments
        out_plane, out_step = cgutils.unpack_tuple(builder, out_pack)
        in_plane, in_step = cgutils.unpack_tuple(builder, in_pack)
        count, length = cgutils.unpack_tuple(builder, size_pack)
        vector = ir.VectorType(I16, lanes)
        transforms = axis(cut)

        def behind(first: Any, plane: Any, number: int) -> Any:
            return builder.add(first, builder.mul(plane, I64(number)))

        def read_vector(place: Any) -> Any:
            kind = element_type(read)
            pointer = address(builder, img, place, kind)
            value = load(builder, pointer, ir.VectorType(kind, lanes), read)
            return value if read == 2 else builder.zext(value, vector)

        def row_body(row: Any, _: list[Any]) -> list[Any]:
            source, target = builder.mul(row, in_step), builder.mul(row, out_step)

            def body(index: Any, _: list[Any]) -> list[Any]:
                channel = builder.mul(index, I64(lanes))
                first, place = builder.add(source, channel), builder.add(target, channel)
                loaded = [read_vector(behind(first, in_plane, d)) for d in range(transforms.reads)]
                for f, value in enumerate(_to_products(builder, loaded, transforms)):
                    store(
                        builder, value, address(builder, out, behind(place, out_plane, f), I16), 2
                    )
                return []

            loop(builder, builder.sdiv(length, I64(lanes)), [], body)
            return []

        loop(builder, count, [], row_body)
        return context.get_dummy_value()

    return signature, codegen


@code_generator
def transform_four_outputs(typingctx, output, steps, products, size, start, rule, other, form):  # type: ignore[no-untyped-def]
    """Transform products to sixteen outputs a tile, and finish them.

    Parameters
    ----------
    output
        Address of the result of the first tile's first output.
    steps
        Elements from one result row, and from one pixel, to the next.
    products
        Address of the first tile's int32 products ``(n_y, n_x, all tiles, channels)``.
    size
        Tiles to transform, channels - a multiple of the lanes - and elements from the products of
        one frequency to those of the next.
    start
        Address of the int32 start per channel.
    rule, other
        As in `fxp.kernels.pair_mac.dense_tile`; the step of `other` is that from one row to the
        next, pixels are as far apart as in the result.
    form
        Literals ``(cut_y, cut_x, lanes, stored, FINGERPRINT)``.
    """
    values = literals(form)
    if values is None:
        return None
    cut_y, cut_x, lanes, stored, _ = values
    signature = types.void(output, steps, products, size, start, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, step_pack, terms, size_pack, start_at, rule_pack, other_pack, _ = arguments
        row_step, pixel_step = cgutils.unpack_tuple(builder, step_pack)
        tiles, channels, plane = cgutils.unpack_tuple(builder, size_pack)
        other_at, other_row_step, factors = cgutils.unpack_tuple(builder, other_pack)
        vector = ir.VectorType(I32, lanes)
        axis_y, axis_x = axis(cut_y), axis(cut_x)
        third = ir.Constant(vector, [_THIRD * _THIRD % 2**32] * lanes)
        bits = ir.Constant(vector, [2 * EVEN_BITS] * lanes)

        def moved(base: Any, elements: Any, size: int) -> Any:
            return builder.add(base, builder.mul(elements, I64(size)))

        def tile_body(tile: Any, _: list[Any]) -> list[Any]:
            first_of_tile = builder.mul(tile, channels)
            first_pixel = builder.mul(builder.mul(tile, I64(OUTPUTS)), pixel_step)

            def body(index: Any, _: list[Any]) -> list[Any]:
                channel = builder.mul(index, I64(lanes))
                first = builder.add(first_of_tile, channel)
                rows = []
                for f in range(axis_y.products):
                    loaded = []
                    for g in range(axis_x.products):
                        number = I64(f * axis_x.products + g)
                        at = builder.add(first, builder.mul(plane, number))
                        loaded.append(load(builder, address(builder, terms, at, I32), vector, 4))
                    rows.append(_to_outputs(builder, loaded, axis_x))
                begin = load(builder, address(builder, start_at, channel, I32), vector, 4)
                columns = [
                    _to_outputs(builder, [row[j] for row in rows], axis_y) for j in range(OUTPUTS)
                ]
                for i in range(OUTPUTS):
                    at = builder.add(first_pixel, builder.mul(row_step, I64(i)))
                    beside = builder.add(first_pixel, builder.mul(other_row_step, I64(i)))
                    finish = Store(
                        builder,
                        moved(out, at, item_size(stored)),
                        pixel_step,
                        rule_pack,
                        cgutils.pack_array(
                            builder,
                            [moved(other_at, beside, other_size(stored)), pixel_step, factors],
                        ),
                        lanes,
                        stored,
                    )
                    for j in range(OUTPUTS):
                        value = builder.ashr(builder.mul(columns[j][i], third), bits)
                        finish(builder.add(value, begin), j, channel)
                return []

            loop(builder, builder.sdiv(channels, I64(lanes)), [], body)
            return []

        loop(builder, tiles, [], tile_body)
        return context.get_dummy_value()

    return signature, codegen
