"""What a choice of widths costs in hardware, for `fxp.quantize_mixed`: adders and line memories."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.graph import Graph, Node
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear
from fxp.hls.line_compression import lines_of
from fxp.hls.rtl.adder_graph import Counts, adder_graph
from fxp.hls.rtl.blocks import AxisTaps, block_bias, block_matrix
from fxp.hls.rtl.sums import dense_matrix
from fxp.support.errors import ArgumentError

Counted = Literal["luts", "adders", "registers"]
COUNTED: Final = {"luts": "LUTs", "adders": "adders", "registers": "register bits"}


class ShiftAddCost:
    """What the weighted sums of a network need as graphs of shared adders.

    The graphs are those of ``multipliers="shift_add"``, from the same generator. Activations,
    roundings and memories are not counted. Layers that were counted once are remembered.

    Parameters
    ----------
    counted
        ``luts``, one for each bit of a sum that is not merely passed on, ``adders``, adders and
        subtractors, or ``registers``, bits.

    Raises
    ------
    ArgumentError
        If something else is to be counted.
    """

    def __init__(self, counted: Counted = "luts") -> None:
        if counted not in COUNTED:
            raise ArgumentError(f"unknown count {counted!r}; choose one of {', '.join(COUNTED)}")
        self._counted: Counted = counted
        self._known: dict[tuple[object, ...], Counts] = {}

    @property
    def name(self) -> str:
        """What is counted."""
        return COUNTED[self._counted]

    def parts(self, graph: Graph) -> dict[str, float]:
        """Return the count of every weighted sum, by node.

        Raises
        ------
        ArgumentError
            If a weight has more than 24 bits, or a sum more than 62.
        """
        found: dict[str, float] = {}
        for node in graph.nodes:
            if isinstance(node.op, Conv2d | ConvTranspose2d | Linear):
                found[node.name] = float(getattr(self._counts(graph, node), self._counted))
        return found

    def _counts(self, graph: Graph, node: Node) -> Counts:
        source = graph.operand(node.inputs[0]).format
        weight = graph.constants_by_name[node.inputs[1]].data
        bias = graph.constants_by_name[node.inputs[2]].data if len(node.inputs) > 2 else None
        key = (node.op, source.width, source.signed, weight.shape, weight.tobytes(),
               None if bias is None else bias.tobytes())  # fmt: skip
        if key not in self._known:
            self._known[key] = _matrix_counts(node, source, weight, bias)
        return self._known[key]


def _matrix_counts(
    node: Node, source: Format, weight: NDArray[np.int64], bias: NDArray[np.int64] | None
) -> Counts:
    """Count what `fxp.hls.rtl.sums.weighted_sums` would build."""
    op = node.op
    groups = 1
    if isinstance(op, ConvTranspose2d):
        groups = op.groups
        rows, columns = AxisTaps.of_transposition(op, weight.shape[2:], 1)
        matrix = block_matrix(weight, rows, columns, 1, groups)
        bias = block_bias(bias, groups, op.stride[0] * op.stride[1])
    elif isinstance(op, Conv2d):
        matrix, groups = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), op.groups
    else:
        matrix = weight
    inputs = weight.shape[1]
    dense = dense_matrix(matrix, groups, matrix.shape[1] // inputs, inputs)
    return adder_graph(
        dense,
        (source.min_raw, source.max_raw),
        bias if bias is not None and bias.any() else None,
    ).counts


class LineMemoryCost:
    """Bits of the lines that the windows of a streaming core store.

    A window stores the lines above the present one: ``rows * width * channels * bits`` of the value
    it slides over. Layers with equal windows over one value share them.

    Parameters
    ----------
    width
        Pixels of the longest line of the input. Lines of an enlarged or reduced value count as
        many, because a streaming core has one pixel, or block, of the input for each beat.

    Raises
    ------
    ArgumentError
        If the width is not at least 1.
    """

    name = "line-memory bits"

    def __init__(self, width: int) -> None:
        if width < 1:
            raise ArgumentError(f"the width must be at least 1 pixel, got {width}")
        self._width = width

    def parts(self, graph: Graph) -> dict[str, float]:
        """Return the bits by window, named after the first node that has it."""
        found: dict[str, float] = {}
        seen: set[tuple[object, ...]] = set()
        for node in graph.nodes:
            lines = lines_of(graph, node)
            window = (node.inputs[0], _window(graph, node)) if lines else ()
            if lines and window not in seen:
                seen.add(window)
                source = graph.operands[node.name][0]
                bits = lines * self._width * source.channels * source.format.width
                found[node.name] = float(bits)
        return found


def _window(graph: Graph, node: Node) -> tuple[object, ...]:
    """Return what two nodes must have in common to share a window."""
    op = node.op
    kernel = graph.constants_by_name[node.inputs[1]].data.shape[2:]
    if isinstance(op, Conv2d):
        return (kernel, op.dilation, op.padding)
    assert isinstance(op, ConvTranspose2d)
    return (kernel, op.stride, op.dilation, op.padding)
