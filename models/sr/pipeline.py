"""Colour images through a luma network: the network on Y, integer bicubic on Cb and Cr."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.imaging.colour import rgb_to_ycbcr, ycbcr_to_rgb
from fxp.imaging.quality import to_codes
from fxp.ops import BicubicUpsample

PIXEL = Format(8, 8, signed=False)
"""An 8-bit pixel as a number from 0 to 255/256."""


@cache
def chroma_enlarger() -> FixedModel:
    """Return the integer graph that doubles one 8-bit plane with MATLAB's bicubic taps."""
    plane = Value("plane", (1, Extent("H"), Extent("W")), PIXEL)
    node = Node("enlarged", BicubicUpsample(), ("plane",), Quantization(PIXEL))
    return FixedModel(Graph("bicubic_x2", (plane,), (node,), ("enlarged",)))


def enlarge_colour(
    model: FixedModel, rgb: NDArray[np.uint8], *, threads: int | None = None
) -> NDArray[np.uint8]:
    """Double an RGB image: Y through `model`, Cb and Cr by integer bicubic.

    Parameters
    ----------
    model
        Takes and returns one plane of 8-bit raw integers, twice as large.
    rgb
        ``(H, W, 3)`` uint8.
    threads
        Number of threads, all processors by default.

    Returns
    -------
    numpy.ndarray
        ``(2H, 2W, 3)`` uint8. The conversions to and from YCbCr are float64 and rounded to 8 bits.
    """
    planes = to_codes(rgb_to_ycbcr(rgb))
    chroma = chroma_enlarger()
    enlarged = [
        (model if index == 0 else chroma).run_raw(planes[..., index], threads=threads)
        for index in range(3)
    ]
    return to_codes(ycbcr_to_rgb(np.stack(enlarged, axis=-1)))
