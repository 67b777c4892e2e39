"""Layers made so far, and what every lowering of an op needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Graph, Node
from fxp.hls.hls4ml_export.layers import (
    Axis,
    ExportError,
    Hls4mlLayer,
    ImageShape,
    Weights,
    move,
)


@dataclass
class Lowering:
    """Layers made so far.

    Attributes
    ----------
    graph
        Integer graph.
    shapes
        Shape of every value.
    depthwise
        Whether the backend has depthwise convolutions; else they get zeros between their weights.
    layers
        What hls4ml is given, in order.
    names
        For every value of the graph the layer that computes it.
    """

    graph: Graph
    shapes: Mapping[str, tuple[int, ...]]
    depthwise: bool = True
    layers: list[Hls4mlLayer] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def new_name(self, wish: str) -> str:
        """Return a C++ identifier that no layer has."""
        base = re.sub(r"\W", "_", wish, flags=re.ASCII)
        # hls4ml reserves "input"; others could be words of C++ or begin with a digit.
        base = base if re.match(r"[A-Za-z]\w*_|[A-Za-z]+\d", base) else f"v_{base}"
        taken = {layer.name for layer in self.layers}
        return next(name for i in count() if (name := f"{base}_{i}" if i else base) not in taken)

    def add(self, layer: Hls4mlLayer) -> str:
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


def source_of(made: Lowering, node: Node) -> str:
    """Layer of the first input."""
    return made.names[node.inputs[0]]


def accumulator_type(node: Node) -> str:
    """Type that holds the proved range."""
    assert node.accumulator is not None
    return str(node.accumulator.exact_format)


def exact_type(form: Format) -> str:
    """Type of a value that is moved: nothing to round."""
    return str(Quantization(form, Rounding.FLOOR, Overflow.WRAP))


def padded(
    made: Lowering, node: Node, sides: tuple[int, int, int, int], mode: str
) -> tuple[str, ImageShape]:
    """Pad the first input by a layer of its own.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    sides
        Pixels to add at the top, the bottom, the left and the right.
    mode
        What they hold: a padding mode of the graph, such as ``zero``.

    Returns
    -------
    tuple
        Name of the padding layer, or of the input itself if nothing is added, and its shape.
    """
    value = node.inputs[0]
    channels, height, width = shape = made.image(value)
    if not any(sides):
        return made.names[value], shape
    top, bottom, left, right = sides
    result = (channels, height + top + bottom, width + left + right)
    name = made.new_name(f"{node.name}pad")
    rows = Axis(height, start=-top, mode=mode)
    columns = Axis(width, start=-left, mode=mode)
    kind = exact_type(made.format(value))
    return made.add(move(name, made.names[value], (shape, result), kind, rows, columns)), result
