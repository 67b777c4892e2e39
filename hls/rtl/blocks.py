"""Beats that hold a block of pixels, and values of one size brought to equal blocks.

A value behind an enlargement has a beat for each pixel that the enlargement began with, which then
holds a block of ``scale * scale`` pixels. A value that is to be combined with it is brought to the
same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fxp.graph.ops import ConvTranspose2d
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.selection import selected
from fxp.hls.rtl.streams import StreamingError, ValueBus
from fxp.hls.rtl.windows import window


@dataclass(frozen=True)
class AxisTaps:
    """Which rows, or columns, of the operand a block of results reads through which tap.

    Attributes
    ----------
    reads
        For each row of a block of results, pairs of a row, counted from the first of the operand's
        block, and the tap it is read through.
    """

    reads: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of_convolution(
        cls, scale: int, taps: int, stride: int, dilation: int, before: int
    ) -> AxisTaps:
        """Return the reads of a convolution.

        Parameters
        ----------
        scale
            Side of the operand's block.
        taps
            Size of the kernel.
        stride, dilation
            Distance of results, and of taps.
        before
            Padding before the image.
        """
        return cls(
            tuple(
                tuple((stride * row + dilation * tap - before, tap) for tap in range(taps))
                for row in range(scale // stride)
            )
        )

    @classmethod
    def of_transposition(
        cls, op: ConvTranspose2d, kernel: Sequence[int], scale: int
    ) -> tuple[AxisTaps, AxisTaps]:
        """Return the reads of a transposed convolution along both axes.

        Parameters
        ----------
        op
            The convolution, which reads row ``i`` through tap ``t`` where
            ``stride * i + dilation * t = row + padding``.
        kernel
            Rows and columns of its kernel.
        scale
            Side of the operand's block.
        """
        rows, columns = (
            cls(
                tuple(
                    tuple(
                        ((row + padding - dilation * tap) // stride, tap)
                        for tap in range(taps)
                        if (row + padding - dilation * tap) % stride == 0
                    )
                    for row in range(scale * stride)
                )
            )
            for stride, padding, dilation, taps in zip(
                op.stride, op.padding, op.dilation, kernel, strict=True
            )
        )
        return rows, columns

    def blocks(self, scale: int) -> tuple[int, int]:
        """First and last block that is read, counted from that of the results, which lies between.

        Parameters
        ----------
        scale
            Side of the operand's block.
        """
        rows = [row // scale for reads in self.reads for row, _ in reads]
        return min(0, *rows, 0), max(0, *rows, 0)


def block_matrix(
    weight: NDArray[np.int64], rows: AxisTaps, columns: AxisTaps, scale: int, groups: int
) -> NDArray[np.int64]:
    """Return weights of all pixels of a block, ``(outputs, taps * inputs)``, tap by tap.

    A tap is a pixel of a window of blocks: block by block, the pixels of a block together. Outputs
    come group by group, as weighted sums need them; in a group the pixels of the block vary before
    the channels.

    Parameters
    ----------
    weight
        ``(channels, inputs of a group, rows, columns)``.
    rows, columns
        What is read along both axes.
    scale
        Side of the operand's block.
    groups
        Groups of channels.
    """
    (top, bottom), (left, right) = rows.blocks(scale), columns.blocks(scale)
    channels, inputs = weight.shape[:2]
    side = len(rows.reads), len(columns.reads)
    window_shape = (bottom - top + 1, right - left + 1, scale, scale)
    matrix = np.zeros((groups, *side, channels // groups, *window_shape, inputs), np.int64)
    for i, j in np.ndindex(side):
        for y, row_tap in rows.reads[i]:
            for x, column_tap in columns.reads[j]:
                part = weight[:, :, row_tap, column_tap].reshape(groups, -1, inputs)
                place = (y // scale - top, x // scale - left, y % scale, x % scale)
                matrix[:, i, j, :, *place] += part
    return matrix.reshape(channels * side[0] * side[1], -1)


def block_bias(
    bias: NDArray[np.int64] | None, groups: int, pixels: int
) -> NDArray[np.int64] | None:
    """Return the bias of each output of `block_matrix`.

    Parameters
    ----------
    bias
        One number for each channel, or None.
    groups
        Groups of channels.
    pixels
        Pixels of a block of results.
    """
    if bias is None:
        return None
    grouped = bias.reshape(groups, 1, -1)
    return np.broadcast_to(grouped, (groups, pixels, grouped.shape[2])).reshape(-1)


def block_window(
    plan: CorePlan, source: ValueBus, rows: AxisTaps, columns: AxisTaps, border: str = "zero"
) -> ValueBus:
    """Return all pixels that a block of results reads, as `block_matrix` expects them.

    Parameters
    ----------
    plan
        The plan.
    source
        The operand.
    rows, columns
        What is read along both axes.
    border
        What lies beyond the borders; only zeros around blocks of more than one pixel.
    """
    scale = source.scale
    if scale > 1 and border != "zero":
        raise StreamingError(
            f"{border} borders behind an enlargement cannot stream: pad with zeros there, or do it "
            "before the enlargement"
        )
    (top, bottom), (left, right) = rows.blocks(scale), columns.blocks(scale)
    whole = replace(source, channels=source.fields, scale=1)
    kernel = (bottom - top + 1, right - left + 1)
    return window(plan, whole, kernel, (1, 1), (-top, -left), border=border)


def alike(plan: CorePlan, buses: Sequence[ValueBus]) -> list[ValueBus]:
    """Bring values of one size to equal blocks, lag and latency.

    Raises
    ------
    StreamingError
        If they have not come by the same way to their size.
    """
    deepest = max((bus.path.raster for bus in buses), key=lambda raster: len(raster.steps))
    ready = []
    for bus in buses:
        places = bus.path.raster.places
        steps = deepest.steps[len(places) :]
        if places == deepest.places[: len(places)]:
            for rows, columns in steps:
                if rows.step != columns.step or rows.step < 2 or rows.first or columns.first:
                    break
                whole = gathered_blocks(plan, bus, rows.step)
                bus = selected(plan, whole, rows, columns)
        ready.append(bus)
    if (
        len({bus.path.raster.places for bus in ready}) == 1
        and len({bus.scale for bus in ready}) > 1
    ):
        raise StreamingError("its operands differ in size")
    return plan.joined(ready)


def gathered_blocks(plan: CorePlan, source: ValueBus, factor: int) -> ValueBus:
    """Return beats that hold the pixels below and to the right of theirs too.

    Parameters
    ----------
    plan
        The plan.
    source
        Pixels, or blocks of them.
    factor
        Rows and columns of beats that are put into one.
    """
    whole = replace(source, channels=source.fields, scale=1)
    taps = window(plan, whole, (factor, factor), (1, 1), (0, 0))
    side = source.scale * factor
    indices = []
    for row, column in np.ndindex(side, side):
        beat = (row // source.scale) * factor + column // source.scale
        pixel = (row % source.scale) * source.scale + column % source.scale
        first = (beat * source.scale**2 + pixel) * source.channels
        indices += range(first, first + source.channels)
    return plan.picked(taps, indices, source.channels, side)
