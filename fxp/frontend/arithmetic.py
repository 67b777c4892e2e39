"""Converters of sums, differences, products and quotients."""

from __future__ import annotations

import torch

from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.graph.ops import Add, Multiply, Op, Subtract

Operand = Term | KnownTensor


def _operand(context: Context, name: str) -> Operand:
    value = context[name]
    if isinstance(value, Term):
        return context.standard(value)
    if isinstance(value, KnownTensor):
        return value
    if not isinstance(value, int | float):
        context.refuse(f"{name!r} depends on the image size", "use a fixed number")
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


def square(context: Context) -> Term:
    """``self * self``."""
    if context.arguments.get("exponent", 2) != 2:
        context.refuse(f"its exponent is {context['exponent']}", "only squares are supported")
    value = context.term("self")
    return _combine(context, Multiply(), value, value)


def _reciprocal(divisor: torch.Tensor) -> torch.Tensor:
    return 1 / divisor.to(torch.float64)


def divide(context: Context) -> Term:
    """``self / other`` as a product with the reciprocal of a constant."""
    divisor = _operand(context, "other")
    if isinstance(divisor, Term):
        context.refuse(
            "it divides by a computed value", "divide by a constant, or use a bounded function"
        )
    if context.arguments.get("rounding_mode") is not None:
        context.refuse("it rounds the quotient", "leave rounding to the formats of the graph")
    if bool((divisor.tensor == 0).any()):
        context.refuse("it divides by zero", "check the divisor")
    reciprocal = divisor.derived(_reciprocal)
    return _combine(context, Multiply(), context.term("self"), reciprocal)


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
    "aten.pow.Tensor_Scalar": square,
    "aten.square.default": square,
}
"""Converters by aten op and overload."""
