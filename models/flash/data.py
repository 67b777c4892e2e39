"""Pairs of a photograph with flash and one of the same scene in ambient light."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models.common.data import DataError
from fxp.models.common.pairs import marked_pairs, read_same_size
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.registration as registration
    import skimage.restoration as restoration
else:
    registration = lazy_import("skimage.registration", "cli")
    restoration = lazy_import("skimage.restoration", "cli")

FOLDER: Final = "flash"
NOT_TRAINED: Final = "classic"
"""Folder of pairs from other cameras, whose two lights differ in more than the flash."""
LONG_SIDE: Final = 320
"""Pixels of the longer side of the pairs that are trained on: those of the paper's reduced set."""
MOST_SHIFT: Final = 2.0
"""Pixels by which the pictures of a pair may be shifted against each other without a warning."""
SURE: Final = 0.9
"""Error of a registration above which the measured shift says nothing."""


class MisalignedWarning(UserWarning):
    """The two pictures of a pair seem to be shifted against each other."""


@dataclass(frozen=True)
class FlashPair:
    """One scene in two lights.

    Attributes
    ----------
    name
        What the names of both files begin with, such as ``Plants_002``.
    flash, ambient
        ``(H, W, 3)`` uint8.
    """

    name: str
    flash: NDArray[np.uint8]
    ambient: NDArray[np.uint8]


def read_pair(name: str, flash: Path, ambient: Path) -> FlashPair:
    """Read a pair and check that it fits together.

    Parameters
    ----------
    name
        Of the pair.
    flash, ambient
        The files; CMYK is converted to RGB.

    Raises
    ------
    DataError
        If one is grey, or their sizes differ.
    ImageError
        If one is corrupt.

    Warns
    -----
    MisalignedWarning
        If they seem to be shifted against each other; the message says by how much.
    """
    first, second = read_same_size(flash, ambient)
    for path, picture in ((flash, first), (ambient, second)):
        if picture.ndim != 3:
            raise DataError(f"{path} is grey, but the networks learn colours; remove the pair")
    shift = measured_shift(first, second)
    if shift is not None and max(map(abs, shift)) > MOST_SHIFT:
        warnings.warn(
            f"{ambient} seems to be shifted by {shift[0]:+.1f} rows and {shift[1]:+.1f} columns "
            f"against {flash.name}",
            MisalignedWarning,
            stacklevel=2,
        )
    return FlashPair(name, first, second)


def measured_shift(
    flash: NDArray[np.uint8], ambient: NDArray[np.uint8]
) -> tuple[float, float] | None:
    """Return rows and columns by which the second picture lies lower and further right.

    It is found by the phase correlation of the gradients of both, which the light changes less
    than the pixels.

    Parameters
    ----------
    flash, ambient
        ``(H, W, 3)`` uint8 of one size.

    Returns
    -------
    tuple of float, or None
        To a tenth of a pixel; None if the pictures have too little in common to tell.
    """
    edges = []
    for picture in (ambient, flash):
        grey = picture.astype(np.float64).mean(2)
        rows, columns = np.gradient(np.log1p(grey))
        edge = np.hypot(rows, columns)
        window = np.hanning(edge.shape[0])[:, None] * np.hanning(edge.shape[1])
        edges.append((edge - edge.mean()) * window)
    if any(not edge.any() for edge in edges):
        return None
    moved, error, _ = registration.phase_cross_correlation(
        *edges,
        upsample_factor=10,
        normalization=None,  # pyright: ignore[reportArgumentType] (documented so)
    )
    if error > SURE:
        return None
    return float(moved[0]), float(moved[1])


def reduced(pair: FlashPair, long_side: int = LONG_SIDE) -> FlashPair:
    """Return a pair whose longer side has at most so many pixels, resized bicubically.

    Parameters
    ----------
    pair
        Of any size.
    long_side
        Pixels; larger pairs are downscaled with antialiasing, others are returned as they are.
    """
    factor = long_side / max(pair.flash.shape[:2])
    if factor >= 1:
        return pair
    flash, ambient = (to_codes(imresize(item, factor)) for item in (pair.flash, pair.ambient))
    return FlashPair(pair.name, flash, ambient)


def read_pairs(folder: str | Path, long_side: int = LONG_SIDE) -> list[FlashPair]:
    """Read all pairs ``NAME_flash`` and ``NAME_ambient`` of a folder and its subfolders.

    Parameters
    ----------
    folder
        See `fxp.models.common.pairs.marked_pairs`.
    long_side
        Pixels of the longer side at most, see `reduced`.

    Raises
    ------
    DataError, ImageError
        If there are none, or one cannot be used.
    """
    found = marked_pairs(folder, "flash", "ambient")
    return [reduced(read_pair(name, *paths), long_side) for name, paths in found.items()]


def training_pairs(folder: Path) -> list[FlashPair]:
    """Return the pairs of a data folder, sorted by name.

    They lie in its folder ``flash``, or in subfolders of that; ``classic`` is left out.

    Raises
    ------
    DataError, ImageError
        If there are none, one cannot be used, or two have one name.
    """
    root = folder / FOLDER
    if not root.is_dir():
        raise DataError(f"folder of flash pairs not found: {root}")
    sets = sorted(item for item in root.iterdir() if item.is_dir() and item.name != NOT_TRAINED)
    pairs = [pair for item in sets for pair in read_pairs(item)] or read_pairs(root)
    pairs.sort(key=lambda pair: pair.name)
    for first, second in pairwise(pairs):
        if first.name == second.name:
            # In cross-validation, one would train while the other is left out.
            raise DataError(f"two pairs in {root} are named {first.name}; rename or remove one")
    return pairs


def divided(
    pairs: Sequence[FlashPair], fold: int, folds: int
) -> tuple[list[FlashPair], list[FlashPair]]:
    """Divide pairs for cross-validation: every pair is left out in exactly one fold.

    Parameters
    ----------
    pairs
        All, in the order of their names.
    fold
        From 0; -1 leaves none out.
    folds
        Number of folds.

    Returns
    -------
    training, left_out
        Two lists.

    Raises
    ------
    DataError
        If there is no such fold, or a part would be empty.
    """
    if not -1 <= fold < folds:
        raise DataError(f"fold must be from 0 to {folds - 1}, or -1 to leave out none, not {fold}")
    if len(pairs) < max(folds, 2):
        raise DataError(f"{len(pairs)} pairs cannot be divided into {folds} folds")
    chosen = [index % folds == fold for index in range(len(pairs))]
    return (
        [pair for pair, out in zip(pairs, chosen, strict=True) if not out],
        [pair for pair, out in zip(pairs, chosen, strict=True) if out],
    )


def smoothed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture without fine texture, as DeepFlash learns from.

    That is the bilateral filter with a window of 7 pixels, a deviation of 7 pixels, and of 102
    in the values of pixels.
    """
    result = restoration.denoise_bilateral(
        picture,
        win_size=7,
        sigma_color=102 / 255,
        sigma_spatial=7,
        mode="edge",
        channel_axis=-1,
    )
    return to_codes(result * 255)
