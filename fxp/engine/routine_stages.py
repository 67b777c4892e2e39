"""Any op as a command stage: by the routines that its own kernel calls.

The kernel of the op (`fxp.graph.ops.base.Op.kernel`) is called once for every region, while the
plan is made, and only noted; its routines then run as commands (`fxp.kernels.routines`). Sums go to
scratch memory and are finished from there, or are the results already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from fxp.engine.chains import Chain
from fxp.engine.pointwise_stages import Call, clip_call
from fxp.engine.rules import conversion
from fxp.engine.stages import (
    NOWHERE,
    CommandStage,
    Place,
    Region,
    accumulator_dtype,
    bound_constants,
    requantization,
)
from fxp.graph import Graph
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Window
from fxp.kernels import routines
from fxp.kernels.host import Tiles
from fxp.kernels.requantize import requantize_band
from fxp.kernels.routines import Part, Recorder, written

FAR: Final = 128
"""Rows that a row of the result may need in a segment."""
LARGE: Final = 5040
"""Size with which the reach of an op is tried where sizes are free; many numbers divide it."""


class RoutineStage(CommandStage):
    """One node, by the routines of its op's kernel and one step that makes results of sums."""

    moves = False

    def __init__(self, graph: Graph, chain: Chain) -> None:
        node = chain.head
        super().__init__(graph, Chain((node,)), "")
        accumulator, target = node.accumulator, node.quantization
        assert accumulator is not None
        assert target is not None
        self._node = node
        self._constants = bound_constants(graph, node)
        self._variable = [
            position
            for position in range(len(node.inputs))
            if position not in node.op.constant_roles and position not in self._constants
        ]
        dtype = accumulator_dtype(graph, node)
        kept = _is_kept(node, self.dtype) and all(
            operand.format.dtype.itemsize <= self.dtype.itemsize
            for position, operand in enumerate(self.operands)
            if position not in node.op.constant_roles
        )
        self.accumulator_dtype = self.dtype if kept else dtype
        self._kernel = node.op.kernel(self.operands, self.accumulator_dtype)
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
        arrays = {}
        for index, position in enumerate(self._variable):
            operand = self.operands[position]
            (top, bottom), (left, right) = region.spans[index]
            shape = (bottom - top, right - left, operand.channels)
            dtype = operand.format.dtype
            part = Part(index, shape, dtype, dtype.itemsize * operand.channels)
            arrays[position] = Window(part, top, left, *region.sizes[index])  # type: ignore[arg-type]
        for position, constant in self._constants.items():
            arrays[position] = Window.whole(constant)
        recorder = Recorder((region.rows, region.columns, self._channels), self.accumulator_dtype)
        windows = [arrays[position] for position in sorted(arrays)]
        self._kernel(recorder, region.first_row, region.first_column, windows)  # type: ignore[arg-type]
        return recorder.calls

    def commands(self, region: Region) -> list[list[int]]:
        """Run the routines, then finish."""
        finished = self._requantization is None
        size = self.accumulator_dtype.itemsize
        pixel = size * self._channels
        sums = region.result if finished else Place(*region.scratch, pixel * region.columns)
        commands = [
            _command(region, call, sums, pixel, region.inputs, size)
            for call in self._recorded(region)
        ]
        if finished:
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
        finish = _command(region, call, region.result, 0, (sums,), self.dtype.itemsize)
        return [*commands, finish]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the sums."""
        finished = self._requantization is None
        return 0 if finished else self.accumulator_dtype.itemsize * self._channels * rows * columns


def _command(
    region: Region,
    call: routines.Call,
    band: Place,
    pixel: int,
    inputs: tuple[Place, ...],
    size: int,
) -> list[int]:
    """Return the command of a routine's call.

    Parameters
    ----------
    region
        What is computed.
    call
        The call.
    band
        Where the region's band begins.
    pixel
        Bytes of a pixel of the band.
    inputs
        Where the operands' parts begin.
    size
        Bytes of an element of the band.
    """
    command = written(call, size, region.kept)
    places = tuple(
        inputs[part.position].moved(part.row, part.column * part.pixel) for part in command.images
    )
    result = band.moved(call.row, call.column * pixel)
    moved = replace(region, result=result, inputs=places or (NOWHERE,))
    return moved.command(command.kernel, command.record)


def _is_kept(node, dtype: np.dtype) -> bool:
    accumulator, target = node.accumulator, node.quantization
    form = target.format
    low, high = form.min_raw, form.max_raw
    return (
        set(accumulator.fracs) == {form.frac}
        and low <= min(accumulator.low)
        and max(accumulator.high) <= high
    )


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
