"""What a network sees where a picture has nothing: beyond its border, and where it is transparent.

A network that pads with zeros takes what lies outside for black, and darkens the border of a light
picture. `extended` continues a picture as far as the network looks, so that a picture of one colour
stays one; the result is cropped afterwards. In the same way the colours of cut-outs go on under
their transparent pixels, where files usually hold black (`coloured`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Graph
from fxp.graph.strips import margins

MOST: Final = 64
"""Pixels by which a picture is extended at most. Farther zeros have hardly an influence, and a
network of that reach would cost much more on small pictures."""
STEPS_BEYOND: Final = 3
"""Pixels by which colours spread farther than a network looks; the bicubic of the chroma needs
two."""


def border_of(graph: Graph) -> tuple[int, int]:
    """Return rows and columns by which a graph's pictures are extended on each side.

    That is how far the graph looks, at most `MOST`. It is zero for graphs that take part of an
    image, or reduce its size: another size would change what they compute inside.
    """
    found = margins(graph)
    return (0, 0) if found is None else (min(found[0], MOST), min(found[1], MOST))


def extended(planes: NDArray, border: tuple[int, int]) -> NDArray:
    """Continue planes beyond their border: half a step of the slope there, then constant.

    The pixels outside are ``edge + (edge - next) / 2``, where `next` lies beside the edge inside,
    cut to 0...255 and, for integers, rounded half up. Half of the slope is a compromise: pictures
    whose border is a dark line, as cameras leave it, gain by the whole slope, all others by none.

    Parameters
    ----------
    planes
        ``(..., H, W)`` pixel values, 0 to 255, integers or floating point.
    border
        Rows and columns to add on each side.

    Returns
    -------
    numpy.ndarray
        ``(..., H + 2 * rows, W + 2 * columns)`` of the same type.
    """
    for axis, count in zip((-2, -1), border, strict=True):
        if not count:
            continue
        size = planes.shape[axis]
        sides = []
        for edge, following in ((0, min(1, size - 1)), (size - 1, max(size - 2, 0))):
            first = planes.take([edge], axis).astype(np.float64)
            outside = np.clip(first + (first - planes.take([following], axis)) / 2, 0, 255)
            if np.issubdtype(planes.dtype, np.integer):
                outside = np.floor(outside + 0.5)
            sides.append(outside.astype(planes.dtype).repeat(count, axis))
        planes = np.concatenate([sides[0], planes, sides[1]], axis)
    return planes


def to_multiple(planes: NDArray, multiple: int) -> NDArray:
    """Continue planes ``(..., H, W)`` by their last row and column to sides of a multiple.

    Parameters
    ----------
    planes
        Of any type.
    multiple
        What both sides of the result are multiples of.
    """
    sides = [(0, 0)] * (planes.ndim - 2) + [(0, -size % multiple) for size in planes.shape[-2:]]
    return np.pad(planes, sides, mode="edge")


def coloured(planes: NDArray, alpha: NDArray, reach: int, *, everywhere: bool = False) -> NDArray:
    """Spread colours under transparent pixels, so that they do not mix with what is hidden there.

    Parameters
    ----------
    planes
        ``(C, H, W)`` uint8.
    alpha
        ``(H, W)`` uint8; 0 is wholly transparent.
    reach
        How far a network looks, pixels. Colours go a little farther; what lies beyond is hidden
        from it and stays.
    everywhere
        Give what lies beyond the mean colour of all that shows, for networks that look farther.

    Returns
    -------
    numpy.ndarray
        The planes, with other values only where alpha is 0. In each step outwards a pixel becomes
        the mean of its neighbours, of eight at most, that have a colour already, rounded half up.
    """
    known = alpha > 0
    if known.all() or not known.any():
        return planes
    result = planes.copy()
    for _ in range(reach + STEPS_BEYOND):
        padded = np.pad(known, 1)
        counts = np.zeros(known.shape, np.int64)
        sums = np.zeros(planes.shape, np.int64)
        masked = np.pad(result * known, ((0, 0), (1, 1), (1, 1)))
        height, width = known.shape
        for row in range(3):
            for column in range(3):
                counts += padded[row : row + height, column : column + width]
                sums += masked[:, row : row + height, column : column + width]
        new = ~known & (counts > 0)
        if not new.any():
            break
        result[:, new] = (2 * sums[:, new] + counts[new]) // (2 * counts[new])
        known |= new
    if everywhere and not known.all():
        shown = planes[:, alpha > 0].astype(np.int64)
        count = shown.shape[1]
        result[:, ~known] = ((2 * shown.sum(1) + count) // (2 * count))[:, None]
    return result


def cropped(planes: NDArray, border: tuple[int, int], scale: int = 1) -> NDArray:
    """Take off what `extended` added, from planes upscaled since.

    Parameters
    ----------
    planes
        ``(..., H, W)``.
    border
        Rows and columns that were added on each side.
    scale
        Factor by which the planes are larger than then.
    """
    rows, columns = (count * scale for count in border)
    height, width = planes.shape[-2:]
    return planes[..., rows : height - rows, columns : width - columns]
