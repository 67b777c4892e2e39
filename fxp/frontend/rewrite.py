"""What every pass ends with: other nodes in place of the old ones, and nothing left unread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fxp.graph import Constant, Graph, Node
from fxp.graph.remove_dead_code import remove_dead_code


def rebuilt(
    graph: Graph,
    nodes: Iterable[Node],
    constants: Iterable[Constant] = (),
    renamed: Mapping[str, str] | None = None,
) -> Graph:
    """Return the graph with other nodes.

    Parameters
    ----------
    graph
        Where inputs, outputs, states and constants come from.
    nodes
        All nodes, in execution order.
    constants
        New ones; those that nothing reads are dropped, old or new.
    renamed
        Values that stand for others from now on.
    """
    names = dict(renamed or {})

    def final(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    outputs = tuple(final(name) for name in graph.outputs)
    states = tuple(replace(state, source=final(state.source)) for state in graph.states)
    rewired = [replace(node, inputs=tuple(final(name) for name in node.inputs)) for node in nodes]
    live = remove_dead_code(rewired, [*outputs, *(state.source for state in states)])
    used = {name for node in live for name in node.inputs}
    kept = [item for item in (*graph.constants, *constants) if item.name in used]
    return Graph(graph.name, graph.inputs, live, outputs, tuple(kept), states)


def unique_name(graph: Graph, wanted: str, taken: Iterable[str] = ()) -> str:
    """Return a name that neither the graph nor `taken` holds.

    Parameters
    ----------
    graph
        Where names of values and constants are taken already.
    wanted
        The name, if it is free; else a number is added to it.
    taken
        Further names that are taken.
    """
    known = {*graph.values, *graph.constants_by_name, *taken}
    name, count = wanted, 0
    while name in known:
        count += 1
        name = f"{wanted}_{count}"
    return name
