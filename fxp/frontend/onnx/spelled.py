"""Functions that exporters spell as several nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fxp.frontend.onnx.branches import constants_of
from fxp.frontend.onnx.file import array_of
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")


def found_again(graph: onnx.GraphProto) -> Sequence[onnx.NodeProto]:
    """Return the nodes of a graph, with one node for each function that is spelled as several.

    Up to operator set 19 exporters write a GELU as ``x / 2 * (1 + erf(x / sqrt(2)))``, with the
    factors in any order, and up to 17 group normalization as an ``InstanceNormalization`` of images
    that are reshaped to one channel for each group.
    """
    if not any(node.op_type in ("Erf", "InstanceNormalization") for node in graph.node):
        return graph.node
    return _Search(graph).result()


class _Search:
    """Nodes by what they compute and read."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._producers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, list[onnx.NodeProto | None]] = {}
        for node in graph.node:
            self._producers |= dict.fromkeys(node.output, node)
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        for value in graph.output:
            self._readers.setdefault(value.name, []).append(None)
        small = {name: tensor for name, tensor in constants_of(graph) if prod(tensor.dims) <= 3}
        self._numbers = {
            name: float(array_of(tensor, name).ravel()[0])
            for name, tensor in small.items()
            if prod(tensor.dims) == 1 and tensor.data_type in (1, 10, 11)
        }
        self._shapes = {
            name: array_of(tensor, name).tolist()
            for name, tensor in small.items()
            if tuple(tensor.dims) == (3,) and tensor.data_type == onnx.TensorProto.INT64
        }

    def result(self) -> list[onnx.NodeProto]:
        """Return the nodes."""
        dropped: set[int] = set()
        made: dict[int, onnx.NodeProto] = {}
        for node in self._graph.node:
            if node.op_type == "Erf":
                found = self._gelu(node)
            elif node.op_type == "InstanceNormalization":
                found = self._group_norm(node)
            else:
                continue
            if found is not None:
                written, parts = found
                written.name = parts[-1].name
                written.output.extend(parts[-1].output)
                dropped |= {id(part) for part in parts}
                made[id(parts[-1])] = written
        return [
            made.get(id(node), node)
            for node in self._graph.node
            if id(node) in made or id(node) not in dropped
        ]

    def _group_norm(
        self, node: onnx.NodeProto
    ) -> tuple[onnx.NodeProto, list[onnx.NodeProto]] | None:
        """Return group normalization in place of that of reshaped images, and its nodes."""
        before = self._producers.get(node.input[0])
        after = self._only_reader(node)
        if before is None or after is None or {before.op_type, after.op_type} != {"Reshape"}:
            return None
        shape = self._shapes.get(before.input[1]) if len(before.input) == 2 else None
        if shape is None or shape[1] <= 0 or len(node.input) != 3:
            return None
        made = onnx_helper.make_node(
            "GroupNormalization", [before.input[0], *node.input[1:]], [], num_groups=shape[1]
        )
        made.attribute.extend(item for item in node.attribute if item.name == "epsilon")
        return made, [node, after]

    def _gelu(self, erf: onnx.NodeProto) -> tuple[onnx.NodeProto, list[onnx.NodeProto]] | None:
        """Return a GELU in place of the nodes that spell it; None if the node belongs to none."""
        source, factor = self._scaled(erf.input[0])
        total = self._only_reader(erf)
        if not math.isclose(factor, 0.5**0.5, rel_tol=1e-3) or total is None:
            return None
        if total.op_type != "Add" or self._numbers.get(_other(total, erf.output[0])) != 1:
            return None
        parts, factor, seen = [erf, total], 1.0, False
        while (reader := self._only_reader(parts[-1])) is not None:
            other = _other(reader, parts[-1].output[0])
            number = self._numbers.get(other)
            if reader.op_type == "Mul" and number is not None:
                factor *= number
            elif reader.op_type == "Div" and number and reader.input[1] == other:
                factor /= number
            elif reader.op_type == "Mul" and not seen and self._scaled(other)[0] == source:
                factor, seen = factor * self._scaled(other)[1], True
            elif reader.op_type == "Mul" and not seen and other == source:
                seen = True
            else:
                return None
            parts.append(reader)
            if seen and math.isclose(factor, 0.5, rel_tol=1e-6):
                return onnx_helper.make_node("Gelu", [source], []), parts
        return None

    def _scaled(self, name: str) -> tuple[str, float]:
        """Return a value and the number that makes another of it."""
        node = self._producers.get(name)
        if node is not None and len(node.input) == 2:
            for source, other in (node.input, reversed(node.input)):
                number = self._numbers.get(other)
                if node.op_type == "Mul" and number is not None:
                    return source, number
                if node.op_type == "Div" and number and other == node.input[1]:
                    return source, 1 / number
        return name, 1.0

    def _only_reader(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = self._readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 else None


def _other(node: onnx.NodeProto, name: str) -> str:
    """Return the other of two inputs; nothing if a node has not two."""
    if len(node.input) != 2:
        return ""
    return node.input[1] if node.input[0] == name else node.input[0]
