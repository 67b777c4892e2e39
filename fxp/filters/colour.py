"""BT.601 studio-range colour conversion of 8-bit images in integers.

`fxp.imaging.colour` has the same conversion in real numbers, which these approximate.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.filters.images import BYTE, image_array, image_input, run
from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops.convolution import Conv2d

FRAC: Final = 16
"""Fraction bits of the coefficients."""

OFFSETS: Final = (16, 128, 128)
"""Y, Cb and Cr of black."""

TO_YCBCR: Final = ((16829, 33039, 6416), (-9714, -19070, 28784), (28784, -24103, -4681))
"""Rows Y, Cb and Cr over R, G and B: ``coefficient / 255 * 2**16``, rounded; grey gives 128."""

TO_RGB: Final = ((76309, 0, 104597), (76309, -25675, -53279), (76309, 132201, 0))
"""Rows R, G and B over Y, Cb and Cr: the inverse times ``255 * 2**16``, rounded."""


def rgb_to_ycbcr(image: ArrayLike, *, threads: int | None = None) -> NDArray[np.uint8]:
    """Convert 8-bit RGB to BT.601 studio-range YCbCr in integers.

    ``(TO_YCBCR @ rgb + OFFSETS * 2**16)`` is exact and rounded half up once to 8 bits.

    Parameters
    ----------
    image
        ``(3, H, W)`` integers of 0 to 255.
    threads
        Number of threads, all processors by default.

    Returns
    -------
    numpy.ndarray
        ``(3, H, W)`` uint8: Y in 16 to 235, Cb and Cr in 16 to 240.

    Raises
    ------
    TypeError
        If the image does not hold integers.
    ValueError
        If its shape or a value does not fit.
    """
    raw, _ = image_array(image, BYTE, channels=3)
    return run(rgb_to_ycbcr_graph(), raw, 3, threads)[0]


def ycbcr_to_rgb(image: ArrayLike, *, threads: int | None = None) -> NDArray[np.uint8]:
    """Convert 8-bit BT.601 studio-range YCbCr to RGB in integers; colours outside it are clipped.

    ``TO_RGB @ (ycbcr - OFFSETS)`` is exact, rounded half up once and saturated to 8 bits.
    Parameters, result and errors are as in `rgb_to_ycbcr`.
    """
    raw, _ = image_array(image, BYTE, channels=3)
    return run(ycbcr_to_rgb_graph(), raw, 3, threads)[0]


def rgb_to_ycbcr_graph() -> Graph:
    """Return the integer graph that `rgb_to_ycbcr` runs, for images of any size."""
    return _graph("rgb_to_ycbcr", np.array(TO_YCBCR), np.array(OFFSETS) << FRAC)


def ycbcr_to_rgb_graph() -> Graph:
    """Return the integer graph that `ycbcr_to_rgb` runs, for images of any size."""
    matrix = np.array(TO_RGB)
    return _graph("ycbcr_to_rgb", matrix, -matrix @ np.array(OFFSETS))


def _graph(name: str, matrix: NDArray[np.int64], offsets: NDArray[np.int64]) -> Graph:
    constants = tuple(
        Constant(part, data, (Format.for_range(int(data.min()), int(data.max()), FRAC),))
        for part, data in (("matrix", matrix[:, :, None, None]), ("offsets", offsets))
    )
    node = Node("converted", Conv2d(), ("image", "matrix", "offsets"), Quantization(BYTE))
    return Graph(name, (image_input(3, BYTE),), (node,), ("converted",), constants)
