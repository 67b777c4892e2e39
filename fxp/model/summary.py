"""What a model consists of, as data, as text and as HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, Literal, TypedDict

from fxp.graph import Graph, Node
from fxp.graph.extents import Extent, shape_text
from fxp.model.clipping import ClippedShares
from fxp.model.refinements import refinements_text
from fxp.support.text_table import text_table


class SummaryRow(TypedDict):
    """One value of a model; only what JSON knows.

    ``value`` is its name, ``op`` the op that computes it (``input`` and ``state`` for what is
    given), ``shape`` its sizes without batch as text, ``format`` the format with its modes,
    ``accumulator_bits`` the proved width before rounding, ``weights`` the format of its weights,
    ``parameters`` how many weights and biases it has, ``clipped`` the share of its values that were
    clipped on the calibration data, ``clipped_by_one_step`` the share that was clipped by one step
    at most, and ``sqnr`` the SQNR in dB against the float network on a part of the same data, or
    ``exact``. None stands for what does not apply or is not known.
    """

    value: str
    op: str
    shape: list[int | str]
    format: str
    accumulator_bits: int | None
    weights: str | None
    parameters: int
    clipped: float | None
    clipped_by_one_step: float | None
    sqnr: float | Literal["exact"] | None


def summary_rows(
    graph: Graph, clipped: ClippedShares, sqnr: Mapping[str, float]
) -> list[SummaryRow]:
    """Return one row for every input, state and node, in the order they are computed.

    Parameters
    ----------
    graph
        An integer graph.
    clipped
        Shares on the calibration data.
    sqnr
        SQNR in dB of every value on it, infinite where it is exact.
    """

    def row(
        name: str, op: str, format_text: str, node: Node | None = None, weights: str | None = None
    ) -> SummaryRow:
        return SummaryRow(
            value=name,
            op=op,
            shape=[
                str(size) if isinstance(size, Extent) else size for size in graph.values[name].shape
            ],
            format=format_text,
            accumulator_bits=node.accumulator.bits if node and node.accumulator else None,
            weights=weights,
            parameters=sum(
                graph.constants_by_name[key].data.size for key in parameter_names(graph, node)
            ),
            clipped=clipped.total.get(name),
            clipped_by_one_step=clipped.by_one_step.get(name),
            sqnr=_level(sqnr.get(name)),
        )

    rows = [row(value.name, "input", str(value.format)) for value in graph.inputs]
    rows += [
        row(state.value.name, f"state of {state.source}", str(state.value.format))
        for state in graph.states
    ]
    rows += [
        row(node.name, node.op.name, str(node.quantization), node, _weights_text(graph, node))
        for node in graph.nodes
    ]
    return rows


def parameter_names(graph: Graph, node: Node | None) -> list[str]:
    """Names of a node's weights and biases, tables left out."""
    if node is None:
        return []
    return [
        name
        for position, name in enumerate(node.inputs)
        if name in graph.constants_by_name and node.op.constant_roles.get(position) != "table"
    ]


def count_parameters(graph: Graph) -> int:
    """Count weights and biases; shared ones count once."""
    names = {name for node in graph.nodes for name in parameter_names(graph, node)}
    return sum(graph.constants_by_name[name].data.size for name in names)


def as_text(graph: Graph, rows: Sequence[SummaryRow], metadata: Mapping[str, str]) -> str:
    """Return a table of the rows, and in words what it does not show.

    Parameters
    ----------
    graph
        An integer graph.
    rows
        What `summary_rows` gives for it.
    metadata
        Of the model.
    """
    lines = text_table(_HEADER, map(_cells, rows))
    return "\n".join([*lines, *_notes(graph, rows, metadata)])


def as_html(graph: Graph, rows: Sequence[SummaryRow], metadata: Mapping[str, str]) -> str:
    """Return the same as an HTML table, for notebooks.

    Parameters
    ----------
    graph, rows, metadata
        As for `as_text`.
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEADER)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in rows
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(graph, rows, metadata))
    return (
        f"<p><b>{escape(graph.name)}</b></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"
    )


POOR: Final = 40.0
"""SQNR in dB below which an output is called poor."""
DROP: Final = 20.0
"""How many dB a value may be worse than all that it reads."""
GOOD: Final = 60.0
"""SQNR in dB from which on it does not matter how much better a value is."""
_HEADER = (
    "value",
    "op",
    "shape",
    "format",
    "accumulator",
    "weights",
    "parameters",
    "clipped",
    "SQNR",
)


def _cells(row: SummaryRow) -> tuple[str, ...]:
    bits = row["accumulator_bits"]
    return (
        row["value"],
        row["op"],
        f"({', '.join(map(str, row['shape']))}{',' if len(row['shape']) == 1 else ''})",
        row["format"],
        "" if bits is None else f"{bits} bit",
        row["weights"] or "",
        f"{row['parameters']:,}" if row["parameters"] else "",
        _clipped_text(row),
        _level_text(row["sqnr"]),
    )


def _level(level: float | None) -> float | Literal["exact"] | None:
    return "exact" if level is not None and math.isinf(level) else level


def _level_text(level: float | str | None) -> str:
    return f"{level:.1f} dB" if isinstance(level, int | float) else level or ""


def _clipped_text(row: Mapping) -> str:
    share, one_step = row["clipped"], row["clipped_by_one_step"]
    if share is None:
        return ""
    if not share or not one_step:
        return f"{share:.4%}"
    if share == one_step:
        return f"{share:.4%} by one step"
    return f"{share:.4%}, of it {one_step:.4%} by one step"


def _notes(graph: Graph, rows: Sequence[SummaryRow], metadata: Mapping[str, str]) -> list[str]:
    notes = []
    for value in graph.inputs:
        if len(value.shape) == 3 and not any(isinstance(size, Extent) for size in value.shape):
            notes.append(f"The model takes images {shape_text(value.shape)} as {value.name} alone.")
    one = next((row for row in rows if row["clipped_by_one_step"]), None)
    if one is not None:
        form = graph.values[one["value"]].format
        assert form is not None
        notes.append(
            "By one step: the value is one step beyond its format, so that clipping changes it as "
            f"rounding does. {form} ends at {form.max:.10g}, and one step is {form.step:.3g}."
        )
    notes += _precision(graph, rows)
    refinements = refinements_text(metadata)
    if refinements is not None:
        notes.append(refinements)
    notes.append(f"{count_parameters(graph):,} parameters; outputs {', '.join(graph.outputs)}")
    return notes


def _precision(graph: Graph, rows: Sequence[SummaryRow]) -> list[str]:
    """Say how precise the outputs are, and where precision falls."""
    levels = {row["value"]: _number(row["sqnr"]) for row in rows if row["sqnr"] is not None}
    known = [name for name in graph.outputs if name in levels]
    if not known:
        return []
    listed = ", ".join(
        f"{name} {_level_text(_level(levels[name]))}" for name in dict.fromkeys(known)
    )
    notes = [f"SQNR of the outputs against the float network, on calibration data: {listed}."]
    poor = [name for name in dict.fromkeys(known) if levels[name] < POOR]
    if poor:
        notes.append(
            f"Warning: {', '.join(poor)} below {POOR:g} dB; model.report(images), or fxp "
            "report, says why, and what to change."
        )
    for node in graph.nodes:
        reads = [min(levels[name], GOOD) for name in node.inputs if name in levels]
        if reads and node.name in levels and levels[node.name] < min(reads) - DROP:
            notes.append(
                f"Warning: {node.name} has {levels[node.name]:.1f} dB, more than {DROP:g} dB less "
                "than what it reads."
            )
    return notes


def _number(level: float | Literal["exact"] | None) -> float:
    return float(level) if isinstance(level, int | float) else math.inf


def _weights_text(graph: Graph, node: Node) -> str | None:
    for position, name in enumerate(node.inputs):
        constant = graph.constants_by_name.get(name)
        if constant is not None and node.op.constant_roles.get(position) != "bias":
            return str(constant).partition(") ")[2]
    return None
