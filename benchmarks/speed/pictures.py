"""Inputs of the networks that are timed, all made from photographs that scikit-image ships."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.zoo.networks import DEVIATION, MEAN
from fxp.imaging.colour import luma

Kind = Literal["luma", "features", "colour", "normalized", "digits", "events"]
"""8-bit luma; feature maps; 8-bit RGB; RGB by the mean and deviation of ImageNet; many small luma
images; bins of events."""

CALIBRATION: Final = ("chelsea", "coffee", "rocket")
PHOTOGRAPH: Final = "astronaut"
"""What is run; not among those of the calibration."""
BINS: Final = 5
"""Bins of events in one step of a recurrent network."""
STEPS: Final = 4
"""Steps of one sequence."""
CONTRAST: Final = 0.1
"""Change of the logarithm of the luma that makes an event."""


def picture(kind: Kind, name: str, shape: tuple[int, int, int], batch: int) -> NDArray[np.float32]:
    """Return an input, ``(batch, C, H, W)``; `STEPS` of a sequence for events.

    Parameters
    ----------
    kind
        What it is like.
    name
        Name of the photograph in `skimage.data`.
    shape
        Channels, height and width.
    batch
        Number of images; one but for digits.
    """
    channels, height, width = shape
    if kind == "luma":
        return luma_of_size(name, height, width)
    if kind == "digits":
        return _tiles(name, batch, height, width)
    if kind == "events":
        return event_bins(name, STEPS, height, width)
    image = photograph_of_size(name, height, width)
    pixels = image.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(256)
    if kind == "colour":
        return pixels
    if kind == "normalized":
        mean, deviation = (
            np.array(item, np.float32).reshape(3, 1, 1) for item in (MEAN, DEVIATION)
        )
        return (pixels - mean) / deviation
    generator = torch.Generator().manual_seed(1)
    kernels = torch.randn(channels, 3, 3, 3, generator=generator) * (2 / 27) ** 0.5
    return functional.relu(functional.conv2d(torch.from_numpy(pixels), kernels, padding=1)).numpy()


def photograph_of_size(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return a shipped photograph, cut in its middle or mirrored to a size, ``(H, W, 3)``.

    Parameters
    ----------
    name
        Name of the photograph in `skimage.data`.
    height, width
        Wanted size in pixels.
    """
    image = getattr(skimage.data, name)()
    for axis, size in enumerate((height, width)):
        first = max(image.shape[axis] - size, 0) // 2
        image = image.take(range(first, min(first + size, image.shape[axis])), axis)
    missing = [(0, size - have) for size, have in zip((height, width), image.shape, strict=False)]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric")


def luma_of_size(name: str, height: int, width: int) -> NDArray[np.float32]:
    """Return the 8-bit luma of a photograph as ``(1, 1, H, W)`` in steps of 1/256.

    Parameters
    ----------
    name
        Name of the photograph in `skimage.data`.
    height, width
        Wanted size in pixels.
    """
    pixels = luma(photograph_of_size(name, height, width))[None, None]
    return np.asarray(pixels, np.float32) / np.float32(256)


def event_bins(name: str, steps: int, height: int, width: int) -> NDArray[np.float32]:
    """Return what an event camera sees that moves over a photograph, ``(steps, 5, H, W)``.

    The camera moves by a pixel down and to the right in every bin. A bin holds the number of events
    of every pixel, with their sign; all together have the standard deviation 1 where there are any.

    Parameters
    ----------
    name
        Name of the photograph in `skimage.data`.
    steps
        Steps of the sequence.
    height, width
        Size in pixels.
    """
    count = steps * BINS
    light = np.log(luma_of_size(name, height + count + 1, width + count + 1)[0, 0] + 0.05)
    views = [light[at : at + height, at : at + width] for at in range(count + 1)]
    changes = np.stack([after - before for before, after in pairwise(views)])
    events = np.trunc(changes / CONTRAST)
    events = events / max(float(events[events != 0].std()), 1e-6)
    return events.reshape(steps, BINS, height, width).astype(np.float32)


def _tiles(name: str, count: int, height: int, width: int) -> NDArray[np.float32]:
    """Cut a photograph into images of one size."""
    across = int(np.ceil(np.sqrt(count)))
    image = luma_of_size(name, across * height, across * width)
    tiles = image.reshape(across, height, across, width).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(-1, 1, height, width)[:count])
