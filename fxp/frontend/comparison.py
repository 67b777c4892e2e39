"""Converters of signs, and of choices by a comparison.

``torch.where(x >= 0, 1.0, -1.0)`` is how binary networks write a sign that is never 0. A comparison
becomes a `Sign`; what a choice of two numbers makes of it is that sign, multiplied and moved. A
choice of values is the sum of each one's product with 1 or 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from fxp.frontend.builder import FilledTensor, KnownTensor, Term
from fxp.frontend.context import Context, Converter
from fxp.graph.ops import Add, Multiply, Sign, Subtract


@dataclass(frozen=True)
class Comparison(Term):
    """Result of a comparison: a value that is 1 and -1 instead of true and false.

    Attributes
    ----------
    inverted
        Whether it is -1 where the comparison holds.
    """

    inverted: bool


MASKED: Final = frozenset(("aten.mul.Tensor", "aten.to.dtype", "aten._to_copy.default"))
"""Ops that take the result of a comparison as a number, 1 or 0."""
COMPARISONS: Final = {"ge": (1, False), "gt": (-1, False), "lt": (1, True), "le": (-1, True)}
"""By name: the sign of zero, and whether the sign is 1 where the comparison does not hold."""


def sign(context: Context) -> Term:
    """Sign, which is 0 at zero."""
    return context.emit(Sign(), context.term("self"))


def _number(item: Any) -> float | None:
    """Return the number that an argument is everywhere, or None."""
    if isinstance(item, FilledTensor):
        return item.value
    if isinstance(item, KnownTensor):
        return float(item.tensor) if item.tensor.numel() == 1 else None
    return float(item) if isinstance(item, int | float) else None


def _comparison(name: str) -> Converter:
    at_zero, inverted = COMPARISONS[name]

    def convert(context: Context) -> Comparison:
        value, other = context.term("self"), context["other"]
        bound = _number(other)
        if isinstance(other, Term):
            value = context.emit(Subtract(), value, context.term("other"), part="beyond")
        elif bound is None:
            limit = context.constant(other, _aligned(context, other, value), "bound")
            value = context.emit(Subtract(), value, limit, part="beyond")
        elif not math.isfinite(bound):
            context.refuse("it compares with a number that is not finite",
                           "compare with a finite number")  # fmt: skip
        elif bound != 0:
            moved = context.scalar(-bound, len(value.shape), "bound")
            value = context.emit(Add(), value, moved, part="beyond")
        made = context.emit(Sign(at_zero), value)
        return Comparison(made.name, made.shape, made.torch_shape, inverted)

    convert.__doc__ = "Comparison of two values, or with a number: 1 where it holds, 0 elsewhere."
    return convert


def chosen(context: Context, comparison: Comparison, true: float, false: float) -> Term:
    """Return one number where a comparison holds, and another where it does not.

    Parameters
    ----------
    context
        The op that chooses.
    comparison
        Where the comparison holds.
    true, false
        The numbers.
    """
    value: Term = Term(comparison.name, comparison.shape, comparison.torch_shape)
    if comparison.inverted:
        true, false = false, true
    half, middle, rank = (true - false) / 2, (true + false) / 2, len(value.shape)
    own = value.torch_shape
    if half != 1:
        scale = context.scalar(half, rank, "half")
        value = context.emit(Multiply(), value, scale, part="scaled", torch_shape=own)
    if middle != 0:
        shift = context.scalar(middle, rank, "middle")
        value = context.emit(Add(), value, shift, part="moved", torch_shape=own)
    return value


def where(context: Context) -> Term:
    """Choice by a comparison, such as ``torch.where(x >= 0, 1.0, -1.0)`` or ``(x > 0, x, y)``."""
    condition = context["condition"]
    if not isinstance(condition, Comparison):
        context.refuse("its condition is not a comparison",
                       "choose by x >= 0, or by another comparison")  # fmt: skip
    sides = {name: context[name] for name in ("self", "other")}
    numbers = {name: _number(side) for name, side in sides.items()}
    true, false = numbers["self"], numbers["other"]
    if any(number is not None and not math.isfinite(number) for number in numbers.values()):
        context.refuse("it chooses a number that is not finite", "choose a finite number")
    if true is not None and false is not None:
        return chosen(context, condition, true, false)
    # A product with 1 or 0 is exact, and one of the two summands is zero.
    parts: list[Term] = []
    for name, mask in (("self", (1.0, 0.0)), ("other", (0.0, 1.0))):
        number = numbers[name]
        if number is not None:
            if number:
                parts.append(chosen(context, condition, number * mask[0], number * mask[1]))
            continue
        side = sides[name]
        operand: Term | str
        if isinstance(side, Term):
            operand = context.term(name)
        else:
            operand = context.constant(side, _aligned(context, side, condition), name)
        kept = chosen(context, condition, *mask)
        parts.append(context.emit(Multiply(), kept, operand, part=f"{name}.kept"))
    return parts[0] if len(parts) == 1 else context.emit(Add(), *parts)


def _aligned(context: Context, side: KnownTensor, beside: Term) -> tuple[int, ...]:
    """Shape in the graph of a constant beside a value."""
    shape = [*side.tensor.shape]
    shape = [1] * (len(beside.torch_shape) - len(shape)) + shape
    if shape[0] != 1:
        context.refuse("its constant has a batch axis", "leave the batch axis out")
    return tuple(shape[1:])


CHOICES: dict[str, Converter] = {
    "aten.sign.default": sign,
    **{f"aten.{name}.Scalar": _comparison(name) for name in COMPARISONS},
    **{f"aten.{name}.Tensor": _comparison(name) for name in COMPARISONS},
    **{
        f"aten.where.{overload}": where
        for overload in ("self", "Scalar", "ScalarSelf", "ScalarOther")
    },
}
"""Converters by aten op and overload."""
