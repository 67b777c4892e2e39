"""Batches of vectors: many of them are the pixels of one image.

A linear layer on one vector reads every weight for one product. In a batch, the layers at the end
of a graph that work on vectors run as 1x1 convolutions on an image with a pixel per vector, where
tiles of several pixels share every weight that is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Final

from fxp.engine.convolution_stages import ConvolutionStage
from fxp.engine.cutting import stage_macs
from fxp.engine.pointwise_stages import CallStage
from fxp.engine.program import Program
from fxp.engine.routine_stages import RoutineStage
from fxp.engine.stages import CommandStage, Stage
from fxp.graph import Graph
from fxp.graph.ops import (
    Add,
    Clamp,
    Linear,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Sign,
    Softmax,
    SoftThreshold,
    Subtract,
    Table,
)

_BINARY = Add | Subtract | Multiply
ELEMENTWISE: Final = _BINARY | Relu | Clamp | Requantize | Prelu | Sign | SoftThreshold | Table
"""Ops that treat every pixel alike."""
CHANNELWISE: Final = Softmax
"""Ops that read all channels of a pixel; their routines walk over pixels."""
ROWS: Final = 8
"""Rows of an image at most: as many as are computed at once, so that weights are read once."""
COLUMNS: Final = 112
"""Columns of an image at most."""
SHORT: Final = 14
"""Vectors of a row, if there are no more than fit `ROWS` such rows: they fill a tile."""
WORTH_WHILE: Final = 1 / 600
"""The layers must have at least this share of the multiply-accumulates of the rest: each takes
much longer for a vector alone, because its weight comes from memory."""


@dataclass(frozen=True)
class Halves:
    """A program in two parts.

    Attributes
    ----------
    images
        The stages that run image by image, if there are any.
    vectors
        The stages behind them, that work on vectors.
    """

    images: Program | None
    vectors: Program

    @classmethod
    def of(cls, program: Program) -> Halves | None:
        """Cut a program; None where no linear layers stand at its end, or it has states."""
        graph, stages = program.graph, program.stages
        first = len(stages)
        while first > 0 and _is_local(graph, stages[first - 1]):
            first -= 1
        before, behind = stages[:first], stages[first:]
        if graph.states or not any(isinstance(s.chain.head.op, Linear) for s in behind):
            return None
        inputs = tuple(value.name for value in graph.inputs)
        computed = {stage.result for stage in behind}
        crossing = tuple(
            dict.fromkeys(name for s in behind for name in s.inputs if name not in computed)
        )
        vectors = copy(program)
        vectors.stages, vectors.inputs = behind, crossing
        vectors.kept = program.kept & computed
        if not before:
            return cls(None, vectors)
        images = copy(program)
        images.stages, images.inputs = before, inputs
        images.kept = (program.kept - computed) | set(crossing)
        return cls(images, vectors)

    def are_worth_while(self, planes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether the vectors' share of the work is large enough.

        Parameters
        ----------
        planes
            ``(C, H, W)`` or ``(F,)`` of every value for one image.
        """
        behind = sum(stage_macs(stage, 1, 1) for stage in self.vectors.stages)
        before = sum(
            stage_macs(stage, *planes[stage.result][1:])
            for stage in (self.images.stages if self.images else ())
            if len(planes.get(stage.result, ())) == 3
        )
        return behind >= before * WORTH_WHILE


def _is_local(graph: Graph, stage: Stage) -> bool:
    """Whether a stage reads nothing but the pixel that it computes, and treats all alike."""
    if not isinstance(stage, CommandStage) or stage.before or stage.result not in graph.values:
        return False
    names = (*stage.inputs, stage.result)
    if any(len(graph.values[name].shape) != 1 for name in names):
        return False
    if isinstance(stage.chain.head.op, Linear):
        return isinstance(stage, ConvolutionStage)
    # A value that is repeated is no image of the batch.
    op = stage.chain.head.op
    return len({graph.values[name].shape for name in names}) == 1 and (
        (isinstance(stage, CallStage) and isinstance(op, ELEMENTWISE))
        or (isinstance(stage, RoutineStage) and isinstance(op, CHANNELWISE))
    )


def cut_batch(count: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a batch into images of one size.

    Parameters
    ----------
    count
        Vectors of the batch.

    Yields
    ------
    tuple
        First vector and the one behind the last; rows and columns of an image that holds them,
        whose last pixels may be left over.
    """
    each = -(-count // -(-count // (ROWS * COLUMNS)))
    rows = min(-(-each // SHORT), ROWS)
    # Two threads share an even number of rows.
    rows += rows % 2 if rows > 1 else 0
    columns = -(-each // rows)
    for first in range(0, count, rows * columns):
        yield first, min(first + rows * columns, count), rows, columns
