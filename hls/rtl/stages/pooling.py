"""Pooling windows: the largest value, or the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fxp.graph import ops
from fxp.graph.ops.pooling import SlidingWindow, reciprocal
from fxp.hls.rtl.literals import verilog_bit
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.stages.arithmetic import scaled
from fxp.hls.rtl.stages.convolution import lost_pixels
from fxp.hls.rtl.stages.registry import Stage, streams
from fxp.hls.rtl.streams import Cost, Kept, StreamingError, ValueBus
from fxp.hls.rtl.sums import signed_bits, weighted_sums
from fxp.hls.rtl.windows import window


@streams(ops.MaxPool, ops.DilatedMaxPool)
def largest(stage: Stage) -> ValueBus:
    """Compare in a tree; beyond the borders lies the smallest integer of the format."""
    plan, source = stage.plan, stage.one_pixel("pooling")
    taps = _window(stage, source, 1 << (source.width - 1) if source.signed else 0)
    return _selected(stage, maximum(plan, taps, source))


def maximum(plan: CorePlan, taps: ValueBus, source: ValueBus) -> ValueBus:
    """Return the largest of all taps, channel by channel.

    Parameters
    ----------
    plan
        The plan.
    taps
        Fields tap by tap.
    source
        Has the channels of a tap.
    """
    count, bits = taps.channels // source.channels, source.channels * source.width
    wire = plan.wire("largest", bits)
    plan.instance(
        "fxp_maximum",
        wire,
        {
            "Taps": count,
            "Channels": source.channels,
            "Width": source.width,
            "Signed": verilog_bit(source.signed),
        },
        {"clk_i": "aclk", "taps_i": taps.wire, "data_o": wire},
        Cost(adders=(count - 1) * source.channels, registers=(count - 1) * bits),
    )
    latency = taps.latency + (count - 1).bit_length()
    return replace(taps, wire=wire, channels=source.channels, latency=latency)


@streams(ops.AveragePool, ops.SumPool)
def mean(stage: Stage) -> ValueBus:
    """Add a window up, and multiply by a constant."""
    op, source = stage.node.op, stage.one_pixel("pooling")
    if isinstance(op, ops.SumPool):
        factor = op.factor[0]
    else:
        assert isinstance(op, ops.AveragePool)
        if any(op.padding) and not op.count_padding:
            raise StreamingError(
                "a mean that leaves the padding out has another divisor at the borders, and cannot "
                "stream; count the padding (count_include_pad=True), or do without padding"
            )
        area = op.window[0] * op.window[1]
        factor = int(reciprocal(area, stage.exact.frac - stage.infos[0].format.frac))
    assert isinstance(op, SlidingWindow)
    taps = _window(stage, source, 0)
    count = taps.channels // source.channels
    form = stage.infos[0].format
    bits = signed_bits([count * form.min_raw, count * form.max_raw])
    ones = np.ones((source.channels, count), np.int64)
    sums = weighted_sums(
        stage.plan, stage.node, taps, source, ones, source.channels, None, bits, adders=True
    )
    return _selected(stage, scaled(stage, sums, [factor] * source.channels))


def _window(stage: Stage, source: ValueBus, fill: int) -> ValueBus:
    op = stage.node.op
    assert isinstance(op, SlidingWindow)
    top, _, left, _ = op.padding
    lost_pixels(op.window, op.dilation, op.padding)
    return window(stage.plan, source, op.window, op.dilation, (top, left), fill=fill)


def _selected(stage: Stage, stream: ValueBus) -> ValueBus:
    op = stage.node.op
    assert isinstance(op, SlidingWindow)
    rows, columns = lost_pixels(op.window, op.dilation, op.padding)
    return stage.selected(stream, Kept(0, op.stride[0], rows), Kept(0, op.stride[1], columns))
