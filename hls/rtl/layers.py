"""From a node of the graph to its modules: the rule of its op, then requantization."""

from __future__ import annotations

from collections.abc import Sequence

from fxp.graph import Graph, Node
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.requantization import requantized
from fxp.hls.rtl.stages import RULES, Operand, Stage
from fxp.hls.rtl.streams import Accumulated, MissingStageError, PlannedValue, ValueBus


def add_node(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> PlannedValue:
    """Add a node to the plan.

    Parameters
    ----------
    plan
        The plan.
    graph
        The graph of the node.
    node
        The node.
    operands
        Its inputs: buses of the plan, or raw integers of constants.

    Returns
    -------
    PlannedValue
        The result of the node, requantized.

    Raises
    ------
    StreamingError
        If the op cannot stream.
    """
    rule = RULES.get(type(node.op))
    if rule is None:
        raise MissingStageError(f"{node.op.name} cannot stream")
    result = rule(Stage(plan, graph, node, operands))
    if isinstance(result, ValueBus):
        assert node.accumulator is not None
        exact = node.accumulator
        # A vector of all pixels has a number for each of them, channel by channel.
        count = len(exact.fracs) // result.channels
        low = tuple(min(exact.low[i : i + count]) for i in range(0, len(exact.low), count))
        high = tuple(max(exact.high[i : i + count]) for i in range(0, len(exact.high), count))
        result = Accumulated(result, exact.fracs[::count], low, high)
    return requantized(plan, node, result)
