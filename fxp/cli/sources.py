"""What the commands take from the user and write for them: images, arrays and paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fxp
from fxp.cli.pixel_values import PixelScale
from fxp.imaging.colour import luma
from fxp.imaging.files import ImageError, image_paths, read_image
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


def input_channels(network: torch.nn.Module) -> int:
    """Channels of a network's input, judged by its first convolution."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            return module.in_channels
    raise ArgumentError("the network has no convolution to count the channels of; give --channels")


def planes(image: NDArray[np.uint8], channels: int, name: object) -> NDArray[np.uint8]:
    """Return an image as ``(C, H, W)``: luma for one channel, RGB for three.

    A grey image gives three equal planes, and a coloured one its BT.601 luma.

    Parameters
    ----------
    image
        The pixels, ``(H, W)`` or ``(H, W, 3)``.
    channels
        What the network takes.
    name
        What messages call the image.

    Raises
    ------
    ImageError
        If the network takes another number of channels.
    """
    if channels == 1:
        return luma(image)[None]
    if channels != 3:
        raise ImageError(f"the network takes {channels} channels; give .npy arrays, not {name}")
    if image.ndim == 2:
        return np.repeat(image[None], 3, axis=0)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def read_calibration(
    paths: Sequence[Path],
    network: torch.nn.Module,
    channels: int | None,
    scale: PixelScale,
    crop: int | None,
    limit: int | None,
) -> list[NDArray[np.float64]]:
    """Read calibration inputs, ``(1, C, H, W)`` or as the arrays are.

    Parameters
    ----------
    paths
        Images, folders of images, or ``.npy`` arrays of real values.
    network
        Its first convolution says how many channels images must have.
    channels
        Says so instead, if given.
    scale
        How pixels become real values.
    crop
        Largest side; the middle of larger images is taken.
    limit
        Most inputs to read.

    Raises
    ------
    ImageError
        If a file cannot be read, or does not have the channels that the network takes.
    ArgumentError
        If nothing says how many channels images must have.
    """
    inputs: list[NDArray[np.float64]] = []
    count: int | None = None
    for path in (item for given in paths for item in image_paths(given)):
        if limit is not None and len(inputs) >= limit:
            break
        if path.suffix == ".npy":
            inputs.append(read_array(path))
            continue
        if count is None:
            count = channels or input_channels(network)
        image = middle(planes(read_image(path), count, path), crop)
        inputs.append(scale.values(image[None]))
    return inputs


def middle(image: NDArray, crop: int | None) -> NDArray:
    """Return the middle of an image ``(C, H, W)`` with sides of at most `crop`, if given."""
    if crop is None or image.ndim != 3:
        return image
    top, left = (max(size - crop, 0) // 2 for size in image.shape[1:])
    return image[:, top : top + crop, left : left + crop]


def read_array(path: Path) -> NDArray[np.float64]:
    """Read a ``.npy`` file of real numbers; raises `ImageError` for anything else."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        # The header of a damaged file may announce more memory than there is.
        raise ImageError(f"cannot read array {path}: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
        raise ImageError(f"{path} does not hold an array of real numbers")
    return array.astype(np.float64)


def check_target(path: Path, *, reads: Iterable[Path] = (), suffixes: Collection[str] = ()) -> None:
    """Refuse a file to write that cannot be meant, before the work rather than after it.

    Parameters
    ----------
    path
        The file to write.
    reads
        Files that the command reads, and folders of images.
    suffixes
        Endings that the name may have; any if left out.

    Raises
    ------
    ArgumentError
        If the file is one of those that are read, also by another spelling of its path or by a
        link, or has another ending.
    OSError
        If no file can be written there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, so no file can be written there")
    if suffixes and path.suffix.lower() not in suffixes:
        raise ArgumentError(f"{path} must end in {' or '.join(sorted(suffixes))}")
    if not path.exists():
        return
    if not path.is_file():
        raise OSError(f"{path} is no ordinary file, so it is not replaced")
    for source in reads:
        files = image_paths(source) if source.is_dir() else [source]
        for file in files:
            if file.exists() and file.samefile(path):
                other = "" if str(file) == str(path) else f", which is {file}"
                raise ArgumentError(f"{path}{other} is read; give another name to write to")


def check_folder_target(folder: Path, *, reads: Iterable[Path] = ()) -> None:
    """Refuse a folder to write that holds, or is in the way of, something that is read.

    Parameters
    ----------
    folder
        The folder to write or replace.
    reads
        Files that the command reads.

    Raises
    ------
    ArgumentError
        If one of the files lies in the folder.
    OSError
        If the folder cannot be made.
    """
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder {folder.parent} to write {folder.name} to")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, and a folder would be written there")
    for source in reads:
        if source.exists() and source.resolve().is_relative_to(folder.resolve()):
            raise ArgumentError(f"{source}, which is read, lies in {folder}; give another folder")


def folder_targets(sources: list[Path], folder: Path) -> list[Path]:
    """Name the result of every image of a folder, a PNG; refuses to overwrite one of them."""
    if folder.exists() and not folder.is_dir():
        raise ImageError(f"the source is a folder, so {folder} must be one")
    if folder.exists() and folder.samefile(sources[0].parent):
        raise ImageError(f"the results in {folder} would overwrite the images; give another folder")
    targets = [folder / f"{item.stem}.png" for item in sources]
    for name, count in Counter(targets).items():
        if count > 1:
            raise ImageError(f"{count} images of {sources[0].parent} would be written to {name}")
    return targets


def image_channels(model: fxp.FixedModel) -> int:
    """Channels of the only input of an image model; raises ArgumentError for other models."""
    inputs = model.graph.inputs
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 3 or len(model.graph.outputs) != 1:
        raise ArgumentError("this command takes models with one image input and one output")
    assert isinstance(shape[0], int)
    return shape[0]
