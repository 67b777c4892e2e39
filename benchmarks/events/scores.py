"""How frames from events are compared with those of a camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.exposure import equalize_hist

from fxp.imaging.quality import compare, to_codes

PERCENTILES: Final = (1, 99)
"""Percentiles of a camera's frame that become black and white."""


class Score(NamedTuple):
    """Mean squared error of pixels from 0 to 1, PSNR in dB and SSIM."""

    mse: float
    psnr: float
    ssim: float


def equalized(frame: ArrayLike, low: float = 0, high: float = 100) -> NDArray[np.uint8]:
    """Stretch a frame between two of its percentiles, and equalize its histogram.

    Parameters
    ----------
    frame
        ``(H, W)``, of any range.
    low, high
        The percentiles; 0 and 100 are the smallest and the largest value.
    """
    values = np.asarray(frame, np.float64)
    black, white = np.percentile(values, (low, high))
    shown = np.clip((values - black) / max(white - black, 1e-12), 0, 1)
    return to_codes(255 * equalize_hist(shown))


def score(picture: ArrayLike, truth: ArrayLike) -> Score:
    """Compare a reconstructed picture with a camera's frame after both are equalized.

    Parameters
    ----------
    picture
        What a network returns, ``(H, W)``, stretched from its smallest to its largest value.
    truth
        The camera's frame, stretched between `PERCENTILES`.
    """
    first, second = equalized(picture), equalized(truth, *PERCENTILES)
    quality = compare(second, first)
    difference = (first.astype(np.float64) - second) / 255
    return Score(float(np.square(difference).mean()), quality.psnr, quality.ssim)


def mean_score(scores: Iterable[Score]) -> Score:
    """Return the mean of each figure."""
    return Score(*np.mean(list(scores), axis=0).tolist())


def nearest(ends: Sequence[int], times: Sequence[int]) -> list[tuple[int, int]]:
    """Pair each frame of the camera with the window that ends nearest to its time.

    Parameters
    ----------
    ends
        Ends of the windows, in microseconds; they increase.
    times
        Times of the frames; those before the first and behind the last end are left out.

    Returns
    -------
    list of tuple
        Number of the window, and of the frame.
    """
    found = np.asarray(ends)
    return [
        (int(np.abs(found - time).argmin()), number)
        for number, time in enumerate(times)
        if found[0] <= time <= found[-1]
    ]
