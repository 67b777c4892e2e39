"""Names for outputs that a model returns in a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fxp.frontend.builder import clean_name
from fxp.graph import Graph, Node
from fxp.graph.ops import Requantize


def name_outputs(graph: Graph, names: Sequence[str | None]) -> Graph:
    """Return the graph with outputs, and the nodes that compute them, under other names.

    A value that is returned under several names is copied. A name that something else has already
    gets a number behind it.

    Parameters
    ----------
    graph
        A float graph.
    names
        For every output its new name; None keeps the one it has.
    """
    new_names: dict[str, str] = {}
    copies: list[Node] = []
    outputs: list[str] = []
    taken = {*graph.values, *graph.constants_by_name}
    for output, name in zip(graph.outputs, names, strict=True):
        if name is None:
            outputs.append(output)
            continue
        wanted = clean_name(name)
        if output not in new_names and wanted == output:
            new_names[output] = output
            outputs.append(output)
            continue
        free, count = wanted, 0
        while free in taken:
            count += 1
            free = f"{wanted}_{count}"
        taken.add(free)
        outputs.append(free)
        if output in new_names or output in outputs:
            copies.append(Node(free, Requantize(), (output,), origin=""))
        else:
            new_names[output] = free

    def renamed(name: str) -> str:
        return new_names.get(name, name)

    nodes = tuple(
        replace(node, name=renamed(node.name), inputs=tuple(map(renamed, node.inputs)))
        for node in (*graph.nodes, *copies)
    )
    states = tuple(replace(state, source=renamed(state.source)) for state in graph.states)
    return Graph(graph.name, graph.inputs, nodes, tuple(outputs), graph.constants, states)
