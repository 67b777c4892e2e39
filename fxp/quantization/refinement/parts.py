"""Calibration data in two parts: what refinements are fitted to, and what they are judged by.

Both are bounded, by arithmetic as well as by size, so that quantization takes no longer with a
thousand images than with thirty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from fxp.executors.calls import Calls, one_by_one
from fxp.graph import Graph
from fxp.graph.extents import Extent, evaluate_shape
from fxp.graph.ops import GraphError
from fxp.quantization.refinement.layers import linear_nodes

MAX_PIXELS: Final = 1 << 17
"""Pixels of all inputs of a part, at most; a vector counts as one."""
MAX_PRODUCTS: Final = 1 << 35
"""Products of weights and values that the network computes for a part, at most."""
MAX_IMAGES: Final = 128
"""Images or vectors of a part, at most."""
SMALLEST_CROP: Final = 8
"""Images are cut into parts no lower or narrower than this."""
STEPS: Final = 24
"""Time steps by which a recurrent network is judged, at least; with fewer it is not judged."""


@dataclass(frozen=True)
class Parts:
    """Two parts of the calibration data.

    Attributes
    ----------
    fitted
        Calls with a batch of one.
    held_out
        The same; none if the data is a single image that cannot be cut, a single vector, or a
        sequence that is too short to judge by.
    rare
        Pictures of rare kinds, on which refinements must not lose more than they gain on others;
        see `fxp.quantization.refinement.extreme_pictures`.
    """

    fitted: Calls
    held_out: Calls
    rare: Calls = ()

    @property
    def everything(self) -> Calls:
        """All calls of both."""
        return [*self.fitted, *self.held_out]


def divide(graph: Graph, calls: Calls) -> Parts:
    """Divide calibration data into a part to fit refinements to, and a part to judge them by.

    The first half of the images is for fitting, the second half for judging, so that images of a
    kind or of a scene, which are often given side by side, are not on both sides. Of a single image
    the upper or left half and the lower or right half are taken. Each part is thinned evenly, and
    its images are cut, until it keeps to the bounds of this module.

    Of a sequence the first steps are for fitting, and the network is judged by the others. These
    must be `STEPS`, or all are for fitting: errors of states grow with time, in ways that fewer
    steps do not show, nor do these when they are played again.

    Parameters
    ----------
    graph
        A float graph.
    calls
        Calibration data.
    """
    images = one_by_one(calls)
    if graph.states:
        return _divide_steps(graph, images)
    cutter = _Cutter(graph)
    if len(images) == 1:
        halves = cutter.halves(images[0])
        if halves is None:
            return Parts([cutter.bounded(images[0], 0.5)], [])
        return Parts([cutter.bounded(halves[0], 0.5)], [cutter.bounded(halves[1], 0.5)])
    middle = (len(images) + 1) // 2
    return Parts(_thinned(cutter, images[:middle]), _thinned(cutter, images[middle:]))


def cut_to(graph: Graph, image: Sequence[torch.Tensor], share: float) -> Sequence[torch.Tensor]:
    """Return an image, or its middle, that takes a share of the bounds at most.

    Parameters
    ----------
    graph
        A float graph. An image that it takes in one size alone stays whole.
    image
        A call with a batch of one.
    share
        Of what a part may have.
    """
    return _Cutter(graph).bounded(image, share)


def _divide_steps(graph: Graph, steps: Calls) -> Parts:
    cutter = _Cutter(graph)
    # All steps of a sequence have one size, as have its states.
    most = min(_images_within(cutter, steps[0]), MAX_IMAGES)
    steps = steps[: max(2 * most, 2)]
    middle = (len(steps) + 1) // 2
    if len(steps) - middle < STEPS:
        return Parts(steps, [])
    return Parts(steps[:middle], steps[middle:])


def _thinned(cutter: _Cutter, images: Calls) -> Calls:
    """Return evenly spaced images within the bounds, cut if one alone passes them."""
    count = min(len(images), MAX_IMAGES)
    while True:
        places = np.linspace(0, len(images) - 1, count).round().astype(int)
        chosen = [images[place] for place in places]
        if count == 1:
            return [cutter.bounded(chosen[0], 1.0)]
        costs = [cutter.cost(image) for image in chosen]
        if sum(costs) <= 1 or count <= 4:
            return [cutter.bounded(image, 1 / count) for image in chosen]
        count = max(min(count - 1, int(count / sum(costs))), 4)


def _images_within(cutter: _Cutter, image: Sequence[torch.Tensor]) -> int:
    return max(int(1 / cutter.cost(image)), 1)


class _Cutter:
    """Tells what images cost, and cuts them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._costs: dict[tuple[tuple[int, ...], ...], float] = {}

    def cost(self, image: Sequence[torch.Tensor]) -> float:
        """Share of the bounds of a part that an image takes."""
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in image)
        if shapes not in self._costs:
            graph = self._graph
            found = graph.concrete_shapes(graph.bind(shapes))
            products = 0
            for node in linear_nodes(graph):
                weight = graph.constants_by_name[node.inputs[1]].data
                pixels = math.prod(found[node.name][1:])
                products += weight.size * pixels
            pixels = sum(math.prod(shape[1:]) for shape in shapes)
            self._costs[shapes] = max(pixels / MAX_PIXELS, products / MAX_PRODUCTS)
        return self._costs[shapes]

    def halves(
        self, image: Sequence[torch.Tensor]
    ) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]] | None:
        """Cut an image in two along its longer axis; None if its sizes are fixed or small."""
        heights = [tensor.shape[2:] for tensor in image if tensor.ndim == 4]
        if not heights:
            return None
        axes = (1, 2) if heights[0][0] >= heights[0][1] else (2, 1)
        sizes = self._sizes(image)
        for axis in axes:
            names = {
                size.symbol
                for value in self._graph.inputs
                for size in value.shape[axis : axis + 1]
                if isinstance(size, Extent)
            }
            half = {name: size // 2 if name in names else size for name, size in sizes.items()}
            parts = [self._cut(image, half, place) for place in (0.0, 1.0)]
            if names and parts[0] is not None and parts[1] is not None:
                return parts[0], parts[1]
        return None

    def bounded(self, image: Sequence[torch.Tensor], share: float) -> Sequence[torch.Tensor]:
        """Return an image, or its middle, that takes at most a share of the bounds.

        An image that cannot be cut stays whole.
        """
        cost = self.cost(image)
        if cost <= share:
            return image
        factor = math.sqrt(share / cost)
        sizes = {name: max(int(size * factor), 1) for name, size in self._sizes(image).items()}
        return self._cut(image, sizes, 0.5) or image

    def _sizes(self, image: Sequence[torch.Tensor]) -> dict[str, int]:
        return self._graph.bind([tuple(tensor.shape[1:]) for tensor in image])

    def _cut(
        self, image: Sequence[torch.Tensor], sizes: Mapping[str, int], place: float
    ) -> list[torch.Tensor] | None:
        """Cut all inputs to these sizes, at the same place; None where the graph refuses that."""
        whole = self._sizes(image)
        before = {name: int((whole[name] - size) * place) for name, size in sizes.items()}
        rest = {name: whole[name] - count for name, count in before.items()}
        cut = []
        for value, tensor in zip(self._graph.inputs, image, strict=True):
            if tensor.ndim != 4:
                cut.append(tensor)
                continue
            shape = evaluate_shape(value.shape, sizes)
            corner = [
                size - kept
                for size, kept in zip(
                    tensor.shape[1:], evaluate_shape(value.shape, rest), strict=True
                )
            ]
            smallest = [min(size, SMALLEST_CROP) for size in tensor.shape[2:]]
            if any(size < least for size, least in zip(shape[1:], smallest, strict=True)):
                return None
            rows = slice(corner[1], corner[1] + shape[1])
            columns = slice(corner[2], corner[2] + shape[2])
            cut.append(tensor[:, :, rows, columns])
        try:
            self._graph.concrete_shapes(self._graph.bind([tuple(t.shape[1:]) for t in cut]))
        except GraphError:
            return None
        return cut
