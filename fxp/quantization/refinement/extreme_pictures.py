"""Pictures of kinds that photographs lack, for networks whose inputs are pictures.

Sooner or later an image network sees white paper, a black frame, text or a line drawing. Nothing in
a few photographs shows how far its values go then, but the pictures are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from fxp.executors.calls import Calls, float_results, one_by_one
from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops.base import Range
from fxp.quantization.ranges import picture_range
from fxp.quantization.refinement.parts import cut_to
from fxp.quantization.statistics import Statistics

SHARE: Final = 1 / 16
"""Size of such a picture, as a share of what a part of the calibration data may have."""
STRIPE: Final = 3
"""Width of a stripe in pixels."""


def extreme_pictures(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    formats: Mapping[str, Format],
    calls: Calls,
) -> Calls:
    """Return black, white, stripes in both directions, and a drawing in black and white, both ways.

    The drawing is a calibration image whose pixels are black or white, whichever side of the mean
    they are on.

    Parameters
    ----------
    graph
        A float graph.
    statistics
        Of every input.
    formats
        Formats of inputs, those that are given.
    calls
        Calibration data, for the size.

    Returns
    -------
    list
        Calls with a batch of one; none if the graph has states, or an input is no picture.
    """
    ranges = []
    for value in graph.inputs:
        found = picture_range(statistics[value.name], formats.get(value.name))
        if found is None or len(value.shape) != 3 or graph.states:
            return []
        ranges.append(found)
    images = one_by_one(calls[len(calls) // 2 :][:1])
    image = cut_to(graph, images[0], SHARE)
    drawn = [pictures_in(tensor, found) for tensor, found in zip(image, ranges, strict=True)]
    return [list(tensors) for tensors in zip(*drawn, strict=True)]


def observe_extreme_pictures(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    formats: Mapping[str, Format],
    calls: Calls,
) -> None:
    """Add what values hold of extreme pictures to their statistics, as `Statistics.rare`.

    Parameters
    ----------
    graph, formats, calls
        As for `extreme_pictures`.
    statistics
        Of every value.
    """
    pictures = extreme_pictures(graph, statistics, formats, calls)
    rare = {name: Statistics() for name in statistics}
    for result in float_results(graph, pictures):
        arrays = {name: tensor.cpu().numpy() for name, tensor in result.values.items()}
        # A network may divide by the deviation of a picture, which has none.
        if all(np.isfinite(array).all() for array in arrays.values()):
            for name, array in arrays.items():
                rare[name].update(array)
    for name, found in rare.items():
        statistics[name].rare = found if found.count else None


def pictures_in(image: torch.Tensor, found: Range) -> Sequence[torch.Tensor]:
    """Return black, white, stripes in both directions, and a drawing in black and white, both ways.

    Parameters
    ----------
    image
        A ``(1, C, H, W)`` picture that gives the size and the drawing.
    found
        Black and white.
    """
    black, white = found
    rows, columns = (
        torch.arange(size, device=image.device) // STRIPE % 2 == 1 for size in image.shape[2:]
    )
    nowhere = torch.zeros_like(image, dtype=torch.bool)
    drawing = image > image.double().mean()
    masks = (nowhere, ~nowhere, nowhere | rows[:, None], nowhere | columns, drawing, ~drawing)
    return [torch.where(mask, white, black).to(image.dtype) for mask in masks]
