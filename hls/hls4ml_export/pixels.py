"""Functions of pixels: hls4ml's ReLU and merges, and layers of our own."""

from __future__ import annotations

from typing import Final

import numpy as np

from fxp.formats import Format
from fxp.graph import Node
from fxp.graph.ops import (
    Add,
    Clamp,
    Multiply,
    Sign,
    Subtract,
)
from fxp.graph.ops.base import Op
from fxp.hls.hls4ml_export.layers import (
    ExportError,
    Hls4mlLayer,
    Weights,
    each_channel,
    pixel,
)
from fxp.hls.hls4ml_export.lowering_state import (
    Lowering,
    exact_type,
    source_of,
)

_SIGNS: Final[dict[type[Op], tuple[str, str]]] = {
    Add: ("add", "+"),
    Subtract: ("subtract", "-"),
    Multiply: ("multiply", "*"),
}


def relu(made: Lowering, node: Node, result: str) -> str:
    """hls4ml's ReLU.

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
    shape = made.shapes[node.name]
    attributes = {"activation": "relu", "n_in": int(np.prod(shape))}
    name, source = made.new_name(node.name), (source_of(made, node),)
    return made.add(Hls4mlLayer(name, "Activation", source, shape, {"result": result}, attributes))


def combine(made: Lowering, node: Node, result: str) -> str:
    """hls4ml's merge for equal shapes, else pixel by pixel.

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
    word, sign = _SIGNS[type(node.op)]
    shape = made.shapes[node.name]
    name = made.new_name(node.name)
    values = [item for item in node.inputs if item in made.names]
    if len(values) == 2 and all(made.shapes[value] == shape for value in values):
        sources = (made.names[values[0]], made.names[values[1]])
        return made.add(
            Hls4mlLayer(name, "Merge", sources, shape, {"result": result}, {"op": word})
        )
    terms: list[str] = []
    letters, constants = iter("ab"), None
    for item in node.inputs:
        if item in made.names:
            own, letter = made.shapes[item], next(letters)
            fits = own[1:] == shape[1:]
        else:
            constants = made.constant(item)
            own, letter = constants.raw.shape, "constants"
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
    return made.add(pixel(name, [source_of(made, node)], shape, result, body, constants))


def clamp(made: Lowering, node: Node, result: str) -> str:
    """Compare with the raw bounds.

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
    assert isinstance(node.op, Clamp)
    form = made.format(node.inputs[0])
    low, high = node.op.limits(made.graph.operands[node.name][0])
    bounds = Weights(np.array([low, high]), form)
    return _elementwise(
        made, node, result,
        "if (a[c] < constants[0])",
        "    res[c] = constants[0];",
        "else if (a[c] > constants[1])",
        "    res[c] = constants[1];",
        "else",
        "    res[c] = a[c];",
        constants=bounds,
    )  # fmt: skip


def prelu(made: Lowering, node: Node, result: str) -> str:
    """Product below zero, the value elsewhere.

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
    slopes = made.constant(node.inputs[1])
    index = "c" if len(slopes.raw) > 1 else "0"
    return _elementwise(
        made, node, result,
        "if (a[c] < 0)",
        f"    res[c] = a[c] * constants[{index}];",
        "else",
        "    res[c] = a[c];",
        constants=slopes,
    )  # fmt: skip


def soft_threshold(made: Lowering, node: Node, result: str) -> str:
    """max(x - t, 0) - max(-x - t, 0); both are above zero only for a negative threshold.

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
    bounds = made.constant(node.inputs[1])
    t = f"constants[{'c' if len(bounds.raw) > 1 else 0}]"
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


def sign(made: Lowering, node: Node, result: str) -> str:
    """Compare with zero.

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
    assert isinstance(node.op, Sign)
    return _elementwise(
        made, node, result,
        "if (a[c] < 0)",
        "    res[c] = -1;",
        "else if (a[c] > 0)",
        "    res[c] = 1;",
        "else",
        f"    res[c] = {node.op.at_zero};",
    )  # fmt: skip


def table(made: Lowering, node: Node, result: str) -> str:
    """Entry ``r - min_raw``: the bits of the value, with the sign bit turned over.

    The entries are plain integers times their unit: g++ takes minutes for 65,536 objects.

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
    form = made.format(node.inputs[0])
    sign = 1 << (form.width - 1) if form.signed else 0
    entries = made.constant(node.inputs[1])
    kind = "int" if entries.format.width <= 32 and entries.format.signed else "long long"
    numbers = ", ".join(map(str, entries.raw.tolist()))
    shape = made.shapes[node.name]
    body = [
        f"static const {kind} entries[{len(entries.raw)}] = {{{numbers}}};",
        *each_channel(shape[0], f"res[c] = entries[fxp::bits(a[c]) ^ {sign}u] * constants[0];"),
    ]
    unit = Weights(np.array([1]), Format(2, entries.format.frac))
    name = made.new_name(node.name)
    return made.add(pixel(name, [source_of(made, node)], shape, result, body, unit))


def requantize(made: Lowering, node: Node, result: str) -> str:
    """Assign the value, which rounds it to the type of the result.

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
    return _elementwise(made, node, result, "res[c] = a[c];")


def concat(made: Lowering, node: Node, result: str) -> str:
    """Two at a time; what is joined on the way keeps all bits.

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
    source = source_of(made, node)
    shape = made.shapes[node.inputs[0]]
    parts = [made.format(value) for value in node.inputs]
    common = parts[0]
    if len(parts) == 1:
        return requantize(made, node, result)
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
        kind = result if last else exact_type(common)
        source = made.add(pixel(name, [source, made.names[value]], joined, kind, body))
        shape = joined
    return source
