"""Ops that move or combine neighbouring values as command stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.pointwise_stages import (
    ITEM,
    Call,
    CallStage,
    chain_rule,
    changes_nothing,
    clip_call,
    is_wide,
    never_counted,
    table_call,
    value_sizes,
    wrapped,
)
from fxp.engine.stages import CommandStage, Place, Region
from fxp.graph import Graph
from fxp.graph.ops import (
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Concat,
    GatherChannels,
    MaxPool,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Requantize,
    Slice,
)
from fxp.graph.ops.base import Op, Operand
from fxp.graph.ops.pooling import reciprocal
from fxp.kernels.borders import BORDER_CODES, pad_kernel
from fxp.kernels.commands import copy_rows
from fxp.kernels.host import Tiles
from fxp.kernels.moves import (
    copy_kernel,
    interleave_kernel,
    nearest_kernel,
    shuffle_kernel,
    unshuffle_kernel,
)
from fxp.kernels.records import COPY, INTERLEAVE, PAD, POOL, UPSAMPLE, filled
from fxp.kernels.resampling import pool_kernel, pool_scratch, upsample_kernel, upsample_scratch


class _MoveStage(CommandStage):
    """Values moved by commands of their own; if they change, they are moved to scratch memory.

    The operands have elements of one size; the result has another one where they change.

    Parameters
    ----------
    graph, chain
        What is computed.
    finish
        Makes results of moved values; None if they stay as they are.
    """

    def __init__(self, graph: Graph, chain: Chain, finish: Call | None) -> None:
        super().__init__(graph, chain, f"move, {finish.name}" if finish else "move")
        self._finish = finish
        channels = graph.values[self.result].shape[0]
        assert isinstance(channels, int)
        self._item = self.operands[0].format.dtype.itemsize
        self._pixel = self._item * channels

    @abstractmethod
    def moves(self, region: Region) -> list[list[int]]:
        """Commands that move a region."""

    def commands(self, region: Region) -> list[list[int]]:
        """Move, then finish."""
        if self._finish is None:
            return self.moves(region)
        moved = Place(*region.scratch, self._pixel * region.columns)
        finish = self._finish.command(replace(region, inputs=(moved,)))
        return [*self.moves(replace(region, result=moved)), finish]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the moved values."""
        return 0 if self._finish is None else self._pixel * rows * columns


@dataclass(frozen=True)
class _Part:
    """Channels of an input that go to channels of the result.

    Attributes
    ----------
    position
        Which input.
    source, target
        First channel in the input and in the result.
    count
        How many.
    """

    position: int
    source: int
    target: int
    count: int


class _PartsStage(_MoveStage):
    """One copy per part: slice, zero padding; steps take every n-th row and column."""

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        finish: Call | None,
        parts: Sequence[_Part],
        row_step: int = 1,
        column_step: int = 1,
    ) -> None:
        super().__init__(graph, chain, finish)
        self._row_step = row_step
        self._parts = [
            (part, filled(COPY, result_step=self._pixel, input_step=pixel * column_step))
            for part in parts
            for pixel in [self._item * self.operands[part.position].channels]
        ]

    def moves(self, region: Region) -> list[list[int]]:
        """Copy every part."""
        commands, item = [], self._item
        for part, record in self._parts:
            place = region.inputs[part.position]
            source = Place(
                place.base, place.offset + item * part.source, place.pitch * self._row_step
            )
            result = replace(region.result, offset=region.result.offset + item * part.target)
            copied = replace(region, result=result, inputs=(source,))
            size = item * part.count
            if size == record["result_step"][0] == record["input_step"][0]:
                # Whole rows.
                copied = replace(copied, columns=size * region.columns)
                commands.append(copied.command(copy_rows, None))
            else:
                commands.append(copied.command(copy_kernel(size // ITEM), record))
        return commands


class _RearrangeStage(_MoveStage):
    """One call of a kernel that moves everything."""

    def __init__(self, graph: Graph, chain: Chain, finish: Call | None, move: Call) -> None:
        super().__init__(graph, chain, finish)
        self._move = move

    def moves(self, region: Region) -> list[list[int]]:
        """One command."""
        return [self._move.command(region)]


def _finish(graph: Graph, chain: Chain) -> Call | None:
    """Call that makes results of moved values of a single input."""
    (source,) = graph.operands[chain.head.name]
    shape = chain.head.op.shape(source.shape)
    moved = replace(source, shape=shape)
    rule = chain_rule(chain, wide=True)
    if rule is not None:
        sizes = value_sizes(graph, chain)
        return clip_call(rule, moved.channels, sizes, wide=is_wide(chain))
    return table_call(chain, Requantize(), [moved])


class _ConcatStage(CommandStage):
    """Channels of all inputs side by side; those of an input that change are converted first.

    Parameters
    ----------
    graph, chain
        What is computed.
    conversions
        For every input, the call that makes results of its values; None if they stay as they are.
    """

    def __init__(self, graph: Graph, chain: Chain, conversions: Sequence[Call | None]) -> None:
        changed = [call.name for call in conversions if call]
        super().__init__(graph, chain, f"move, {changed[0]}" if changed else "move")
        self._conversions = conversions
        sizes = [self.dtype.itemsize * operand.channels for operand in self.operands]
        self._pixels = sizes
        self._copies = [filled(COPY, result_step=sum(sizes), input_step=size) for size in sizes]

    def commands(self, region: Region) -> list[list[int]]:
        """Convert an input to scratch memory if it changes, and copy it to its channels."""
        commands, offset = [], region.result.offset
        for source, call, record, pixel in zip(
            region.inputs, self._conversions, self._copies, self._pixels, strict=True
        ):
            if call is not None:
                converted = Place(*region.scratch, pixel * region.columns)
                commands.append(call.command(replace(region, result=converted, inputs=(source,))))
                source = converted
            target = replace(region.result, offset=offset)
            copied = replace(region, result=target, inputs=(source,))
            commands.append(copied.command(copy_kernel(pixel // ITEM), record))
            offset += pixel
        return commands

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for one converted input."""
        changed = zip(self._pixels, self._conversions, strict=True)
        return rows * columns * max((pixel for pixel, call in changed if call), default=0)


def _concat(graph: Graph, chain: Chain) -> CommandStage | None:
    operands, rule = graph.operands[chain.head.name], chain_rule(chain, wide=True)
    if rule is None or any(operand.constant is not None for operand in operands):
        return None
    common = max(operand.format.frac for operand in operands)
    *sizes, result = value_sizes(graph, chain)

    def conversion(operand: Operand, size: int) -> Call | None:
        shift, form = common - operand.format.frac, operand.format
        if (
            size == result
            and shift == rule["shift"]
            and rule["low"] <= form.min_raw
            and form.max_raw <= rule["high"]
        ):
            # Half a step, which is added, is shifted out again.
            return None
        wide = is_wide(chain)
        return clip_call(rule, operand.channels, (size, result), wide=wide, factor=1 << shift)

    conversions = [conversion(*pair) for pair in zip(operands, sizes, strict=True)]
    return _ConcatStage(graph, chain, conversions)


def _stays(graph: Graph, chain: Chain) -> bool:
    """Whether values are moved as they are, with elements of the same size."""
    return changes_nothing(chain) and len(set(value_sizes(graph, chain))) == 1


def _slice(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op = graph.operands[chain.head.name], chain.head.op
    assert isinstance(op, Slice)
    finish = None if (stays := _stays(graph, chain)) else _finish(graph, chain)
    if finish is None and not stays:
        return None
    whole = [_Part(0, 0, 0, source.channels)]
    if op.axis == "row":
        return _PartsStage(graph, chain, finish, whole, row_step=op.step)
    if op.axis == "column":
        return _PartsStage(graph, chain, finish, whole, column_step=op.step)
    chosen = range(*slice(op.start, op.stop, op.step).indices(source.channels))
    if op.step == 1:
        parts = [_Part(0, chosen.start, 0, len(chosen))]
    else:
        parts = [_Part(0, channel, index, 1) for index, channel in enumerate(chosen)]
    return _PartsStage(graph, chain, finish, parts)


def _move(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op = graph.operands[chain.head.name], chain.head.op
    finish = None if (stays := _stays(graph, chain)) else _finish(graph, chain)
    item = value_sizes(graph, chain)[0]
    if (finish is None and not stays) or (item > ITEM and not isinstance(op, Pad | Nearest)):
        return None
    if isinstance(op, Pad) and op.mode == "zero":
        # The executor has put the zeros around the operand.
        return _PartsStage(graph, chain, finish, [_Part(0, 0, 0, source.channels)])
    # A wide value is moved like two narrow ones.
    make, record = _REARRANGEMENTS[type(op)](op, source.channels * item // ITEM)
    return _RearrangeStage(graph, chain, finish, Call(op.name, never_counted(make), record))


def _gather(graph: Graph, chain: Chain) -> CommandStage | None:
    """Two runs of channels in turns; other orders have a routine."""
    (source,), op = graph.operands[chain.head.name], chain.head.op
    assert isinstance(op, GatherChannels)
    runs = [np.array(op.channels[first::2]) for first in range(2)]
    if len(op.channels) % 2 or any((np.diff(run) != 1).any() or run[0] < 0 for run in runs):
        return None
    finish = None if (stays := _stays(graph, chain)) else _finish(graph, chain)
    if finish is None and not stays:
        return None
    record = filled(
        INTERLEAVE,
        even=int(runs[0][0]),
        odd=int(runs[1][0]),
        length=len(runs[0]),
        channels=source.channels,
    )
    move = Call("interleave", never_counted(interleave_kernel), record)
    return _RearrangeStage(graph, chain, finish, move)


_Rearrangement = tuple[Callable[[], Any], NDArray[np.void] | None]
"""Returns the kernel, and the kernel's record or None."""


def _pad(op: Pad, channels: int) -> _Rearrangement:
    record = filled(PAD, rows=op.sides[0], columns=op.sides[2], pixel=ITEM * channels)
    return partial(pad_kernel, BORDER_CODES[op.mode]), record


def _nearest(op: Nearest, channels: int) -> _Rearrangement:
    return partial(nearest_kernel, op.factor, channels), None


def _shuffle(op: PixelShuffle, channels: int) -> _Rearrangement:
    return partial(shuffle_kernel, op.factor, channels // op.factor**2), None


def _unshuffle(op: PixelUnshuffle, channels: int) -> _Rearrangement:
    return partial(unshuffle_kernel, op.factor, channels), None


_REARRANGEMENTS: Final[Mapping[type[Op], Callable[[Any, int], _Rearrangement]]] = {
    Pad: _pad,
    Nearest: _nearest,
    PixelShuffle: _shuffle,
    PixelUnshuffle: _unshuffle,
}
"""The kernel of every op that only moves values, by the op and the channels of its input."""


def _pool(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op, rule = graph.operands[chain.head.name], chain.head.op, chain_rule(chain)
    assert isinstance(op, MaxPool | AveragePool)
    height, width = op.window
    if rule is None:
        return None
    factor = 1
    if isinstance(op, AveragePool):
        if any(op.padding) and not op.count_padding:
            return None
        assert chain.head.accumulator is not None
        frac = chain.head.accumulator.frac - source.format.frac
        factor = wrapped(int(reciprocal(height * width, frac)))
    top, _, left, _ = op.padding
    channels, step = source.channels, op.stride[1]
    make = partial(pool_kernel, isinstance(op, MaxPool), channels)
    record = filled(
        POOL,
        **rule,
        factor=factor,
        window_rows=height,
        window_columns=width,
        row_stride=op.stride[0],
        column_stride=step,
        padding_rows=top,
        padding_columns=left,
    )
    call = Call("pool", make, record)
    return CallStage(
        graph, chain, call, lambda rows, columns: pool_scratch(columns, channels, width, step)
    )


def _upsample(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op, rule = graph.operands[chain.head.name], chain.head.op, chain_rule(chain)
    assert isinstance(op, BilinearUpsample | BicubicUpsample)
    if rule is None:
        return None
    _, taps = op.taps()
    channels, radius = source.channels, len(taps) // 2
    make = partial(upsample_kernel, radius, channels, BORDER_CODES[op.border_mode()])
    named = {f"tap_{index}": int(tap) for index, tap in enumerate([*taps, 0, 0][:4])}
    call = Call("upsample", make, filled(UPSAMPLE, **rule, **named))
    return CallStage(
        graph, chain, call, lambda rows, columns: upsample_scratch(columns, channels, radius)
    )


_MAKERS: Final[tuple[tuple[Any, Callable[[Graph, Chain], CommandStage | None], int], ...]] = (
    (Concat, _concat, 2 * ITEM),
    (GatherChannels, _gather, ITEM),
    (Slice, _slice, 2 * ITEM),
    (Pad | Nearest | PixelShuffle | PixelUnshuffle, _move, 2 * ITEM),
    (MaxPool | AveragePool, _pool, ITEM),
    (BilinearUpsample | BicubicUpsample, _upsample, ITEM),
)
"""Ops, what makes their stages, and the most bytes of an element of their values."""


def movement_stage(graph: Graph, chain: Chain, tiles: Tiles) -> CommandStage | None:
    """Return the fast stage of an op that moves or combines neighbours, if there is one.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute.
    tiles
        Register tiles of the processor.
    """
    for ops, make, most in _MAKERS:
        if isinstance(chain.head.op, ops):
            sizes = value_sizes(graph, chain)
            return make(graph, chain) if max(sizes) <= most else None
    return None
