"""An integer graph as an ONNX model that stock ONNX Runtime executes to the same integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from fxp.export.onnx_floats import FloatNodes
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.onnx_emitter import INT64, Emitter
from fxp.graph.ops import Prelu
from fxp.graph.ops.base import GraphError, channel_view
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
    import onnx.numpy_helper as onnx_numpy
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")
    onnx_numpy = lazy_import("onnx.numpy_helper", "onnx")

OPSET = 18
"""Version of the operator set that is written unless another is asked for."""
IR_VERSION = 10
"""Understood by ONNX Runtime 1.18 and later; older operator sets are written for older ones."""


Form = Literal["integer", "auto"]
"""How nodes are written, see `to_onnx`."""
OPSETS: Final = (13, 23)
"""First and last version of the operator set that can be written."""
_FLOAT64_PRELU: Final = 16
"""Operator set from which on ONNX Runtime has a PRelu in float64."""
_AXES_AS_INPUT: Final = 18
"""Operator set from which on the axes of ReduceMax and ReduceMin are an input."""


def to_onnx(graph: Graph, *, form: Form = "integer", opset: int = OPSET) -> onnx.ModelProto:
    """Write an integer graph with int64 inputs and outputs that hold the raw integers.

    Images are ``(N, C, H, W)`` with free N, H and W, vectors ``(N, F)``. A state becomes an input
    ``NAME`` and an output ``NAME.next``. The value of each node has the node's name. Formats and
    shapes of all values are in the metadata, under ``format:NAME``.

    Parameters
    ----------
    graph
        An integer graph.
    form
        ``integer``: all nodes compute with int64, for which ONNX Runtime has no convolution. They
        are correct on every provider, and slow. ``auto``: nodes that are proved to be exact in
        float32 or float64 are written so, and only the others with int64. They are quick, and exact
        on the CPU provider, which computes sums in the given precision.
    opset
        Version of the operator set, one of `OPSETS` or between them.

    Raises
    ------
    ArgumentError
        If the form or the version is another.
    GraphError
        If the graph is a float graph, some node needs more than 64-bit arithmetic in ONNX, or a
        value already has the name of a state's output.
    """
    if not graph.is_integer:
        raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
    if form not in get_args(Form):
        raise ArgumentError(f"form must be one of {', '.join(get_args(Form))}, got {form!r}")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ArgumentError(f"opset must be {OPSETS[0]} to {OPSETS[1]}, got {opset}")
    emit = Emitter()
    floats = FloatNodes(emit, graph)
    sources = [*graph.inputs, *(state.value for state in graph.states)]
    floats.written |= {value.name: {INT64: value.name} for value in sources}
    constants = {
        name: emit.constant(constant.data) for name, constant in graph.constants_by_name.items()
    }
    for node in graph.nodes:
        emit.scope = node.name
        is_lacking = isinstance(node.op, Prelu) and opset < _FLOAT64_PRELU
        if form == "integer" or is_lacking or not floats.add(node):
            names = [
                constants[name] if name in constants else floats.tensor(name, INT64)
                for name in node.inputs
            ]
            floats.written[node.name] = {INT64: _emit_node(emit, graph, node, names)}
    results = _emit_outputs(emit, graph, floats)
    if opset < _AXES_AS_INPUT:
        _write_axes_as_attributes(emit)
    used = {name for node in emit.nodes for name in node.input}
    proto = onnx_helper.make_graph(
        emit.nodes,
        graph.name,
        [_tensor(value, value.name) for value in sources],
        results,
        [tensor for tensor in emit.initializers if tensor.name in used],
        value_info=[
            _tensor(graph.values[node.name], next(iter(held.values())), next(iter(held)))
            for node in graph.nodes
            if node.name not in graph.outputs and (held := floats.written.get(node.name))
        ],
    )
    version = onnx_helper.make_opsetid("", opset)
    model = onnx_helper.make_model(
        proto,
        opset_imports=[version],
        producer_name="fxp",
        ir_version=IR_VERSION if opset >= OPSET else onnx_helper.find_min_ir_version_for([version]),
    )
    for name, value in graph.values.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = f"format:{name}", str(value.format)
    onnx.checker.check_model(model)
    return model


def _write_axes_as_attributes(emit: Emitter) -> None:
    """Spell reductions as before `_AXES_AS_INPUT`."""
    constants = {tensor.name: tensor for tensor in emit.initializers}
    for node in emit.nodes:
        if node.op_type in ("ReduceMax", "ReduceMin") and len(node.input) > 1:
            axes = onnx_numpy.to_array(constants[node.input.pop()])
            node.attribute.append(onnx_helper.make_attribute("axes", axes.ravel().tolist()))


def _emit_outputs(emit: Emitter, graph: Graph, floats: FloatNodes) -> list[onnx.ValueInfoProto]:
    """Give the outputs and the next states their names."""
    outputs = list(graph.outputs)
    results = [
        _tensor(graph.values[name], f"{name}.{position}" if outputs.count(name) > 1 else name)
        for position, name in enumerate(outputs)
    ]
    added = {result.name for result in results} - {*outputs}
    added |= {f"{state.value.name}.next" for state in graph.states}
    if taken := sorted(added & {*graph.values}):
        raise GraphError(f"graph {graph.name!r}: ONNX needs the name {taken[0]!r} for an output")
    for name, result in zip(outputs, results, strict=True):
        held = floats.written[name]
        if held.get(INT64) != result.name:
            source = next(iter(held.values()))
            emit("Cast", source, output=result.name, to=INT64)
    for state in graph.states:
        results.append(_tensor(state.value, f"{state.value.name}.next"))
        emit("Identity", floats.tensor(state.source, INT64), output=results[-1].name)
    return results


def _emit_node(emit: Emitter, graph: Graph, node: Node, names: Sequence[str]) -> str:
    assert node.accumulator is not None
    assert node.quantization is not None
    operands = graph.operands[node.name]
    exact = node.op.onnx(emit, operands, *names)
    target = node.quantization
    rank = len(graph.values[node.name].shape)
    shifts = np.asarray(node.accumulator.fracs) - target.format.frac
    if (shifts == shifts[0]).all():
        shifts = shifts[:1]
    try:
        return emit.requantize(
            exact,
            channel_view(shifts, rank),
            target.format,
            target.rounding,
            target.overflow,
            node.accumulator.bits,
            node.name,
        )
    except ValueError as error:
        raise GraphError(f"node {node.name!r} ({node.op.name}): {error}") from None


def _tensor(value: Value, name: str, kind: int = INT64) -> onnx.ValueInfoProto:
    shape = [str(size) if isinstance(size, Extent) else size for size in value.shape]
    return onnx_helper.make_tensor_value_info(name, kind, ["N", *shape])
