"""Converters of normalizations, softmax and soft threshold.

The graph has no batch axis, so every image is a batch of one. Batch normalization without running
statistics takes those of the batch, and is instance normalization here: it gives what PyTorch
computes for each image alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.channels_last import last_axis_as_channels
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.fold_batch_norm import BatchNorm
from fxp.graph.ops import (
    Add,
    Conv2d,
    GroupNorm,
    LocalResponseNorm,
    Multiply,
    Softmax,
    SoftThreshold,
)
from fxp.graph.ops.group_norm import Divisor
from fxp.graph.ops.statistics import Scope


def softmax(context: Context) -> Term:
    """Softmax over channels or features, also along any axis of any tensor."""
    if context.arguments.get("dtype") is not None or context.arguments.get("half_to_float"):
        context.refuse("it changes the type", "keep one floating-point type in the whole model")
    rank = len(context.result_shape)
    axis = context["dim"] % rank
    term = context["self"]
    if axis > 0 and (axis > 1 or rank not in (2, 4)) and isinstance(term, Term):
        order = [*(place for place in range(rank) if place != axis), axis]
        moved = term.viewed(
            tuple(term.axes[place] for place in order), [term.torch_shape[place] for place in order]
        )
        image, restore = last_axis_as_channels(context, moved)
        result = restore(context.emit(Softmax(), image, torch_shape=image.torch_shape))
        back = [order.index(place) for place in range(rank)]
        return result.viewed(tuple(result.axes[place] for place in back), context.result_shape)
    if axis != 1:
        context.refuse(
            f"it normalizes axis {axis}", "normalize channels or features, dim=1 or dim=-1"
        )
    return context.emit(Softmax(), context.term("self"))


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


def _stored_statistics(context: Context, image: Term) -> Term:
    """Normalize by running statistics; `fold_batch_norm` folds this into other layers."""
    channels = int(image.shape[0])  # type: ignore[arg-type]
    names = []
    for name, default in (("weight", 1.0), ("bias", 0.0)):
        given = context.weights(name) or KnownTensor(
            torch.full((channels,), default, dtype=torch.float64)
        )
        names.append(context.constant(given, (channels,), name))
    for name in ("running_mean", "running_var"):
        given = context.weights(name)
        assert given is not None
        names.append(context.constant(given, (channels,), name))
    return context.emit(BatchNorm(context["eps"]), image, *names)


def _affine(context: Context, normalized: Term) -> Term:
    """Multiply by the weight and add the bias of the op, one number per channel, if it has them."""
    weight, bias = (
        context.weights(name) if name in context.arguments else None for name in ("weight", "bias")
    )
    if weight is None and bias is None:
        return normalized
    channels = int(normalized.shape[0])  # type: ignore[arg-type]
    if len(normalized.shape) == 3:
        weight = weight or KnownTensor(torch.ones(channels, dtype=torch.float64))
        names = [context.constant(weight, (channels, 1, 1, 1), "weight")]
        if bias is not None:
            names.append(context.constant(bias, (channels,), "bias"))
        return context.emit(Conv2d(groups=channels), normalized, *names)
    for op, tensor, part in ((Multiply(), weight, "weight"), (Add(), bias, "bias")):
        if tensor is not None:
            name = context.constant(tensor, (channels,), part)
            normalized = context.emit(op, normalized, name, part=f"{part}ed")
    return normalized


def _normalized(context: Context, term: Term, op: GroupNorm) -> Term:
    """Emit a normalization and what follows it."""
    return _affine(context, context.emit(op, term, part="normalized"))


def _by_instance(context: Context) -> Term:
    """Normalize each channel by its own statistics."""
    term = context.term("input")
    if len(term.shape) != 3:
        context.refuse(
            "it would take the statistics of single numbers",
            "give it images (1, C, H, W), or use nn.LayerNorm",
        )
    return _normalized(context, term, GroupNorm(int(term.shape[0]), epsilon=context["eps"]))  # type: ignore[arg-type]


def batch_norm(context: Context) -> Term:
    """Batch normalization; without running statistics, instance normalization."""
    if context.arguments.get("running_mean") is not None:
        if context["training"]:
            context.refuse(
                "it normalizes by the statistics of the batch",
                "call batch_norm with training=False",
            )
        return _stored_statistics(context, context.term("input"))
    return _by_instance(context)


def batch_norm_with_statistics(context: Context) -> tuple[Term]:
    """Batch normalization whose further results belong to training."""
    return (_stored_statistics(context, context.term("input")),)


def batch_norm_of_batch(context: Context) -> tuple[Term]:
    """Batch normalization without running statistics, whose further results belong to training."""
    return (_by_instance(context),)


def instance_norm(context: Context) -> Term:
    """Instance normalization; with running statistics, batch normalization."""
    if not context["use_input_stats"]:
        return _stored_statistics(context, context.term("input"))
    return _by_instance(context)


def _grouped(context: Context, groups: int) -> Term:
    term = context.term("input")
    scope: Scope = "image" if len(term.shape) == 3 else "pixel"
    return _normalized(context, term, GroupNorm(groups, scope, epsilon=context["eps"]))


def group_norm(context: Context) -> Term:
    """Group normalization."""
    return _grouped(context, context["num_groups"])


def native_group_norm(context: Context) -> tuple[Term]:
    """Group normalization whose further results belong to training."""
    return (_grouped(context, context["group"]),)


def _over_last_axes(context: Context, divisor: Divisor, epsilon: Any) -> Term:
    """Normalize over the last axes, as many as the normalized shape has."""
    wanted = [int(size) for size in context["normalized_shape"]]
    epsilon = torch.finfo(torch.float32).eps if epsilon is None else float(epsilon)
    if len(wanted) == 1:
        return _over_last_axis(context, GroupNorm(1, "pixel", divisor, epsilon))
    term = context.term("input")
    if len(term.shape) != len(wanted):
        context.refuse(
            f"it normalizes the last {len(wanted)} axes of {shape_of(term)}",
            "normalize the last axis, or whole images (C, H, W)",
        )
    normalized = context.emit(GroupNorm(1, "image", divisor, epsilon), term, part="normalized")
    for combine, name in ((Multiply(), "weight"), (Add(), "bias")):
        tensor = context.weights(name) if name in context.arguments else None
        if tensor is not None:
            constant = context.constant(tensor, wanted, name)
            normalized = context.emit(combine, normalized, constant, part=f"{name}ed")
    return normalized


def _over_last_axis(context: Context, op: GroupNorm) -> Term:
    """Normalize the channels of an image that is viewed with its channels last, or a vector."""
    term = context["input"]
    if not isinstance(term, Term) or len(term.torch_shape) < 3:
        return _normalized(context, context.term("input"), op)
    image, restore = last_axis_as_channels(context, term)
    shape = image.torch_shape
    normalized = context.emit(op, image, part="normalized", torch_shape=shape)
    return restore(replace(_affine(context, normalized), torch_shape=shape))


def layer_norm(context: Context) -> Term:
    """Layer normalization of features, of channels or of whole images."""
    return _over_last_axes(context, "deviation", context["eps"])


def native_layer_norm(context: Context) -> tuple[Term]:
    """Layer normalization whose further results belong to training."""
    return (layer_norm(context),)


def rms_norm(context: Context) -> Term:
    """Root mean square normalization of features, of channels or of whole images."""
    return _over_last_axes(context, "root_mean_square", context["eps"])


NORMALIZATION: dict[str, Converter] = {
    "aten.batch_norm.default": batch_norm,
    "aten._native_batch_norm_legit_no_training.default": batch_norm_with_statistics,
    "aten._native_batch_norm_legit.no_stats": batch_norm_of_batch,
    "aten.instance_norm.default": instance_norm,
    "aten.group_norm.default": group_norm,
    "aten.native_group_norm.default": native_group_norm,
    "aten.layer_norm.default": layer_norm,
    "aten.native_layer_norm.default": native_layer_norm,
    "aten.rms_norm.default": rms_norm,
    "aten.softmax.int": softmax,
    "aten._softmax.default": softmax,
    "aten.softshrink.default": soft_shrink,
    "aten.avg_pool3d.default": refuse_volume,
}
"""Converters by aten op and overload."""
