"""Converters of activation functions."""

from __future__ import annotations

import math

from fxp.frontend.builder import Term
from fxp.frontend.context import Context, Converter
from fxp.graph.ops import (
    REGISTRY,
    Clamp,
    Elu,
    FunctionTable,
    Power,
    Prelu,
    Relu,
)

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
"""Constants of SELU as PyTorch has them (Klambauer et al., NIPS 2017)."""


def relu(context: Context) -> Term:
    """ReLU."""
    return context.emit(Relu(), context.term("self"))


def relu6(context: Context) -> Term:
    """ReLU6."""
    return context.emit(Clamp(0.0, 6.0), context.term("self"))


def clamp(context: Context) -> Term:
    """Clip between scalar bounds, any of which may be missing; with 0 alone a ReLU."""
    arguments = context.arguments
    low = arguments.get("min_val", arguments.get("min"))
    high = arguments.get("max_val", arguments.get("max"))
    bounds = []
    for bound in (low, high):
        if bound is not None and not isinstance(bound, int | float):
            context.refuse("its bounds are tensors", "give the bounds as numbers")
        bounds.append(None if bound is None or math.isinf(bound) else float(bound))
    op = Relu() if bounds == [0.0, None] else Clamp(*bounds)
    return context.emit(op, context.term("self"))


def leaky_relu(context: Context) -> Term:
    """LeakyReLU, a PReLU with one slope."""
    slope = context.scalar(context["negative_slope"], 1, "slope")
    return context.emit(Prelu(), context.term("self"), slope)


def prelu(context: Context) -> Term:
    """PReLU with one slope, or one per channel."""
    slope = context.weights("weight")
    assert slope is not None
    count = slope.tensor.numel()
    return context.emit(Prelu(), context.term("self"), context.constant(slope, (count,), "weight"))


def absolute(context: Context) -> Term:
    """Absolute value, a PReLU with the slope -1, which is exact."""
    return context.emit(Prelu(), context.term("self"), context.scalar(-1.0, 1, "slope"))


def selu(context: Context) -> Term:
    """SELU, an ELU with two constants."""
    return context.emit(Elu(SELU_ALPHA, SELU_SCALE), context.term("self"))


def celu(context: Context) -> Term:
    """CELU, an ELU that is smooth at zero for every `alpha`."""
    alpha = float(context["alpha"])
    if alpha <= 0:
        context.refuse(f"its alpha is {alpha}", "give an alpha above zero")
    return context.emit(Elu(alpha, input_scale=1.0 / alpha), context.term("self"))


def _by_table(function: type[FunctionTable]) -> Converter:
    """Return the converter of a function whose parameters have the names of the aten op's."""
    attribute_names = tuple(function().attributes())

    def convert(context: Context) -> Term:
        given = {name: context[name] for name in attribute_names}
        numbers = {
            name: value if isinstance(value, str) else float(value) for name, value in given.items()
        }
        return context.emit(function(**numbers), context.term("self"))

    convert.__doc__ = function.__doc__
    return convert


ACTIVATIONS: dict[str, Converter] = {
    "aten.relu.default": relu,
    "aten.relu6.default": relu6,
    "aten.hardtanh.default": clamp,
    "aten.clamp.default": clamp,
    "aten.clip.default": clamp,
    "aten.clamp_min.default": clamp,
    "aten.clamp_max.default": clamp,
    "aten.leaky_relu.default": leaky_relu,
    "aten.prelu.default": prelu,
    "aten.abs.default": absolute,
    "aten.absolute.default": absolute,
    **{
        f"aten.{name}.default": _by_table(op_class)
        for name, op_class in REGISTRY.items()
        if issubclass(op_class, FunctionTable) and op_class is not Power
    },
    "aten.selu.default": selu,
    "aten.celu.default": celu,
}
"""Converters by aten op and overload; every row of `fxp.graph.ops.functions` is one."""
