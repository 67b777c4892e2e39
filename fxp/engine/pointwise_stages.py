"""Everything but convolutions as command stages, where values are int16 and sums int32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN, Chain
from fxp.engine.stages import CommandStage, Region, variable_inputs
from fxp.formats import overflow_mask, requantize, saturation_limits
from fxp.graph import Graph
from fxp.kernels.borders import BORDER_CODES
from fxp.kernels.commands import copy_rows
from fxp.kernels.host import Tiles
from fxp.kernels.moves import copy_kernel, nearest_kernel, shuffle_kernel, unshuffle_kernel
from fxp.kernels.pointwise import (
    clip_kernel,
    combine_kernel,
    look_up_kernel,
    prelu_kernel,
    tile_elements,
)
from fxp.kernels.resampling import pool_kernel, upsample_kernel, upsample_scratch
from fxp.ops import (
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Slice,
    SoftThreshold,
    Subtract,
    Table,
)
from fxp.ops.pooling import reciprocal

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
ITEM: Final = 2
MAX_POOL_COLUMNS: Final = 16
"""Columns of a pooling window; the loop over them is unrolled."""


class PointwiseStage(CommandStage):
    """One kernel and its block.

    Parameters
    ----------
    graph, chain
        What is computed.
    kernel
        Name of the kernel, for people.
    make
        Returns the kernel that counts overflows or not.
    block
        The kernel's parameters.
    keep
        Arrays whose addresses are in the block.
    """

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        kernel: str,
        make: Callable[[bool], Any],
        block: Sequence[int],
        keep: Sequence[NDArray] = (),
    ) -> None:
        super().__init__(graph, chain, kernel)
        self._make, self._keep = make, tuple(keep)
        self._block = np.array(block, np.int64)

    def commands(self, region: Region) -> list[list[int]]:
        """One command."""
        return [region.command(self._make(region.counted), self._block)]


class _PixelStage(PointwiseStage):
    """Combination whose second operand is a value of one pixel, repeated in scratch memory."""

    image = 0
    """Position of the first operand among the inputs."""
    tile = 0

    def commands(self, region: Region) -> list[list[int]]:
        """One command, the operands in the kernel's order."""
        inputs = (region.inputs[self.image], region.inputs[1 - self.image])
        return super().commands(replace(region, inputs=inputs))

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the tile."""
        return ITEM * self.tile


class _PartsStage(CommandStage):
    """One command per input, each with channels of its own: concat, slice, zero padding."""

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        rule: Sequence[int] | None,
        factors: Sequence[int],
        channels: Sequence[int],
        steps: tuple[int, int, int] = (1, 1, 1),
        first_channel: int = 0,
    ) -> None:
        """Parts of `channels` channels each; `steps` are those of rows, columns and channels."""
        super().__init__(graph, chain, "clip" if rule else "copy")
        self._parts = []
        self._row_step, column_step, channel_step = steps
        self._first_channel = first_channel
        total = sum(channels)
        sources = [self.operands[position].channels for position in range(len(channels))]
        done = 0
        for factor, count, source in zip(factors, channels, sources, strict=True):
            pixels = [total, column_step * source]
            # Whole rows where nothing lies between what is copied.
            row_bytes = ITEM * count if count == total == pixels[1] else 0
            if rule is None and channel_step == 1:
                make: Callable[[bool], Any] = partial(_uncounted, partial(copy_kernel, count))
                block = pixels
            else:
                make = clip_kernel
                block = [*(rule or IDENTITY), INT16_MIN, INT16_MAX, factor, count, *pixels,
                         channel_step]  # fmt: skip
                row_bytes = 0
            self._parts.append((make, np.array(block, np.int64), ITEM * done, row_bytes))
            done += count

    def commands(self, region: Region) -> list[list[int]]:
        """Copy or clip every input."""
        commands = []
        for place, (make, block, offset, row_bytes) in zip(region.inputs, self._parts, strict=True):
            source = replace(
                place,
                offset=place.offset + ITEM * self._first_channel,
                pitch=place.pitch * self._row_step,
            )
            result = replace(region.result, offset=region.result.offset + offset)
            part = replace(region, result=result, inputs=(source,))
            if row_bytes:
                part = replace(part, columns=part.columns * row_bytes)
                commands.append(part.command(copy_rows, None))
            else:
                commands.append(part.command(make(region.counted), block))
        return commands


class _UpsampleStage(PointwiseStage):
    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for a row of sums and both phases of a row of results."""
        op = self.chain.head.op
        assert isinstance(op, BilinearUpsample | BicubicUpsample)
        return upsample_scratch(columns, self.operands[0].channels, len(op.taps()[1]) // 2)


class _PoolStage(PointwiseStage):
    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for a row of sums of all windows' columns."""
        op = self.chain.head.op
        assert isinstance(op, MaxPool | AveragePool)
        window_columns = (columns - 1) * op.stride[1] + op.window[1]
        return 4 * window_columns * self.operands[0].channels


IDENTITY: Final = (0, 0, INT16_MIN, INT16_MAX, INT32_MIN, INT32_MAX)
"""Rule that changes nothing."""


def _uncounted(make: Callable[[], Any], counted: bool) -> Any:
    return make()


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


def _rule(chain: Chain) -> list[int] | None:
    """Return the rule of a chain, if int32 sums suffice and all channels have the same."""
    finish = chain.finish
    if changes_nothing(chain):
        return list(IDENTITY)
    if finish is None or finish.wide or finish.adds_other or chain.factor != 1:
        return None
    if (finish.shift != finish.shift[0]).any() or (finish.start != finish.start[0]).any():
        return None
    return [
        int(finish.start[0]),
        int(finish.shift[0]),
        finish.low,
        finish.high,
        finish.count_low,
        finish.count_high,
    ]


def _wrapped(value: int) -> int:
    """Keep the low 32 bits: a factor wraps as its products do."""
    return (value + 2**31) % 2**32 - 2**31


def _combine(graph: Graph, chain: Chain) -> CommandStage | None:
    operands, op, rule = graph.operands[chain.head.name], chain.head.op, _rule(chain)
    assert isinstance(op, Add | Subtract | Multiply)
    if rule is None:
        return None
    shape = op.shape(*(operand.shape for operand in operands))
    common = max(operand.format.frac for operand in operands)
    signs = (1, op.right_sign)
    factors = [
        _wrapped(sign << (common - operand.format.frac))
        for sign, operand in zip(signs, operands, strict=True)
    ]
    # The first operand of the kernel is an image.
    image = int(operands[0].constant is not None or operands[0].shape != shape)
    first, second = operands[image], operands[1 - image]
    if first.constant is not None or first.shape != shape:
        return None
    channels = first.channels
    block = [*rule, factors[image], factors[1 - image], channels]
    make = partial(combine_kernel, op.multiplies)
    if second.constant is None and second.shape == shape:
        return PointwiseStage(graph, chain, "combine", make, [*block, 0, 0, 0])
    if any(size != 1 for size in second.shape[1:]):
        return None
    tile = tile_elements(channels)
    if second.constant is None:
        stage = _PixelStage(
            graph, chain, "combine, pixel", make, [*block, tile, 0, second.channels]
        )
        stage.image, stage.tile = image, tile
        return stage
    low, high = second.limits
    if low < INT16_MIN or high > INT16_MAX:
        return None
    repeated = np.resize(second.constant.astype(np.int16).reshape(-1), tile)
    return PointwiseStage(
        graph,
        chain,
        "combine, constant",
        make,
        [*block, tile, repeated.ctypes.data, 0],
        [repeated],
    )


def _clip(graph: Graph, chain: Chain) -> CommandStage | None:
    source, op, rule = graph.operands[chain.head.name][0], chain.head.op, _rule(chain)
    if rule is None:
        return _look_up(graph, chain)
    limits = op.limits(source) if isinstance(op, Relu | Clamp) else (INT16_MIN, INT16_MAX)
    channels = source.channels
    block = [*rule, *limits, 1, channels, channels, channels, 1]
    return PointwiseStage(graph, chain, "clip", clip_kernel, block)


def _prelu(graph: Graph, chain: Chain) -> CommandStage | None:
    source, slope = graph.operands[chain.head.name]
    rule = _rule(chain)
    assert slope.constant is not None
    if rule is None:
        return _look_up(graph, chain)
    tile = tile_elements(source.channels)
    slopes = np.resize(slope.constant.astype(np.int32), tile)
    block = [
        *rule,
        _wrapped(1 << slope.format.frac),
        source.channels,
        tile,
        slopes.ctypes.data,
    ]
    return PointwiseStage(graph, chain, "prelu", prelu_kernel, block, [slopes])


def _look_up(graph: Graph, chain: Chain) -> CommandStage | None:
    """Any function of one value that is the same for all channels, finished beforehand."""
    node, (source, *constants) = chain.head, graph.operands[chain.head.name]
    assert node.accumulator is not None
    assert node.quantization is not None
    data = [operand.constant for operand in constants if operand.constant is not None]
    if len(chain.nodes) > 1 or not (
        isinstance(node.op, Table) or all(constant.size == 1 for constant in data)
    ):
        return None
    codes = np.arange(source.format.min_raw, source.format.max_raw + 1)[None]
    exact = node.op.oracle((source, *constants), codes, *data)[0]
    target = node.quantization
    step = (exact, node.accumulator.fracs[0], target.format, target.rounding, target.overflow)
    table = requantize(*step).astype(np.int16)
    outside = overflow_mask(*step)
    block = [source.format.min_raw, table.size, table.ctypes.data, outside.ctypes.data,
             source.channels]  # fmt: skip
    make = look_up_kernel if outside.any() else partial(_uncounted, partial(look_up_kernel, False))
    return PointwiseStage(graph, chain, "table", make, block, [table, outside])


def _concat(graph: Graph, chain: Chain) -> CommandStage | None:
    operands, rule = graph.operands[chain.head.name], _rule(chain)
    if rule is None:
        return None
    common = max(operand.format.frac for operand in operands)
    factors = [_wrapped(1 << (common - operand.format.frac)) for operand in operands]
    channels = [operand.channels for operand in operands]
    exact = changes_nothing(chain) and set(factors) == {1}
    return _PartsStage(graph, chain, None if exact else rule, factors, channels)


def _slice(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op, rule = graph.operands[chain.head.name], chain.head.op, _rule(chain)
    assert isinstance(op, Slice)
    if rule is None:
        return None
    if changes_nothing(chain):
        rule = None
    if op.axis != "channel":
        steps = (op.step, 1, 1) if op.axis == "row" else (1, op.step, 1)
        return _PartsStage(graph, chain, rule, [1], [source.channels], steps)
    first, last, step = slice(op.start, op.stop, op.step).indices(source.channels)
    count = len(range(first, last, step))
    return _PartsStage(graph, chain, rule, [1], [count], (1, 1, step), first)


def _pad(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op, rule = graph.operands[chain.head.name], chain.head.op, _rule(chain)
    assert isinstance(op, Pad)
    # The executor has put the zeros around the operand.
    if rule is None or op.mode != "zero":
        return None
    exact = changes_nothing(chain)
    return _PartsStage(graph, chain, None if exact else rule, [1], [source.channels])


def _move(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op = graph.operands[chain.head.name], chain.head.op
    if not changes_nothing(chain):
        return None
    make: partial
    if isinstance(op, Nearest):
        make = partial(nearest_kernel, op.factor, source.channels)
    elif isinstance(op, PixelShuffle):
        make = partial(shuffle_kernel, op.factor, source.channels // op.factor**2)
    else:
        assert isinstance(op, PixelUnshuffle)
        make = partial(unshuffle_kernel, op.factor, source.channels)
    return PointwiseStage(graph, chain, "move", partial(_uncounted, make), [0])


def _pool(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op, rule = graph.operands[chain.head.name], chain.head.op, _rule(chain)
    assert isinstance(op, MaxPool | AveragePool)
    if rule is None or op.window[1] > MAX_POOL_COLUMNS:
        return None
    factor = 1
    if isinstance(op, AveragePool):
        if any(op.padding) and not op.count_padding:
            return None
        assert chain.head.accumulator is not None
        frac = chain.head.accumulator.frac - source.format.frac
        factor = _wrapped(int(reciprocal(op.window[0] * op.window[1], frac)))
    block = [*rule, factor, source.channels, op.window[0], *op.stride, op.padding[0],
             op.padding[2]]  # fmt: skip
    make = partial(pool_kernel, isinstance(op, MaxPool), op.window[1])
    return _PoolStage(graph, chain, "pool", make, block)


def _upsample(graph: Graph, chain: Chain) -> CommandStage | None:
    (source,), op, rule = graph.operands[chain.head.name], chain.head.op, _rule(chain)
    assert isinstance(op, BilinearUpsample | BicubicUpsample)
    if rule is None:
        return None
    _, taps = op.taps()
    border = BORDER_CODES[op.border_mode()]
    make = partial(upsample_kernel, len(taps) // 2, source.channels, border)
    block = [*rule, *taps, *[0] * (4 - len(taps))]
    return _UpsampleStage(graph, chain, "upsample", make, block)


_MAKERS: Final[tuple[tuple[Any, Callable[[Graph, Chain], CommandStage | None]], ...]] = (
    (Add | Subtract | Multiply, _combine),
    (Relu | Clamp | Requantize, _clip),
    (Prelu, _prelu),
    (Table | SoftThreshold, _look_up),
    (Concat, _concat),
    (Slice, _slice),
    (Pad, _pad),
    (Nearest | PixelShuffle | PixelUnshuffle, _move),
    (MaxPool | AveragePool, _pool),
    (BilinearUpsample | BicubicUpsample, _upsample),
)


def pointwise_stage(graph: Graph, chain: Chain, tiles: Tiles) -> CommandStage | None:
    """Return the fast stage of a chain that does not begin with a convolution, if there is one."""
    values = [graph.values[name].format for name in variable_inputs(graph, chain.head)]
    result = chain.last.quantization
    assert result is not None
    if not values or any(
        form is None or form.dtype != np.int16 for form in (*values, result.format)
    ):
        return None
    for ops, make in _MAKERS:
        if isinstance(chain.head.op, ops):
            return make(graph, chain)
    return None
