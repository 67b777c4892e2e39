"""An event camera simulated from images, in the manner of ESIM.

The simulator is our own, because those that exist (ESIM, v2e) are programs under the GNU licence or
with large dependencies, and this one is small: the logarithm of the brightness of every pixel is
interpolated linearly between two images; whenever it has moved by a threshold since the last event
of the pixel, there is another event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging import video
from fxp.imaging.video import VideoError
from fxp.kernels.compiler import njit
from fxp.models.events.events import SECOND, Events
from fxp.support.errors import ArgumentError

DARKEST: Final = 1e-3
"""Added to the brightness, 0 to 1, before its logarithm is taken."""
SMALLEST_THRESHOLD: Final = 0.01


@dataclass(frozen=True)
class Camera:
    """What a simulated camera does.

    Attributes
    ----------
    threshold
        Mean of the pixels' thresholds of contrast, in units of the natural logarithm.
    spread
        Their standard deviation. Those for brighter and darker are drawn apart.
    refractory
        Microseconds after an event in which the pixel gives no other.
    noise
        Events a second of every pixel that have no cause.
    hot
        Share of pixels that give an event in every refractory time, whatever they see.
    seed
        Of all that is random; the same images and seed give the same events.
    """

    threshold: float = 0.2
    spread: float = 0.05
    refractory: int = 1000
    noise: float = 0.0
    hot: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.threshold <= 0 or self.spread < 0:
            raise ArgumentError("the threshold must be positive, and its spread not negative")
        if self.refractory < 0 or self.noise < 0 or not 0 <= self.hot <= 1:
            raise ArgumentError(
                "the refractory time and the noise must not be negative, the share of hot pixels "
                "from 0 to 1"
            )


def simulate(
    images: Iterable[tuple[int, NDArray]], camera: Camera | None = None
) -> Iterator[Events]:
    """Return the events that a camera sees while images change into each other.

    Parameters
    ----------
    images
        Times in microseconds, which increase, and grey images ``(H, W)``: uint8, or float from 0
        to 1, proportional to the light.
    camera
        The camera; one of the default values if None.

    Yields
    ------
    Events
        Between each two images, in the order of time.

    Raises
    ------
    ArgumentError
        If a time does not increase, or an image has another size.
    """
    camera = camera or Camera()
    random = np.random.default_rng(camera.seed)
    frames = iter(images)
    first = next(frames, None)
    if first is None:
        return
    time, image = int(first[0]), _logarithm(first[1])
    thresholds = random.normal(camera.threshold, camera.spread, (2, *image.shape))
    np.maximum(thresholds, SMALLEST_THRESHOLD, out=thresholds)
    reference = image.copy()
    # Long before the first image.
    last = np.full(image.shape, time - camera.refractory - 1, np.int64)
    hot = np.flatnonzero(random.random(image.size) < camera.hot)
    for end, pixels in frames:
        following = _logarithm(pixels)
        if end <= time or following.shape != image.shape:
            raise ArgumentError(
                f"the image at {end} microseconds has the size {following.shape} after one of "
                f"{image.shape} at {time}; times must increase, and sizes be equal"
            )
        found = _between(
            image, following, time, int(end), reference, last, thresholds, camera.refractory
        )
        extra = _causeless(random, camera, hot, image.shape, time, int(end))
        yield Events.joined([Events.of(*found), extra]).sorted()
        time, image = int(end), following


def video_images(path: str | Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read the luma of a YUV4MPEG2 video, with the times of its frames in microseconds.

    Parameters
    ----------
    path
        The video; its header says the frames a second.

    Yields
    ------
    tuple
        Time, and the luma ``(H, W)``.

    Raises
    ------
    VideoError
        If it is no such video, or its header says no frame rate.
    """
    with open(path, "rb") as stream:
        form = video.read_header(stream)
        rate = re.search(r"(?:^| )F(\d+):(\d+)(?: |$)", " ".join(form.tags or ()))
        if rate is None or not int(rate[1]) or not int(rate[2]):
            raise VideoError(f"the header of {path} says no frame rate")
        for number, frame in enumerate(video.read_frames(stream, form)):
            yield number * SECOND * int(rate[2]) // int(rate[1]), frame[0]


def moving_image(
    image: NDArray, size: tuple[int, int], *, frames: int, duration: int, seed: int = 0
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Move a window smoothly over a still image, and return what it shows, with times.

    The path is a sum of slow sines, different for every seed, within the image.

    Parameters
    ----------
    image
        Grey, ``(H, W)``, larger than the window.
    size
        Width and height of the window.
    frames
        Number of images, at least 2.
    duration
        Time of all in microseconds.
    seed
        Of the path.

    Yields
    ------
    tuple
        Time, and the image from 0 to 1.

    Raises
    ------
    ArgumentError
        If the window does not fit into the image, or there are fewer than two frames.
    """
    width, height = size
    room = np.array([image.shape[0] - height - 1, image.shape[1] - width - 1])
    if room.min() < 0 or frames < 2:
        raise ArgumentError(
            f"a window of {width}x{height} needs a larger image than {image.shape[1]}x"
            f"{image.shape[0]}, and at least 2 frames"
        )
    light = _light(image)
    random = np.random.default_rng(seed)
    rates, phases = random.uniform(0.5, 2, (2, 3)), random.uniform(0, 2 * np.pi, (2, 3))
    for number in range(frames):
        share = number / (frames - 1)
        wave = np.sin(2 * np.pi * rates * share + phases).mean(1)
        row, column = (wave + 1) / 2 * room
        yield round(share * duration), _window(light, row, column, height, width)


def _light(image: NDArray) -> NDArray[np.float64]:
    """Turn pixels into light from 0 to 1."""
    scale = 255 if np.asarray(image).dtype == np.uint8 else 1
    return np.asarray(image, np.float64) / scale


def _logarithm(image: NDArray) -> NDArray[np.float64]:
    light = _light(image)
    if light.ndim != 2:
        raise ArgumentError(f"images must be grey, (H, W), not {light.shape}")
    return np.log(light + DARKEST)


def _window(
    light: NDArray, row: float, column: float, height: int, width: int
) -> NDArray[np.float64]:
    """Cut out a window at a place between pixels, interpolated linearly."""
    top, left = int(row), int(column)
    down, right = row - top, column - left
    part = light[top : top + height + 1, left : left + width + 1]
    rows = part[:-1] * (1 - down) + part[1:] * down
    return rows[:, :-1] * (1 - right) + rows[:, 1:] * right


def _causeless(
    random: np.random.Generator,
    camera: Camera,
    hot: NDArray,
    shape: tuple[int, ...],
    start: int,
    end: int,
) -> Events:
    """Draw noise, and the events of hot pixels."""
    pixels = shape[0] * shape[1]
    count = int(random.poisson(camera.noise * pixels * (end - start) / SECOND))
    beats = np.arange(start, end, max(camera.refractory, 1))
    times = np.concatenate([random.integers(start, end, count), np.repeat(beats, len(hot))])
    places = np.concatenate([random.integers(0, pixels, count), np.tile(hot, len(beats))])
    signs = np.concatenate([random.integers(0, 2, count), np.ones(len(hot) * len(beats), np.int64)])
    return Events.of(times, places % shape[1], places // shape[1], signs)


def _between(
    old: NDArray,
    new: NDArray,
    start: int,
    end: int,
    reference: NDArray,
    last: NDArray,
    thresholds: NDArray,
    refractory: int,
) -> NDArray[np.int64]:
    """Return the times, columns, rows and polarities of all events from one image to the next."""
    # The changes since each pixel's last event bound the number of events.
    change = np.abs(new - reference) + np.abs(old - reference)
    room = int(np.ceil(change / thresholds.min(0)).sum()) + 1
    found = np.empty((4, room), np.int64)
    count = _cross(old, new, start, end, reference, last, thresholds, refractory, found)
    return found[:, :count]


@njit(cache=True, nogil=True)
def _cross(
    old: NDArray,
    new: NDArray,
    start: int,
    end: int,
    reference: NDArray,
    last: NDArray,
    thresholds: NDArray,
    refractory: int,
    found: NDArray,
) -> int:
    count = 0
    height, width = old.shape
    for row in range(height):
        for column in range(width):
            before, after = old[row, column], new[row, column]
            if before == after:
                continue
            sign = 1 if after > before else -1
            step = sign * thresholds[(1 - sign) // 2, row, column]
            while sign * (after - reference[row, column] - step) >= 0:
                level = reference[row, column] + step
                reference[row, column] = level
                share = max((level - before) / (after - before), 0.0)
                time = start + np.int64(share * (end - start))
                if time - last[row, column] > refractory:
                    last[row, column] = time
                    found[0, count] = time
                    found[1, count] = column
                    found[2, count] = row
                    found[3, count] = sign
                    count += 1
    return count
