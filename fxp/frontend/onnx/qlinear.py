"""How the operations that compute with quantized integers order their inputs.

Those of the standard are ``QLinearConv`` and ``QLinearMatMul``; ONNX Runtime has the others, in the
domain ``com.microsoft``, and its static quantizer writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
else:
    onnx = lazy_import("onnx", "onnx")

_OWN_ATTRIBUTES: Final = frozenset({"channels_last", "opset"})
"""Attributes that the operation on real values does not have."""


@dataclass(frozen=True)
class QLinear:
    """An operation from quantized integers to quantized integers.

    Attributes
    ----------
    op
        The operation of the standard on their real values.
    operands
        Positions of the integers; behind each follow its scale and its zero point.
    result
        Position of the scale of the result, which the zero point follows.
    bias
        Position of integers whose scale is the product of those of the operands.
    repeats
        Whether further operands follow the last.
    rounds_with_zero
        Whether ONNX Runtime adds the zero point of the result before it rounds, and not after, so
        that with an odd one the integer of a tie is another.
    """

    op: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None
    repeats: bool = False
    rounds_with_zero: bool = False

    def channel_axis(self, attributes: Mapping[str, Any]) -> int:
        """Axis of a constant operand along which its scales differ."""
        if self.op == "MatMul":
            return -1
        return 0 if self.op == "Conv" or attributes.get("transB") else 1

    def alpha(self, attributes: Mapping[str, Any]) -> float:
        """Factor of the products of a ``QGemm``."""
        return float(attributes.get("alpha", 1.0)) if self.op == "Gemm" else 1.0

    def kept(self, proto: onnx.NodeProto) -> onnx.NodeProto:
        """Return a node with those attributes that the operation on real values has."""
        left_out = _OWN_ATTRIBUTES | ({"alpha"} if self.op == "Gemm" else set())
        made = onnx.NodeProto()
        made.attribute.extend(item for item in proto.attribute if item.name not in left_out)
        return made


@dataclass(frozen=True)
class IntegerOperand:
    """Integers that a node reads.

    Attributes
    ----------
    position, name
        Which input it is, and its name.
    scale, zero
        Names of its scale and zero point; empty where there is none.
    """

    position: int
    name: str
    scale: str
    zero: str


def _unary(op: str) -> QLinear:
    return QLinear(op, (0,), 3)


QLINEAR: Final = {
    "QGemm": QLinear("Gemm", (0, 3), 7, bias=6),
    "QLinearAdd": QLinear("Add", (0, 3), 6, rounds_with_zero=True),
    "QLinearAveragePool": QLinear("AveragePool", (0,), 3, rounds_with_zero=True),
    "QLinearConcat": QLinear("Concat", (2,), 0, repeats=True),
    "QLinearConv": QLinear("Conv", (0, 3), 6, bias=8),
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearMatMul": QLinear("MatMul", (0, 3), 6),
    "QLinearMul": QLinear("Mul", (0, 3), 6, rounds_with_zero=True),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _unary("Softmax"),
}
"""Operations from integers to integers, by name."""
LAYERS_OF_INTEGERS: Final = ("ConvInteger", "MatMulInteger")
"""Operations from integers to their exact sums, whose zero points follow both operands."""


def integer_operands(op: str, inputs: Sequence[str]) -> Iterator[IntegerOperand]:
    """Yield the integers that an operation reads.

    Parameters
    ----------
    op, inputs
        The operation, and the names of its inputs.
    """

    def name(position: int) -> str:
        return inputs[position] if position < len(inputs) else ""

    if op in LAYERS_OF_INTEGERS:
        for position in range(2):
            yield IntegerOperand(position, name(position), "", name(position + 2))
        return
    layout = _DEQUANTIZE if op == "DequantizeLinear" else QLINEAR.get(op)
    if layout is None:
        return
    positions: Sequence[int] = layout.operands
    if layout.repeats:
        positions = range(layout.operands[0], len(inputs), 3)
    for position in positions:
        yield IntegerOperand(position, name(position), name(position + 1), name(position + 2))


_DEQUANTIZE: Final = QLinear("", (0,), 3)
