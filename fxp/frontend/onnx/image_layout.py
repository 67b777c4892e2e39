"""Which inputs of a file are images ``(N, H, W, C)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fxp.frontend.onnx.branches import constants_of

if TYPE_CHECKING:
    import onnx

_ON_PIXELS: Final = frozenset(
    ("Abs", "Add", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Identity", "Mul", "Neg",
     "Pad", "Quant", "QuantizeLinear", "Relu", "Sub")
)  # fmt: skip
"""Operations that may lie between an input and the node that turns it."""


def has_channels_last(name: str, graph: onnx.GraphProto) -> bool:
    """Whether a file turns an input from ``(N, H, W, C)`` to ``(N, C, H, W)`` wherever it reads it.

    Arithmetic with constants may lie before, and the image may be added to others as it is.

    Parameters
    ----------
    name
        Of the input, which has four axes.
    graph
        The file's.
    """
    constants = {constant for constant, _ in constants_of(graph)}
    turned, pending, seen = False, [name], {name}
    while pending:
        value = pending.pop()
        for node in (node for node in graph.node if value in node.input):
            if _turns_to_channels_first(node):
                turned = True
            elif node.op_type not in _ON_PIXELS:
                return False
            elif all(item in constants for item in node.input if item and item != value):
                pending += [item for item in node.output if item not in seen]
                seen.update(node.output)
    return turned


def _turns_to_channels_first(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and any(
        list(item.ints) == [0, 3, 1, 2] for item in node.attribute if item.name == "perm"
    )
