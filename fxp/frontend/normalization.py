"""Converters of softmax, soft threshold and local response normalization."""

from __future__ import annotations

from fxp.frontend.builder import Term
from fxp.frontend.context import Context, Converter
from fxp.graph.ops import LocalResponseNorm, Softmax, SoftThreshold


def softmax(context: Context) -> Term:
    """Softmax over channels or features."""
    term = context.term("self")
    axis = context["dim"] % len(term.torch_shape)
    if axis != 1:
        context.refuse(
            f"it normalizes axis {axis}", "only channels or features, dim=1, are supported"
        )
    if context.arguments.get("dtype") is not None or context.arguments.get("half_to_float"):
        context.refuse("it changes the type", "keep one floating-point type in the whole model")
    return context.emit(Softmax(), term)


def soft_shrink(context: Context) -> Term:
    """Soft threshold by one number."""
    threshold = context.scalar(context["lambd"], 1, "lambd")
    return context.emit(SoftThreshold(), context.term("self"), threshold)


def local_response_norm(context: Context) -> Term:
    """Local response normalization, as `fxp.frontend.patterns` finds it."""
    options = {name: context[name] for name in ("size", "alpha", "beta", "k")}
    return context.emit(LocalResponseNorm(**options), context.term("self"))


def refuse_volume(context: Context) -> Term:
    """Refuse; local response normalization alone has this op, and is taken as a whole."""
    context.refuse(
        "3-D pooling is not supported", "use nn.AvgPool2d, or nn.LocalResponseNorm as it is"
    )


NORMALIZATION: dict[str, Converter] = {
    "aten.softmax.int": softmax,
    "aten._softmax.default": softmax,
    "aten.softshrink.default": soft_shrink,
    "aten.avg_pool3d.default": refuse_volume,
}
"""Converters by aten op and overload."""
