"""Line memories at half their size: which convolutions read compressed lines."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np

from fxp.formats import Quantization
from fxp.graph import Graph, Node, ops
from fxp.graph.ops.line_codec import WIDTHS
from fxp.graph.ops.transposed import phases
from fxp.model import FixedModel
from fxp.support.errors import ArgumentError

LEAST_WIDTH: Final = 12
"""Bits of a format that is compressed unless asked otherwise; narrower ones lose more."""
LEAST_BITS: Final = 64
"""Line memory for each pixel of a line that is worth a codec."""


def compress_lines(model: FixedModel, nodes: Collection[str] | None = None) -> FixedModel:
    """Let convolutions read their images through the lossy codec of line memories.

    The codec is an op of the graph, `fxp.graph.ops.LineCodec`, so the engine and every other
    executor compute what the core of `emit_rtl` computes, whose line memories then take half the
    bits.

    Parameters
    ----------
    model
        A quantized model.
    nodes
        Names of convolutions and transposed convolutions. By default all whose line memories hold
        at least 64 bits for each pixel of a line, in a format of 12 to 24 bits.

    Returns
    -------
    FixedModel
        With a codec before each of these nodes; nodes with the same input share one. The other
        readers of that input are not affected.

    Raises
    ------
    ValueError
        If a name is not that of a node that stores lines, or its format suits no codec.
    """
    graph = model.graph
    chosen = set(_default(graph) if nodes is None else nodes)
    for name in sorted(chosen):
        if name not in {node.name for node in graph.nodes}:
            raise ArgumentError(f"{graph.name} has no node {name!r}")
    codecs: dict[str, str] = {}
    result: list[Node] = []
    for node in graph.nodes:
        if node.name not in chosen:
            result.append(node)
            continue
        source = node.inputs[0]
        if not lines_of(graph, node):
            raise ArgumentError(
                f"node {node.name!r} ({node.op.name}) of {graph.name} stores no lines"
            )
        if source not in codecs:
            codecs[source] = _free_name(f"{source}.stored", graph)
            form = graph.operands[node.name][0].format
            result.append(
                Node(
                    codecs[source],
                    ops.LineCodec(),
                    (source,),
                    Quantization(form),
                    origin=node.origin,
                )
            )
        result.append(replace(node, inputs=(codecs[source], *node.inputs[1:])))
    compressed = Graph(
        graph.name, graph.inputs, tuple(result), graph.outputs, graph.constants, graph.states
    )
    return FixedModel(compressed, metadata=model.metadata)


def lines_of(graph: Graph, node: Node) -> int:
    """Lines of its input that the window of a node stores; 0 for ops without a window."""
    op = node.op
    if not isinstance(op, ops.Conv2d | ops.ConvTranspose2d):
        return 0
    weight = np.asarray(graph.constants_by_name[node.inputs[1]].data)
    if isinstance(op, ops.Conv2d):
        return op.dilation[0] * (weight.shape[2] - 1)
    parts = phases(weight, op.stride, op.padding, op.dilation)
    ends = [0, *(row for p in parts for row in
                 (p.first_row, p.first_row + p.row_step * (p.weight.shape[0] - 1)))]  # fmt: skip
    return max(ends) - min(ends)


def _default(graph: Graph) -> list[str]:
    found = []
    for node in graph.nodes:
        lines = lines_of(graph, node)
        if lines:
            source = graph.operands[node.name][0]
            width = source.format.width
            bits = lines * source.channels * width
            if LEAST_WIDTH <= width <= WIDTHS[1] and bits >= LEAST_BITS:
                found.append(node.name)
    return found


def _free_name(wanted: str, graph: Graph) -> str:
    name, count = wanted, 1
    taken = {*graph.values, *graph.constants_by_name}
    while name in taken:
        count += 1
        name = f"{wanted}{count}"
    return name
