"""Pass: drop nodes whose results nothing reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fxp.graph import Node


def remove_dead_code(nodes: Sequence[Node], roots: Iterable[str]) -> tuple[Node, ...]:
    """Return the nodes that `roots` depend on.

    It works on nodes, since a `Graph` never holds an unread one.

    Parameters
    ----------
    nodes
        In execution order.
    roots
        Outputs, and the values that feed states.
    """
    wanted = set(roots)
    kept = []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))
