"""Interpolation by two as phases of one window."""

from __future__ import annotations

import numpy as np

from fxp.graph import ops
from fxp.hls.rtl.blocks import AxisTaps
from fxp.hls.rtl.stages.convolution import phased
from fxp.hls.rtl.stages.registry import Stage, streams
from fxp.hls.rtl.streams import ValueBus


@streams(ops.BilinearUpsample, ops.BicubicUpsample)
def twice(stage: Stage) -> ValueBus:
    """Four weighted sums of a window, whose weights have few digits."""
    op, source = stage.node.op, stage.one_pixel(stage.node.op.name)
    assert isinstance(op, ops.BilinearUpsample | ops.BicubicUpsample)
    _, odd = op.taps()
    count = len(odd)
    # The taps of the even results, then those of the odd ones.
    weights = np.array([*odd[::-1], *odd], np.int64)
    axis = AxisTaps(
        tuple(
            tuple((phase - count // 2 + tap, phase * count + tap) for tap in range(count))
            for phase in range(2)
        )
    )
    kernel = np.broadcast_to(np.outer(weights, weights), (source.channels, 1, 2 * count, 2 * count))
    return phased(stage, source, kernel, axis, axis, source.channels, op.border_mode(), adders=True)
