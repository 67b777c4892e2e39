"""Blurred photographs made from sharp ones: averages of frames, and of views of a moving camera.

A camera adds up light while its shutter is open. Pixel values are light to the power 1/2.2 (gamma),
so frames are averaged as light: ``g(mean(g**-1(frame)))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import to_codes
from fxp.models.common.data import DataError
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from skimage import registration, transform
    from torch.nn import functional
else:
    torch = lazy_import("torch", "torch")
    functional = lazy_import("torch.nn.functional", "torch")
    registration = lazy_import("skimage.registration", "cli")
    transform = lazy_import("skimage.transform", "cli")

GAMMA: Final = 2.2

Frames = Sequence[NDArray[np.uint8]]


def averaged(frames: Frames, *, linear: bool = False) -> NDArray[np.uint8]:
    """Return the photograph of a shutter that is open during some frames.

    Parameters
    ----------
    frames
        Arrays of one shape, uint8.
    linear
        Average the pixel values themselves, as for a camera without gamma.

    Raises
    ------
    DataError
        If there is no frame, or their sizes differ.
    """
    if not frames:
        raise DataError("no frames to average")
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise DataError(f"frames of unequal size: {', '.join(map(str, sorted(sizes)))}")
    power = 1.0 if linear else GAMMA
    light = sum((frame / 255.0) ** power for frame in frames) / len(frames)
    return to_codes(255.0 * light ** (1.0 / power))


def blurred_pairs(
    frames: Frames, count: int, *, linear: bool = False, factor: int = 1
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return blurred photographs and the sharp ones of their middle, as GOPRO was made.

    Parameters
    ----------
    frames
        A sequence; windows of it follow each other without overlap.
    count
        Frames of a window, an odd number; 7 to 13 in GOPRO.
    linear
        As for `averaged`.
    factor
        That of `interpolated`, if it made the frames: windows then begin where their middle is a
        frame that was photographed, since an estimated one is no truth.

    Raises
    ------
    DataError
        If the number is even or less than three, or the sequence is shorter.
    """
    if count < 3 or count % 2 == 0:
        raise DataError(
            f"the number of averaged frames must be odd and at least 3, so that there is one in "
            f"the middle, not {count}"
        )
    if len(frames) < count:
        raise DataError(f"a sequence of {len(frames)} frames, fewer than the {count} to average")
    first = -(count // 2) % factor
    if len(frames) < first + count:
        raise DataError(
            f"a sequence of {len(frames)} frames, interpolated ones among them, has no {count} "
            "around one that was photographed"
        )
    return [
        (averaged(frames[start : start + count], linear=linear), frames[start + count // 2])
        for start in range(first, len(frames) - count + 1, -(-count // factor) * factor)
    ]


def interpolated(frames: Frames, factor: int) -> list[NDArray[np.uint8]]:
    """Put frames between those that lie too far apart, along the optical flow of scikit-image.

    What moves by more than a few pixels between two frames would leave separate copies in their
    average. The flow is estimated (iterative Lucas-Kanade), so its errors become part of the blur;
    `blurred_pairs` takes the truth from the frames that were given.

    Parameters
    ----------
    frames
        ``(H, W)`` or ``(H, W, 3)`` uint8 of one size.
    factor
        Frames that each becomes; 1 changes nothing.

    Returns
    -------
    list of numpy.ndarray
        ``(len(frames) - 1) * factor + 1`` frames, every `factor`-th a given one.
    """
    if factor < 1:
        raise ArgumentError(f"the factor of interpolation must be at least 1, not {factor}")
    if len({frame.shape for frame in frames}) > 1:
        raise DataError("frames of unequal size")
    result = list(frames[:1])
    for first, second in pairwise(frames):
        if factor > 1:
            result += _between(first, second, factor)
        result.append(second)
    return result


def _between(
    first: NDArray[np.uint8], second: NDArray[np.uint8], factor: int
) -> list[NDArray[np.uint8]]:
    greys = [item if item.ndim == 2 else item.mean(2) for item in (first, second)]
    forward = registration.optical_flow_ilk(greys[0], greys[1], radius=9)
    backward = registration.optical_flow_ilk(greys[1], greys[0], radius=9)
    rows, columns = np.indices(first.shape[:2], np.float64)

    def moved(image: NDArray, flow: NDArray, share: float) -> NDArray:
        # The flow at the place between is taken from the frame: exact for uniform motion.
        places = np.array([rows - share * flow[0], columns - share * flow[1]])
        planes = np.atleast_3d(image).transpose(2, 0, 1).astype(np.float64)
        warped = [transform.warp(plane, places, mode="edge") for plane in planes]
        return np.stack(warped, 2).reshape(image.shape)

    shares = [step / factor for step in range(1, factor)]
    return [
        to_codes((1 - t) * moved(first, forward, t) + t * moved(second, backward, 1 - t))
        for t in shares
    ]


def camera_shake(
    picture: NDArray[np.uint8],
    random: np.random.Generator,
    side: int,
    *,
    views: int = 17,
    longest: float = 24.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a patch as a moving camera sees it, blurred, and as it stands in the middle.

    The camera shifts, turns and zooms along a smooth random path while the shutter is open. The
    patch is magnified by up to 2 first, as frames of a film are less crisp than photographs.

    Parameters
    ----------
    picture
        ``(H, W, 3)`` uint8.
    random
        Where the randomness comes from.
    side
        Of the patch, pixels.
    views
        Number of views that are averaged; odd.
    longest
        Most pixels by which the camera shifts.

    Returns
    -------
    blurred, sharp
        Each ``(3, side, side)`` float32 in [0, 1].
    """
    height, width = picture.shape[:2]
    zoom = random.uniform(0.5, 1.0)
    centre = np.array(
        [random.uniform(side / 2 * zoom, max(size - side / 2 * zoom, side / 2 * zoom + 1e-3))
         for size in (height, width)]
    )  # fmt: skip
    turn, mirror = random.uniform(-np.pi, np.pi), random.choice((-1.0, 1.0))
    base = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    base[:, 1] *= mirror
    # Positions as a polynomial of time, from -1/2 to 1/2, with a tremble on top; zero at time 0.
    times = np.linspace(-0.5, 0.5, views)
    powers = np.stack([times, 4 * times**2, 4 * times**3])
    shift = _path(random, powers, random.uniform(3, longest), 2)
    angle = _path(random, powers, random.uniform(0, 0.06) * random.integers(0, 2), 1)[0]
    growth = _path(random, powers, random.uniform(0, 0.04) * random.integers(0, 2), 1)[0]
    # What the camera turns about may lie outside the patch.
    pivot = random.uniform(-side, side, 2)
    rows, columns = np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    places = np.stack([rows, columns])[None] - pivot[:, None, None]
    cosine, sine = ((1 + growth) * function(angle) for function in (np.cos, np.sin))
    motion = np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1)
    seen = np.einsum("vij,vjhw->vihw", motion, np.broadcast_to(places, (views, 2, side, side)))
    seen += (pivot[:, None] + shift).T[:, :, None, None]
    seen = np.einsum("ij,vjhw->vihw", base, seen) + centre[:, None, None]
    grid = np.stack([2 * (seen[:, 1] + 0.5) / width - 1, 2 * (seen[:, 0] + 0.5) / height - 1], -1)
    light = torch.from_numpy(_LIGHT[picture.transpose(2, 0, 1)])[None]
    looks = functional.grid_sample(
        light.expand(views, -1, -1, -1),
        torch.from_numpy(grid.astype(np.float32)),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    ).clamp(0, 1)
    both = torch.stack([looks.mean(0), looks[views // 2]]) ** (1 / GAMMA)
    blurred, sharp = both.numpy()
    return blurred, sharp


_LIGHT: Final = ((np.arange(256) / 255.0) ** GAMMA).astype(np.float32)


def _path(
    random: np.random.Generator, powers: NDArray[np.float64], size: float, count: int
) -> NDArray[np.float64]:
    """Return `count` smooth functions of time whose larger extent is about `size`."""
    # Mostly straight, as hands and objects move during a short time.
    weights = random.normal(size=(count, 3)) * (1.0, 0.35, 0.25)
    curves = weights @ powers
    extent = np.sqrt(np.square(np.ptp(curves, axis=1)).sum())
    return curves * (size / max(extent, 1e-9))
