"""Convolutions, with strides and any padding, and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fxp.graph import ops
from fxp.hls.rtl.blocks import AxisTaps, block_bias, block_matrix, block_window
from fxp.hls.rtl.stages.registry import Stage, streams
from fxp.hls.rtl.streams import Kept, StreamingError, ValueBus
from fxp.hls.rtl.sums import weighted_sums
from fxp.hls.rtl.windows import window


@streams(ops.Conv2d)
def convolution(stage: Stage) -> ValueBus:
    """Weighted sums of a window, of which a stride or a crop leaves some."""
    op, source = stage.node.op, stage.image()
    assert isinstance(op, ops.Conv2d)
    weight = stage.constant(1)
    lost = lost_pixels(weight.shape[2:], op.dilation, op.padding)
    border = op.padding_mode if any(op.padding) else "zero"
    if source.scale > 1:
        return _of_blocks(stage, source, weight, border)
    top, _, left, _ = op.padding
    taps = window(stage.plan, source, weight.shape[2:], op.dilation, (top, left), border=border,
                  after=op.padding[1::2])  # fmt: skip
    matrix = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    bias, bits = stage.bias(len(weight))
    sums = weighted_sums(stage.plan, stage.node, taps, source, matrix, op.groups, bias, bits)
    return stage.selected(sums, Kept(0, op.stride[0], lost[0]), Kept(0, op.stride[1], lost[1]))


def lost_pixels(
    kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int]
) -> tuple[int, int]:
    """Return how many rows and columns less a window of stride 1 gives than the image has.

    Parameters
    ----------
    kernel, dilation
        Of the window, rows first.
    padding
        Rows or columns at the top, bottom, left and right.

    Raises
    ------
    StreamingError
        If it gives more.
    """
    spans = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    rows, columns = spans[0] - sum(padding[:2]), spans[1] - sum(padding[2:])
    if rows < 0 or columns < 0:
        raise StreamingError(
            f"padding {tuple(padding)} makes the image larger with a {kernel[0]}x{kernel[1]} "
            f"window, and cannot stream; at most {spans[0]} rows and {spans[1]} columns can be "
            "added"
        )
    return rows, columns


def _of_blocks(stage: Stage, source: ValueBus, weight: NDArray[np.int64], border: str) -> ValueBus:
    op = stage.node.op
    assert isinstance(op, ops.Conv2d)
    axes = []
    for axis in range(2):
        taps, stride = weight.shape[2 + axis], op.stride[axis]
        before, after = op.padding[2 * axis : 2 * axis + 2]
        end = before + after - op.dilation[axis] * (taps - 1) - 1
        if source.scale % stride or op.stride[0] != op.stride[1] or end // stride + 1:
            raise StreamingError(
                "behind an enlargement only convolutions stream that keep the size of the image or "
                f"divide it by a factor of {source.scale}: choose padding and stride so"
            )
        axes.append(AxisTaps.of_convolution(source.scale, taps, stride, op.dilation[axis], before))
    return _pixel_by_pixel(stage, source, weight, axes[0], axes[1], border)


def _pixel_by_pixel(
    stage: Stage,
    source: ValueBus,
    weight: NDArray[np.int64],
    rows: AxisTaps,
    columns: AxisTaps,
    border: str,
) -> ValueBus:
    """As `phased`, but each pixel of a block has its own sums of the taps that it reads."""
    plan, op = stage.plan, stage.node.op
    assert isinstance(op, ops.Conv2d)
    taps = block_window(plan, source, rows, columns, border)
    (top, _), (left, right) = rows.blocks(source.scale), columns.blocks(source.scale)
    scale, channels = source.scale, source.channels
    matrix = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    bias, bits = stage.bias(len(weight))
    results = []
    for row_reads, column_reads in product(rows.reads, columns.reads):
        indices = []
        for (y, _), (x, _) in product(row_reads, column_reads):
            block = (y // scale - top) * (right - left + 1) + x // scale - left
            first = ((block * scale + y % scale) * scale + x % scale) * channels
            indices += range(first, first + channels)
        read = plan.picked(taps, indices, len(indices), 1)
        pixel = replace(source, scale=1)
        results.append(weighted_sums(plan, stage.node, read, pixel, matrix, op.groups, bias, bits))
    fields = [pixel.field(channel) for pixel in results for channel in range(len(weight))]
    return plan.gathered(results[0], fields, len(weight), len(rows.reads))


@streams(ops.ConvTranspose2d)
def transposed(stage: Stage) -> ValueBus:
    """All phases at once: one window, and a weighted sum per output channel and phase."""
    op, source = stage.node.op, stage.image()
    assert isinstance(op, ops.ConvTranspose2d)
    weight = stage.constant(1)
    factor = op.stride[0]
    sizes = [
        dilation * (size - 1) + 1 - 2 * padding + added
        for dilation, size, padding, added in zip(
            op.dilation, weight.shape[2:], op.padding, op.output_padding, strict=True
        )
    ]
    if op.stride != (factor, factor) or sizes != [factor, factor]:
        raise StreamingError(
            "a transposed convolution streams if it enlarges both sides exactly by its stride"
        )
    rows, columns = AxisTaps.of_transposition(op, weight.shape[2:], source.scale)
    return phased(stage, source, weight, rows, columns, op.groups)


def phased(
    stage: Stage,
    source: ValueBus,
    weight: NDArray[np.int64],
    rows: AxisTaps,
    columns: AxisTaps,
    groups: int,
    border: str = "zero",
    *,
    adders: bool = False,
) -> ValueBus:
    """Return a block of results for each beat: weighted sums of one window, for each pixel.

    Parameters
    ----------
    stage
        The node.
    source
        The operand.
    weight
        ``(channels, inputs of a group, rows, columns)``.
    rows, columns
        What a block reads along both axes.
    groups
        Groups of channels.
    border
        What lies beyond the borders.
    adders
        Whether shared adders suit the weights better than multipliers.
    """
    plan, channels = stage.plan, len(weight)
    side = len(rows.reads)
    taps = block_window(plan, source, rows, columns, border)
    matrix = block_matrix(weight, rows, columns, source.scale, groups)
    bias, bits = stage.bias(channels)
    bias = block_bias(bias, groups, side**2)
    pixel = replace(source, scale=1)
    sums = weighted_sums(plan, stage.node, taps, pixel, matrix, groups, bias, bits, adders=adders)
    # From (group, pixel, channel of the group) to (pixel, channel).
    order = np.arange(channels * side**2).reshape(groups, side**2, -1)
    return plan.picked(sums, order.transpose(1, 0, 2).reshape(-1).tolist(), channels, side)
