"""Layers that move values."""

from __future__ import annotations

from fxp.graph import Node
from fxp.graph.ops import (
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Slice,
)
from fxp.hls.hls4ml_export.layers import (
    Axis,
    Hls4mlLayer,
    each_channel,
    move,
    pixel,
)
from fxp.hls.hls4ml_export.lowering_state import (
    Lowering,
    source_of,
)


def _moved(
    made: Lowering, node: Node, result: str, rows: Axis, columns: Axis, channel: str = "c"
) -> str:
    shapes = made.image(node.inputs[0]), made.image(node.name)
    name = made.new_name(node.name)
    return made.add(move(name, source_of(made, node), shapes, result, rows, columns, channel))


def pad(made: Lowering, node: Node, result: str) -> str:
    """Rows and columns of other places.

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
    assert isinstance(node.op, Pad)
    _, height, width = made.image(node.inputs[0])
    top, _, left, _ = node.op.sides
    rows = Axis(height, start=-top, mode=node.op.mode)
    return _moved(made, node, result, rows, Axis(width, start=-left, mode=node.op.mode))


def slice_(made: Lowering, node: Node, result: str) -> str:
    """Every so many channels, rows or columns.

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
    assert isinstance(node.op, Slice)
    shape = made.shapes[node.inputs[0]]
    axis = ("channel", "row", "column").index(node.op.axis)
    start, _, step = slice(node.op.start, node.op.stop, node.op.step).indices(shape[axis])
    if axis == 0:
        target = made.shapes[node.name]
        body = each_channel(target[0], f"res[c] = a[c * {step} + {start}];")
        name = made.new_name(node.name)
        return made.add(pixel(name, [source_of(made, node)], target, result, body))
    moved, kept = Axis(shape[axis], step=step, start=start), Axis(shape[3 - axis])
    rows, columns = (moved, kept) if axis == 1 else (kept, moved)
    return _moved(made, node, result, rows, columns)


def pixel_shuffle(made: Lowering, node: Node, result: str) -> str:
    """Blocks of channels become blocks of pixels.

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
    assert isinstance(node.op, PixelShuffle)
    factor = node.op.factor
    _, height, width = made.image(node.inputs[0])
    channel = f"c * {factor * factor} + (y % {factor}) * {factor} + x % {factor}"
    rows, columns = Axis(height, factor=factor), Axis(width, factor=factor)
    return _moved(made, node, result, rows, columns, channel)


def pixel_unshuffle(made: Lowering, node: Node, result: str) -> str:
    """Blocks of pixels become channels.

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
    assert isinstance(node.op, PixelUnshuffle)
    factor = node.op.factor
    _, height, width = made.image(node.inputs[0])
    rows = Axis(height, step=factor, phase=f"(c / {factor}) % {factor}", phases=factor)
    columns = Axis(width, step=factor, phase=f"c % {factor}", phases=factor)
    return _moved(made, node, result, rows, columns, f"c / {factor * factor}")


def nearest(made: Lowering, node: Node, result: str) -> str:
    """Every pixel becomes a block.

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
    assert isinstance(node.op, Nearest)
    factor = node.op.factor
    _, height, width = made.image(node.inputs[0])
    return _moved(made, node, result, Axis(height, factor=factor), Axis(width, factor=factor))


def flatten(made: Lowering, node: Node, result: str) -> str:
    """One pixel with all values, channel by channel.

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
    channels, height, width = shape = made.image(node.inputs[0])
    count_ = channels * height * width
    rows = Axis(height, phase=f"(c / {width}) % {height}", phases=height)
    columns = Axis(width, phase=f"c % {width}", phases=width)
    name = made.new_name(node.name)
    layer = move(
        name, source_of(made, node), (shape, (count_, 1, 1)), result, rows, columns,
        f"c / {height * width}",
    )  # fmt: skip
    return made.add(
        Hls4mlLayer(name, layer.kind, layer.inputs, (count_,), layer.types, layer.attributes)
    )
