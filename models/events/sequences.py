"""Simulated sequences for training: voxel grids of events, and the picture at their end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.models.common.data import DataError, Pictures
from fxp.models.events.events import Events
from fxp.models.events.simulator import Camera, moving_image, simulate
from fxp.models.events.voxel import float_grid
from fxp.models.events.windows import between

THRESHOLDS: Final = (0.2, 0.4, 0.6)
"""Means of the contrast thresholds, of which each sequence draws one."""
NOISE: Final = 0.5
"""Events a second of every pixel that have no cause, at most."""
HOT: Final = 1e-3
"""Share of hot pixels, at most."""
PACES: Final = (0.8, 5.0)
"""Smallest and largest room of the camera, in pixels of each direction for each frame."""
PERCENTILES: Final = (1, 99)
"""Percentiles of a picture that become the brightness `BLACK` and 1."""
BLACK: Final = 0.05
FLATTEST: Final = 0.25
"""Pictures of a smaller range of brightness are stretched as if they had this one."""
MILLISECOND: Final = 1000


@dataclass(frozen=True)
class SimulatedSequence:
    """One simulated sequence.

    Attributes
    ----------
    grids
        Voxel grids, ``(T, bins, H, W)`` float32.
    picture
        What the camera sees in the end, ``(1, H, W)`` float32 from 0 to 1.
    """

    grids: NDArray[np.float32]
    picture: NDArray[np.float32]


def simulated(
    pictures: Pictures, seed: list[int], *, side: int, length: int, images: int, milliseconds: int
) -> SimulatedSequence:
    """Simulate a camera that moves over a picture, drawn by a seed.

    Parameters
    ----------
    pictures
        Grey pictures, uint8, larger than the sensor.
    seed
        Says everything that is random.
    side
        Height and width of the sensor.
    length
        Voxel grids.
    images
        Rendered images for each grid.
    milliseconds
        Time of each grid.
    """
    random = np.random.default_rng(seed)
    picture = _part(pictures[random.integers(len(pictures))], random, side, length)
    path, noise = (int(random.integers(1 << 31)) for _ in range(2))
    camera = Camera(
        threshold=float(random.choice(THRESHOLDS)),
        noise=float(random.uniform(0, NOISE)),
        hot=float(random.uniform(0, HOT)),
        seed=noise,
    )
    step = milliseconds * MILLISECOND
    rendered = list(
        moving_image(
            picture, (side, side), frames=length * images + 1, duration=length * step, seed=path
        )
    )
    # An event behind the end completes the last window.
    end = Events.of([length * step], [0], [0], [1])
    parts = [*simulate(rendered, camera), end]
    windows = islice(between(parts, range(0, (length + 1) * step, step)), length)
    grids = np.stack([float_grid(window.events, (side, side)) for window in windows])
    return SimulatedSequence(grids, rendered[-1][1][None].astype(np.float32))


def _part(
    picture: NDArray[np.uint8], random: np.random.Generator, side: int, length: int
) -> NDArray[np.float64]:
    """Cut out, stretch and turn what the camera moves over: the smaller, the slower it moves.

    Without it the camera would cross the whole picture, by tens of pixels from image to image, and
    events between such images have nothing to do with those of a camera.
    """
    pace = np.exp(random.uniform(*np.log(PACES)))
    wanted = side + 2 + round(pace * length)
    rows, columns = (min(wanted, available) for available in picture.shape)
    top, left = (
        int(random.integers(available - taken + 1))
        for available, taken in zip(picture.shape, (rows, columns), strict=True)
    )
    part = picture[top : top + rows, left : left + columns] / 255
    low, high = np.percentile(part, PERCENTILES)
    # Events say nothing about the brightness as a whole, only about contrast.
    part = (part - low) / max(high - low, FLATTEST)
    part = np.clip(BLACK + (1 - BLACK) * part, BLACK, 1)
    part = part[:, ::-1] if random.integers(2) else part
    return np.rot90(part, random.integers(4))


def large_enough(pictures: Pictures, side: int) -> Pictures:
    """Return the pictures over which a sensor can move.

    Raises
    ------
    DataError
        If there is none.
    """
    kept = [picture for picture in pictures if min(picture.shape) > side + 1]
    if not kept:
        raise DataError(f"no picture is larger than {side + 1} pixels; see --side")
    return kept
