"""Image folders, and the standard shrinking of the super-resolution benchmarks."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.colour import luma
from fxp.imaging.files import image_paths, read_image
from fxp.imaging.resize import imresize
from fxp.support.errors import FxpError

SET_SIZES: Final = {"Set5": 5, "Set14": 14, "B100": 100, "T91": 91, "BSD200": 200}
"""Number of images of the published sets."""


class DataError(FxpError, ValueError):
    """Training data cannot be used; the message is one line."""


def data_folder(option: Path | None) -> Path:
    """Return the folder of the image sets: the option, or else what FXP_DATA names.

    Raises
    ------
    DataError
        If neither is given, or there is no such folder.
    """
    named = option or os.environ.get("FXP_DATA")
    if not named:
        raise DataError(
            "no image sets: give --data DIR, or set FXP_DATA to the folder that holds them"
        )
    folder = Path(named)
    if not folder.is_dir():
        raise DataError(f"data folder not found: {folder}")
    return folder


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


def read_benchmark(data: str | Path, name: str) -> dict[str, NDArray[np.uint8]]:
    """Read the luma of a published image set, and check that it is whole.

    Luma of grey files is the file, in full range; that of RGB files, grey ones too, is studio
    range. The published figures of Set14 depend on it: ``bridge`` is a grey file, ``man`` is RGB.

    Parameters
    ----------
    data
        Folder that holds the sets, see `data_folder`.
    name
        One of `SET_SIZES`, the name of the folder.

    Returns
    -------
    dict
        File name to ``(H, W)`` uint8.

    Raises
    ------
    DataError
        If the name is unknown, or the set has more or fewer images than published.
    ImageError
        If the folder is missing, holds no image, or an image is corrupt.
    """
    return {path.name: luma(read_image(path)) for path in benchmark_paths(data, name)}


def benchmark_paths(data: str | Path, name: str) -> list[Path]:
    """Return the files of a published image set; takes and raises what `read_benchmark` does."""
    if name not in SET_SIZES:
        raise DataError(f"no image set {name!r}, only {sorted(SET_SIZES)}")
    folder = Path(data) / name
    paths = image_paths(folder)
    if len(paths) != SET_SIZES[name]:
        raise DataError(f"{folder} has {len(paths)} images, but {name} has {SET_SIZES[name]}")
    return paths


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
