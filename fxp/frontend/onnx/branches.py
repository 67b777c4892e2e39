"""Branches of a network that are chosen beforehand, by constants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from fxp.frontend.onnx.limits import MAX_NODES
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")

_MAX_DEPTH: Final = 16
"""Branches within branches."""


def constants_of(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield the names and constants of a graph."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            yield from ((node.output[0], item.t) for item in node.attribute if item.name == "value")


def with_chosen_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without those ``If`` nodes whose condition is a constant."""
    if not any(node.op_type == "If" for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    known: dict[str, bool] = {}
    _learn(known, model.graph)
    nodes = _chosen(made.graph.node, known, made.graph, 0)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _learn(known: dict[str, bool], graph: onnx.GraphProto) -> None:
    """Enter constant conditions of a graph."""
    for name, tensor in constants_of(graph):
        held = tensor.raw_data or bytes(value & 1 for value in tensor.int32_data)
        if tensor.data_type == onnx.TensorProto.BOOL and len(held) == 1:
            known[name] = bool(held[0])


def _chosen(
    nodes: Iterable[onnx.NodeProto], known: dict[str, bool], target: onnx.GraphProto, depth: int
) -> list[onnx.NodeProto]:
    """Return nodes with those of the chosen branches in place of branching nodes.

    Parameters
    ----------
    nodes
        Of a graph or branch.
    known
        Constant conditions, by name.
    target
        Takes the constants of the branches.
    depth
        Branches around the nodes.
    """
    made: list[onnx.NodeProto] = []
    for node in nodes:
        condition = known.get(node.input[0]) if node.op_type == "If" and node.input else None
        wanted = "then_branch" if condition else "else_branch"
        branch = next((item.g for item in node.attribute if item.name == wanted), None)
        if condition is None or branch is None or depth == _MAX_DEPTH or len(made) > MAX_NODES:
            made.append(node)
            continue
        _learn(known, branch)
        target.initializer.extend(branch.initializer)
        made += _chosen(branch.node, known, target, depth + 1)
        for number, (value, name) in enumerate(zip(branch.output, node.output, strict=False)):
            label = f"{node.name}.{number}" if node.name else ""
            made.append(onnx_helper.make_node("Identity", [value.name], [name], name=label))
    return made
