"""Borders that are repeated or mirrored: padding as a stage of its own.

Zero padding needs no stage, as buffers reach beyond the image and stay zero there. Other borders
are written out once, behind which the convolution has none, so that fast kernels serve them all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fxp.engine.chains import Chain
from fxp.engine.stages import CommandStage, Region
from fxp.formats import Quantization
from fxp.graph import Graph, Node
from fxp.kernels.borders import BORDER_CODES, pad_kernel
from fxp.kernels.host import Tiles
from fxp.ops import Conv2d, Pad


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


class PadStage(CommandStage):
    """Rows and columns around an image, repeated or mirrored."""

    def __init__(self, graph: Graph, chain: Chain, op: Pad) -> None:
        super().__init__(graph, chain, f"pad {op.mode}")
        self._border = BORDER_CODES[op.mode]
        top, _, left, _ = op.sides
        self._block = np.array([top, left, 2 * self.operands[0].channels], np.int64)

    def commands(self, region: Region) -> list[list[int]]:
        """One command."""
        return [region.command(pad_kernel(self._border), self._block)]


def pad_stage(graph: Graph, chain: Chain, tiles: Tiles) -> PadStage | None:
    """Make the stage of a padding other than zero that changes no value."""
    op = chain.head.op
    if not isinstance(op, Pad) or op.mode not in BORDER_CODES or len(chain.nodes) > 1:
        return None
    source, target = graph.operands[chain.head.name][0].format, chain.head.quantization
    assert target is not None
    if source != target.format or source.dtype != np.int16:
        return None
    return PadStage(graph, chain, op)
