"""What the commands take from the user: images, arrays, and sequences of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
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


CalibrationOption = Annotated[
    list[Path], typer.Option(help="Image, folder of images or .npy array; repeatable.")
]
"""The option ``--calibration``."""
ChannelsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Of the input: 1 for luma, 3 for RGB; default that of the first convolution."
    ),
]
"""The option ``--channels``."""
CropOption = Annotated[
    int | None, typer.Option(min=1, help="Calibrate on the middle of images only.")
]
"""The option ``--crop``."""
LimitOption = Annotated[int | None, typer.Option(min=1, help="Most calibration inputs.")]
"""The option ``--limit``."""


def input_channels(network: torch.nn.Module) -> int:
    """Channels of a network's input: those of its ONNX file, or of its first convolution."""
    inputs = getattr(network, "image_inputs", None)
    if inputs:
        return inputs[0].module_shape(1)[1]
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
    reader = _InputReader(network, channels, scale, crop)
    files = (item for given in paths for item in image_paths(given))
    return [reader.read(path) for path in islice(files, limit)]


def read_sequences(
    paths: Sequence[Path],
    network: torch.nn.Module,
    channels: int | None,
    scale: PixelScale,
    crop: int | None,
    limit: int | None,
) -> fxp.Sequences:
    """Read the sequences that a recurrent network is calibrated on.

    A folder is the frames of one, in the order of their names, and so is an array, along its first
    axis. Images that are given by themselves are together the frames of one more.

    Parameters
    ----------
    paths, network, channels, scale, crop
        As for `read_calibration`.
    limit
        Most frames to read of each sequence.

    Raises
    ------
    ImageError, ArgumentError
        As for `read_calibration`.
    """
    reader = _InputReader(network, channels, scale, crop)
    single = [path for path in paths if not path.is_dir() and not is_array(path)]
    parts = [image_paths(path) for path in paths if path not in single]
    if single:
        parts.append([file for path in single for file in image_paths(path)])
    return fxp.Sequences(*(list(islice(reader.frames(files), limit)) for files in parts))


@dataclass(frozen=True)
class _InputReader:
    """Reads files as inputs of a network; see `read_calibration` for the fields."""

    network: torch.nn.Module
    channels: int | None
    scale: PixelScale
    crop: int | None

    @cached_property
    def count(self) -> int:
        """Channels that images must have."""
        return self.channels or input_channels(self.network)

    def read(self, path: Path) -> NDArray[np.float64]:
        """Return an array as it is, an image as ``(1, C, H, W)``."""
        if is_array(path):
            return read_array(path)
        if self.count not in (1, 3) and self.channels is None:
            raise ImageError(
                f"the network's first convolution takes {self.count} channels, not those of "
                f"{path}; if that is more than its input has, as where it reads a state too, say "
                "--channels 1 or 3, else give .npy arrays"
            )
        image = middle(planes(read_image(path), self.count, path), self.crop)
        return self.scale.values(image[None])

    def frames(self, files: Sequence[Path]) -> Iterator[NDArray[np.float64]]:
        """Yield images, ``(1, C, H, W)``, and what lies along the first axis of arrays."""
        for path in files:
            values = self.read(path)
            yield from (values[None] if values.ndim == 3 else values[:, None])


def is_array(path: Path) -> bool:
    """Whether a file is an array of real values, by its name."""
    return path.suffix.lower() == ".npy"


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


def image_channels(model: fxp.FixedModel, *, outputs: int | None = 1) -> int:
    """Channels of the only input of an image model; raises ArgumentError for other models.

    Parameters
    ----------
    model
        The model.
    outputs
        How many it must have, None if any number will do.
    """
    inputs = model.graph.inputs
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 3:
        raise ArgumentError("this command takes models with one image input")
    if outputs is not None and len(model.graph.outputs) != outputs:
        raise ArgumentError("this command takes models with one image input and one output")
    assert isinstance(shape[0], int)
    return shape[0]
