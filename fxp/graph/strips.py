"""Large images through a graph strip by strip, so that memory grows with the width alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph.extents import Extent
from fxp.graph.graph import Graph
from fxp.graph.limits import Limits

STRIP_PIXELS: Final = 1 << 22
"""Input pixels of a strip; smaller images run as a whole."""
MOST_REACH: Final = 4096
"""Images up to this size are tried to find how far a graph looks."""
MIN_ROWS: Final = 64
"""Fewest rows of a strip, since its neighbours' rows are computed again."""


def in_strips(
    graph: Graph,
    planes: NDArray,
    run: Callable[[NDArray], NDArray],
    *,
    strip_pixels: int = STRIP_PIXELS,
    min_rows: int = MIN_ROWS,
) -> NDArray:
    """Run a graph on strips of an image, with the rows around each that it depends on.

    The result is that of the whole image to the last bit.

    Parameters
    ----------
    graph
        Integer graph from one image to one.
    planes
        ``(C, H, W)``.
    run
        Runs the graph on an image of any height.
    strip_pixels, min_rows
        Size of a strip.
    """
    height, width = planes.shape[1:]
    rows = max(strip_pixels // width, min_rows)
    if rows >= height or not _is_local(graph):
        return run(planes)
    # Each strip is checked by itself.
    shapes = graph.concrete_shapes(graph.bind([planes.shape]), Limits.none())
    scale = shapes[graph.outputs[0]][1] // height
    result = None
    for first in range(0, height, rows):
        last = min(first + rows, height)
        low, high = _reach(graph, shapes, first * scale, last * scale)
        strip = run(np.ascontiguousarray(planes[:, low:high]))
        if result is None:
            result = np.empty(shapes[graph.outputs[0]], strip.dtype)
        start = (first - low) * scale
        result[:, first * scale : last * scale] = strip[:, start : start + (last - first) * scale]
    assert result is not None
    return result


def margins(graph: Graph) -> tuple[int, int] | None:
    """Return how many rows and columns around a pixel of the input its results depend on.

    Parameters
    ----------
    graph
        From one image of any size to one.

    Returns
    -------
    tuple of int, or None
        Of the farther side; None if the graph reduces an image or takes part of it, so that more
        rows around it would change the rest.
    """
    found = []
    for axis in (0, 1):
        if not _is_local(graph, axis):
            return None
        size = 1
        while True:
            # Results at the border of a small image depend on fewer pixels than those inside.
            size *= 4
            channels = graph.inputs[0].shape[0]
            assert isinstance(channels, int)
            shape = (channels, size, size)
            shapes = graph.concrete_shapes(graph.bind([shape]), Limits.none())
            scale = shapes[graph.outputs[0]][1 + axis] // size
            middle = size // 2
            low, high = _reach(graph, shapes, middle * scale, (middle + 1) * scale, axis)
            if low > 0 and high < size:
                found.append(max(middle - low, high - middle - 1))
                break
            if size >= MOST_REACH:
                return None
    return found[0], found[1]


def _is_local(graph: Graph, axis: int = 0) -> bool:
    """Whether every value keeps or multiplies the rows, so that a strip is only a moved image."""
    rows = graph.inputs[0].shape[1 + axis]
    if graph.states or not isinstance(rows, Extent) or rows != Extent(rows.symbol):
        return False
    if not all(node.op.keeps_place for node in graph.nodes):
        return False
    return all(
        len(value.shape) == 3 and _is_multiple(value.shape[1 + axis])
        for value in graph.values.values()
    )


def _is_multiple(rows: int | Extent) -> bool:
    if isinstance(rows, int):
        return False
    return isinstance(rows.base, str) and rows.offset == 0 and rows.divisor == 1


def _reach(
    graph: Graph, shapes: dict[str, tuple[int, ...]], first: int, last: int, axis: int = 0
) -> tuple[int, int]:
    """Rows or columns of the input that `first` to `last` - 1 of the output depend on."""
    return reached(graph, shapes, first, last, axis)[graph.inputs[0].name]


def reached(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], first: int, last: int, axis: int
) -> dict[str, tuple[int, int]]:
    """Return the rows or columns of every value that a range of the output depends on.

    Parameters
    ----------
    graph
        With one output.
    shapes
        Concrete shape of every value.
    first, last
        The range, its end excluded.
    axis
        0 for rows, 1 for columns.

    Returns
    -------
    dict
        Ranges by name, the end excluded.
    """
    needed = {graph.outputs[0]: (first, last)}
    for node in reversed(graph.nodes):
        for position, name in enumerate(node.inputs):
            if name in shapes:
                size, operands = shapes[name][1 + axis], graph.operands[node.name]
                low, high = node.op.reach(operands, axis, position, *needed[node.name], size)
                earlier = needed.get(name, (size, 0))
                needed[name] = min(max(low, 0), earlier[0]), max(min(high, size), earlier[1])
    return needed
