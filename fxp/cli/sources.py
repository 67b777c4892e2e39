"""What the commands take from the user: networks by name, images and arrays by path."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fxp
from fxp.imaging.colour import luma
from fxp.imaging.files import ImageError, image_paths, read_image
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import safetensors.torch as safetensors_torch
    import torch
else:
    torch = lazy_import("torch", "torch")
    safetensors_torch = lazy_import("safetensors.torch", "models")

DIVIDE_BY = "divide_by"
"""Metadata key: pixel values are divided by this number before the network."""
DEFAULT_DIVISOR = 255.0


def load_network(
    source: str, arguments: Sequence[str] = (), weights: Path | None = None
) -> torch.nn.Module:
    """Return a network in eval mode.

    Parameters
    ----------
    source
        ``package.module:name``, where the name is a module or something that returns one.
    arguments
        Text arguments of the call.
    weights
        State dict as ``.safetensors``, or as ``.pt`` without pickled code.

    Raises
    ------
    ValueError
        If the source cannot be found or gives no torch module, or the weights do not fit.
    """
    home, separator, name = source.partition(":")
    if not separator or not home or not name:
        raise ArgumentError(f"{source!r} must be written as package.module:name")
    try:
        code = importlib.import_module(home)
    except Exception as error:
        # A user's own file may fail in any way, a syntax error included.
        raise ArgumentError(f"cannot import {home!r}: {_reason(error)}") from error
    if not hasattr(code, name):
        raise ArgumentError(f"{home!r} has no {name!r}")
    found = getattr(code, name)
    if not isinstance(found, torch.nn.Module):
        if not callable(found):
            raise ArgumentError(f"{source} is a {type(found).__name__}, not a network")
        try:
            inspect.signature(found).bind(*arguments)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{source} cannot be called so: {error}; see --arg") from None
        try:
            found = found(*arguments)
        except Exception as error:
            raise ArgumentError(f"{source} failed: {_reason(error)}") from error
    if not isinstance(found, torch.nn.Module):
        raise ArgumentError(f"{source} gives a {type(found).__name__}, not a torch.nn.Module")
    if weights is not None:
        try:
            found.load_state_dict(_read_state(weights))
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ArgumentError(f"weights {weights} do not fit {source}: {error}") from error
    return found.eval()


def _reason(error: Exception) -> str:
    """Say what went wrong and in which line, for errors of the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    told = isinstance(error, ModuleNotFoundError | ValueError | OSError | SyntaxError)
    where = "" if told else f" in {frames[-1].filename}, line {frames[-1].lineno}"
    return f"{type(error).__name__}{where}: {error}"


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ArgumentError(f"no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors_torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Both readers raise many unrelated types for a damaged file.
        raise ArgumentError(f"cannot read weights {path}: {error}") from error


def input_channels(network: torch.nn.Module) -> int:
    """Channels of a network's input, judged by its first convolution."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            return module.in_channels
    raise ArgumentError("the network has no convolution to count the channels of; give --channels")


def planes(image: NDArray[np.uint8], channels: int, name: object) -> NDArray[np.uint8]:
    """Return an image as ``(C, H, W)``: luma for one channel, RGB for three.

    Raises
    ------
    ImageError
        If the network takes another number of channels, or three of a grey image.
    """
    if channels == 1:
        return luma(image)[None]
    if channels != 3:
        raise ImageError(f"the network takes {channels} channels; give .npy arrays, not {name}")
    if image.ndim == 2:
        raise ImageError(f"the network takes colour, but {name} is grey")
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def read_calibration(
    paths: Sequence[Path],
    network: torch.nn.Module,
    channels: int | None,
    divisor: float,
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
    divisor
        Pixel values are divided by it.
    crop
        Largest side; the middle of larger images is taken.
    limit
        Most inputs to read.
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
        image = planes(read_image(path), count, path)
        if crop is not None:
            rows, columns = (
                slice(max(size - crop, 0) // 2, max(size - crop, 0) // 2 + crop)
                for size in image.shape[1:]
            )
            image = image[:, rows, columns]
        inputs.append(image[None] / divisor)
    return inputs


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


def check_target(path: Path) -> None:
    """Raise OSError if no file can be written there, before the work rather than after it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, so no file can be written there")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no ordinary file, so it is not replaced")


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


def divisor_of(model: fxp.FixedModel, given: float | None) -> float:
    """Return the divisor of pixel values: as given, as the model says, or 255."""
    if given is not None:
        return given
    text = model.metadata.get(DIVIDE_BY, str(DEFAULT_DIVISOR))
    try:
        divisor = float(text)
    except ValueError:
        divisor = 0.0
    if not 0 < divisor < float("inf"):
        raise ArgumentError(f"the model's {DIVIDE_BY} is {text!r}; give --divide-by")
    return divisor


def image_channels(model: fxp.FixedModel) -> int:
    """Channels of the only input of an image model; raises ValueError for other models."""
    inputs = model.graph.inputs
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 3 or len(model.graph.outputs) != 1:
        raise ArgumentError("this command takes models with one image input and one output")
    assert isinstance(shape[0], int)
    return shape[0]
