"""What the register tiles of convolutions do with their sums: store them, or finish them first.

`fxp.kernels.finish` defines how sums become results; here it is written over vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

from fxp.kernels.compiler import I8, I16, I32, I64, address, load, splat, store

SUMS, RESULTS = 0, 1
"""What a tile stores: int32 sums, or finished results."""
PLUS_OTHER, COUNTED, INT32_OTHER, INT32_RESULTS, SCALED, WIDE = 2, 4, 8, 16, 32, 64
BYTE_OTHER, BYTE_RESULTS = 128, 256
"""Added to RESULTS: another value is added before the shift; results that overflow are counted; the
other value, or the results, are int32 and not int16; sums are multiplied before the addition; sums
are finished in int64, and so are start, factors and shifts; the other value, or the results, are
unsigned bytes."""


def item_size(stored: int) -> int:
    """Bytes of an element that a tile stores."""
    if stored & BYTE_RESULTS:
        return 1
    return 4 if stored == SUMS or stored & INT32_RESULTS else 2


def other_size(stored: int) -> int:
    """Bytes of an element that a tile adds."""
    if stored & BYTE_OTHER:
        return 1
    return 4 if stored & INT32_OTHER else 2


def element_type(size: int) -> ir.IntType:
    """Type of elements of so many bytes."""
    return {1: I8, 2: I16, 4: I32}[size]


def sum_size(stored: int) -> int:
    """Bytes of a start, a factor or a shift."""
    return 8 if stored & WIDE else 4


def sum_type(stored: int) -> ir.IntType:
    """Type in which sums are finished."""
    return I64 if stored & WIDE else I32


def pack_instruction(lanes: int) -> str | None:
    """Name the x86 instruction that narrows two vectors of so many int32 to int16 that saturates.

    It takes 128-bit parts of the two vectors in turn.
    """
    features = llvm.get_host_cpu_features()
    if lanes == 16 and features.get("avx512bw"):
        return "llvm.x86.avx512.packssdw.512"
    if lanes == 8 and features.get("avx2"):
        return "llvm.x86.avx2.packssdw"
    if lanes == 4 and features.get("sse2"):
        return "llvm.x86.sse2.packssdw.128"
    return None


def packed(builder: ir.IRBuilder, halves: Sequence[Any]) -> Any:
    """Call the instruction that `pack_instruction` names, which exists for these vectors."""
    name = pack_instruction(halves[0].type.count)
    narrow = ir.VectorType(I16, 2 * halves[0].type.count)
    kind = ir.FunctionType(narrow, [half.type for half in halves])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), halves)


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
        start: Any = None,
    ) -> None:
        self.factor, self.start = factor, start
        self.sums = ir.VectorType(sum_type(stored), lanes)
        self.builder, self.lanes, self.stored = builder, lanes, stored
        self.output, self.output_step = output, output_step
        self.shift, self.own, *bounds, self.skipped_pixels, first = cgutils.unpack_tuple(
            builder, rule
        )
        self.limits = bounds[:2]
        self.other, self.other_step, self.factors = cgutils.unpack_tuple(builder, other)
        self.low, self.high, self.count_low, self.count_high = (
            splat(builder, self._narrowed(scalar), lanes) for scalar in bounds
        )
        self.overflows: Any = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        self.first_counted = first

    def _narrowed(self, scalar: Any) -> Any:
        """Turn an int64 into the type of sums."""
        kind = self.sums.element
        return scalar if kind is I64 else self.builder.trunc(scalar, kind)

    def __call__(self, total: Any, pixel: Any, channel: Any) -> None:
        """Store the sums of some channels of a pixel; both numbers are integers or IR values."""
        builder = self.builder
        pixel, channel = (I64(n) if isinstance(n, int) else n for n in (pixel, channel))
        if self.stored == SUMS:
            at = builder.add(builder.mul(self.output_step, pixel), channel)
            pointer = address(builder, self.output, at, I32)
            store(builder, total, pointer, 4)
            return
        value = self._shifted(total, pixel, channel)
        for bound, order in ((self.low, "<"), (self.high, ">")):
            value = builder.select(builder.icmp_signed(order, value, bound), bound, value)
        item = item_size(self.stored)
        kind = element_type(item)
        narrow = ir.VectorType(kind, self.lanes)
        result = value if value.type == narrow else builder.trunc(value, narrow)
        for at, lanes in self._places(self.output_step, pixel, channel):
            part = self._lanes(result, lanes)
            pointer = address(builder, self.output, at, kind)
            store(builder, part, pointer, item)

    def neighbours(self, totals: Sequence[Any], pixel: int, channel: int) -> None:
        """Store the sums of some channels of a pixel, and of as many channels behind them.

        Parameters
        ----------
        totals
            Two vectors.
        pixel, channel
            The pixel, and the first channel.
        """
        builder, lanes = self.builder, self.lanes
        if (
            self.factor > 1
            or self.stored == SUMS
            or self.stored & (WIDE | COUNTED | INT32_RESULTS)
            or pack_instruction(lanes) is None
        ):
            for number, total in enumerate(totals):
                self(total, pixel, channel + number * lanes)
            return
        # One narrowing, clamp and store for both.
        row = I64(pixel)
        values = [
            self._shifted(total, row, I64(channel + number * lanes))
            for number, total in enumerate(totals)
        ]
        # Back from parts of the two in turn.
        order = [
            part * 8 + number * 4 + lane
            for number in (0, 1)
            for part in range(lanes // 4)
            for lane in range(4)
        ]
        both = packed(builder, values)
        mask = ir.Constant(ir.VectorType(I32, 2 * lanes), order)
        both = builder.shuffle_vector(both, both, mask)
        for scalar, sign in ((self.limits[0], "<"), (self.limits[1], ">")):
            bound = splat(builder, builder.trunc(scalar, I16), 2 * lanes)
            both = builder.select(builder.icmp_signed(sign, both, bound), bound, both)
        at = builder.add(builder.mul(self.output_step, row), I64(channel))
        item = item_size(self.stored)
        if item == 1:
            both = builder.trunc(both, ir.VectorType(I8, 2 * lanes))
        store(builder, both, address(builder, self.output, at, element_type(item)), item)

    def _shifted(self, total: Any, pixel: Any, channel: Any) -> Any:
        """Bring sums to the binary point of the result, and count those that overflow."""
        builder = self.builder
        if self.stored & WIDE and total.type != self.sums:
            total = builder.sext(total, self.sums)
        if self.start is not None:
            total = builder.add(total, self._of_channels(self.start, channel))
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
            first = builder.trunc(builder.sub(self.first_counted, channel), I32)
            indices = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
            after = builder.icmp_signed(">=", indices, splat(builder, first, self.lanes))
            kept = builder.and_(kept, after)
            self.overflows = builder.add(
                self.overflows, builder.zext(kept, ir.VectorType(I32, self.lanes))
            )
        return value

    def _of_channels(self, base: Any, channel: Any) -> Any:
        """Load the element of every channel from an array of all channels."""
        kind = self.sums.element
        pointer = address(self.builder, base, channel, kind)
        return load(self.builder, pointer, self.sums, kind.width // 8)

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
        """Load values that lie as the results do as sums; lanes that do not exist are zero."""
        values = self._load(base, step, pixel, channel)
        if values.type == self.sums:
            return values
        widen = self.builder.zext if self.stored & BYTE_OTHER else self.builder.sext
        return widen(values, self.sums)

    def _load(self, base: Any, step: Any, pixel: Any, channel: Any) -> Any:
        builder, total = self.builder, None
        item = other_size(self.stored)
        kind = element_type(item)
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
