"""From the integer graph to layers of hls4ml: one function per op.

hls4ml computes convolutions, matrix products, ReLU and element-wise arithmetic of equal shapes.
Everything else is written with those or with the layers of `hls.hls4ml_export.extension`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np

from fxp.formats import Format, FormatError, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Graph, Node
from fxp.ops import (
    Add,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    Multiply,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
    Slice,
    SoftThreshold,
    StoredTable,
    Subtract,
    Tanh,
)
from fxp.ops.base import Op
from hls.hls4ml_export.layers import (
    Axis,
    ExportError,
    ImageShape,
    Layer,
    Weights,
    check_type,
    check_width,
    convolution,
    each_channel,
    move,
    pixel,
)

MAX_READERS: Final = 7
"""hls4ml copies a stream for at most so many readers."""
ALTERNATIVE: Final = "hls.emit_rtl may take it"


@dataclass
class Lowering:
    """Layers made so far.

    Attributes
    ----------
    graph
        Integer graph.
    shapes
        Shape of every value.
    layers
        What hls4ml is given, in order.
    names
        For every value of the graph the layer that computes it.
    """

    graph: Graph
    shapes: Mapping[str, tuple[int, ...]]
    layers: list[Layer] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def new_name(self, wish: str) -> str:
        """Return a C++ identifier that no layer has."""
        base = re.sub(r"\W", "_", wish, flags=re.ASCII)
        # hls4ml reserves "input"; others could be words of C++ or begin with a digit.
        base = base if re.match(r"[A-Za-z]\w*_|[A-Za-z]+\d", base) else f"v_{base}"
        taken = {layer.name for layer in self.layers}
        return next(name for i in count() if (name := f"{base}_{i}" if i else base) not in taken)

    def add(self, layer: Layer) -> str:
        """Append a layer and return its name."""
        self.layers.append(layer)
        return layer.name

    def image(self, value: str) -> ImageShape:
        """Return the shape of an image."""
        shape = self.shapes[value]
        if len(shape) != 3:
            raise ExportError("it needs an image here, not a vector")
        return shape  # type: ignore[return-value]

    def constant(self, name: str) -> Weights:
        """Return a constant with one format for all channels."""
        found = self.graph.constants_by_name[name]
        return Weights.aligned(found.data, found.formats)

    def format(self, value: str) -> Format:
        """Return the format of a value."""
        form = self.graph.values[value].format
        assert form is not None
        return form


def lower(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Lowering:
    """Turn an integer graph with concrete shapes into layers.

    Raises
    ------
    ExportError
        If an op, an attribute or a type has no exact counterpart; the message names the node.
    """
    if not graph.is_integer:
        raise ExportError(f"graph {graph.name!r} is a float graph; quantize it first")
    if graph.states:
        raise ExportError(
            f"graph {graph.name!r} keeps the state {graph.states[0].value.name!r} between calls, "
            f"which hls4ml projects cannot; {ALTERNATIVE}"
        )
    made = Lowering(graph, shapes)
    for value in graph.inputs:
        assert value.format is not None
        if value.name not in graph.consumers or value.name in graph.outputs:
            raise ExportError(f"input {value.name!r} is unread or an output itself")
        shape = shapes[value.name]
        try:
            check_width(value.format)
        except ExportError as error:
            raise ExportError(f"input {value.name!r}: {error}") from None
        made.names[value.name] = made.new_name(f"in_{value.name}")
        types = {"result": str(value.format)}
        attributes = {"data_format": "channels_last", "input_shape": [*shape[1:], shape[0]]}
        made.add(Layer(made.names[value.name], "InputLayer", (), shape, types, attributes))
    if len(set(graph.outputs)) != len(graph.outputs):
        raise ExportError(f"graph {graph.name!r} gives the same output twice")
    for node in graph.nodes:
        _lower_node(made, node)
    _check_readers(made)
    return made


def _lower_node(made: Lowering, node: Node) -> None:
    writer = _WRITERS.get(type(node.op))
    name = f"node {node.name!r} ({node.op.name})"
    if writer is None:
        raise ExportError(f"{name}: the hls4ml path has no {node.op.name}; {ALTERNATIVE}")
    assert node.quantization is not None
    try:
        made.names[node.name] = writer(made, node, check_type(node.quantization))
    except (ExportError, FormatError) as error:
        raise ExportError(f"{name}: {error}; {ALTERNATIVE}") from None


def _check_readers(made: Lowering) -> None:
    outputs = [made.names[name] for name in made.graph.outputs]
    readers = outputs + [name for layer in made.layers for name in layer.inputs]
    for value, name in made.names.items():
        if readers.count(name) > MAX_READERS:
            raise ExportError(
                f"value {value!r} is read {readers.count(name)} times; hls4ml copies a stream at "
                f"most {MAX_READERS} times; {ALTERNATIVE}"
            )


def _source(made: Lowering, node: Node) -> str:
    return made.names[node.inputs[0]]


def _accumulator(node: Node) -> str:
    assert node.accumulator is not None
    return str(node.accumulator.exact_format)


def _exact(form: Format) -> str:
    """Type of a value that is moved: nothing to round."""
    return str(Quantization(form, Rounding.FLOOR, Overflow.WRAP))


def _padded(
    made: Lowering, node: Node, sides: tuple[int, int, int, int], mode: str
) -> tuple[str, ImageShape]:
    """Pad the first input by a layer of its own."""
    value = node.inputs[0]
    channels, height, width = shape = made.image(value)
    if not any(sides):
        return made.names[value], shape
    top, bottom, left, right = sides
    result = (channels, height + top + bottom, width + left + right)
    name = made.new_name(f"{node.name}_pad")
    rows = Axis(height, start=-top, mode=mode)
    columns = Axis(width, start=-left, mode=mode)
    kind = _exact(made.format(value))
    return made.add(move(name, made.names[value], (shape, result), kind, rows, columns)), result


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


def _conv2d(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, Conv2d)
    op = node.op
    weights = made.constant(node.inputs[1])
    bias = made.constant(node.inputs[2]) if len(node.inputs) == 3 else None
    shape = made.image(node.inputs[0])
    source, sides = _source(made, node), op.padding
    depthwise = op.groups == shape[0] == len(weights.raw) and op.groups > 1
    raw = _spread(weights.raw if depthwise else _full(weights.raw, op.groups), op.dilation)
    # hls4ml pads with zeros by itself, except around a 1×1 kernel.
    if op.padding_mode != "zero" or raw.shape[2:] == (1, 1):
        source, shape = _padded(made, node, sides, op.padding_mode)
        sides = (0, 0, 0, 0)
    layer = convolution(
        made.new_name(node.name),
        source,
        (shape, made.image(node.name)),
        {"result": result, "accum": _accumulator(node)},
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
        {"result": result, "accum": _accumulator(node)},
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


def _conv_transpose2d(made: Lowering, node: Node, result: str) -> str:
    """Output ``o`` reads ``i`` through tap ``t`` where ``stride*i + dilation*t = o + padding``."""
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
    source = (_source(made, node), shape)
    if raw.shape[2:] == (1, 1):
        source, padding = _padded(made, node, padding, "zero"), (0, 0, 0, 0)
    return _phases(made, node, source, phases, bias, (rows, columns), result, padding)


def _upsample(made: Lowering, node: Node, result: str) -> str:
    """Even and odd outputs read the same window with mirrored taps."""
    assert isinstance(node.op, BilinearUpsample | BicubicUpsample)
    frac, odd = node.op.taps()
    radius = len(odd) // 2
    lines = np.array([[*odd[::-1], 0], [0, *odd]])
    kernel = lines[:, None, :, None] * lines[None, :, None, :]
    channels = made.image(node.name)[0]
    depthwise = np.tile(kernel.reshape(4, 1, *kernel.shape[2:]), (channels, 1, 1, 1))
    limit = int(np.abs(kernel).max())
    weights = Weights(_full(depthwise, channels), Format.for_range(-limit, limit, 2 * frac))
    source = _padded(made, node, (radius, radius, radius, radius), node.op.border_mode())
    return _phases(made, node, source, weights, None, (2, 2), result)


def _linear(made: Lowering, node: Node, result: str) -> str:
    weights = made.constant(node.inputs[1])
    bias = made.constant(node.inputs[2]) if len(node.inputs) == 3 else None
    offset = bias or Weights(np.zeros(len(weights.raw), np.int64), Format(2, 0))
    types = {"result": result, "accum": _accumulator(node)}
    types |= {"weight": str(weights.format), "bias": str(offset.format)}
    attributes = {
        "n_out": weights.raw.shape[0],
        "n_in": weights.raw.shape[1],
        "weight_data": weights.values.T,
        "bias_data": offset.values,
    }
    name = made.new_name(node.name)
    shape = made.shapes[node.name]
    return made.add(Layer(name, "Dense", (_source(made, node),), shape, types, attributes))


def _relu(made: Lowering, node: Node, result: str) -> str:
    shape = made.shapes[node.name]
    attributes = {"activation": "relu", "n_in": int(np.prod(shape))}
    name, source = made.new_name(node.name), (_source(made, node),)
    return made.add(Layer(name, "Activation", source, shape, {"result": result}, attributes))


_SIGNS: Final[dict[type[Op], tuple[str, str]]] = {
    Add: ("add", "+"),
    Subtract: ("subtract", "-"),
    Multiply: ("multiply", "*"),
}


def _combine(made: Lowering, node: Node, result: str) -> str:
    """hls4ml's merge for equal shapes, else pixel by pixel."""
    word, sign = _SIGNS[type(node.op)]
    shape = made.shapes[node.name]
    name = made.new_name(node.name)
    values = [item for item in node.inputs if item in made.names]
    if len(values) == 2 and all(made.shapes[value] == shape for value in values):
        sources = (made.names[values[0]], made.names[values[1]])
        return made.add(Layer(name, "Merge", sources, shape, {"result": result}, {"op": word}))
    terms: list[str] = []
    letters, constants = iter("ab"), None
    for item in node.inputs:
        if item in made.names:
            own, letter = made.shapes[item], next(letters)
            fits = own[1:] == shape[1:]
        else:
            constants = made.constant(item)
            own, letter = constants.raw.shape, "CONSTANT"
            fits = all(size == 1 for size in own[1:])
        if not fits:
            raise ExportError(f"{item!r} would have to be stretched over rows and columns")
        terms.append(f"{letter}[{'c' if own[0] > 1 else 0}]")
    statement = f"res[c] = {terms[0]} {sign} {terms[1]};"
    sources = [made.names[value] for value in values]
    body = each_channel(shape[0], statement)
    return made.add(pixel(name, sources, shape, result, body, constants))


def _elementwise(
    made: Lowering, node: Node, result: str, *statements: str, constants: Weights | None = None
) -> str:
    """One value to one value, for each channel ``c``."""
    shape = made.shapes[node.name]
    body = each_channel(shape[0], *statements)
    name = made.new_name(node.name)
    return made.add(pixel(name, [_source(made, node)], shape, result, body, constants))


def _clamp(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, Clamp)
    form = made.format(node.inputs[0])
    low, high = node.op.limits(made.graph.operands[node.name][0])
    bounds = Weights(np.array([low, high]), form)
    return _elementwise(
        made, node, result,
        "if (a[c] < CONSTANT[0])",
        "    res[c] = CONSTANT[0];",
        "else if (a[c] > CONSTANT[1])",
        "    res[c] = CONSTANT[1];",
        "else",
        "    res[c] = a[c];",
        constants=bounds,
    )  # fmt: skip


def _prelu(made: Lowering, node: Node, result: str) -> str:
    slopes = made.constant(node.inputs[1])
    index = "c" if len(slopes.raw) > 1 else "0"
    return _elementwise(
        made, node, result,
        "if (a[c] < 0)",
        f"    res[c] = a[c] * CONSTANT[{index}];",
        "else",
        "    res[c] = a[c];",
        constants=slopes,
    )  # fmt: skip


def _soft_threshold(made: Lowering, node: Node, result: str) -> str:
    """max(x - t, 0) - max(-x - t, 0); both are above zero only for a negative threshold."""
    bounds = made.constant(node.inputs[1])
    t = f"CONSTANT[{'c' if len(bounds.raw) > 1 else 0}]"
    return _elementwise(
        made, node, result,
        f"bool above = a[c] - {t} > 0, below = a[c] + {t} < 0;",
        "if (above && below)",
        "    res[c] = a[c] + a[c];",
        "else if (above)",
        f"    res[c] = a[c] - {t};",
        "else if (below)",
        f"    res[c] = a[c] + {t};",
        "else",
        "    res[c] = 0;",
        constants=bounds,
    )  # fmt: skip


def _table(made: Lowering, node: Node, result: str) -> str:
    """Entry ``r - min_raw``: the bits of the value, with the sign bit turned over."""
    form = made.format(node.inputs[0])
    sign = 1 << (form.width - 1) if form.signed else 0
    return _elementwise(
        made, node, result,
        f"res[c] = CONSTANT[fxp::bits(a[c]) ^ {sign}u];",
        constants=made.constant(node.inputs[1]),
    )  # fmt: skip


def _requantize(made: Lowering, node: Node, result: str) -> str:
    return _elementwise(made, node, result, "res[c] = a[c];")


def _concat(made: Lowering, node: Node, result: str) -> str:
    """Two at a time; what is joined on the way keeps all bits."""
    source = _source(made, node)
    shape = made.shapes[node.inputs[0]]
    parts = [made.format(value) for value in node.inputs]
    common = parts[0]
    if len(parts) == 1:
        return _requantize(made, node, result)
    for position, value in enumerate(node.inputs[1:], start=1):
        own, last = made.shapes[value], position == len(parts) - 1
        formats = [common, parts[position]]
        frac = max(item.frac for item in formats)
        low = min(item.min_raw << frac - item.frac for item in formats)
        high = max(item.max_raw << frac - item.frac for item in formats)
        common = Format.for_range(low, high, frac)
        joined = (shape[0] + own[0], *shape[1:])
        body = each_channel(shape[0], "res[c] = a[c];")
        body += each_channel(own[0], f"res[{shape[0]} + c] = b[c];")
        name = made.new_name(node.name if last else f"{node.name}_part")
        kind = result if last else _exact(common)
        source = made.add(pixel(name, [source, made.names[value]], joined, kind, body))
        shape = joined
    return source


def _moved(
    made: Lowering, node: Node, result: str, rows: Axis, columns: Axis, channel: str = "c"
) -> str:
    shapes = made.image(node.inputs[0]), made.image(node.name)
    name = made.new_name(node.name)
    return made.add(move(name, _source(made, node), shapes, result, rows, columns, channel))


def _pad(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, Pad)
    _, height, width = made.image(node.inputs[0])
    top, _, left, _ = node.op.sides
    rows = Axis(height, start=-top, mode=node.op.mode)
    return _moved(made, node, result, rows, Axis(width, start=-left, mode=node.op.mode))


def _slice(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, Slice)
    shape = made.shapes[node.inputs[0]]
    axis = ("channel", "row", "column").index(node.op.axis)
    start, _, step = slice(node.op.start, node.op.stop, node.op.step).indices(shape[axis])
    if axis == 0:
        target = made.shapes[node.name]
        body = each_channel(target[0], f"res[c] = a[c * {step} + {start}];")
        name = made.new_name(node.name)
        return made.add(pixel(name, [_source(made, node)], target, result, body))
    moved, kept = Axis(shape[axis], step=step, start=start), Axis(shape[3 - axis])
    rows, columns = (moved, kept) if axis == 1 else (kept, moved)
    return _moved(made, node, result, rows, columns)


def _pixel_shuffle(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, PixelShuffle)
    factor = node.op.factor
    _, height, width = made.image(node.inputs[0])
    channel = f"c * {factor * factor} + (y % {factor}) * {factor} + x % {factor}"
    rows, columns = Axis(height, factor=factor), Axis(width, factor=factor)
    return _moved(made, node, result, rows, columns, channel)


def _pixel_unshuffle(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, PixelUnshuffle)
    factor = node.op.factor
    _, height, width = made.image(node.inputs[0])
    rows = Axis(height, step=factor, phase=f"(c / {factor}) % {factor}", phases=factor)
    columns = Axis(width, step=factor, phase=f"c % {factor}", phases=factor)
    return _moved(made, node, result, rows, columns, f"c / {factor * factor}")


def _nearest(made: Lowering, node: Node, result: str) -> str:
    assert isinstance(node.op, Nearest)
    factor = node.op.factor
    _, height, width = made.image(node.inputs[0])
    return _moved(made, node, result, Axis(height, factor=factor), Axis(width, factor=factor))


def _flatten(made: Lowering, node: Node, result: str) -> str:
    """One pixel with all values, channel by channel."""
    channels, height, width = shape = made.image(node.inputs[0])
    count_ = channels * height * width
    rows = Axis(height, phase=f"(c / {width}) % {height}", phases=height)
    columns = Axis(width, phase=f"c % {width}", phases=width)
    name = made.new_name(node.name)
    layer = move(
        name, _source(made, node), (shape, (count_, 1, 1)), result, rows, columns,
        f"c / {height * width}",
    )  # fmt: skip
    return made.add(Layer(name, layer.kind, layer.inputs, (count_,), layer.types, layer.attributes))


_WRITERS: Final[dict[type[Op], Callable[[Lowering, Node, str], str]]] = {
    Add: _combine,
    BicubicUpsample: _upsample,
    BilinearUpsample: _upsample,
    Clamp: _clamp,
    Concat: _concat,
    Conv2d: _conv2d,
    ConvTranspose2d: _conv_transpose2d,
    Flatten: _flatten,
    Linear: _linear,
    Multiply: _combine,
    Nearest: _nearest,
    Pad: _pad,
    PixelShuffle: _pixel_shuffle,
    PixelUnshuffle: _pixel_unshuffle,
    Prelu: _prelu,
    Relu: _relu,
    Requantize: _requantize,
    Sigmoid: _table,
    Slice: _slice,
    SoftThreshold: _soft_threshold,
    StoredTable: _table,
    Subtract: _combine,
    Tanh: _table,
}
SUPPORTED: Final = tuple(sorted(op.name for op in _WRITERS))
"""Names of the ops that become hls4ml layers."""
