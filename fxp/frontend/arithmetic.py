"""Converters of sums, differences, products and quotients."""

from __future__ import annotations

import torch

from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.statistics import counted_sum
from fxp.graph.ops import Add, Clamp, Multiply, Op, Power, Relu, Subtract

Operand = Term | KnownTensor


def _operand(context: Context, name: str) -> Operand:
    value = context[name]
    if isinstance(value, Term):
        return context.standard(value)
    if isinstance(value, KnownTensor):
        return value
    if not isinstance(value, int | float):
        context.refuse(
            f"{name!r} depends on the image size", "use a fixed number", size_dependent=True
        )
    return KnownTensor(torch.tensor(float(value), dtype=torch.float64))


def _combine(context: Context, op: Op, left: Operand, right: Operand, part: str = "") -> Term:
    """Emit an op of two operands, at least one of which is computed."""
    computed = [item for item in (left, right) if isinstance(item, Term)]
    rank = len(computed[0].shape)
    if len(computed) == 2 and len(computed[1].shape) != rank:
        context.refuse(
            f"it combines shapes {shape_of(computed[0])} and {shape_of(computed[1])}",
            "keep the axes of both, for instance with mean(dim=(2, 3), keepdim=True)",
        )
    return context.emit(
        op, *(_placed(context, item, rank, part) for item in (left, right)), part=part
    )


def _placed(context: Context, operand: Operand, rank: int, part: str) -> Term | str:
    if isinstance(operand, Term):
        return operand
    shape = list(operand.tensor.shape)
    shape = [1] * (rank + 1 - len(shape)) + shape
    if len(shape) != rank + 1 or shape[0] != 1:
        context.refuse(
            f"its constant has shape {tuple(operand.tensor.shape)}",
            f"a constant must fit {'(1, C, H, W)' if rank == 3 else '(1, F)'}",
        )
    return context.constant(operand, shape[1:], f"{part}.constant" if part else "constant")


def _scaled(context: Context, operand: Operand, factor: float) -> Operand:
    if factor == 1:
        return operand
    if isinstance(operand, KnownTensor):
        return operand.derived(torch.mul, float(factor))
    scale = KnownTensor(torch.tensor(float(factor), dtype=torch.float64))
    return _combine(context, Multiply(), operand, scale, part="scaled")


def _sum(context: Context, first: str, second: str, sign: int) -> Term:
    left, right = _operand(context, first), _operand(context, second)
    factor = context.arguments.get("alpha", 1)
    if factor < 0:
        sign, factor = -sign, -factor
    op = Add() if sign > 0 else Subtract()
    return _combine(context, op, left, _scaled(context, right, factor))


def add(context: Context) -> Term:
    """``self + alpha * other``."""
    return _sum(context, "self", "other", 1)


def subtract(context: Context) -> Term:
    """``self - alpha * other``."""
    return _sum(context, "self", "other", -1)


def reverse_subtract(context: Context) -> Term:
    """``other - alpha * self``."""
    return _sum(context, "other", "self", -1)


def multiply(context: Context) -> Term:
    """``self * other``."""
    return _combine(context, Multiply(), _operand(context, "self"), _operand(context, "other"))


def negate(context: Context) -> Term:
    """``-1 * self``."""
    minus_one = KnownTensor(torch.tensor(-1.0, dtype=torch.float64))
    return _combine(context, Multiply(), _operand(context, "self"), minus_one)


def power(context: Context) -> Term:
    """``self ** exponent`` with a fixed exponent; a square is a product."""
    exponent, value = context["exponent"], context.term("self")
    if not isinstance(exponent, int | float):
        context.refuse("its exponent is no fixed number", "use a number as exponent")
    if exponent == 2:
        return _combine(context, Multiply(), value, value)
    return context.emit(Power(float(exponent)), value)


def square(context: Context) -> Term:
    """``self * self``."""
    value = context.term("self")
    return _combine(context, Multiply(), value, value)


def square_root(context: Context) -> Term:
    """Square root."""
    return context.emit(Power(0.5), context.term("self"))


def reciprocal_root(context: Context) -> Term:
    """Reciprocal of the square root."""
    return context.emit(Power(-0.5), context.term("self"))


def reciprocal(context: Context) -> Term:
    """Reciprocal."""
    return context.emit(Power(-1.0), context.term("self"))


def _reciprocal(divisor: torch.Tensor) -> torch.Tensor:
    return 1 / divisor.to(torch.float64)


def divide(context: Context) -> Term:
    """``self / other``: a product with the reciprocal, or the mean that a sum over a count is."""
    if context.arguments.get("rounding_mode") is not None:
        context.refuse("it rounds the quotient", "leave rounding to the formats of the graph")
    given = context["other"]
    if not isinstance(given, Term | KnownTensor):
        counted = counted_sum(context, given)
        if counted is not None:
            return counted
    divisor = _operand(context, "other")
    if isinstance(divisor, Term):
        inverse = context.emit(
            Power(-1.0), divisor, part="reciprocal", torch_shape=divisor.torch_shape
        )
        return _combine(context, Multiply(), _operand(context, "self"), inverse)
    if bool((divisor.tensor == 0).any()):
        context.refuse("it divides by zero", "check the divisor")
    constant = divisor.derived(_reciprocal)
    return _combine(context, Multiply(), context.term("self"), constant)


def _larger(context: Context, sign: int) -> Term:
    """``max(a, b)`` as ``a + relu(b - a)``, or ``min(a, b)`` as ``a - relu(a - b)``; both exact."""
    left, right = _operand(context, "self"), _operand(context, "other")
    if isinstance(left, KnownTensor):
        left, right = right, left
    if isinstance(right, KnownTensor) and right.tensor.numel() == 1:
        bound = float(right.tensor)
        return context.emit(Clamp(low=bound) if sign > 0 else Clamp(high=bound), left)  # type: ignore[arg-type]
    first, second = (right, left) if sign > 0 else (left, right)
    beyond = _combine(context, Subtract(), first, second, part="difference")
    excess = context.emit(Relu(), beyond, part="excess")
    return _combine(context, Add() if sign > 0 else Subtract(), left, excess)


def maximum(context: Context) -> Term:
    """Larger of two values."""
    return _larger(context, 1)


def minimum(context: Context) -> Term:
    """Smaller of two values."""
    return _larger(context, -1)


ARITHMETIC: dict[str, Converter] = {
    "aten.add.Tensor": add,
    "aten.add.Scalar": add,
    "aten.sub.Tensor": subtract,
    "aten.sub.Scalar": subtract,
    "aten.rsub.Tensor": reverse_subtract,
    "aten.rsub.Scalar": reverse_subtract,
    "aten.mul.Tensor": multiply,
    "aten.mul.Scalar": multiply,
    "aten.div.Tensor": divide,
    "aten.div.Scalar": divide,
    "aten.div.Tensor_mode": divide,
    "aten.div.Scalar_mode": divide,
    "aten.neg.default": negate,
    "aten.maximum.default": maximum,
    "aten.max.other": maximum,
    "aten.minimum.default": minimum,
    "aten.min.other": minimum,
    "aten.pow.Tensor_Scalar": power,
    "aten.square.default": square,
    "aten.sqrt.default": square_root,
    "aten.rsqrt.default": reciprocal_root,
    "aten.reciprocal.default": reciprocal,
}
"""Converters by aten op and overload."""
