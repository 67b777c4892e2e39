"""Pairs of photographs of one scene: how their files are found, and whether they fit together."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.files import IMAGE_SUFFIXES, read_image
from fxp.models.common.data import DataError


def marked_pairs(folder: str | Path, first: str, second: str) -> dict[str, tuple[Path, Path]]:
    """Return the files of every pair of a folder, sorted by name.

    Files are named ``NAME_FIRST`` and ``NAME_SECOND`` with any suffix of an image, such as
    ``Plants_002_flash.png`` and ``Plants_002_ambient.png``. They lie in the folder or in its
    subfolders; other files are left alone.

    Parameters
    ----------
    folder
        Where to look.
    first, second
        The words that names end in.

    Returns
    -------
    dict
        What both names begin with, and the two files.

    Raises
    ------
    DataError
        If the folder is missing, holds no pair, or a file has no partner.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"no folder {root}")
    name_of = re.compile(rf"(.+)_({first}|{second})", re.IGNORECASE)
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*")):
        match = name_of.fullmatch(path.stem)
        hidden = path.name.startswith(".")
        if not match or hidden or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        kinds = found.setdefault(str(path.relative_to(root).with_name(match[1])), {})
        kind = match[2].lower()
        if kind in kinds:
            raise DataError(f"two photographs for one: {kinds[kind]} and {path}; remove one")
        kinds[kind] = path
    if not found:
        raise DataError(f"no pairs NAME_{first} and NAME_{second} in folder {root}")
    for kinds in found.values():
        for kind, other in ((first, second), (second, first)):
            if kind not in kinds:
                path = kinds[other]
                name = f"{path.stem[: -len(other)]}{kind}"
                raise DataError(f"{path} has no partner {name}; add it or remove the file")
    return {name: (kinds[first], kinds[second]) for name, kinds in sorted(found.items())}


def read_same_size(*paths: Path) -> list[NDArray[np.uint8]]:
    """Read photographs that belong together: ``(H, W)`` or ``(H, W, 3)``, CMYK becomes RGB.

    Raises
    ------
    DataError
        If their sizes differ.
    ImageError
        If one of them cannot be read.
    """
    pictures: list[NDArray[np.uint8]] = []
    for path in paths:
        picture = read_image(path)
        if pictures and picture.shape[:2] != pictures[0].shape[:2]:
            sizes = [f"{item.shape[1]}x{item.shape[0]}" for item in (pictures[0], picture)]
            raise DataError(f"{paths[0]} is {sizes[0]}, but {path} is {sizes[1]}")
        pictures.append(picture)
    return pictures


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey or colour image as RGB."""
    return np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image
