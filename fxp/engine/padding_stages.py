"""Borders that are repeated or mirrored: padding as a stage of its own.

Zero padding needs no stage, as buffers reach beyond the image and stay zero there. Other borders
are written out once, behind which the convolution has none, so that fast kernels serve them all.
"""

from __future__ import annotations

from dataclasses import replace

from fxp.formats import Quantization
from fxp.graph import Graph, Node
from fxp.graph.ops import Conv2d, Pad


def separate_padding(graph: Graph) -> Graph:
    """Give convolutions whose borders are not zero a `Pad` node before them."""
    names = set(graph.values) | set(graph.constants_by_name)
    nodes: list[Node] = []
    for node in graph.nodes:
        if (
            not isinstance(node.op, Conv2d)
            or node.op.padding_mode == "zero"
            or not any(node.op.padding)
        ):
            nodes.append(node)
            continue
        source = graph.values[node.inputs[0]]
        assert source.format is not None
        padded = f"{node.name}.padded"
        while padded in names:
            padded += "_"
        names.add(padded)
        pad = Pad(node.op.padding, node.op.padding_mode)
        nodes.append(Node(padded, pad, (source.name,), Quantization(source.format)))
        op = replace(node.op, padding=(0, 0, 0, 0), padding_mode="zero")
        nodes.append(Node(node.name, op, (padded, *node.inputs[1:]), node.quantization))
    if len(nodes) == len(graph.nodes):
        return graph
    return Graph(
        graph.name, graph.inputs, tuple(nodes), graph.outputs, graph.constants, graph.states
    )
