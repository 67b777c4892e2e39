"""Pass: let a convolution pad its input itself."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from fxp.frontend.rewrite import rebuilt
from fxp.graph import Graph, Node
from fxp.graph.ops import Conv2d, Pad
from fxp.graph.ops.padding import Sides


def fold_padding(graph: Graph) -> Graph:
    """Return the graph with every `Pad` merged into the convolutions that read it.

    A convolution that has padding of its own takes in zeros only; a `Pad` that anything else reads
    stays, so that no padding is done twice.
    """
    ends = {*graph.outputs, *(state.source for state in graph.states)}
    pads = {
        node.name: node
        for node in graph.nodes
        if isinstance(node.op, Pad)
        and node.name not in ends
        and all(_merged(node.op, reader) for reader in graph.consumers.get(node.name, ()))
    }
    nodes = []
    for node in graph.nodes:
        pad = pads.get(node.inputs[0])
        if pad is not None:
            assert isinstance(pad.op, Pad)
            op = _merged(pad.op, node)
            assert op is not None
            node = replace(node, op=op, inputs=(pad.inputs[0], *node.inputs[1:]))
        nodes.append(node)
    return rebuilt(graph, nodes)


def _merged(pad: Pad, reader: Node) -> Conv2d | None:
    """Return the convolution with the padding taken in, or None."""
    op = reader.op
    if not isinstance(op, Conv2d):
        return None
    if not any(op.padding):
        return replace(op, padding=pad.sides, padding_mode=pad.mode)
    if pad.mode != "zero" or op.padding_mode != "zero":
        return None
    sides = tuple(own + added for own, added in zip(op.padding, pad.sides, strict=True))
    return replace(op, padding=cast(Sides, sides))
