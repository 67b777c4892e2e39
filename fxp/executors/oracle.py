"""The oracle: an integer graph run op by op in plain int64 NumPy. Slow, obvious, the definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from fxp.executors.execution import Result, start
from fxp.formats import IntArray, overflow_mask, requantize
from fxp.graph import Graph, Limits, Node
from fxp.graph.ops.base import GraphError, channel_view


def run(
    graph: Graph,
    inputs: Sequence[ArrayLike],
    states: Mapping[str, ArrayLike] | None = None,
    *,
    limits: Limits | None = None,
) -> Result:
    """Run an integer graph once, keeping every value.

    Parameters
    ----------
    graph
        An integer graph.
    inputs
        Raw integers of each input, ``(C, H, W)`` or ``(F,)``.
    states
        Raw integers of the states by name; those left out start from their reset value.
    limits
        Most that the run may need.

    Returns
    -------
    Result
        Raw int64 integers of the outputs, next states and every value, and what overflowed.

    Raises
    ------
    GraphError
        If the graph is a float graph, a shape or a state's name does not fit, or the run would
        need more than the limits. Also if an exact result leaves its proved range, which would be a
        fault of this package.
    FormatError
        If a raw integer lies outside its format.
    """
    values, shapes = start(graph, inputs, states, limits=limits)
    clipped: dict[str, int] = {}
    constants = {name: constant.data for name, constant in graph.constants_by_name.items()}
    for node in graph.nodes:
        arrays = [values[name] if name in values else constants[name] for name in node.inputs]
        exact = node.op.oracle(graph.operands[node.name], *arrays)
        _check_proof(node, exact, shapes[node.name])
        assert node.accumulator is not None
        assert node.quantization is not None
        fracs = channel_view(node.accumulator.fracs, exact.ndim)
        target = node.quantization
        step = (exact, fracs, target.format, target.rounding, target.overflow)
        values[node.name] = requantize(*step)
        clipped[node.name] = int(overflow_mask(*step).sum())
    return Result(
        tuple(values[name].copy() for name in graph.outputs),
        {state.value.name: values[state.source].copy() for state in graph.states},
        values,
        clipped,
        {node.name: values[node.name].size for node in graph.nodes},
    )


def _check_proof(node: Node, exact: IntArray, shape: tuple[int, ...]) -> None:
    accumulator = node.accumulator
    assert accumulator is not None
    low = channel_view(np.array(accumulator.low), exact.ndim)
    high = channel_view(np.array(accumulator.high), exact.ndim)
    if exact.dtype != np.int64 or exact.shape != shape:
        raise GraphError(
            f"node {node.name!r}: the oracle gave {exact.dtype} {exact.shape}, not int64 {shape}"
        )
    if (exact < low).any() or (exact > high).any():
        raise GraphError(f"node {node.name!r}: the exact result leaves its proved range")
