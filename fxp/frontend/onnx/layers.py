"""Translators of convolutions, matrix products, pools and normalizations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import torch
from torch.nn import functional

from fxp.frontend.onnx.call import Call, Translator

_CONVOLUTIONS: Final = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}


def _images_only(call: Call, x: torch.Tensor) -> None:
    if x.ndim != 4:
        call.refuse(f"it reads a tensor of {x.ndim} axes", "use images (N, C, H, W)")


def window_pads(
    call: Call,
    sizes: Sequence[Any],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[Any], list[Any]]:
    """Return the padding before and after each axis of a convolution or pool.

    Parameters
    ----------
    call
        The node, for its ``pads`` and ``auto_pad``.
    sizes, kernel, strides, dilations
        Of the spatial axes.
    """  # fmt: skip
    automatic = call.attribute("auto_pad", "NOTSET")
    axes = len(kernel)
    if automatic == "NOTSET":
        pads = list(call.attribute("pads", [0] * 2 * axes))
        if len(pads) != 2 * axes:
            call.refuse(f"its pads are {pads}", f"give {2 * axes} of them")
        return pads[:axes], pads[axes:]
    if automatic == "VALID":
        return [0] * axes, [0] * axes
    before, after = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (width - 1) * dilation + 1
        total = reach - 1
        if stride > 1:
            total = (-(-size // stride) - 1) * stride + reach - size
            total = total if total > 0 else 0
        less = total // 2
        first = total - less if automatic == "SAME_LOWER" else less
        before.append(first)
        after.append(total - first)
    return before, after


def _torch_order(before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Return padding as torch writes it, from the last axis."""
    return [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]


def conv(call: Call) -> torch.Tensor:
    """Convolution of images, or of sequences, with any padding."""
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    axes = x.ndim - 2
    if x.ndim not in _CONVOLUTIONS or weight.ndim != x.ndim:
        call.refuse(f"it reads a tensor of {x.ndim} axes", "use images (N, C, H, W)")
    strides = list(call.attribute("strides", [1] * axes))
    dilations = list(call.attribute("dilations", [1] * axes))
    kernel = list(weight.shape[2:])
    before, after = window_pads(call, x.shape[2:], kernel, strides, dilations)
    if before == after:
        padding = before
    else:
        # Sequences are images of one row.
        row = x.unsqueeze(2) if axes == 1 else x
        row = functional.pad(row, _torch_order(before, after))
        x, padding = row.squeeze(2) if axes == 1 else row, [0] * axes
    groups = call.attribute("group", 1)
    return _CONVOLUTIONS[x.ndim](x, weight, bias, strides, padding, dilations, groups)  # type: ignore[arg-type]


def conv_transpose(call: Call) -> torch.Tensor:
    """Transposed convolution, with any padding."""
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    _images_only(call, x)
    strides = list(call.attribute("strides", [1, 1]))
    dilations = list(call.attribute("dilations", [1, 1]))
    added = list(call.attribute("output_padding", [0, 0]))
    wanted = call.attribute("output_shape")
    automatic = call.attribute("auto_pad", "NOTSET")
    full = [
        (size - 1) * stride + (width - 1) * dilation + 1 + more
        for size, stride, width, dilation, more in zip(
            x.shape[2:], strides, weight.shape[2:], dilations, added, strict=True
        )
    ]
    if automatic in ("SAME_UPPER", "SAME_LOWER") and wanted is None:
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        totals = [have - want for have, want in zip(full, list(wanted)[-2:], strict=True)]
        before = [t // 2 if automatic == "SAME_UPPER" else t - t // 2 for t in totals]
        after = [total - first for total, first in zip(totals, before, strict=True)]
    else:
        pads = list(call.attribute("pads", [0] * 4))
        before, after = pads[:2], pads[2:]
    groups = call.attribute("group", 1)
    if before == after:
        return functional.conv_transpose2d(
            x, weight, bias, strides, before, added, groups, dilations
        )
    y = functional.conv_transpose2d(x, weight, bias, strides, 0, added, groups, dilations)
    rows, columns = (
        slice(first, size - last) for first, size, last in zip(before, full, after, strict=True)
    )
    return y[:, :, rows, columns]


def gemm(call: Call) -> torch.Tensor:
    """``alpha * A @ B + beta * C`` with a constant matrix."""
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    if call.attribute("transA", 0):
        x = x.t()
    if not call.attribute("transB", 0):
        weight = weight.t()
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    if alpha != 1:
        weight = weight * alpha
    if bias is not None and beta != 1:
        bias = bias * beta
    if bias is not None and prod(bias.shape) == weight.shape[0]:
        return functional.linear(x, weight, bias if bias.ndim == 1 else bias.reshape(-1))
    y = functional.linear(x, weight)
    return y if bias is None else y + bias


def matmul(call: Call) -> torch.Tensor:
    """Product with a constant matrix, on either side."""
    left, right = call.tensor(0), call.tensor(1)
    if call.is_constant(0) and not call.is_constant(1) and left.ndim == 2 and right.ndim > 2:
        # Layers have their weights on the right.
        return torch.matmul(right.transpose(-1, -2), left.t()).transpose(-1, -2)
    if call.is_constant(1) and left.ndim >= right.ndim > 2 and prod(right.shape[:-2]) == 1:
        right = right.reshape(right.shape[-2:])
    return torch.matmul(left, right)


def _window(call: Call, x: torch.Tensor) -> tuple[list[int], list[int], list[int], Any, Any]:
    """Kernel, strides, dilations and padding of a pool."""
    _images_only(call, x)
    kernel = list(call.attribute("kernel_shape", []))
    if len(kernel) != 2:
        call.refuse(f"its kernel is {kernel}", "give a height and a width")
    strides = list(call.attribute("strides", [1, 1]))
    dilations = list(call.attribute("dilations", [1, 1]))
    before, after = window_pads(call, x.shape[2:], kernel, strides, dilations)
    return kernel, strides, dilations, before, after


def _torch_takes(before: Any, after: Any, kernel: Sequence[int]) -> bool:
    """Whether torch's own pools take the padding."""
    return before == after and all(
        2 * pad <= size for pad, size in zip(before, kernel, strict=True)
    )


def _of_sequences(pool: Translator) -> Translator:
    """Let a pool also take sequences ``(N, C, L)``, as images of one row."""

    @functools.wraps(pool)
    def compute(call: Call) -> torch.Tensor:
        x = call.tensor(0)
        if x.ndim != 3 or len(call.attribute("kernel_shape", [])) != 1:
            return pool(call)
        given = dict(call.node.attributes)
        for name, first in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 0)):
            if name in given:
                given[name] = [item for size in given[name] for item in (first, size)]
        node = replace(call.node, attributes=given)
        return pool(Call(node, [x.unsqueeze(2)], {})).squeeze(2)

    return compute


@_of_sequences
def max_pool(call: Call) -> torch.Tensor:
    """Max pooling, with any padding."""
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        call.refuse("it returns the positions of the maxima", "pool without positions")
    x = call.tensor(0)
    up = bool(call.attribute("ceil_mode", 0))
    if call.attribute("auto_pad") == "SAME_UPPER" and (
        call.attribute("kernel_shape") == call.attribute("strides") == [2, 2]
    ):
        # Whether there is a padded row depends on the size, but it is always the last one.
        _images_only(call, x)
        return functional.max_pool2d(x, [2, 2], [2, 2], ceil_mode=True)
    kernel, strides, dilations, before, after = _window(call, x)
    padding = before
    if not _torch_takes(before, after, kernel):
        if dilations != [1, 1]:
            call.refuse("its padding is uneven, and it is dilated", "pad evenly")
        # A window that overlaps the border holds the border's own value, so that copies of it
        # change no maximum.
        x, padding = functional.pad(x, _torch_order(before, after), mode="replicate"), [0, 0]
    return functional.max_pool2d(x, kernel, strides, padding, dilations, up)


@_of_sequences
def average_pool(call: Call) -> torch.Tensor:
    """Average pooling; padding that is not counted must be even."""
    x = call.tensor(0)
    kernel, strides, dilations, before, after = _window(call, x)
    if dilations != [1, 1]:
        call.refuse("it is dilated", "use a convolution with equal weights")
    counted, up = bool(call.attribute("count_include_pad", 0)), bool(call.attribute("ceil_mode", 0))
    if _torch_takes(before, after, kernel):
        return functional.avg_pool2d(x, kernel, strides, before, up, counted)
    if not counted:
        call.refuse("its padding is uneven, and not counted", "pad evenly, or count it")
    return functional.avg_pool2d(
        functional.pad(x, _torch_order(before, after)), kernel, strides, 0, up
    )


@_of_sequences
def lp_pool(call: Call) -> torch.Tensor:
    """Power-average pooling without padding."""
    x = call.tensor(0)
    kernel, strides, dilations, before, after = _window(call, x)
    if any((*before, *after)) or dilations != [1, 1]:
        call.refuse("it is padded or dilated", "pool without padding")
    # A kernel of another shape than a square is a list, which torch's stub does not know.
    return functional.lp_pool2d(x, float(call.attribute("p", 2)), tuple(kernel), tuple(strides))  # type: ignore[arg-type]


def _spatial(x: torch.Tensor) -> list[int]:
    return list(range(2, x.ndim))


def global_average_pool(call: Call) -> torch.Tensor:
    """Mean of whole images."""
    x = call.tensor(0)
    return x.mean(_spatial(x), keepdim=True)


def global_max_pool(call: Call) -> torch.Tensor:
    """Maximum of whole images."""
    x = call.tensor(0)
    return x.amax(_spatial(x), keepdim=True)


def batch_normalization(call: Call) -> torch.Tensor:
    """Batch normalization with stored statistics."""
    if call.attribute("training_mode", 0) or not call.attribute("spatial", 1):
        call.refuse("it computes statistics of a batch, or of each pixel", "export for inference")
    x, scale, bias, mean, variance = (call.tensor(position) for position in range(5))
    return functional.batch_norm(
        x, mean, variance, scale, bias, False, 0.0, call.attribute("epsilon", 1e-5)
    )


def instance_normalization(call: Call) -> torch.Tensor:
    """Instance normalization."""
    x, scale, bias = (call.tensor(position) for position in range(3))
    return functional.instance_norm(x, weight=scale, bias=bias, eps=call.attribute("epsilon", 1e-5))


def layer_normalization(call: Call) -> torch.Tensor:
    """Layer normalization over the last axes."""
    x, scale, bias = call.tensor(0), call.tensor(1), call.optional(2)
    axis = call.attribute("axis", -1) % x.ndim
    return functional.layer_norm(x, x.shape[axis:], scale, bias, call.attribute("epsilon", 1e-5))


def rms_normalization(call: Call) -> torch.Tensor:
    """Division by the root mean square over the last axes."""
    x, scale = call.tensor(0), call.tensor(1)
    axis = call.attribute("axis", -1) % x.ndim
    return functional.rms_norm(x, x.shape[axis:], scale, call.attribute("epsilon", 1e-5))


def group_normalization(call: Call) -> torch.Tensor:
    """Group normalization."""
    x, scale, bias = (call.tensor(position) for position in range(3))
    groups = call.attribute("num_groups", 1)
    if scale.shape[0] != x.shape[1]:
        each = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return functional.group_norm(x, groups, scale, bias, call.attribute("epsilon", 1e-5))


def lrn(call: Call) -> torch.Tensor:
    """Local response normalization over an odd number of channels."""
    size = call.attribute("size", 1)
    if size % 2 == 0:
        call.refuse(f"it covers {size} channels", "use an odd number")
    return functional.local_response_norm(
        call.tensor(0), size, call.attribute("alpha", 1e-4), call.attribute("beta", 0.75),
        call.attribute("bias", 1.0),
    )  # fmt: skip


def lp_normalization(call: Call) -> torch.Tensor:
    """Division by the norm along an axis."""
    x = call.tensor(0)
    return x / torch.linalg.vector_norm(
        x, call.attribute("p", 2), call.attribute("axis", -1), keepdim=True
    )


LAYERS: Final[dict[str, Translator]] = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "LpPool": lp_pool,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "RMSNormalization": rms_normalization,
}
"""Translators by operation."""
