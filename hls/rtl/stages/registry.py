"""How an op becomes part of a core: a rule for each, and what a rule is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Graph, Node, ops
from fxp.graph.ops.base import Accumulator
from fxp.graph.ops.base import Operand as OperandInfo
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.requantization import sum_bias
from fxp.hls.rtl.selection import selected
from fxp.hls.rtl.streams import Accumulated, Kept, StreamingError, ValueBus

Operand = ValueBus | NDArray[np.int64]
"""A bus of the plan, or the raw integers of a constant."""


@dataclass(frozen=True)
class Stage:
    """A node that is to be put into a plan.

    Attributes
    ----------
    plan
        The plan.
    graph
        The graph of the node.
    node
        The node.
    operands
        Its inputs.
    """

    plan: CorePlan
    graph: Graph
    node: Node
    operands: Sequence[Operand]

    @property
    def exact(self) -> Accumulator:
        """Range and fraction bits of the exact results."""
        assert self.node.accumulator is not None
        return self.node.accumulator

    @property
    def infos(self) -> Sequence[OperandInfo]:
        """Shapes and formats of the inputs."""
        return self.graph.operands[self.node.name]

    def image(self, index: int = 0) -> ValueBus:
        """Return an input that is no constant."""
        operand = self.operands[index]
        assert isinstance(operand, ValueBus)
        return operand

    def one_pixel(self, what: str) -> ValueBus:
        """Return the first input, of which a beat must hold a single pixel.

        Parameters
        ----------
        what
            Name of the operation, for the refusal.
        """
        source = self.image()
        if source.scale != 1:
            raise StreamingError(
                f"a {what} behind an enlargement cannot stream; put it before the enlargement"
            )
        return source

    def constant(self, index: int) -> NDArray[np.int64]:
        """Return the raw integers of an input that is a constant."""
        operand = self.operands[index]
        assert not isinstance(operand, ValueBus)
        return np.asarray(operand)

    def bias(self, channels: int) -> tuple[NDArray[np.int64] | None, int]:
        """Return the third input with what weighted sums take over of a rounding, and their bits.

        Parameters
        ----------
        channels
            The bias has one number for each; it is None if it adds nothing.
        """
        bias = np.zeros(channels, np.int64) if len(self.operands) < 3 else self.constant(2)
        assert bias.shape == (channels,)
        return sum_bias(self.plan, self.node, bias)

    def selected(self, stream: ValueBus, rows: Kept, columns: Kept) -> ValueBus:
        """Return some beats of a stream that has a beat for each pixel of the first input.

        Parameters
        ----------
        stream
            The stream.
        rows, columns
            What remains.
        """
        shape = self.infos[0].shape[1:]
        kept = []
        for axis, size in zip((rows, columns), shape, strict=True):
            if isinstance(size, int):
                # Of the ways to say the same for this size, one, so that equal rasters are equal.
                last = axis.first + axis.step * (axis.count(size) - 1)
                axis = Kept(axis.first, axis.step, max(size - last - axis.step, 0))
            kept.append(axis)
        return selected(self.plan, stream, *kept)


Rule = Callable[[Stage], ValueBus | Accumulated]
"""Gives the exact results of a node, or values that its requantization makes the same of."""
RULES: Final[dict[type[ops.Op], Rule]] = {}
"""Rules by op. An op without one cannot stream."""


def streams(*kinds: type[ops.Op]) -> Callable[[Rule], Rule]:
    """Make a function the rule of some ops; it adds modules to the plan of a stage.

    It returns the exact results, or what requantization, which follows, makes the same of.
    """

    def decorate(rule: Rule) -> Rule:
        for kind in kinds:
            assert kind not in RULES
            RULES[kind] = rule
        return rule

    return decorate
