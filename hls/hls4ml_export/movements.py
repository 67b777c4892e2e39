"""Layers that move values."""

from __future__ import annotations

from fxp.formats import Format
from fxp.graph import Node
from fxp.graph.ops import (
    Flip,
    GatherChannels,
    Nearest,
    Pad,
    Part,
    PixelShuffle,
    PixelUnshuffle,
    Slice,
    SpatialConcat,
    Unflatten,
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
    exact_type,
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


def gather_channels(made: Lowering, node: Node, result: str) -> str:
    """Channels by a table; zeros where it has -1.

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
    assert isinstance(node.op, GatherChannels)
    target = made.shapes[node.name]
    table = ", ".join(map(str, node.op.channels))
    body = [f"static const int from[] = {{{table}}};"]
    if -1 in node.op.channels:
        body += each_channel(target[0], "if (from[c] < 0) res[c] = 0; else res[c] = a[from[c]];")
    else:
        body += each_channel(target[0], "res[c] = a[from[c]];")
    name = made.new_name(node.name)
    return made.add(pixel(name, [source_of(made, node)], target, result, body))


def part(made: Lowering, node: Node, result: str) -> str:
    """Rows or columns from some place on.

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
    op = node.op
    assert isinstance(op, Part)
    _, *sizes = made.image(node.inputs[0])
    moved = ("row", "column").index(op.axis)
    rows, columns = (
        Axis(size, start=size // op.parts * op.start if axis == moved else 0)
        for axis, size in enumerate(sizes)
    )
    return _moved(made, node, result, rows, columns)


def flip(made: Lowering, node: Node, result: str) -> str:
    """Rows or columns from the last to the first.

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
    assert isinstance(node.op, Flip)
    _, *sizes = made.image(node.inputs[0])
    moved = ("row", "column").index(node.op.axis)
    rows, columns = (
        Axis(size, step=-1, start=size - 1) if axis == moved else Axis(size)
        for axis, size in enumerate(sizes)
    )
    return _moved(made, node, result, rows, columns)


def unflatten(made: Lowering, node: Node, result: str) -> str:
    """Spread the values of one pixel over an image.

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
    op = node.op
    assert isinstance(op, Unflatten)
    (features,) = made.shapes[node.inputs[0]]
    shapes = (features, 1, 1), made.image(node.name)
    channel = f"(c * {op.height} + y) * {op.width} + x"
    only = Axis(1, step=0)
    name = made.new_name(node.name)
    return made.add(move(name, source_of(made, node), shapes, result, only, only, channel))


def transpose(made: Lowering, node: Node, result: str) -> str:
    """One pixel with all values, and an image of it with rows and columns exchanged.

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
    count = channels * height * width
    rows = Axis(height, phase=f"(c / {width}) % {height}", phases=height)
    columns = Axis(width, phase=f"c % {width}", phases=width)
    flat, kind = made.new_name(f"{node.name}.flat"), exact_type(made.format(node.inputs[0]))
    shapes, channel = (shape, (count, 1, 1)), f"c / {height * width}"
    made.add(move(flat, source_of(made, node), shapes, kind, rows, columns, channel))
    only = Axis(1, step=0)
    channel = f"(c * {height} + x) * {width} + y"
    name = made.new_name(node.name)
    return made.add(
        move(name, flat, ((count, 1, 1), made.image(node.name)), result, only, only, channel)
    )


def spatial_concat(made: Lowering, node: Node, result: str) -> str:
    """Every operand with zeros where the others are, two at a time added.

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
    assert isinstance(node.op, SpatialConcat)
    moved = ("row", "column").index(node.op.axis)
    target = made.image(node.name)
    offset, source, common = 0, "", made.format(node.inputs[0])
    for position, value in enumerate(node.inputs):
        shape, form = made.image(value), made.format(value)
        last = position == len(node.inputs) - 1
        rows, columns = (
            Axis(size, start=-offset if axis == moved else 0) for axis, size in enumerate(shape[1:])
        )
        offset += shape[1 + moved]
        placed = made.new_name(f"{node.name}_placed")
        kind = result if len(node.inputs) == 1 else exact_type(form)
        made.add(move(placed, made.names[value], (shape, target), kind, rows, columns))
        if position == 0:
            source = placed
            continue
        frac = max(common.frac, form.frac)
        low = min(item.min_raw << frac - item.frac for item in (common, form))
        high = max(item.max_raw << frac - item.frac for item in (common, form))
        common = Format.for_range(low, high, frac)
        name = made.new_name(node.name if last else f"{node.name}_part")
        kind = result if last else exact_type(common)
        body = each_channel(target[0], "res[c] = a[c] + b[c];")
        source = made.add(pixel(name, [source, placed], target, kind, body))
    return source
