"""Labelled pictures: read once into memory, brought to one size, and varied while training."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.colour import luma
from fxp.imaging.files import IMAGE_SUFFIXES, ImageError, read_image
from fxp.models.common.data import DataError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = lazy_import("PIL.Image", "cli")

LIMIT: Final = 4 << 30
"""Bytes of pixels, and of unpacked files, that a set may have."""
FOLDER: Final = "recognition"
"""Folder within the data where the sets are looked for as well."""


@dataclass(frozen=True)
class LabelledImages:
    """Pictures of one size with their classes.

    Attributes
    ----------
    images
        ``(N, H, W, channels)`` uint8, of one channel if all of them are grey.
    labels
        ``(N,)`` int64, numbers of the classes.
    classes
        Their names.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: NDArray) -> LabelledImages:
        """Return some of the pictures: numbers, or a mask."""
        return LabelledImages(self.images[chosen], self.labels[chosen], self.classes)


def held_out_labelled(images: LabelledImages, every: int) -> tuple[LabelledImages, LabelledImages]:
    """Divide a set into what trains and what chooses the weights.

    Parameters
    ----------
    images
        The set.
    every
        The first of every so many of each class is held out; 0 holds none out.

    Returns
    -------
    training, held_out
        Two sets.
    """
    mask = np.zeros(len(images), bool)
    if every:
        for label in np.unique(images.labels):
            mask[np.flatnonzero(images.labels == label)[::every]] = True
    return images.subset(~mask), images.subset(mask)


def find(data: Path, name: str) -> Path:
    """Return the path of a set: one within the folder of data, or else the name itself.

    Raises
    ------
    DataError
        If there is nothing of that name.
    """
    tried = (data / name, data / FOLDER / name, Path(name))
    for path in tried:
        if path.exists():
            return path
    raise DataError(f"no pictures {name} in {data}; give the name of a ZIP, .npz or folder there")


def read_labelled(path: str | Path, side: int, *, channels: int = 3) -> LabelledImages:
    """Read pictures with their classes.

    Parameters
    ----------
    path
        A folder with a folder of pictures for each class, a ZIP file of such folders, or a
        ``.npz`` file with the pictures ``x``, ``(N, H, W)`` or ``(N, H, W, 3)`` uint8, and the
        classes ``y``, whole numbers from 0.
    side
        Height and width of the result; pictures of other sizes are `fitted`.
    channels
        1 for grey, 3 for colour.

    Returns
    -------
    LabelledImages
        In the order of the names of the classes and the pictures.

    Raises
    ------
    DataError
        If the file is missing or damaged, holds no pictures, too many, or files that are none.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _from_arrays(path, side, channels)
    if path.is_dir():
        return _from_folder(path, path, side, channels)
    try:
        with zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
            members = [item for item in archive.infolist() if _is_picture(item.filename)]
            if sum(item.file_size for item in members) > LIMIT:
                raise DataError(f"{path} unpacks to more than {LIMIT >> 30} GiB; divide it")
            archive.extractall(folder, members)
            return _from_folder(Path(folder), path, side, channels)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not Path(name).name.startswith(".")


def _from_folder(folder: Path, source: Path, side: int, channels: int) -> LabelledImages:
    """Read the class folders in a folder; `source` is what messages name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and _is_picture(path.name))
    if not paths:
        raise DataError(f"no pictures in {source}; it needs a folder of them for each class")
    if folder in {path.parent for path in paths}:
        raise DataError(f"{source} holds pictures outside the folders of its classes")
    classes = sorted({path.parent.name for path in paths})
    numbers = {name: number for number, name in enumerate(classes)}
    paths.sort(key=lambda path: (path.parent.name, path.name))
    images = _empty(len(paths), side, channels, source)
    for place, path in zip(images, paths, strict=True):
        try:
            place[:] = fitted(in_channels(read_image(path), channels), side)
        except ImageError as error:
            raise DataError(str(error).replace(f"{folder}/", f"{source}: ")) from error
    labels = np.array([numbers[path.parent.name] for path in paths], np.int64)
    return LabelledImages(images, labels, tuple(classes))


def _from_arrays(path: Path, side: int, channels: int) -> LabelledImages:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pictures, labels = arrays["x"], arrays["y"]
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no .npz file with the arrays x and y") from error
    shaped = pictures.ndim == 3 or (pictures.ndim == 4 and pictures.shape[3] in (1, 3))
    if pictures.dtype != np.uint8 or not shaped or not len(pictures):
        raise DataError(f"x of {path} must be (N, H, W) or (N, H, W, 3) uint8")
    whole = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) == len(pictures)
    if not whole or labels.min() < 0:
        raise DataError(f"y of {path} must have a whole number from 0 for each picture of x")
    images = _empty(len(pictures), side, channels, path)
    for place, picture in zip(images, pictures, strict=True):
        grey = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
        place[:] = fitted(in_channels(grey, channels), side)
    classes = tuple(str(number) for number in range(int(labels.max()) + 1))
    return LabelledImages(images, labels.astype(np.int64), classes)


def _empty(count: int, side: int, channels: int, source: Path) -> NDArray[np.uint8]:
    if count * side * side * channels > LIMIT:
        raise DataError(f"{source} has {count} pictures, over {LIMIT >> 30} GiB at {side}x{side}")
    return np.empty((count, side, side, channels), np.uint8)


def in_channels(picture: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return a picture ``(H, W)`` or ``(H, W, 3)`` as ``(H, W, channels)``, 1 for grey or 3."""
    if channels == 1:
        return luma(picture)[..., None]
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)


def fitted(picture: NDArray[np.uint8], side: int, *, share: float = 1.0) -> NDArray[np.uint8]:
    """Return the square in the centre of a picture, resized bicubically if it is of another size.

    Parameters
    ----------
    picture
        ``(H, W, channels)`` uint8.
    side
        Height and width of the result.
    share
        Share of the shorter side that the square takes; 7/8 is usual for ImageNet.
    """
    height, width, channels = picture.shape
    if (height, width) == (side, side) and share == 1:
        return picture
    reach = min(height, width) * share / 2
    box = (width / 2 - reach, height / 2 - reach, width / 2 + reach, height / 2 + reach)
    image = Image.fromarray(picture if channels == 3 else picture[..., 0])
    resized = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized).reshape(side, side, channels)


def planes(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pictures ``(N, H, W, channels)`` as the networks take them.

    Returns
    -------
    ndarray
        ``(N, channels, H, W)``, pixels divided by 256.
    """
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
    return pixels / np.float32(256)


def varied(
    images: NDArray[np.uint8], random: np.random.Generator, *, shift: int, flip: bool
) -> NDArray[np.uint8]:
    """Return each picture moved, and mirrored or not.

    Parameters
    ----------
    images
        ``(N, H, W, channels)``.
    random
        Decides on both.
    shift
        Largest number of pixels that a picture moves in each direction; what comes in is black.
    flip
        Whether every second picture is mirrored left to right.
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    rows = random.integers(0, 2 * shift + 1, (count, 1)) + np.arange(height)
    columns = random.integers(0, 2 * shift + 1, (count, 1)) + np.arange(width)
    if flip:
        mirrored = random.random(count) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    numbers = np.arange(count)[:, None, None]
    return padded[numbers, rows[:, :, None], columns[:, None, :]]


class Batches:
    """Numbers of the pictures in each batch: every epoch takes each of them once.

    Parameters
    ----------
    count
        Pictures in the set.
    size
        Pictures in a batch; a set that is smaller gives batches of all of it.
    seed
        Of the order.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, min(size, count), seed
        self._order: tuple[int, NDArray] = (-1, np.empty(0, int))

    def __getitem__(self, number: int) -> NDArray:
        """Return the pictures of a batch, a function of its number alone."""
        epoch, place = divmod(number, self.count // self.size)
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch, 1]).permutation(self.count)
            self._order = (epoch, order)
        return self._order[1][place * self.size : (place + 1) * self.size]


def in_batches(images: NDArray[np.uint8], size: int = 250) -> Iterator[NDArray[np.float32]]:
    """Yield `planes` of so many pictures at a time."""
    for start in range(0, len(images), size):
        yield planes(images[start : start + size])


def check_classes(found: Sequence[str], wanted: Sequence[str], source: str) -> None:
    """Raise `DataError` if the classes of a set are not those of another.

    Parameters
    ----------
    found
        Names of the classes.
    wanted
        Names that they should have.
    source
        What the message calls the set.
    """
    if tuple(found) != tuple(wanted):
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        raise DataError(
            f"{source} has {len(found)} classes ({shown}), not the same {len(wanted)} classes as "
            "the training pictures"
        )
