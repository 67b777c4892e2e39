"""Converters of weighted layers and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fxp.frontend.builder import KnownTensor, PoolIndices, Term
from fxp.frontend.channels_last import last_axis_as_channels
from fxp.frontend.context import Context, Converter
from fxp.frontend.trace import example_size
from fxp.graph.ops import (
    AveragePool,
    Conv2d,
    ConvTranspose2d,
    DilatedMaxPool,
    Linear,
    MaxPool,
    MaxPoolIndices,
    MaxUnpool,
    Op,
    Pad,
    SumPool,
)
from fxp.graph.ops.padding import Sides
from fxp.graph.ops.transposed import exchange_channels


def pair(context: Context, name: str) -> tuple[int, int]:
    """Return an argument that is one integer or one per axis, rows first."""
    value = context[name]
    items = list(value) if isinstance(value, Sequence) else [value]
    if not all(isinstance(item, int) for item in items) or len(items) not in (1, 2):
        context.refuse(
            f"{name} is {value}",
            f"{name} must be one or two fixed integers",
            size_dependent=any(isinstance(item, torch.SymInt) for item in items),
        )
    return items[0], items[-1]


def image_of(context: Context, name: str) -> Term:
    """Return an argument that must be an image."""
    term = context.term(name)
    if len(term.shape) != 3:
        context.refuse("its input is not an image (1, C, H, W)", "only 2-D images are supported")
    return term


def _convolution(context: Context, padding: Sides) -> Term:
    op = Conv2d(
        stride=pair(context, "stride"),
        padding=padding,
        dilation=pair(context, "dilation"),
        groups=context["groups"],
    )
    return _weighted(context, op, context.weights("weight"))


def _weighted(context: Context, op: Op, weight: KnownTensor | None) -> Term:
    """Emit a convolution with the bias of the context, if there is one."""
    image = image_of(context, "input")
    bias = context.weights("bias")
    assert weight is not None
    operands = [context.constant(weight, weight.tensor.shape, "weight")]
    if bias is not None:
        operands.append(context.constant(bias, bias.tensor.shape, "bias"))
    return context.emit(op, image, *operands)


def conv2d(context: Context) -> Term:
    """Convolution with padding in pixels."""
    if len(context.result_shape) == 3:
        return conv1d(context)
    if context.arguments.get("transposed"):
        return conv_transpose(context)
    rows, columns = pair(context, "padding")
    return _convolution(context, (rows, rows, columns, columns))


def conv1d(context: Context) -> Term:
    """Convolution of a sequence ``(1, C, L)``, an image of one row."""
    weight, term = context.weights("weight"), context["input"]
    assert weight is not None
    if context.arguments.get("transposed") or not isinstance(term, Term):
        context.refuse("a transposed convolution of a sequence is not supported",
                       "use nn.ConvTranspose2d on images (N, C, 1, L)")  # fmt: skip
    stride, dilation = (pair(context, name)[1] for name in ("stride", "dilation"))
    sides = context["padding"]
    left = right = 0
    if sides == "same":
        total = dilation * (int(weight.tensor.shape[2]) - 1)
        left, right = total // 2, total - total // 2
    elif sides != "valid":
        left = right = pair(context, "padding")[1]
    channels, length = term.axes[1:]
    row = term.viewed(((), channels, (), length), (*term.torch_shape[:2], 1, term.torch_shape[2]))
    op = Conv2d((1, stride), (0, 0, left, right), dilation=(1, dilation), groups=context["groups"])
    image = context.standard(row)
    lifted = replace(weight.derived(torch.unsqueeze, 2), key=weight.key, order="one row")
    operands = [context.constant(lifted, lifted.tensor.shape, "weight")]
    bias = context.weights("bias")
    if bias is not None:
        operands.append(context.constant(bias, bias.tensor.shape, "bias"))
    batch, filters, after = context.result_shape
    result = context.emit(op, image, *operands, torch_shape=(batch, filters, 1, after))
    return result.viewed(((), result.axes[1], result.axes[3]), context.result_shape)


def conv2d_named_padding(context: Context) -> Term:
    """Convolution with padding "same" or "valid"; an odd total gains its extra row at the end."""
    if context["padding"] == "valid":
        return _convolution(context, (0, 0, 0, 0))
    weight = context.weights("weight")
    assert weight is not None
    totals = [
        dilation * (size - 1)
        for dilation, size in zip(pair(context, "dilation"), weight.tensor.shape[2:], strict=True)
    ]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return _convolution(context, (top, bottom, left, right))


def conv_transpose(context: Context) -> Term:
    """Transposed convolution."""
    groups = context["groups"]
    op = ConvTranspose2d(
        stride=pair(context, "stride"),
        padding=pair(context, "padding"),
        output_padding=pair(context, "output_padding"),
        dilation=pair(context, "dilation"),
        groups=groups,
    )
    weight = context.weights("weight")
    assert weight is not None
    exchanged = weight.derived(exchange_channels, groups)
    return _weighted(context, op, replace(exchanged, key=weight.key, order=f"transposed {groups}"))


def linear(context: Context) -> Term:
    """Linear layer of a vector, or along the last axis of any tensor."""
    return _linear(context, "input", context.weights("weight"), context.weights("bias"))


def _linear(
    context: Context, name: str, weight: KnownTensor | None, bias: KnownTensor | None
) -> Term:
    assert weight is not None
    given = context[name]
    if isinstance(given, Term) and len(given.torch_shape) > 2:
        return _linear_along_last_axis(context, given, weight, bias)
    vector = context.term(name)
    operands = [context.constant(weight, weight.tensor.shape, "weight")]
    if bias is not None:
        operands.append(context.constant(bias, bias.tensor.shape, "bias"))
    return context.emit(Linear(), vector, *operands)


def _linear_along_last_axis(
    context: Context, term: Term, weight: KnownTensor, bias: KnownTensor | None
) -> Term:
    """Emit a 1x1 convolution of the image whose channels are the last axis."""
    image, restore = last_axis_as_channels(context, term)
    kernel = (*weight.tensor.shape, 1, 1)
    operands = [context.constant(weight, kernel, "weight")]
    if bias is not None:
        operands.append(context.constant(bias, bias.tensor.shape, "bias"))
    shape = (1, kernel[0], *image.torch_shape[2:])
    return restore(context.emit(Conv2d(), image, *operands, torch_shape=shape))


def matrix_product(context: Context) -> Term:
    """``x @ W`` and ``b + x @ W`` with a constant matrix."""
    names = ("mat1", "mat2") if "mat1" in context.arguments else ("self", "mat2")
    if "other" in context.arguments:
        names = ("self", "other")
    matrix = context.weights(names[1])
    bias = context.weights("self") if names[0] == "mat1" else None
    if context.arguments.get("beta", 1) != 1 or context.arguments.get("alpha", 1) != 1:
        context.refuse("alpha and beta must be 1", "scale the weights instead")
    assert matrix is not None
    if matrix.tensor.ndim != 2 or (bias is not None and bias.tensor.ndim != 1):
        context.refuse(f"the matrix has shape {tuple(matrix.tensor.shape)}", "use nn.Linear")
    return _linear(context, names[0], matrix.derived(torch.t), bias)


def _window(context: Context) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Window, stride and padding of a pooling."""
    window = pair(context, "kernel_size")
    stride = pair(context, "stride") if context["stride"] else window
    return window, stride, pair(context, "padding")


def _surplus(context: Context) -> list[int]:
    """Rows and columns beyond the padding that ceil_mode adds for the last window.

    That many make rounding down give as many windows as torch's rule: rounding up, without a window
    that would begin in the padding at the end.
    """
    window, stride, padding = _window(context)
    if not context["ceil_mode"]:
        return [0, 0]
    dilation = pair(context, "dilation") if "dilation" in context.arguments else (1, 1)
    return [
        min(apart * (size - 1) - side, step - 1)
        for size, step, side, apart in zip(window, stride, padding, dilation, strict=True)
    ]


def _max_window(context: Context) -> dict[str, Any]:
    """Attributes of a max pooling."""
    window, stride, (rows, columns) = _window(context)
    more_rows, more_columns = _surplus(context)
    sides = (rows, rows + more_rows, columns, columns + more_columns)
    # A padding with -inf in front of the pooling is one more of its own.
    before = context.arguments.get("sides", (0, 0, 0, 0))
    sides = tuple(own + added for own, added in zip(sides, before, strict=True))
    return {"window": window, "stride": stride, "padding": sides}


def max_pool(context: Context) -> Term:
    """Max pooling."""
    attributes, dilation = _max_window(context), pair(context, "dilation")
    plain = dilation == (1, 1)
    op = MaxPool(**attributes) if plain else DilatedMaxPool(**attributes, dilation=dilation)
    return context.emit(op, image_of(context, "self"))


def max_pool_with_indices(context: Context) -> tuple[Term, PoolIndices] | tuple[Term]:
    """Max pooling that also tells where the maxima lie, without dilation."""
    if pair(context, "dilation") != (1, 1):
        return (max_pool(context),)
    image, attributes = image_of(context, "self"), _max_window(context)
    largest = context.emit(MaxPool(**attributes), image)
    op = MaxPoolIndices(**attributes)
    indices = context.emit(op, image, part="indices")
    return largest, PoolIndices(indices.name, indices.shape, indices.torch_shape, op, image)


def max_unpool(context: Context) -> Term:
    """Max unpooling to the size of the image that was pooled."""
    indices = context["indices"]
    if not isinstance(indices, PoolIndices):
        context.refuse("its indices come from elsewhere", "take them from a max pooling")
    pooled, image = indices.op, indices.image
    wanted = [example_size(size) for size in context.result_shape[2:]]
    if wanted != [example_size(size) for size in image.torch_shape[2:]]:
        context.refuse(
            f"it makes an image of {wanted} from the indices of another size",
            "pass output_size=image.size(), with the image that was pooled",
            size_dependent=True,
        )
    op = MaxUnpool(pooled.window, pooled.stride, pooled.padding)
    sizes = (1, *(example_size(size) for size in indices.torch_shape[2:]))
    rows, columns = (
        want - int(least)  # type: ignore[arg-type]
        for want, least in zip(wanted, op.shape(sizes, sizes)[1:], strict=True)
    )
    op = replace(op, output_padding=(rows, columns))
    shape = op.shape(indices.shape, indices.shape)
    if shape != image.shape:
        # Asks for a multiple that makes them equal, where there is one.
        context.builder.unify(shape, image.shape)
        context.refuse(
            f"windows of {op.window} at a stride of {op.stride} leave a rest of the image that "
            "depends on its size",
            "pad the image before the model",
            size_dependent=True,
        )
    return context.emit(op, image_of(context, "self"), indices)


def average_pool(context: Context) -> Term:
    """Average pooling."""
    window, stride, (rows, columns) = _window(context)
    more_rows, more_columns = _surplus(context)
    image, counted = image_of(context, "self"), context["count_include_pad"]
    sides = (rows, rows, columns, columns)
    divisor = context["divisor_override"]
    if divisor is not None:
        ends = (rows, rows + more_rows, columns, columns + more_columns)
        return context.emit(SumPool(window, stride, ends, divisor), image)
    if more_rows or more_columns:
        # What ceil_mode adds never counts; padding that does is put around the image before.
        if counted and any(sides):
            image = context.emit(Pad(sides), image, part="padding", torch_shape=image.torch_shape)
            rows, columns = 0, 0
        sides, counted = (rows, rows + more_rows, columns, columns + more_columns), False
    return context.emit(AveragePool(window, stride, sides, counted), image)


LAYERS: dict[str, Converter] = {
    "aten.conv1d.default": conv1d,
    "aten.conv1d.padding": conv1d,
    "aten.conv2d.default": conv2d,
    "aten.conv2d.padding": conv2d_named_padding,
    "aten.convolution.default": conv2d,
    "aten.conv_transpose2d.input": conv_transpose,
    "aten.linear.default": linear,
    "aten.addmm.default": matrix_product,
    "aten.mm.default": matrix_product,
    "aten.matmul.default": matrix_product,
    "aten.max_pool2d.default": max_pool,
    "aten.max_pool2d_with_indices.default": max_pool_with_indices,
    "aten.max_unpool2d.default": max_unpool,
    "aten.avg_pool2d.default": average_pool,
}
"""Converters by aten op and overload."""
