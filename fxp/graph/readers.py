"""Who reads the values of a graph."""

from __future__ import annotations

from fxp.graph.graph import Graph
from fxp.graph.ops import Prelu


def read_by_prelus_alone(graph: Graph) -> frozenset[str]:
    """Names of the results that PReLUs read and nothing else, neither inside nor outside."""
    elsewhere = {*graph.outputs, *(state.source for state in graph.states)}
    return frozenset(
        node.name
        for node in graph.nodes
        if node.name not in elsewhere
        and all(isinstance(reader.op, Prelu) for reader in graph.consumers[node.name])
    )
