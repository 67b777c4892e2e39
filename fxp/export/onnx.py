"""An integer graph as an ONNX model that stock ONNX Runtime executes to the same integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.onnx_emitter import Emitter
from fxp.graph.ops.base import GraphError, channel_view
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")

OPSET = 18
IR_VERSION = 10
"""Understood by ONNX Runtime 1.18 and later."""


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """Write an integer graph with int64 inputs and outputs that hold the raw integers.

    Images are ``(N, C, H, W)`` with free N, H and W, vectors ``(N, F)``. A state becomes an input
    ``NAME`` and an output ``NAME.next``.

    Raises
    ------
    GraphError
        If the graph is a float graph, some node needs more than 64-bit arithmetic in ONNX, or a
        value already has the name of a state's output.
    """
    if not graph.is_integer:
        raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
    emit = Emitter()
    names = {value.name: value.name for value in graph.inputs}
    names |= {state.value.name: state.value.name for state in graph.states}
    names |= {
        name: emit.constant(constant.data) for name, constant in graph.constants_by_name.items()
    }
    for node in graph.nodes:
        names[node.name] = _emit_node(emit, graph, node, names)
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
        if result.name != name:
            emit("Identity", names[name], output=result.name)
    for state in graph.states:
        results.append(_tensor(state.value, f"{state.value.name}.next"))
        emit("Identity", names[state.source], output=results[-1].name)
    sources = [*graph.inputs, *(state.value for state in graph.states)]
    used = {name for node in emit.nodes for name in node.input}
    proto = onnx_helper.make_graph(
        emit.nodes,
        graph.name,
        [_tensor(value, value.name) for value in sources],
        results,
        [tensor for tensor in emit.initializers if tensor.name in used],
    )
    model = onnx_helper.make_model(
        proto,
        opset_imports=[onnx_helper.make_opsetid("", OPSET)],
        producer_name="fxp",
        ir_version=IR_VERSION,
    )
    for name in dict.fromkeys([*(value.name for value in sources), *outputs]):
        entry = model.metadata_props.add()
        entry.key, entry.value = f"format:{name}", str(graph.values[name].format)
    onnx.checker.check_model(model)
    return model


def _emit_node(emit: Emitter, graph: Graph, node: Node, names: dict[str, str]) -> str:
    assert node.accumulator is not None
    assert node.quantization is not None
    operands = graph.operands[node.name]
    exact = node.op.onnx(emit, operands, *(names[name] for name in node.inputs))
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


def _tensor(value: Value, name: str) -> onnx.ValueInfoProto:
    shape = [str(size) if isinstance(size, Extent) else size for size in value.shape]
    return onnx_helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["N", *shape])
