"""What a graph costs: multiplications and memory, at one size."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from fxp.graph import Graph, Node

Shapes = Mapping[str, tuple[int, ...]]


def multiply_accumulates(graph: Graph, node: Node, shapes: Shapes) -> int:
    """Count the multiply-accumulates of a convolution or linear layer; of other nodes, 0.

    Parameters
    ----------
    graph
        Float or integer graph.
    node
        One of its nodes.
    shapes
        Concrete shapes of all values, from `Graph.concrete_shapes`.
    """
    # A transposed convolution multiplies every input by all its taps.
    pixels = shapes[node.inputs[0] if "transpose" in node.op.name else node.name][1:]
    weights = (
        graph.constants_by_name[node.inputs[position]].data.size
        for position, role in node.op.constant_roles.items()
        if role == "weight" and node.inputs[position] in graph.constants_by_name
    )
    return sum(weights) * prod(pixels)


def multiplications(graph: Graph, node: Node, shapes: Shapes) -> int:
    """Count the multiplications of a node for one image.

    Those of convolutions, linear layers, products of values and slopes; shifts, additions and table
    entries are none.

    Parameters
    ----------
    graph, node, shapes
        As for `multiply_accumulates`.
    """
    found = multiply_accumulates(graph, node, shapes)
    if found:
        return found
    roles = node.op.constant_roles.values()
    if node.op.name == "multiply" or "slope" in roles or "factor" in roles:
        return prod(shapes[node.name])
    return 0


def value_bits(graph: Graph, name: str, shapes: Shapes) -> int:
    """Bits of memory of one value of an integer graph, as a whole image.

    Parameters
    ----------
    graph
        The graph.
    name
        The value.
    shapes
        Of all values, without batch.
    """
    form = graph.values[name].format
    assert form is not None
    return form.width * prod(shapes[name])


def weight_bits(graph: Graph, node: Node) -> int:
    """Bits of memory of the constants of a node of an integer graph, tables included."""
    total = 0
    for name in node.inputs:
        constant = graph.constants_by_name.get(name)
        if constant is not None:
            total += constant.data.size * constant.formats[0].width
    return total
