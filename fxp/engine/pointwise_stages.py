"""Element-wise ops as command stages, where values are int16 or int32 and sums int32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN, Chain
from fxp.engine.stages import CommandStage, Place, Region, variable_inputs
from fxp.formats import overflow_mask, requantize, saturation_limits
from fxp.graph import Graph
from fxp.graph.ops import (
    Add,
    Clamp,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    SoftThreshold,
    Subtract,
    Table,
)
from fxp.graph.ops.base import Op, Operand
from fxp.graph.ops.tables import MAX_TABLE_BITS
from fxp.kernels.commands import INTEGERS
from fxp.kernels.host import Tiles
from fxp.kernels.movement import spread
from fxp.kernels.pointwise import (
    Sizes,
    clip_kernel,
    combine_kernel,
    look_up_kernel,
    prelu_kernel,
    soft_threshold_kernel,
    tile_elements,
)
from fxp.kernels.records import CLIP, COMBINE, LOOK_UP, PRELU, SOFT_THRESHOLD, filled
from fxp.kernels.routines import Part, Recorder

INT16_MAX = 2**15 - 1
ITEM: Final = 2
"""Bytes of a value."""
IDENTITY: Final = {
    "start": 0,
    "shift": 0,
    "low": INT32_MIN,
    "high": INT32_MAX,
    "count_low": INT32_MIN,
    "count_high": INT32_MAX,
}
"""Rule (`fxp.kernels.records.RULE_FIELDS`) that changes nothing."""


class Call:
    """A kernel, counting overflows or not, and its record.

    Parameters
    ----------
    name
        Name of the kernel, for people.
    make
        Returns the kernel that counts overflows or not.
    record
        The kernel's parameters; None for a kernel that has none.
    keep
        Arrays whose addresses are in the record.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[bool], Any],
        record: NDArray[np.void] | None,
        keep: Sequence[NDArray] = (),
    ) -> None:
        self.name, self._make, self._keep = name, make, tuple(keep)
        self._record = record

    def command(self, region: Region) -> list[int]:
        """Return the command for a region."""
        return region.command(self._make(region.counted), self._record)


def never_counted(make: Callable[[], Any]) -> Callable[[bool], Any]:
    """Return what `Call` takes for a kernel without overflows."""
    return lambda counted: make()


class CallStage(CommandStage):
    """One call of one kernel.

    Parameters
    ----------
    graph, chain
        What is computed.
    call
        The kernel with its parameters.
    scratch_bytes
        Memory that it needs by rows and columns.
    swaps
        Whether the kernel takes its two inputs the other way round.
    """

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        call: Call,
        scratch_bytes: Callable[[int, int], int] | None = None,
        *,
        swaps: bool = False,
    ) -> None:
        super().__init__(graph, chain, call.name)
        self._call, self._scratch_bytes, self._swaps = call, scratch_bytes, swaps
        if is_wide(chain):
            self.accumulator_dtype = np.dtype(np.int64)

    def commands(self, region: Region) -> list[list[int]]:
        """One command."""
        if self._swaps:
            region = replace(region, inputs=region.inputs[::-1])
        return [self._call.command(region)]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory that the command needs to itself."""
        return self._scratch_bytes(rows, columns) if self._scratch_bytes else 0


class SpreadStage(CallStage):
    """One call of a kernel of two images, which are repeated along axes of size 1 beforehand.

    Parameters
    ----------
    graph, chain, call, swaps
        As for `CallStage`.
    channels
        Channels of the result.
    """

    def __init__(
        self, graph: Graph, chain: Chain, call: Call, channels: int, *, swaps: bool
    ) -> None:
        super().__init__(graph, chain, call, swaps=swaps)
        self.kernel = f"{call.name}, repeated"
        self._channels = channels
        shape = graph.values[self.result].shape
        self._spread = [operand.shape != shape for operand in self.operands]

    def commands(self, region: Region) -> list[list[int]]:
        """Repeat, then combine."""
        commands, places = [], list(region.inputs)
        base, offset = region.scratch
        for index, operand in enumerate(self.operands):
            if not self._spread[index]:
                continue
            dtype = operand.format.dtype
            pitch = dtype.itemsize * self._channels * region.columns
            recorder = Recorder((region.rows, region.columns, self._channels), dtype)
            spans = region.spans[index]
            rows, columns = (last - first for first, last in spans)
            shape = (rows, columns, operand.channels)
            spread(recorder, Part(index, shape, dtype, dtype.itemsize * operand.channels))
            places[index] = Place(base, offset, pitch)
            offset += pitch * region.rows
            commands += [
                region.routine(call, places[index], region.inputs, dtype.itemsize, self._channels)
                for call in recorder.calls
            ]
        return [*commands, *super().commands(replace(region, inputs=tuple(places)))]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for what is repeated."""
        pixel = sum(
            operand.format.dtype.itemsize
            for operand, repeated in zip(self.operands, self._spread, strict=True)
            if repeated
        )
        return pixel * self._channels * rows * columns


def changes_nothing(chain: Chain) -> bool:
    """Whether the only node's format holds its accumulators as they are."""
    node = chain.head
    assert node.accumulator is not None
    assert node.quantization is not None
    form = node.quantization.format
    low, high = saturation_limits(form, node.quantization.overflow)
    return (
        len(chain.nodes) == 1
        and set(node.accumulator.fracs) == {form.frac}
        and low <= min(node.accumulator.low)
        and max(node.accumulator.high) <= high
    )


def is_wide(chain: Chain) -> bool:
    """Whether the sums of a chain need int64."""
    return chain.finish is not None and chain.finish.wide and not changes_nothing(chain)


def chain_rule(chain: Chain, *, wide: bool = False) -> dict[str, int] | None:
    """Rule of a chain for all channels, if there is one.

    Parameters
    ----------
    chain
        The chain.
    wide
        Whether sums may need int64.
    """
    if changes_nothing(chain):
        return dict(IDENTITY)
    finish = chain.finish
    if finish is None or (finish.wide and not wide):
        return None
    # Only convolutions have sums whose binary points differ from channel to channel.
    assert len({*finish.shift.tolist()}) == 1
    return {
        "start": int(finish.start[0]),
        "shift": int(finish.shift[0]),
        "low": finish.low,
        "high": finish.high,
        "count_low": finish.count_low,
        "count_high": finish.count_high,
    }


def wrapped(value: int, *, wide: bool = False) -> int:
    """Keep the low 32 bits, or 64 of a wide sum: a factor wraps as its products do."""
    half = 2**63 if wide else 2**31
    return (value + half) % (2 * half) - half


def clip_call(
    rule: Mapping[str, int],
    channels: int,
    sizes: Sizes,
    limits: tuple[int, int] | None = None,
    *,
    wide: bool = False,
    factor: int = 1,
) -> Call:
    """Return a call that clips a value to raw integers, and applies a rule.

    Parameters
    ----------
    rule
        How clipped values become results, as `chain_rule` returns it.
    channels
        Channels of the value.
    sizes
        Bytes of an element of the value and of the result.
    limits
        Smallest and largest raw integer; those of the sums' type by default.
    wide
        Whether sums need int64.
    factor
        What clipped values are multiplied by before the rule.
    """
    bounds = np.iinfo(np.int64 if wide else np.int32)
    smallest, largest = limits or (int(bounds.min), int(bounds.max))
    factor = wrapped(factor, wide=wide)
    record = filled(
        CLIP, **rule, smallest=smallest, largest=largest, factor=factor, channels=channels
    )
    return Call("clip", partial(clip_kernel, sizes, wide), record)


def table_call(chain: Chain, op: Op, operands: Sequence[Operand]) -> Call | None:
    """Return a call that reads the finished results of a function of one value from a table.

    None if the channels have functions of their own. All modes of rounding and overflow will do.

    Parameters
    ----------
    chain
        The node whose format the results have.
    op
        The function.
    operands
        The value, and the function's constants.
    """
    node, (source, *constants) = chain.head, operands
    assert node.accumulator is not None
    assert node.quantization is not None
    data = [operand.constant for operand in constants if operand.constant is not None]
    same = isinstance(op, Table) or all(constant.size == 1 for constant in data)
    sizes = (source.format.dtype.itemsize, _result_size(chain))
    fits = max(sizes) <= max(INTEGERS) and source.format.width <= MAX_TABLE_BITS
    if len(chain.nodes) > 1 or not same or not fits:
        return None
    codes = np.arange(source.format.min_raw, source.format.max_raw + 1)[None]
    exact = op.oracle(operands, codes, *data)[0]
    target = node.quantization
    step = (exact, node.accumulator.frac, target.format, target.rounding, target.overflow)
    table, outside = requantize(*step).astype(target.format.dtype), overflow_mask(*step)
    record = filled(
        LOOK_UP,
        smallest=source.format.min_raw,
        entries=table.size,
        table=table.ctypes.data,
        outside=outside.ctypes.data,
        channels=source.channels,
    )
    return Call(
        "table",
        partial(look_up_kernel, sizes)
        if outside.any()
        else never_counted(partial(look_up_kernel, sizes, False)),
        record,
        [table, outside],
    )


def _combine(graph: Graph, chain: Chain) -> CommandStage | None:
    operands, op = graph.operands[chain.head.name], chain.head.op
    rule, wide = chain_rule(chain, wide=True), is_wide(chain)
    assert isinstance(op, Add | Subtract | Multiply)
    shape = op.shape(*(operand.shape for operand in operands))
    # The first operand of the kernel is an image.
    image = int(operands[0].constant is not None or operands[0].shape != shape)
    first, second = operands[image], operands[1 - image]
    if rule is None or first.constant is not None:
        return None
    common = max(operand.format.frac for operand in operands)
    factors = [
        wrapped(sign << (common - operand.format.frac), wide=wide)
        for sign, operand in zip((1, op.right_sign), operands, strict=True)
    ]
    result_size = _result_size(chain)

    def make(second_type: np.dtype) -> Callable[[bool], Any]:
        sizes = (first.format.dtype.itemsize, second_type.itemsize, result_size)
        return partial(combine_kernel, op.multiplies, sizes, wide)

    fill = partial(
        filled,
        COMBINE,
        **rule,
        left_factor=factors[image],
        right_factor=factors[1 - image],
        channels=shape[0],
    )
    if second.constant is None and (
        shape != first.shape or shape == second.shape or any(size != 1 for size in second.shape[1:])
    ):
        record = fill(tile=0, repeated=0, pixel_channels=0)
        call = Call("combine", make(second.format.dtype), record)
        if first.shape == second.shape == shape:
            return CallStage(graph, chain, call, swaps=bool(image))
        channels = max(first.channels, second.channels)
        return SpreadStage(graph, chain, call, channels, swaps=bool(image))
    if first.shape != shape:
        return None
    if any(size != 1 for size in second.shape[1:]):
        return None
    tile, kind = tile_elements(first.channels), second.format.dtype
    if second.constant is None:
        record = fill(tile=tile, repeated=0, pixel_channels=second.channels)
        call = Call("combine, pixel", make(kind), record)
        scratch = tile * kind.itemsize
        return CallStage(graph, chain, call, lambda rows, columns: scratch, swaps=bool(image))
    if kind.itemsize not in INTEGERS:
        return None
    repeated = np.resize(second.constant.astype(kind).reshape(-1), tile)
    record = fill(tile=tile, repeated=repeated.ctypes.data, pixel_channels=0)
    return CallStage(graph, chain, Call("combine, constant", make(kind), record, [repeated]))


def _result_size(chain: Chain) -> int:
    assert chain.last.quantization is not None
    return chain.last.quantization.format.dtype.itemsize


def _clip(graph: Graph, chain: Chain) -> CommandStage | None:
    source, op = graph.operands[chain.head.name][0], chain.head.op
    rule = chain_rule(chain, wide=True)
    if rule is None:
        return _look_up(graph, chain)
    limits = op.limits(source) if isinstance(op, Relu | Clamp) else source.limits
    sizes = (source.format.dtype.itemsize, _result_size(chain))
    return CallStage(
        graph, chain, clip_call(rule, source.channels, sizes, limits, wide=is_wide(chain))
    )


def _prelu(graph: Graph, chain: Chain) -> CommandStage | None:
    source, slope = graph.operands[chain.head.name]
    rule, wide = chain_rule(chain, wide=True), is_wide(chain)
    assert slope.constant is not None
    if rule is None or slope.format.dtype.itemsize not in INTEGERS:
        return _look_up(graph, chain)
    tile = tile_elements(source.channels)
    slopes = np.resize(slope.constant.astype(np.int32), tile)
    one = wrapped(1 << slope.format.frac, wide=wide)
    record = filled(
        PRELU,
        **rule,
        one=one,
        channels=source.channels,
        tile=tile,
        slopes=slopes.ctypes.data,
    )
    make = partial(prelu_kernel, (source.format.dtype.itemsize, _result_size(chain)), wide)
    return CallStage(graph, chain, Call("prelu", make, record, [slopes]))


def _soft_threshold(graph: Graph, chain: Chain) -> CommandStage | None:
    operands, op = graph.operands[chain.head.name], chain.head.op
    assert isinstance(op, SoftThreshold)
    rule = chain_rule(chain, wide=True)
    if (table := _look_up(graph, chain)) is not None or rule is None:
        return table
    frac, limits, thresholds = op.aligned(operands)
    # Differences of values and thresholds, of which none is larger than a value, are one bit wider.
    wide = is_wide(chain) or max(-limits[0], limits[1]) > INT32_MAX // 2
    source = operands[0]
    tile = tile_elements(source.channels)
    repeated = np.resize(thresholds, tile)
    record = filled(
        SOFT_THRESHOLD,
        **rule,
        factor=1 << (frac - source.format.frac),
        channels=source.channels,
        tile=tile,
        thresholds=repeated.ctypes.data,
    )
    sizes = (source.format.dtype.itemsize, _result_size(chain))
    make = partial(soft_threshold_kernel, sizes, wide)
    return CallStage(graph, chain, Call("soft threshold", make, record, [repeated]))


def _look_up(graph: Graph, chain: Chain) -> CommandStage | None:
    call = table_call(chain, chain.head.op, graph.operands[chain.head.name])
    return CallStage(graph, chain, call) if call else None


_MAKERS: Final[tuple[tuple[Any, Callable[[Graph, Chain], CommandStage | None]], ...]] = (
    (Add | Subtract | Multiply, _combine),
    (Relu | Clamp | Requantize, _clip),
    (Prelu, _prelu),
    (SoftThreshold, _soft_threshold),
    (Table, _look_up),
)


def value_sizes(graph: Graph, chain: Chain) -> Sizes:
    """Bytes of an element of the values that a chain's head reads, and of the chain's result."""
    names = (*variable_inputs(graph, chain.head), chain.last.name)
    formats = [graph.values[name].format for name in names]
    return tuple(form.dtype.itemsize for form in formats if form)


def pointwise_stage(graph: Graph, chain: Chain, tiles: Tiles) -> CommandStage | None:
    """Return the fast stage of a chain that begins with an element-wise op, if there is one.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute.
    tiles
        Register tiles of the processor.
    """
    for ops, make in _MAKERS:
        if isinstance(chain.head.op, ops):
            sizes = value_sizes(graph, chain)
            return make(graph, chain) if len(sizes) > 1 and max(sizes) <= max(INTEGERS) else None
    return None
