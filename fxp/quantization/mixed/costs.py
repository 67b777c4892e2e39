"""What a choice of widths costs: functions of the integer graph, split into parts.

`fxp.hls.rtl.costs` has those that know the hardware: look-up tables and line memories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Protocol, runtime_checkable

from fxp.graph import Graph, Node
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear, Multiply


@runtime_checkable
class Cost(Protocol):
    """A cost of an integer graph; any object with these two faces will do."""

    @property
    def name(self) -> str:
        """What is counted."""
        ...

    def parts(self, graph: Graph) -> Mapping[str, float]:
        """Return numbers that add up to the cost, by names that are the same for all widths.

        A part that depends on few widths, such as that of one layer, helps the search: it finds by
        trying which widths a part depends on.
        """
        ...


class MultiplierBits:
    """Bits of weight times bits of activation, for every multiplication of one inference.

    Weighted sums count, and products of two values. Additions, tables and shifts do not.

    Parameters
    ----------
    shapes
        Shape of each input, without batch.
    """

    name = "multiplier bits"

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._shapes = tuple(shapes)

    def parts(self, graph: Graph) -> dict[str, float]:
        """Return the products of widths and multiplications, by node."""
        shapes = graph.concrete_shapes(graph.bind(self._shapes))
        found: dict[str, float] = {}
        for node in graph.nodes:
            count = multiplications(graph, node, shapes)
            if count:
                first, second = (
                    max(form.width for form in operand.formats)
                    for operand in graph.operands[node.name][:2]
                )
                found[node.name] = float(count * first * second)
        return found


def multiplications(graph: Graph, node: Node, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiplications of a node, padding included.

    Parameters
    ----------
    graph
        An integer graph.
    node
        One of its nodes.
    shapes
        Shape of every value, as `Graph.concrete_shapes` returns them.
    """
    match node.op:
        case Conv2d() | Linear():
            pixels = shapes[node.name][1:]
        case ConvTranspose2d():
            pixels = shapes[node.inputs[0]][1:]
        case Multiply():
            return prod(shapes[node.name])
        case _:
            return 0
    return graph.constants_by_name[node.inputs[1]].data.size * prod(pixels)


class PackedSize:
    """Bytes of all weights, biases and tables, packed at their widths.

    So much a memory or a compressed file needs. A ``.fxp`` file is fast to map instead: it takes
    two bytes for every number of up to 16 bits.
    """

    name = "bytes"

    def parts(self, graph: Graph) -> dict[str, float]:
        """Return the bytes of every constant."""
        return {
            constant.name: constant.data.size * max(form.width for form in constant.formats) / 8
            for constant in graph.constants
        }
