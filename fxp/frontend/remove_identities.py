"""Pass: drop nodes that hand on their input unchanged."""

from __future__ import annotations

from dataclasses import replace

from fxp.frontend.rewrite import rebuilt
from fxp.graph import Graph
from fxp.graph.ops import (
    AveragePool,
    Concat,
    MaxPool,
    Nearest,
    Op,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Requantize,
    Slice,
)


def is_identity(op: Op, inputs: int) -> bool:
    """Whether an op of that many inputs changes neither values nor shape.

    `Requantize` is none: its node is where a value gets a format of its own.
    """
    match op:
        case Slice(start=0, stop=None, step=1) | Pad(sides=(0, 0, 0, 0)):
            return True
        case Nearest(factor=1) | PixelShuffle(factor=1) | PixelUnshuffle(factor=1):
            return True
        case AveragePool(window=(1, 1), stride=(1, 1)) | MaxPool(window=(1, 1), stride=(1, 1)):
            return not any(op.padding)
        case Concat():
            return inputs == 1
    return False


def remove_identities(graph: Graph) -> Graph:
    """Return the graph without identities; one that leads from an input to an output stays.

    That one becomes a `Requantize`, so that every output is the result of a node.
    """
    ends = {*graph.outputs, *(state.source for state in graph.states)}
    computed = {node.name for node in graph.nodes}
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        source = node.inputs[0]
        while source in renamed:
            source = renamed[source]
        if not is_identity(node.op, len(node.inputs)):
            nodes.append(node)
        elif source in computed or node.name not in ends:
            renamed[node.name] = source
        else:
            nodes.append(replace(node, op=Requantize()))
    return rebuilt(graph, nodes, renamed=renamed)
