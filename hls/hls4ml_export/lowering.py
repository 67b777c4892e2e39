"""From the integer graph to layers of hls4ml: one function per op.

hls4ml computes convolutions, matrix products, ReLU and element-wise arithmetic of equal shapes.
Everything else is written with those or with the layers of `fxp.hls.hls4ml_export.extension`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fxp.formats import FormatError
from fxp.graph import Graph, Node
from fxp.graph.ops import (
    REGISTRY,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    DilatedMaxPool,
    Flatten,
    Flip,
    GatherChannels,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    Part,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Sign,
    Slice,
    SoftThreshold,
    SpatialConcat,
    Subtract,
    SumPool,
    Table,
    Transpose,
    Unflatten,
)
from fxp.graph.ops.base import Op
from fxp.graph.ops.reduction import Reduction
from fxp.hls.hls4ml_export import convolutions, movements, pixels, pooling
from fxp.hls.hls4ml_export.layers import (
    ExportError,
    Hls4mlLayer,
    check_rounding,
    check_type,
    check_width,
)
from fxp.hls.hls4ml_export.lowering_state import (
    Lowering,
)
from fxp.hls.refusals import instead_of_project

MAX_READERS: Final = 7
"""hls4ml copies a stream for at most so many readers."""


def lower_to_layers(
    graph: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    depthwise: bool = True,
    advise: bool = True,
) -> Lowering:
    """Turn an integer graph with concrete shapes into layers.

    Parameters
    ----------
    graph
        The graph.
    shapes
        Shape of every value.
    depthwise
        Whether the backend has depthwise convolutions.
    advise
        Whether a refusal says what to do instead.

    Raises
    ------
    ExportError
        If an op, an attribute or a type has no exact counterpart; the message names the node.
    """
    if not graph.is_integer:
        raise ExportError(f"graph {graph.name!r} is a float graph; quantize it first")
    made = Lowering(graph, shapes, depthwise)
    if graph.states:
        raise ExportError(
            f"graph {graph.name!r} keeps the state {graph.states[0].value.name!r} between calls, "
            f"which hls4ml cannot{_instead(made, advise)}"
        )
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
        made.add(Hls4mlLayer(made.names[value.name], "InputLayer", (), shape, types, attributes))
    if len(set(graph.outputs)) != len(graph.outputs):
        raise ExportError(f"graph {graph.name!r} gives the same output twice")
    for node in graph.nodes:
        _lower_node(made, node, advise)
    _check_readers(made, advise)
    return made


def _instead(made: Lowering, advise: bool, operation: str = "") -> str:
    if not advise:
        return ""
    shape = made.shapes[made.graph.inputs[0].name]
    return f"; {instead_of_project(made.graph, shape, operation)}"


def _lower_node(made: Lowering, node: Node, advise: bool) -> None:
    writer = _writer(type(node.op))
    name = f"node {node.name!r} ({node.op.name})"
    if writer is None:
        advice = _instead(made, advise, node.op.name)
        raise ExportError(f"{name}: the hls4ml path has no {node.op.name}{advice}")
    assert node.quantization is not None
    try:
        _check_rounding(made, node)
        made.names[node.name] = writer(made, node, check_type(node.quantization))
    except (ExportError, FormatError) as error:
        raise ExportError(f"{name}: {error}{_instead(made, advise)}") from None


def _check_rounding(made: Lowering, node: Node) -> None:
    """Refuse a step larger than the whole accumulator: the ap_fixed headers abort there."""
    target, accumulator = node.quantization, node.accumulator
    assert target is not None
    assert accumulator is not None
    exact = accumulator.exact_format
    sources = [(exact.width, exact.frac)]
    if isinstance(node.op, Concat | SpatialConcat | Prelu | SoftThreshold):
        # Some of their results are operands as they are, with fewer bits.
        forms = [made.format(name) for name in node.inputs if name in made.names]
        sources += [(form.width, form.frac) for form in forms]
    if isinstance(node.op, Prelu):
        # The accumulator aligns products with values; a product alone may have fewer bits.
        value, slope = made.format(node.inputs[0]), made.constant(node.inputs[1]).format
        sources.append((value.width + slope.width, value.frac + slope.frac))
    for width, frac in sources:
        check_rounding(target, width, frac)


def _check_readers(made: Lowering, advise: bool) -> None:
    outputs = [made.names[name] for name in made.graph.outputs]
    readers = outputs + [name for layer in made.layers for name in layer.inputs]
    for value, name in made.names.items():
        if readers.count(name) > MAX_READERS:
            raise ExportError(
                f"value {value!r} is read {readers.count(name)} times; hls4ml copies a stream at "
                f"most {MAX_READERS} times{_instead(made, advise)}"
            )


_WRITERS: Final[dict[type[Op], Callable[[Lowering, Node, str], str]]] = {
    Add: pixels.combine,
    AveragePool: pooling.windows,
    BicubicUpsample: convolutions.upsample,
    BilinearUpsample: convolutions.upsample,
    Clamp: pixels.clamp,
    Concat: pixels.concat,
    Conv2d: convolutions.conv2d,
    ConvTranspose2d: convolutions.conv_transpose2d,
    DilatedMaxPool: pooling.windows,
    Flatten: movements.flatten,
    Flip: movements.flip,
    GatherChannels: movements.gather_channels,
    Linear: convolutions.linear,
    MaxPool: pooling.windows,
    Multiply: pixels.combine,
    Nearest: movements.nearest,
    Pad: movements.pad,
    Part: movements.part,
    PixelShuffle: movements.pixel_shuffle,
    PixelUnshuffle: movements.pixel_unshuffle,
    Prelu: pixels.prelu,
    Reduction: pooling.over_axes,
    Relu: pixels.relu,
    Requantize: pixels.requantize,
    Sign: pixels.sign,
    Slice: movements.slice_,
    SoftThreshold: pixels.soft_threshold,
    Subtract: pixels.combine,
    SumPool: pooling.windows,
    SpatialConcat: movements.spatial_concat,
    Table: pixels.table,
    Transpose: movements.transpose,
    Unflatten: movements.unflatten,
}


def _writer(op_class: type[Op]) -> Callable[[Lowering, Node, str], str] | None:
    """Return the writer of an op or of its family."""
    return next((_WRITERS[kind] for kind in op_class.__mro__ if kind in _WRITERS), None)


SUPPORTED: Final = tuple(sorted(name for name, op in REGISTRY.items() if _writer(op)))
"""Names of the ops that become hls4ml layers."""
