"""Pictures of where a network computed how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.montage import side_by_side


def units_per_pixel(
    units: Sequence[NDArray[np.int64]], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return how many units of all stages each pixel went through.

    Parameters
    ----------
    units
        For each stage, how many units every position ran, ``(H, W)``; see `AdaptiveResult`.
    size
        Height and width of the picture.
    """
    total = np.zeros(size)
    for stage in units:
        rows, columns = (
            np.arange(length) * own // length for length, own in zip(size, stage.shape, strict=True)
        )
        total += stage[rows[:, None], columns]
    return total


def heat_map(
    picture: NDArray[np.uint8], units: Sequence[NDArray[np.int64]], most: int
) -> NDArray[np.uint8]:
    """Return a picture beside a map of the units that its pixels went through.

    The map is black where each stage ran its first unit alone, and goes over red and yellow to
    white where all units ran.

    Parameters
    ----------
    picture
        ``(H, W, 3)`` or ``(H, W)`` uint8.
    units
        As for `units_per_pixel`.
    most
        Units of a stage.

    Returns
    -------
    numpy.ndarray
        ``(height, width, 3)`` uint8.
    """
    total = units_per_pixel(units, (picture.shape[0], picture.shape[1]))
    share = (total - len(units)) / max(len(units) * (most - 1), 1)
    colours = np.clip(3 * share[..., None] - np.arange(3), 0, 1)
    panels = {
        "picture": picture,
        f"units, {total.mean():.1f} of {len(units) * most}": np.rint(255 * colours).astype(
            np.uint8
        ),
    }
    return side_by_side(panels, crop=max(picture.shape[:2]))
