"""Large images through a multi-scale network in tiles, with the integers of the whole image.

Scale by scale: the sharp image that a scale makes has three channels and is kept whole, and so is
the input. Within a scale, tiles overlap by as far as its convolutions look, 160 pixels in sum for
the published network; through all scales together that network looks at 1,100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp import Extent, FixedModel, Graph
from fxp.graph.limits import Limits
from fxp.graph.ops import PixelShuffle
from fxp.graph.strips import reached

TILE_BYTES: Final = 512 << 20
"""Most memory for the values of a tile."""
SLOTS: Final = 3
"""Largest values that a residual block needs at once."""
MOST_REACH: Final = 4096
"""Images up to this size, in units of the free sizes, are tried to find how far a part looks."""
MOST_TILES: Final = 256
"""Along either axis."""

Run = Callable[[FixedModel, Sequence[NDArray]], NDArray]
"""Runs the raw integers of all inputs ``(C, H, W)`` through a model of one output."""


@dataclass(frozen=True)
class Window:
    """A tile along one axis, in units of the graph's free size.

    Attributes
    ----------
    start
        Where the tile begins.
    first, last
        What is kept of it.
    """

    start: int
    first: int
    last: int


def windows(length: int, size: int, reach: int) -> list[Window]:
    """Return overlapping tiles of one size.

    Parameters
    ----------
    length
        Of the image.
    size
        Of a tile; more than twice the reach unless it is the image.
    reach
        How far beyond what is kept a tile must go, except at the border of the image.
    """
    size = min(size, length)
    found, start, first = [], 0, 0
    while True:
        last = length if start + size == length else start + size - reach
        found.append(Window(start, first, last))
        if last == length:
            return found
        first = last
        start = min(first - reach, length - size)


class Part:
    """A part of a graph that ends in one image.

    Parameters
    ----------
    graph
        From images of sizes that are multiples of two free sizes, to another.

    Attributes
    ----------
    model : FixedModel
        The part.
    """

    def __init__(self, graph: Graph) -> None:
        self.model = FixedModel(graph)

    @cached_property
    def reach(self) -> tuple[int, int] | None:
        """How far the output looks along both axes, in units of the free sizes.

        None if the part cannot run in tiles: it looks at all of an image, or the sides of some
        value are no multiples of the free sizes.
        """
        if not _keeps_places(self.model.graph):
            return None
        found = []
        for axis in (0, 1):
            size = 16
            while True:
                shapes = self._shapes(size, size)
                end = self._factor(self.model.graph.outputs[0], axis)
                middle = size // 2
                ranges = reached(self.model.graph, shapes, middle * end, (middle + 1) * end, axis)
                low, high = size, 0
                for value in self.model.graph.inputs:
                    factor = self._factor(value.name, axis)
                    first, last = ranges[value.name]
                    low, high = min(low, first // factor), max(high, -(-last // factor))
                if low > 0 and high < size:
                    found.append(max(middle - low, high - middle - 1))
                    break
                size *= 2
                if size > MOST_REACH:
                    return None
        return found[0], found[1]

    def __call__(self, images: Sequence[NDArray], run: Run, tile_bytes: int) -> NDArray:
        """Run the part on whole images, in tiles where they would need too much memory.

        Parameters
        ----------
        images
            Raw integers of the inputs, ``(C, H, W)``.
        run
            Runs the part on a tile.
        tile_bytes
            Memory for the values of a tile.
        """
        graph, reach = self.model.graph, self.reach
        if reach is None:
            return run(self.model, images)
        sizes = [
            images[0].shape[1 + axis] // self._factor(graph.inputs[0].name, axis) for axis in (0, 1)
        ]
        tiles = self._tiles(sizes, reach, tile_bytes)
        if tiles == tuple(sizes):
            return run(self.model, images)
        result = None
        name = graph.outputs[0]
        for row in windows(sizes[0], tiles[0], reach[0]):
            for column in windows(sizes[1], tiles[1], reach[1]):
                tile = run(
                    self.model,
                    [
                        self._cut(image, value.name, (row.start, column.start), tiles)
                        for image, value in zip(images, graph.inputs, strict=True)
                    ],
                )
                if result is None:
                    shape = self._shapes(*sizes)[name]
                    result = np.empty(shape, tile.dtype)
                self._put(result, tile, row, column)
        assert result is not None
        return result

    def _cut(
        self, image: NDArray, name: str, start: tuple[int, int], tiles: tuple[int, int]
    ) -> NDArray:
        rows, columns = (
            slice(start[axis] * factor, (start[axis] + tiles[axis]) * factor)
            for axis, factor in enumerate((self._factor(name, 0), self._factor(name, 1)))
        )
        return np.ascontiguousarray(image[:, rows, columns])

    def _put(self, result: NDArray, tile: NDArray, row: Window, column: Window) -> None:
        name = self.model.graph.outputs[0]
        places = []
        for axis, window in enumerate((row, column)):
            factor = self._factor(name, axis)
            kept = slice(window.first * factor, window.last * factor)
            inside = slice(
                (window.first - window.start) * factor, (window.last - window.start) * factor
            )
            places.append((kept, inside))
        (rows, from_rows), (columns, from_columns) = places
        result[:, rows, columns] = tile[:, from_rows, from_columns]

    def _tiles(
        self, sizes: Sequence[int], reach: tuple[int, int], tile_bytes: int
    ) -> tuple[int, int]:
        """Choose the size of tiles that takes the fewest operations and fits the memory."""
        best: tuple[int, tuple[int, int]] | None = None
        choices = [
            {
                count: -(-(size + 2 * around * (count - 1)) // count)
                for count in range(1, min(size, MOST_TILES) + 1)
            }
            for size, around in zip(sizes, reach, strict=True)
        ]
        for rows, height in choices[0].items():
            for columns, width in choices[1].items():
                if (rows > 1 and height <= 2 * reach[0]) or (columns > 1 and width <= 2 * reach[1]):
                    continue
                if height * width * self._unit_bytes <= tile_bytes:
                    work = rows * columns * height * width
                    if best is None or work < best[0]:
                        best = work, (height, width)
                    break
        if best is not None:
            return best[1]
        # The smallest tiles that keep anything: more memory than asked for, whatever the image.
        height, width = (
            min(size, 4 * around + 1) for size, around in zip(sizes, reach, strict=True)
        )
        return height, width

    @cached_property
    def _unit_bytes(self) -> int:
        """Memory for each unit of area, as far as it depends on the size."""
        graph = self.model.graph
        most = max(
            int(value.shape[0]) * self._factor(name, 0) * self._factor(name, 1)  # type: ignore[arg-type]
            for name, value in graph.values.items()
        )
        return SLOTS * 2 * most

    def _factor(self, name: str, axis: int) -> int:
        size = self.model.graph.values[name].shape[1 + axis]
        assert isinstance(size, Extent)
        return size.scale

    def _shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        graph = self.model.graph
        symbols = [size.symbol for size in graph.inputs[0].shape[1:] if isinstance(size, Extent)]
        return graph.concrete_shapes(
            dict(zip(symbols, (rows, columns), strict=True)), Limits.none()
        )


def split(graph: Graph) -> list[Part]:
    """Divide a graph before every enlargement by a pixel shuffle.

    Parameters
    ----------
    graph
        From one image of any size to one.

    Returns
    -------
    list of Part
        In order of execution; each takes the image, and the results of the parts before that it
        reads, under their names. A graph that cannot run in tiles is one part, see `Part.reach`.
    """
    if not _keeps_places(graph):
        return [Part(graph)]
    cuts = []
    for node in graph.nodes:
        if isinstance(node.op, PixelShuffle):
            (enlarged,) = (name for name in node.inputs if name in graph.values)
            layer = graph.nodes_by_name.get(enlarged)
            sources = (
                [name for name in layer.inputs if name in graph.nodes_by_name] if layer else []
            )
            if len(sources) == 1 and sources[0] not in cuts:
                cuts.append(sources[0])
    known = {value.name for value in graph.inputs}
    parts = []
    for end in [*cuts, *graph.outputs]:
        parts.append(Part(_between(graph, known, end)))
        known.add(end)
    return parts


def _keeps_places(graph: Graph) -> bool:
    """Whether a tile of every value is made of a tile of the image, wherever it lies."""
    return all(node.op.keeps_place for node in graph.nodes) and all(
        len(value.shape) == 3
        and all(
            isinstance(size, Extent)
            and isinstance(size.base, str)
            and size == Extent(size.base, size.scale)
            for size in value.shape[1:]
        )
        for value in graph.values.values()
    )


def _between(graph: Graph, known: set[str], end: str) -> Graph:
    """Return the graph of one value from values that are known."""
    wanted, nodes = {end}, []
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name not in known:
            nodes.append(node)
            wanted.update(node.inputs)
    inputs = [graph.values[name] for name in graph.values if name in wanted & known]
    constants = [item for item in graph.constants if item.name in wanted]
    return Graph(
        f"{graph.name}.{end}", tuple(inputs), tuple(reversed(nodes)), (end,), tuple(constants)
    )


def run_parts(
    parts: Sequence[Part], image: NDArray, run: Run, tile_bytes: int = TILE_BYTES
) -> NDArray:
    """Run an image through the parts of a graph.

    Parameters
    ----------
    parts
        Of `split`.
    image
        Raw integers ``(C, H, W)``.
    run
        Runs one of them.
    tile_bytes
        Memory for the values of a tile; a tile is never smaller than what keeps a part of it.

    Returns
    -------
    numpy.ndarray
        Raw integers of the output.
    """
    made = {}
    for part in parts:
        given = [made.get(value.name, image) for value in part.model.graph.inputs]
        made[part.model.graph.outputs[0]] = part(given, run, tile_bytes)
    return made[parts[-1].model.graph.outputs[0]]
