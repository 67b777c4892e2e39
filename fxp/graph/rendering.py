"""Graphs as text for terminals and as HTML for notebooks."""

from __future__ import annotations

from html import escape

from fxp.graph.extents import shape_text
from fxp.graph.parts import GraphView


def graph_line(graph: GraphView) -> str:
    """One line: name, inputs, outputs and how many nodes there are."""
    inputs = ", ".join(map(str, graph.inputs))
    return (
        f"<Graph {graph.name!r} ({_kind(graph)}): {inputs} -> {', '.join(graph.outputs)}; "
        f"{len(graph.nodes)} nodes>"
    )


def graph_text(graph: GraphView) -> str:
    """One line for everything in the graph; nodes with shape, format and accumulator width."""
    values = graph.values
    lines = [f"graph {graph.name} ({_kind(graph)})"]
    lines += [f"  input  {value}" for value in graph.inputs]
    lines += [
        f"  state  {state.value} <- {state.source}, reset {state.reset}" for state in graph.states
    ]
    lines += [f"  const  {constant}" for constant in graph.constants]
    for node in graph.nodes:
        attributes = node.op.attributes_text()
        arguments = ", ".join(node.inputs) + (f"; {attributes}" if attributes else "")
        shape = shape_text(values[node.name].shape)
        result = f"{shape} {node.quantization}" if node.quantization else shape
        bits = f"  [{node.accumulator.bits} bit accumulator]" if node.accumulator else ""
        lines.append(f"  {node.name} = {node.op.name}({arguments}) -> {result}{bits}")
    lines.append(f"  output {', '.join(graph.outputs)}")
    return "\n".join(lines)


def graph_html(graph: GraphView) -> str:
    """HTML of `graph_text`, as it stands."""
    return f"<pre>{escape(graph_text(graph))}</pre>"


def _kind(graph: GraphView) -> str:
    return "integer" if graph.is_integer else "float"
