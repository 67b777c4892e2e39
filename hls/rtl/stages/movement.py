"""Ops that move values, and the codec of lines: concatenation, slices, shuffles."""

from __future__ import annotations

from typing import Any

from fxp.graph import ops
from fxp.graph.ops.line_codec import CodeLayout
from fxp.hls.rtl.blocks import alike, gathered_blocks
from fxp.hls.rtl.selection import selected
from fxp.hls.rtl.stages.registry import Stage, streams
from fxp.hls.rtl.streams import Kept, StreamingError, ValueBus
from fxp.hls.rtl.windows import line_codec


@streams(ops.Concat)
def concat(stage: Stage) -> ValueBus:
    """Put the channels of values side by side."""
    plan, exact = stage.plan, stage.exact
    ready = alike(plan, [stage.image(index) for index in range(len(stage.operands))])
    scale = ready[0].scale
    aligned = [
        plan.aligned(stream, exact.bits, (exact.frac - info.format.frac,), signed=True)
        for stream, info in zip(ready, stage.infos, strict=True)
    ]
    fields = [
        stream.field(pixel * stream.channels + channel)
        for pixel in range(scale**2)
        for stream in aligned
        for channel in range(stream.channels)
    ]
    return plan.gathered(aligned[0], fields, sum(s.channels for s in aligned), scale)


@streams(ops.Slice)
def cut(stage: Stage) -> ValueBus:
    """Leave some channels, rows or columns."""
    op, source = stage.node.op, stage.image()
    assert isinstance(op, ops.Slice)
    if op.axis != "channel":
        return _crop(stage, source, op)
    chosen = range(source.channels)[op.start : op.stop : op.step]
    indices = [
        pixel * source.channels + channel for pixel in range(source.scale**2) for channel in chosen
    ]
    return stage.plan.picked(source, indices, len(chosen), source.scale)


def _crop(stage: Stage, source: ValueBus, op: ops.Slice) -> ValueBus:
    size = stage.infos[0].shape[1 if op.axis == "row" else 2]
    start, tail = op.start, -(op.stop or 0)
    if isinstance(size, int):
        chosen = range(size)[op.start : op.stop : op.step]
        start, tail = chosen[0], size - 1 - chosen[-1]
    scale = source.scale
    if scale > 1 and (start % scale or tail % scale or op.step > 1):
        raise StreamingError(
            f"behind an enlargement by {scale}, {op.axis}s can only be cut off in multiples of "
            f"{scale}: cut them off before the enlargement"
        )
    kept = Kept(start // scale, op.step, tail // scale)
    rows, columns = (kept, Kept()) if op.axis == "row" else (Kept(), kept)
    if scale > 1:
        return selected(stage.plan, source, rows, columns)
    return stage.selected(source, rows, columns)


@streams(ops.GatherChannels)
def gather_channels(stage: Stage) -> ValueBus:
    """Choose channels; a channel of zeros is a constant."""
    op, source = stage.node.op, stage.image()
    assert isinstance(op, ops.GatherChannels)
    fields = [
        f"{source.width}'h0" if channel < 0 else source.field(pixel * source.channels + channel)
        for pixel in range(source.scale**2)
        for channel in op.channels
    ]
    if -1 in op.channels:
        return stage.plan.gathered(source, fields, len(op.channels), source.scale)
    indices = [
        pixel * source.channels + channel
        for pixel in range(source.scale**2)
        for channel in op.channels
    ]
    return stage.plan.picked(source, indices, len(op.channels), source.scale)


@streams(ops.PixelShuffle)
def shuffle(stage: Stage) -> ValueBus:
    """Make blocks of channels."""
    source, factor = stage.image(), _factor(stage.node.op)
    channels = source.channels // factor**2
    indices = [
        pixel * source.channels + channel * factor**2 + part
        for pixel, part in _enlarged(source.scale, factor)
        for channel in range(channels)
    ]
    return stage.plan.picked(source, indices, channels, source.scale * factor)


@streams(ops.PixelUnshuffle)
def unshuffle(stage: Stage) -> ValueBus:
    """Make channels of blocks, which lines are kept for."""
    plan, source, factor = stage.plan, stage.image(), _factor(stage.node.op)
    if source.scale % factor and source.scale > 1:
        raise StreamingError(
            f"blocks of {factor} pixels do not divide those of the enlargement before, of "
            f"{source.scale}: use the same factor"
        )
    whole = source
    if source.scale == 1:
        kept = Kept(0, factor, factor - 1)
        whole = stage.selected(gathered_blocks(plan, source, factor), kept, kept)
    side = whole.scale // factor
    indices = [
        ((row * factor + part // factor) * whole.scale + column * factor + part % factor)
        * whole.channels + channel
        for row in range(side)
        for column in range(side)
        for channel in range(whole.channels)
        for part in range(factor**2)
    ]  # fmt: skip
    return plan.picked(whole, indices, whole.channels * factor**2, side)


@streams(ops.Nearest)
def nearest(stage: Stage) -> ValueBus:
    """Make a block of each pixel."""
    source, factor = stage.image(), _factor(stage.node.op)
    indices = [
        pixel * source.channels + channel
        for pixel, _ in _enlarged(source.scale, factor)
        for channel in range(source.channels)
    ]
    return stage.plan.picked(source, indices, source.channels, source.scale * factor)


def _factor(op: Any) -> int:
    return op.factor


def _enlarged(scale: int, factor: int) -> list[tuple[int, int]]:
    """Pixel of the block, and part of that pixel, for every pixel of the enlarged block."""
    side = scale * factor
    return [
        (
            (row // factor) * scale + column // factor,
            (row % factor) * factor + column % factor,
        )
        for row in range(side)
        for column in range(side)
    ]


@streams(ops.LineCodec)
def codec(stage: Stage) -> ValueBus:
    """Decode pixels again; the codes go to the windows behind."""
    layout = CodeLayout.of(stage.infos[0].format)
    return line_codec(stage.plan, stage.one_pixel("line codec"), layout)
