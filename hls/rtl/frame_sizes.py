"""Which frames a core takes: the largest and the smallest one, and multiples."""

from __future__ import annotations

from itertools import product
from math import lcm
from typing import Final

from fxp.graph import Graph, ops
from fxp.graph.extents import Extent
from fxp.graph.limits import Limits
from fxp.graph.ops.base import GraphError
from fxp.hls.rtl.core import Core
from fxp.hls.rtl.streams import StreamingError, TakenSizes

MAX_HEIGHT: Final = 4096
"""Most lines of a frame, if nothing else is asked for."""
_LONGEST: Final = 4096
"""Longest period of sizes that is looked for."""
_PAIRS: Final = 64
"""Sides of the square in which a height and a width that suit each other are looked for."""


def is_fixed(graph: Graph) -> bool:
    """Whether the graph takes images of one size only."""
    return not any(isinstance(size, Extent) for size in graph.inputs[0].shape[1:])


def taken_sizes(graph: Graph) -> tuple[TakenSizes, TakenSizes]:
    """Return which heights and which widths of the input the graph takes, borders apart."""
    period = _longest_period(graph)
    if is_fixed(graph) or not 1 < period <= _LONGEST:
        return TakenSizes(), TakenSizes()
    # A multiple of everything suits most networks. All windows and borders are smaller.
    start = -(-_LONGEST // period) * period
    span = range(start, start + min(period, _PAIRS))
    pairs = [(start + k, start + k) for k in range(period)] + list(product(span, span))
    found = next((pair for pair in pairs if _takes(graph, *pair)), None)
    if found is None:
        return TakenSizes(), TakenSizes()
    height, width = found
    rows = [k for k in range(period) if _takes(graph, start + k, width)]
    columns = [k for k in range(period) if _takes(graph, height, start + k)]
    return _shortest(period, rows), _shortest(period, columns)


def _takes(graph: Graph, height: int, width: int) -> bool:
    channels = graph.inputs[0].shape[0]
    assert isinstance(channels, int)
    try:
        graph.concrete_shapes(graph.bind([(channels, height, width)]), Limits.none())
    except GraphError:
        return False
    return True


def _longest_period(graph: Graph) -> int:
    """Return a number of rows, or columns, after which what the graph takes repeats itself."""
    inputs, divisors, factors = [1], [1], [1]
    for value in graph.inputs[:1]:
        inputs += [size.scale for size in value.shape[1:] if isinstance(size, Extent)]
    for value in graph.values.values():
        for size in value.shape:
            divisor, part = 1, size
            while isinstance(part, Extent):
                divisor, part = divisor * part.divisor, part.base
            divisors.append(divisor)
    for node in graph.nodes:
        if isinstance(node.op, ops.PixelUnshuffle):
            factors.append(node.op.factor)
        elif isinstance(node.op, ops.Part):
            factors.append(node.op.parts)
    return lcm(*inputs) * lcm(*divisors) * lcm(*factors)


def _shortest(period: int, remainders: list[int]) -> TakenSizes:
    """Return the same sizes with the shortest period."""
    for short in range(1, period + 1):
        kept = {number % short for number in remainders}
        if period % short == 0 and len(kept) * (period // short) == len(remainders):
            return TakenSizes(short, tuple(sorted(kept)))
    raise AssertionError(remainders)


def bounds(
    graph: Graph,
    taken: tuple[TakenSizes, TakenSizes],
    smallest: tuple[int, int],
    largest: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the smallest and the largest size that the network really takes.

    Parameters
    ----------
    graph
        The network.
    taken
        Heights and widths, as `taken_sizes` gives them.
    smallest, largest
        Rows and columns, before these and fixed sizes count.
    """
    ends = []
    for size, axis, low, high in zip(
        graph.inputs[0].shape[1:], taken, smallest, largest, strict=True
    ):
        ends.append((axis.at_least(low), high) if isinstance(size, Extent) else (size, size))
    (row_low, row_high), (column_low, column_high) = ends
    return (row_low, column_low), (row_high, column_high)


def initial_frame(
    graph: Graph,
    taken: tuple[TakenSizes, TakenSizes],
    initial_size: tuple[int, int] | None,
    max_width: int,
    max_height: int,
) -> tuple[int, int]:
    """Return width and height of frames after reset.

    Parameters
    ----------
    graph
        The network.
    taken
        Heights and widths, as `taken_sizes` gives them.
    initial_size
        What is asked for, ``(width, height)``; None for the largest that the network takes.
    max_width, max_height
        The largest frame.

    Raises
    ------
    StreamingError
        If the size is none, larger than the largest, or one that the network does not take.
    """
    rows, columns = graph.inputs[0].shape[1:]
    width = columns if isinstance(columns, int) else taken[1].at_most(max_width)
    height = rows if isinstance(rows, int) else taken[0].at_most(max_height)
    if initial_size is not None:
        if len(initial_size) != 2 or not all(isinstance(side, int) for side in initial_size):
            raise StreamingError(f"initial_size must be two integers, got {initial_size!r}")
        width, height = initial_size
    if min(width, height) < 1:
        raise StreamingError(f"frames of {width}x{height} have no pixels; choose an initial_size")
    if width > max_width or height > max_height:
        raise StreamingError(
            f"frames of {width}x{height} exceed the largest size, {max_width}x{max_height}"
        )
    problem = f"frames of {width}x{height} do not suit"
    if is_fixed(graph) and (rows, columns) != (height, width):
        raise StreamingError(
            f"{problem}: the network takes {columns}x{rows} alone; leave out initial_size"
        )
    for name, number, axis in (("width", width, taken[1]), ("height", height, taken[0])):
        if number not in axis:
            raise StreamingError(
                f"{problem}: the {name} must be {axis}; choose another initial_size"
            )
    return width, height


def size_text(smallest: int, largest: int, taken: TakenSizes) -> str:
    """Say which widths, or heights, a core takes.

    Parameters
    ----------
    smallest, largest
        The range.
    taken
        Which ones of it.
    """
    if smallest == largest:
        return f"{smallest} alone"
    text = f"{smallest} to {largest}"
    if taken == TakenSizes():
        return text
    checked = taken.checked
    if checked == taken:
        return f"{text}, {taken}"
    what = "which the registers do not check"
    if checked != TakenSizes():
        what = f"of which the registers check only: {checked}"
    return f"{text}, {taken}, {what}"


def sizes_for_c(core: Core) -> dict[str, tuple[str, int]]:
    """Return the sizes that a core takes for its C header: what each says, and the number."""
    rows, columns = core.taken
    height, width = core.smallest
    return {
        "MIN_WIDTH": ("pixels of the shortest line", width),
        "MAX_WIDTH": ("pixels of the longest line", core.max_width),
        "WIDTH_PERIOD": (f"widths are {columns}: what is taken repeats after", columns.period),
        "MIN_HEIGHT": ("lines of the lowest frame", height),
        "MAX_HEIGHT": ("lines of the highest frame", core.max_height),
        "HEIGHT_PERIOD": (f"heights are {rows}: what is taken repeats after", rows.period),
    }
