"""Weighted sums as convolutions and matrix products of hls4ml."""

from __future__ import annotations

import numpy as np

from fxp.formats import Format, IntArray
from fxp.graph import Node
from fxp.graph.ops import (
    BicubicUpsample,
    BilinearUpsample,
    Conv2d,
    ConvTranspose2d,
)
from fxp.hls.hls4ml_export.layers import (
    Axis,
    Hls4mlLayer,
    ImageShape,
    Weights,
    convolution,
    move,
)
from fxp.hls.hls4ml_export.lowering_state import (
    Lowering,
    accumulator_type,
    padded,
    source_of,
)


def _full(weight: IntArray, groups: int) -> IntArray:
    """Weights of a grouped convolution with zeros where groups do not meet."""
    channels, group_in, *kernel = weight.shape
    full = np.zeros((channels, group_in * groups, *kernel), np.int64)
    each = channels // groups
    for group in range(groups):
        rows = slice(group * each, (group + 1) * each)
        full[rows, group * group_in : (group + 1) * group_in] = weight[rows]
    return full


def _spread(weight: IntArray, dilation: tuple[int, int]) -> IntArray:
    """Weights of a dilated convolution with the zeros between its taps."""
    rows, columns = dilation
    height, width = weight.shape[2:]
    spread = np.zeros(
        (*weight.shape[:2], rows * (height - 1) + 1, columns * (width - 1) + 1), np.int64
    )
    spread[:, :, ::rows, ::columns] = weight
    return spread


def conv2d(made: Lowering, node: Node, result: str) -> str:
    """hls4ml's convolution; groups and dilation become zeros between the weights.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    result
        C++ type of its result.

    Returns
    -------
    str
        Name of the layer that computes the node.
    """
    assert isinstance(node.op, Conv2d)
    op = node.op
    weights = made.constant(node.inputs[1])
    bias = made.constant(node.inputs[2]) if len(node.inputs) == 3 else None
    shape = made.image(node.inputs[0])
    source, sides = source_of(made, node), op.padding
    depthwise = made.depthwise and op.groups == shape[0] == len(weights.raw) and op.groups > 1
    raw = _spread(weights.raw if depthwise else _full(weights.raw, op.groups), op.dilation)
    # hls4ml pads with zeros by itself, except around a 1×1 kernel.
    if op.padding_mode != "zero" or raw.shape[2:] == (1, 1):
        source, shape = padded(made, node, sides, op.padding_mode)
        sides = (0, 0, 0, 0)
    layer = convolution(
        made.new_name(node.name),
        source,
        (shape, made.image(node.name)),
        {"result": result, "accum": accumulator_type(node)},
        Weights(raw, weights.format),
        bias,
        stride=op.stride,
        padding=sides,
        depthwise=depthwise,
    )
    return made.add(layer)


def _phases(
    made: Lowering,
    node: Node,
    source: tuple[str, ImageShape],
    weights: Weights,
    bias: Weights | None,
    factors: tuple[int, int],
    result: str,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> str:
    """Compute each phase of an enlargement as channels of a convolution, then interleave them.

    The weights are ``(M·rows·columns, C, k, l)``, phases of a channel one after the other.
    """
    rows, columns = factors
    channels, height, width = made.image(node.name)
    name, (_, in_height, in_width) = source
    top, bottom, left, right = padding
    steps = (
        in_height + top + bottom - weights.raw.shape[2] + 1,
        in_width + left + right - weights.raw.shape[3] + 1,
    )
    inner: ImageShape = (channels * rows * columns, *steps)
    layer = convolution(
        made.new_name(f"{node.name}_phases"),
        name,
        (source[1], inner),
        {"result": result, "accum": accumulator_type(node)},
        weights,
        bias,
        padding=padding,
    )
    return made.add(
        move(
            made.new_name(node.name),
            made.add(layer),
            (inner, (channels, height, width)),
            result,
            Axis(steps[0], factor=rows),
            Axis(steps[1], factor=columns),
            f"c * {rows * columns} + (y % {rows}) * {columns} + x % {columns}",
        )
    )


def conv_transpose2d(made: Lowering, node: Node, result: str) -> str:
    """Output ``o`` reads ``i`` through tap ``t`` where ``stride*i + dilation*t = o + padding``.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    result
        C++ type of its result.

    Returns
    -------
    str
        Name of the layer that computes the node.
    """
    assert isinstance(node.op, ConvTranspose2d)
    op = node.op
    weights = made.constant(node.inputs[1])
    full = _full(weights.raw, op.groups)
    channels, group_in, *kernel = full.shape
    shape, target = made.image(node.inputs[0]), made.image(node.name)
    taps: list[list[tuple[int, int, int]]] = []
    sides: list[int] = []
    spans: list[int] = []
    for axis in (0, 1):
        stride, size = op.stride[axis], shape[1 + axis]
        found = [
            (phase, tap, (phase + op.padding[axis] - op.dilation[axis] * tap) // stride)
            for phase in range(stride)
            for tap in range(kernel[axis])
            if (phase + op.padding[axis] - op.dilation[axis] * tap) % stride == 0
        ]
        first = min([offset for _, _, offset in found] + [0])
        last = max([offset for _, _, offset in found] + [0])
        steps = -(-target[1 + axis] // stride)
        # Steps beyond the input and before it read zeros.
        sides += [-first, max(steps - size + last, 0)]
        spans.append(last - first + 1)
        taps.append([(phase, tap, offset - first) for phase, tap, offset in found])
    rows, columns = op.stride
    raw = np.zeros((channels, rows, columns, group_in, *spans), np.int64)
    for row, row_tap, row_offset in taps[0]:
        for column, column_tap, column_offset in taps[1]:
            raw[:, row, column, :, row_offset, column_offset] = full[:, :, row_tap, column_tap]
    raw = raw.reshape(-1, group_in, *spans)
    bias = made.constant(node.inputs[2]) if len(node.inputs) == 3 else None
    if bias is not None:
        bias = Weights(np.repeat(bias.raw, rows * columns), bias.format)
    phases = Weights(raw, weights.format)
    top, bottom, left, right = sides
    padding = (top, bottom, left, right)
    source = (source_of(made, node), shape)
    if raw.shape[2:] == (1, 1):
        source, padding = padded(made, node, padding, "zero"), (0, 0, 0, 0)
    return _phases(made, node, source, phases, bias, (rows, columns), result, padding)


def upsample(made: Lowering, node: Node, result: str) -> str:
    """Even and odd outputs read the same window with mirrored taps.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    result
        C++ type of its result.

    Returns
    -------
    str
        Name of the layer that computes the node.
    """
    assert isinstance(node.op, BilinearUpsample | BicubicUpsample)
    frac, odd = node.op.taps()
    radius = len(odd) // 2
    lines = np.array([[*odd[::-1], 0], [0, *odd]])
    kernel = lines[:, None, :, None] * lines[None, :, None, :]
    channels = made.image(node.name)[0]
    depthwise = np.tile(kernel.reshape(4, 1, *kernel.shape[2:]), (channels, 1, 1, 1))
    limit = int(np.abs(kernel).max())
    weights = Weights(_full(depthwise, channels), Format.for_range(-limit, limit, 2 * frac))
    source = padded(made, node, (radius, radius, radius, radius), node.op.border_mode())
    return _phases(made, node, source, weights, None, (2, 2), result)


def linear(made: Lowering, node: Node, result: str) -> str:
    """hls4ml's dense layer.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    result
        C++ type of its result.

    Returns
    -------
    str
        Name of the layer that computes the node.
    """
    weights = made.constant(node.inputs[1])
    bias = made.constant(node.inputs[2]) if len(node.inputs) == 3 else None
    offset = bias or Weights(np.zeros(len(weights.raw), np.int64), Format(2, 0))
    types = {"result": result, "accum": accumulator_type(node)}
    types |= {"weight": str(weights.format), "bias": str(offset.format)}
    attributes = {
        "n_out": weights.raw.shape[0],
        "n_in": weights.raw.shape[1],
        "weight_data": weights.values.T,
        "bias_data": offset.values,
    }
    name = made.new_name(node.name)
    shape = made.shapes[node.name]
    return made.add(Hls4mlLayer(name, "Dense", (source_of(made, node),), shape, types, attributes))
