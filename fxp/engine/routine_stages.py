"""Any op as a command stage: by the routines that its own kernel calls.

The kernel of the op (`fxp.graph.ops.base.Op.kernel`) is called once for every region, while the
plan is made, and only noted; its routines then run as commands (`fxp.kernels.routines`). Sums go to
scratch memory and are finished from there, or are the results already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fxp.engine.chains import Chain
from fxp.engine.pointwise_stages import Call, changes_nothing, clip_call
from fxp.engine.rules import conversion
from fxp.engine.stages import (
    CommandStage,
    Place,
    Region,
    accumulator_dtype,
    bound_constants,
    requantization,
)
from fxp.graph import Graph
from fxp.graph.extents import Shape
from fxp.graph.ops.statistics import Statistic
from fxp.graph.ops.windows import Summary, Window
from fxp.kernels import routines
from fxp.kernels.host import Tiles
from fxp.kernels.requantize import requantize_band
from fxp.kernels.routines import Part, Recorder

FAR: Final = 128
"""Rows that a row of the result may need in a segment."""
PARTS: Final = 16
"""Parts of an image that are summarized by themselves, at most."""
LARGE: Final = 5040
"""Size with which the reach of an op is tried where sizes are free; many numbers divide it."""


class RoutineStage(CommandStage):
    """One node, by the routines of its op's kernel and one step that makes results of sums."""

    relocatable = False

    def __init__(self, graph: Graph, chain: Chain) -> None:
        node = chain.head
        super().__init__(graph, Chain((node,)), "")
        accumulator, target = node.accumulator, node.quantization
        assert accumulator is not None
        assert target is not None
        self._node = node
        self._constants = bound_constants(graph, node)
        self._summary = _summary_stage(graph, chain)
        if self._summary is not None:
            self.before = (self._summary,)
            self.inputs = (*self.inputs, self._summary.result)
        dtype = accumulator_dtype(graph, node)
        # What is compared must be seen whole; sums and products may wrap on the way.
        kept = changes_nothing(self.chain) and all(
            operand.format.dtype.itemsize <= self.dtype.itemsize
            for position, operand in enumerate(self.operands)
            if position not in node.op.constant_roles
        )
        self.accumulator_dtype = self.dtype if kept else dtype
        self._kernel = node.op.kernel(self.operands, self.accumulator_dtype)
        self._forms = {
            name: (operand.format.dtype, operand.channels)
            for name, operand in zip(node.inputs, self.operands, strict=True)
            if name in self.inputs
        }
        if self._summary is not None:
            self._forms[self._summary.result] = self._summary.dtype, self._summary.channels
        channels = graph.values[self.result].shape[0]
        assert isinstance(channels, int)
        self._channels = channels
        self.is_local = is_local(graph, chain)
        self._finish: Call | None = None
        self._requantization = None if kept else requantization(node)
        rule = conversion(accumulator, target)
        if not kept and rule is not None:
            sizes = (self.accumulator_dtype.itemsize, self.dtype.itemsize)
            if rule.wide or sizes[0] <= 4:
                self._finish = clip_call(
                    rule.fields, channels, sizes, wide=rule.wide, factor=rule.factor
                )
        self.kernel = node.op.name.replace("_", " ")

    def _recorded(self, region: Region) -> list[routines.Call]:
        """Routines that the op's kernel calls for a region."""
        windows = []
        for index, name in enumerate(self.inputs):
            (top, bottom), (left, right) = region.spans[index]
            dtype, channels = self._forms[name]
            shape = (bottom - top, right - left, channels)
            part = Part(index, shape, dtype, dtype.itemsize * channels)
            windows.append(Window(part, top, left, *region.sizes[index]))  # type: ignore[arg-type]
        for position in sorted(self._constants):
            windows.insert(position, Window.whole(self._constants[position]))
        recorder = Recorder((region.rows, region.columns, self._channels), self.accumulator_dtype)
        self._kernel(recorder, region.first_row, region.first_column, windows)  # type: ignore[arg-type]
        return recorder.calls

    def commands(self, region: Region) -> list[list[int]]:
        """Run the routines, then finish."""
        finished = self._requantization is None
        size = self.accumulator_dtype.itemsize
        pixel = size * self._channels
        sums = region.result if finished else Place(*region.scratch, pixel * region.columns)
        commands = [
            region.routine(call, sums, region.inputs, size, self._channels)
            for call in self._recorded(region)
        ]
        if self._requantization is None:
            return commands
        if self._finish is not None:
            return [*commands, self._finish.command(replace(region, inputs=(sums,)))]
        shape = (region.rows, region.columns, self._channels)
        call = routines.Call(
            requantize_band,
            (Part(0, shape, self.accumulator_dtype, pixel), *self._requantization),
            shape,
            0,
            0,
        )
        item = self.dtype.itemsize
        finish = region.routine(call, region.result, (sums,), item, self._channels)
        return [*commands, finish]

    def reach(self, axis: int, position: int, first: int, last: int, size: int) -> tuple[int, int]:
        """Rows or columns of an input, or of the whole summary.

        Parameters
        ----------
        axis, position, first, last, size
            As for `Stage.reach`.
        """
        if self._summary is not None and position == len(self.inputs) - 1:
            return 0, size
        return super().reach(axis, position, first, last, size)

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the sums."""
        finished = self._requantization is None
        return 0 if finished else self.accumulator_dtype.itemsize * self._channels * rows * columns


class SummaryStage(CommandStage):
    """What every result of an op needs to know of its first input, by parts of the image.

    A part is a row of the result, so that threads share the image.
    """

    relocatable = False
    is_local = False

    def __init__(self, graph: Graph, chain: Chain, summary: Summary) -> None:
        super().__init__(graph, Chain((chain.head,)), f"{chain.head.op.name} of parts")
        operand = self.operands[0]
        self._summary, self._form = summary, (operand.format.dtype, operand.channels)
        taken = set(graph.values) | set(graph.constants_by_name)
        self.result = f"{self.result}.parts"
        while self.result in taken:
            self.result += "_"
        self.dtype = self.accumulator_dtype = np.dtype(np.int64)
        _, self.channels = summary.shape(1, operand.channels)
        self.inputs = self.inputs[:1]

    def own_size(self, sizes: Mapping[str, tuple[int, int, int]]) -> tuple[int, int, int]:
        """Parts, columns and channels of the summary."""
        height, width, channels = sizes[self.inputs[0]]
        self_shape = self._summary.shape(width, channels)
        return (min(height, PARTS), *self_shape)

    def reach(self, axis: int, position: int, first: int, last: int, size: int) -> tuple[int, int]:
        """Rows of the parts, and all columns.

        Parameters
        ----------
        axis, position, first, last, size
            As for `Stage.reach`.
        """
        if axis == 1:
            return 0, size
        parts = min(size, PARTS)
        return first * size // parts, last * size // parts

    def commands(self, region: Region) -> list[list[int]]:
        """One call for every part."""
        (dtype, channels), (height, width) = self._form, region.sizes[0]
        pixel, top = dtype.itemsize * channels, region.spans[0][0][0]
        size = (region.columns, self.channels)
        commands = []
        for index in range(region.rows):
            part = region.first_row + index
            first, last = self.reach(0, 0, part, part + 1, height)
            recorder = Recorder((1, *size), self.dtype, index)
            image = Part(0, (last - first, width, channels), dtype, pixel, first - top)
            self._summary.fill(recorder, image)  # type: ignore[arg-type]
            commands += [
                region.routine(call, region.result, region.inputs, 8, self.channels)
                for call in recorder.calls
            ]
        return commands


def _summary_stage(graph: Graph, chain: Chain) -> SummaryStage | None:
    """Return the stage that summarizes the image first, where an op normalizes an image."""
    op = chain.head.op
    summary = op.summary(graph.operands[chain.head.name]) if isinstance(op, Statistic) else None
    return None if summary is None else SummaryStage(graph, chain, summary)


def is_local(graph: Graph, chain: Chain) -> bool:
    """Whether rows and columns of a node's result need few of its inputs, in the same order."""
    node, op = chain.head, chain.head.op
    operands = graph.operands[node.name]
    result = graph.values[node.name].shape
    for position, name in enumerate(node.inputs):
        if name in graph.constants_by_name:
            continue
        for axis in range(len(operands[position].shape) - 1):
            size, count = _size(operands[position].shape, axis), _size(result, axis)
            spans = [
                op.reach(operands, axis, position, place, place + 1, size)
                for place in range(min(count, 2))
            ]
            if any(last - first > FAR for first, last in spans) or spans[0][0] > spans[-1][0]:
                return False
    return True


def _size(shape: Shape, axis: int) -> int:
    size = shape[axis + 1] if len(shape) > 1 else 1
    return size if isinstance(size, int) else LARGE


def routine_stage(graph: Graph, chain: Chain, tiles: Tiles) -> CommandStage | None:
    """Return the stage that runs a node's routines, if its kernel calls nothing else.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute.
    tiles
        Register tiles of the processor.
    """
    if len(chain.nodes) > 1 or not chain.head.op.recordable:
        return None
    return RoutineStage(graph, chain)
