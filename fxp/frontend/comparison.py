"""Converters of signs, and of choices between two numbers by a comparison.

``torch.where(x >= 0, 1.0, -1.0)`` is how binary networks write a sign that is never 0. A comparison
with a number becomes a `Sign`; what a choice makes of it is that sign, multiplied and moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from fxp.frontend.builder import FilledTensor, KnownTensor, Term
from fxp.frontend.context import Context, Converter
from fxp.graph.ops import Add, Multiply, Sign


@dataclass(frozen=True)
class Comparison(Term):
    """Result of a comparison with a number: a value that is 1 and -1 instead of true and false.

    Attributes
    ----------
    inverted
        Whether it is -1 where the comparison holds.
    """

    inverted: bool


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
        bound = _number(context["other"])
        if bound is None or not math.isfinite(bound):
            context.refuse("it compares with something else than a number", "compare with a number")
        value = context.term("self")
        if bound != 0:
            moved = context.scalar(-bound, len(value.shape), "bound")
            value = context.emit(Add(), value, moved, part="beyond")
        made = context.emit(Sign(at_zero), value)
        return Comparison(made.name, made.shape, made.torch_shape, inverted)

    convert.__doc__ = "Comparison with a number, which only `torch.where` reads."
    return convert


def where(context: Context) -> Term:
    """Choice between two numbers by a comparison, such as ``torch.where(x >= 0, 1.0, -1.0)``."""
    chosen = context["condition"]
    if not isinstance(chosen, Comparison):
        context.refuse("its condition is not a comparison with a number",
                       "choose by x >= 0, or by another comparison with a number")  # fmt: skip
    true, false = _number(context["self"]), _number(context["other"])
    if true is None or false is None or not math.isfinite(true) or not math.isfinite(false):
        context.refuse("it chooses between tensors", "choose between two numbers, and multiply")
    value: Term = Term(chosen.name, chosen.shape, chosen.torch_shape)
    if chosen.inverted:
        true, false = false, true
    half, middle, rank = (true - false) / 2, (true + false) / 2, len(value.shape)
    if half != 1:
        value = context.emit(Multiply(), value, context.scalar(half, rank, "half"), part="scaled")
    if middle != 0:
        value = context.emit(Add(), value, context.scalar(middle, rank, "middle"), part="moved")
    return value


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
