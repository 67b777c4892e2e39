"""Transposed convolutions and pixel shuffles to many channels: a convolution for every phase.

The results whose row and column have given remainders by the factor are an ordinary convolution of
stride 1, which stores to every so many rows and columns. Weights that a phase does not have are not
multiplied, and results come out in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import ConvolutionStage
from fxp.engine.geometry import Geometry, groups_of_whole_pixels
from fxp.engine.stages import CommandStage, Place, Region
from fxp.graph import Graph
from fxp.graph.ops import ConvTranspose2d
from fxp.graph.ops.transposed import phases


@dataclass(frozen=True)
class PhaseGeometry:
    """One phase.

    Attributes
    ----------
    row, column
        The remainders.
    first
        Row and column of the input that the first tap of result 0 of the phase reads.
    shape
        The convolution.
    channels
        Channels of the chain that it computes.
    """

    row: int
    column: int
    first: tuple[int, int]
    shape: Geometry
    channels: NDArray[np.int64]


def transposed_phases(graph: Graph, chain: Chain) -> tuple[tuple[int, int], list[PhaseGeometry]]:
    """Phases of a chain that begins with a transposed convolution, and their distances."""
    op = chain.head.op
    assert isinstance(op, ConvTranspose2d)
    operands = graph.operands[chain.head.name]
    weight = operands[1].constant
    assert weight is not None
    bias = operands[2].constant if len(operands) == 3 else None
    if bias is None:
        bias = np.zeros(len(weight), np.int64)
    found = {
        (phase.row, phase.column): phase
        for phase in phases(weight, op.stride, op.padding, op.dilation)
    }
    made = []
    for row, column in product(*map(range, op.stride)):
        phase = found.get((row, column))
        if phase is None:
            # No tap reaches these results: they are the bias. One pixel is read, for all.
            nothing = np.zeros((*weight.shape[:2], 1, 1), np.int64)
            shape, first = Geometry(nothing, bias, (0, 0), (1, 1), op.groups), (0, 0)
        else:
            taps = np.ascontiguousarray(phase.weight.transpose(3, 2, 0, 1)).astype(np.int64)
            steps = (phase.row_step, phase.column_step)
            shape = Geometry(taps, bias, (1, 1), steps, op.groups)
            first = (phase.first_row, phase.first_column)
        made.append(PhaseGeometry(row, column, first, shape, np.arange(len(weight))))
    return op.stride, made


def shuffled_phases(shape: Geometry) -> list[PhaseGeometry]:
    """Phases of a convolution whose channels are shuffled to pixels.

    The input that result 0 reads first is that of the convolution itself.
    """
    shape, factor = groups_of_whole_pixels(shape), shape.factor
    order = np.arange(len(shape.weight)).reshape(-1, factor, factor)
    return [
        PhaseGeometry(
            row,
            column,
            (0, 0),
            replace(
                shape,
                weight=np.ascontiguousarray(shape.weight[order[:, row, column]]),
                bias=shape.bias[order[:, row, column]],
                factor=1,
            ),
            order[:, row, column],
        )
        for row, column in np.ndindex(factor, factor)
    ]


Build = Callable[[Chain, Geometry], ConvolutionStage]


class PhasesStage(CommandStage):
    """Convolutions that store to every so many rows and columns of the result."""

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        steps: tuple[int, int],
        found: list[PhaseGeometry],
        build: Build,
    ) -> None:
        assert chain.finish is not None
        self._steps, self._phases = steps, found
        self._transposed = isinstance(chain.head.op, ConvTranspose2d)
        self._stages = []
        for phase in found:
            finish = chain.finish.taken(phase.channels)
            part = replace(chain, finish=finish, factor=1)
            self._stages.append(build(part, phase.shape))
        kinds = sorted({stage.kernel for stage in self._stages})
        super().__init__(graph, chain, f"{len(found)} phases: {' and '.join(kinds)}")
        self.accumulator_dtype = max(
            (stage.accumulator_dtype for stage in self._stages), key=lambda kind: kind.itemsize
        )
        self.multiple = chain.factor
        # Strips that begin at another remainder have other commands.
        self.moves = not self._transposed
        self._item = chain.finish.result.itemsize
        self._other_item = chain.finish.other.itemsize if chain.finish.other else 0
        self._channels = len(found[0].channels)
        self._pixel_bytes = found[0].shape.channels_in * self.operands[0].format.dtype.itemsize
        for stage in self._stages:
            stage.spread(steps[1])

    def _span(self, axis: int, remainder: int, first: int, count: int) -> tuple[int, int]:
        """First result of a phase within a range of results, and how many there are."""
        step = self._steps[axis]
        begin = -(-(first - remainder) // step)
        return begin, -(-(first + count - remainder) // step) - begin

    def commands(self, region: Region) -> list[list[int]]:
        """Commands of all phases of which the region has results."""
        read = [first for first, _ in region.spans[0]]
        commands = []
        for phase, stage in zip(self._phases, self._stages, strict=True):
            row, rows = self._span(0, phase.row, region.first_row, region.rows)
            column, columns = self._span(1, phase.column, region.first_column, region.columns)
            if rows <= 0 or columns <= 0:
                continue
            down = row * self._steps[0] + phase.row - region.first_row
            right = column * self._steps[1] + phase.column - region.first_column
            if phase.shape.stride == (0, 0):
                above = left = 0
            elif self._transposed:
                above = row + phase.first[0] - read[0]
                left = column + phase.first[1] - read[1]
            else:
                above = (row - region.first_row // self._steps[0]) * phase.shape.stride[0]
                left = (column - region.first_column // self._steps[1]) * phase.shape.stride[1]
            source, *others = region.inputs
            commands += stage.commands(
                replace(
                    region,
                    rows=rows,
                    columns=columns,
                    first_row=row,
                    first_column=column,
                    result=self._spread(region.result, down, right, self._item),
                    inputs=(
                        source.moved(above, left * self._pixel_bytes),
                        *(self._spread(o, down, right, self._other_item) for o in others),
                    ),
                )
            )
        return commands

    def _spread(self, place: Place, down: int, right: int, item: int) -> Place:
        """Place of a phase's first result, whose rows are several rows apart."""
        moved = place.moved(down, right * self._channels * item)
        return Place(moved.base, moved.offset, moved.pitch * self._steps[0])

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Return the most that a phase needs."""
        size = -(-rows // self._steps[0]) + 1, -(-columns // self._steps[1]) + 1
        return max(stage.scratch_bytes(*size) for stage in self._stages)
