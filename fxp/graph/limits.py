"""What one run of a graph may need, checked before anything is planned or computed.

A small file can ask for any amount: rows of padding, or an image enlarged again and again. What a
run needs follows from the shapes alone, so that such a graph is refused at once and by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod

from fxp.graph.ops.base import GraphError
from fxp.graph.parts import GraphView, Node
from fxp.support.errors import ArgumentError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Limits:
    """Most that one run of a graph may need; far more than usual networks do.

    Attributes
    ----------
    rows
        Rows of a value, with the borders around it.
    value_bytes
        Bytes of a value in the integer type of its format, with the borders around it.
    run_bytes
        Bytes of all values that are needed at the same time. Where the engine runs layers line by
        line, it takes far fewer.
    operations
        Multiplications and additions of all nodes together, about.

    Examples
    --------
    >>> model = fxp.load("model.fxp", limits=fxp.Limits(rows=1 << 20))      # doctest: +SKIP
    """

    rows: int = 1 << 18
    value_bytes: int = 1 << 34
    run_bytes: int = 1 << 36
    operations: int = 1 << 46

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(
                    f"the limit of {item.name} must be an integer of at least 1, got {value!r}"
                )

    @classmethod
    def none(cls) -> Limits:
        """Return limits that nothing reaches."""
        return cls(*(1 << 200 for _ in fields(cls)))

    def check(self, graph: GraphView, shapes: Shapes) -> None:
        """Raise `GraphError` if a run needs more; the message names the value and the limit.

        Parameters
        ----------
        graph
            The graph.
        shapes
            Concrete shape of every value.
        """
        sources = [*graph.inputs, *(state.value for state in graph.states)]
        sizes = {name: prod(shape) * _element_bytes(graph, name) for name, shape in shapes.items()}
        for value in sources:
            self._check_value(f"graph {graph.name!r}, value {value.name!r}", "it",
                              shapes[value.name], sizes[value.name])  # fmt: skip
        operations = 0
        for node in graph.nodes:
            where = node_text(graph, node)
            self._check_value(where, "its result", shapes[node.name], sizes[node.name])
            read = [
                shapes[name] if name in shapes else graph.constants_by_name[name].data.shape
                for name in node.inputs
            ]
            canvas = node.op.canvas(shapes[node.name], *read)
            size = prod(canvas) * _element_bytes(graph, node.name)
            self._check_value(where, "the image with its borders", canvas, size)
            operations += node.op.operations(shapes[node.name], *read)
            _refuse_above(self.operations, operations, "operations", where,
                          "the nodes so far need", "operations")  # fmt: skip
        self._check_memory(graph, sizes)

    def _check_value(self, where: str, what: str, shape: tuple[int, ...], size: int) -> None:
        rows = shape[1] if len(shape) == 3 else 1
        text = f"{what}, of shape {shape}, has"
        _refuse_above(self.rows, rows, "rows", where, text, "rows")
        _refuse_above(self.value_bytes, size, "value_bytes", where, text, "bytes")

    def _check_memory(self, graph: GraphView, sizes: Mapping[str, int]) -> None:
        last_reader: dict[str, int] = {}
        for index, node in enumerate(graph.nodes):
            last_reader.update(dict.fromkeys(node.inputs, index))
        last_reader.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
        last_reader.update((state.source, len(graph.nodes)) for state in graph.states)
        held = sum(sizes[name] for name in sizes.keys() - {node.name for node in graph.nodes})
        for index, node in enumerate(graph.nodes):
            held += sizes[node.name]
            _refuse_above(self.run_bytes, held, "run_bytes", node_text(graph, node),
                          "the values needed at this point have", "bytes")  # fmt: skip
            for name in {*node.inputs, node.name}:
                if last_reader.get(name, index) <= index:
                    held -= sizes.get(name, 0)


def node_text(graph: GraphView, node: Node) -> str:
    """Say which node it is, for messages."""
    origin = f", from {node.origin}" if node.origin else ""
    return f"graph {graph.name!r}, node {node.name!r} ({node.op.name}{origin})"


def _element_bytes(graph: GraphView, name: str) -> int:
    form = graph.values[name].format
    return 8 if form is None else form.dtype.itemsize


def _refuse_above(limit: int, needed: int, field: str, where: str, text: str, unit: str) -> None:
    if needed > limit:
        raise GraphError(
            f"{where}: {text} {needed:,} {unit}, more than the limit of {limit:,}; if that is "
            f"meant, raise it with limits=fxp.Limits({field}={needed}), on the command line with "
            "--unlimited"
        )
