"""Converters of ops that move values, and of ops that do nothing at inference."""

from __future__ import annotations

import torch

from fxp.frontend.builder import FilledTensor, Term
from fxp.frontend.context import Context, Converter
from fxp.frontend.joining import JOINING
from fxp.frontend.reshaping import RESHAPING
from fxp.frontend.selection import SELECTION
from fxp.graph.ops import PixelShuffle, PixelUnshuffle


def pixel_shuffle(context: Context) -> Term:
    """Depth to space."""
    return context.emit(PixelShuffle(context["upscale_factor"]), context.term("self"))


def pixel_unshuffle(context: Context) -> Term:
    """Space to depth."""
    return context.emit(PixelUnshuffle(context["downscale_factor"]), context.term("self"))


def identity(context: Context) -> Term:
    """Nothing: the op only copies, or acts in training alone."""
    if context.arguments.get("train"):
        context.refuse("it drops values at random", "pass training=self.training")
    term = context["input" if "input" in context.arguments else "self"]
    dtype = context.arguments.get("dtype")
    before = context.node.all_input_nodes[0].meta["val"].dtype
    of_comparison = before == torch.bool and dtype is not None and dtype.is_floating_point
    if dtype not in (None, before) and not of_comparison:
        context.refuse(
            f"it changes the type from {before} to {dtype}",
            "keep one floating-point type in the whole model",
        )
    return term


def fill(context: Context) -> FilledTensor:
    """One number everywhere, as padding or as an operand."""
    name = context.node.target.__name__.partition(".")[0]  # type: ignore[union-attr]
    value = context.arguments.get("fill_value", 1 if "ones" in name else 0)
    if not isinstance(value, int | float):
        context.refuse("its number depends on the image size", "use a fixed number",
                       size_dependent=True)  # fmt: skip
    return FilledTensor(float(value), context.result_shape)


FILLS: dict[str, Converter] = {
    f"aten.{name}.default": fill
    for name in (
        "zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones",
        "new_full",
    )
}  # fmt: skip
"""Converters of ops that make a tensor of one number, by aten op and overload."""

MOVEMENT: dict[str, Converter] = {
    **JOINING,
    **SELECTION,
    **RESHAPING,
    "aten.pixel_shuffle.default": pixel_shuffle,
    "aten.pixel_unshuffle.default": pixel_unshuffle,
    **FILLS,
    **dict.fromkeys(
        (
            "aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default",
            "aten.clone.default", "aten.detach.default", "aten.alias.default",
            "aten.contiguous.default", "aten.to.dtype", "aten.to.device", "aten.to.dtype_layout",
            "aten._to_copy.default", "aten.lift_fresh_copy.default",
        ),
        identity,
    ),
}  # fmt: skip
"""Converters by aten op and overload."""
