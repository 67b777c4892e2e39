"""Values that only a saturating function reads, such as a sigmoid: far out, all give the same."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fxp.formats import quantize
from fxp.graph import Graph, Node
from fxp.graph.ops.functions import FunctionTable
from fxp.quantization.ranges import format_within_one
from fxp.quantization.widths import Widths

FARTHEST: Final = 8
"""A function that is not flat before two to this power does not count as saturating."""
NEVER: Final = 1 << 20
"""Exponent of a function that does not saturate."""


def saturation_exponents(graph: Graph, widths: Widths) -> dict[str, int]:
    """Return the powers of two beyond which a value may be clipped and no result changes.

    Parameters
    ----------
    graph
        A float graph.
    widths
        Of the tables' results.

    Returns
    -------
    dict
        Exponents by value, of those values that only such functions read.
    """
    kept = {*graph.outputs, *(state.source for state in graph.states)}
    found: dict[str, int] = {}
    for name in graph.values.keys() - kept:
        ends = [saturation_exponent(node, widths) for node in graph.consumers.get(name, ())]
        if ends and max(ends) < NEVER:
            found[name] = max(ends)
    return found


def saturation_exponent(node: Node, widths: Widths) -> int:
    """Return the power of two beyond which a function is flat, to half a step of its table.

    Parameters
    ----------
    node
        Any node of a float graph.
    widths
        Of the tables' results.

    Returns
    -------
    int
        `NEVER` if the node is no such function.
    """
    op = node.op
    if not isinstance(op, FunctionTable) or op.output_range not in ((0.0, 1.0), (-1.0, 1.0)):
        return NEVER
    form = format_within_one(op, widths.value(node.name))
    for exponent in range(FARTHEST):
        near, far = math.ldexp(1.0, exponent), math.ldexp(1.0, FARTHEST)
        # Every function of such a range is monotone.
        low, lowest, high, highest = quantize(op.evaluate(np.array([-near, -far, near, far])), form)
        if low == lowest and high == highest:
            return exponent
    return NEVER
