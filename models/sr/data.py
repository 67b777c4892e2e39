"""Image folders, and the standard shrinking of the super-resolution benchmarks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.colour import luma
from fxp.imaging.files import image_paths, read_image
from fxp.imaging.resize import imresize


class DataError(ValueError):
    """Training data cannot be used; the message is one line."""


def read_folder(folder: str | Path) -> dict[str, NDArray[np.uint8]]:
    """Read the luma of every image in a folder, sorted by file name.

    Returns
    -------
    dict
        File name to ``(H, W)`` uint8.

    Raises
    ------
    ImageError
        If the folder is missing, holds no image, or an image is corrupt.
    """
    return {path.name: luma(read_image(path)) for path in image_paths(folder)}


def modcrop(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Crop rows and columns at the end so that both are multiples of ``scale``."""
    height, width = image.shape[0] // scale * scale, image.shape[1] // scale * scale
    return image[:height, :width]


def degrade(image: NDArray[np.uint8], scale: int) -> NDArray[np.float64]:
    """Shrink luma by antialiased bicubic, in units of 8-bit codes and without rounding.

    Parameters
    ----------
    image
        ``(H, W)`` uint8 whose sides are multiples of ``scale``.
    scale
        Shrinking factor.

    Returns
    -------
    ndarray
        ``(H/scale, W/scale)`` float64.
    """
    return imresize(image, Fraction(1, scale))
