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
    copies: dict[int, Node] = {}
    taken = {*graph.values, *graph.constants_by_name}
    for place, (output, name) in enumerate(zip(graph.outputs, names, strict=True)):
        if name is None:
            continue
        free = wanted = clean_name(name)
        count = 0
        while free in taken and not (free == output and output not in new_names):
            count += 1
            free = f"{wanted}_{count}"
        taken.add(free)
        if output in new_names:
            copies[place] = Node(free, Requantize(), (output,))
        else:
            new_names[output] = free

    def renamed(name: str) -> str:
        return new_names.get(name, name)

    nodes = tuple(
        replace(node, name=renamed(node.name), inputs=tuple(map(renamed, node.inputs)))
        for node in (*graph.nodes, *copies.values())
    )
    outputs = tuple(
        copies[place].name if place in copies else renamed(output)
        for place, output in enumerate(graph.outputs)
    )
    states = tuple(replace(state, source=renamed(state.source)) for state in graph.states)
    return Graph(graph.name, graph.inputs, nodes, outputs, graph.constants, states)
