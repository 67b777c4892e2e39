"""Image folders and published sets, pictures held out, and places of patches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.colour import luma
from fxp.imaging.files import image_paths, read_image
from fxp.support.errors import FxpError

SET_SIZES: Final = {"Set5": 5, "Set14": 14, "B100": 100, "T91": 91, "BSD200": 200}
"""Number of images of the published sets."""


Item = TypeVar("Item")
Pictures = list[NDArray[np.uint8]]


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
        raise DataError(f"no image set {name!r}, only {', '.join(sorted(SET_SIZES))}")
    folder = Path(data) / name
    paths = image_paths(folder)
    if len(paths) != SET_SIZES[name]:
        raise DataError(f"{folder} has {len(paths)} images, but {name} has {SET_SIZES[name]}")
    return paths


def read_pictures(folder: str | Path) -> Pictures:
    """Read every image of a folder, sorted by file name; raises what `read_folder` does."""
    return [read_image(path) for path in image_paths(folder)]


def held_out(pictures: Sequence[Item], every: int) -> tuple[list[Item], list[Item]]:
    """Divide a set into what trains and what chooses the weights.

    Parameters
    ----------
    pictures
        The set.
    every
        The first of every so many is held out.

    Returns
    -------
    training, held_out
        Two lists.
    """
    kept = [item for index, item in enumerate(pictures) if index % every]
    return kept, list(pictures[::every])


def modcrop(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Crop rows and columns at the end so that both are multiples of a number."""
    height, width = (size // multiple * multiple for size in image.shape[:2])
    return image[:height, :width]


def dihedral(image: NDArray, index: int) -> NDArray:
    """Return view ``index`` (0...7) of the eight rotations and mirror images of ``(H, W)``."""
    turned = np.rot90(image, index % 4)
    return turned if index < 4 else turned[:, ::-1]


def patch_start(generator: np.random.Generator, length: int, patch: int) -> int:
    """Draw where a patch begins along one axis of an image.

    Parameters
    ----------
    generator
        Gives one number.
    length, patch
        Sizes of the image and of the patch, pixels.
    """
    # Uniform starts would nearly never show image edges; overshoot and clamp.
    overshoot = patch // 4
    last = length - patch
    return int(np.clip(generator.integers(-overshoot, last + overshoot + 1), 0, last))
