"""Scores of deblurred photographs: PSNR and SSIM of pairs, and the protocol of Köhler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.files import read_image
from fxp.imaging.quality import Quality, compare, mean_quality
from fxp.models.common.data import DataError
from fxp.models.common.pairs import rgb
from fxp.models.common.photographs import Method, photographs_quality, unchanged
from fxp.models.deblur.data import KohlerItem, PairFiles
from fxp.support.errors import ArgumentError

SCALE_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, the finest first (Wang et al., Asilomar 2003)."""


def score_pairs(
    pairs: Iterable[PairFiles | tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    method: Method = unchanged,
) -> Quality:
    """Return mean PSNR and SSIM of RGB over pairs.

    Parameters
    ----------
    pairs
        Files, or blurred and sharp photographs ``(H, W, 3)``.
    method
        What deblurs.
    """
    both = (pair.read() if isinstance(pair, PairFiles) else pair for pair in pairs)
    return photographs_quality(both, method)


def score_kohler(items: Sequence[KohlerItem], method: Method = unchanged) -> Quality:
    """Return mean PSNR and multi-scale SSIM on photographs of the Köhler benchmark.

    Each result is compared with all views along the camera's path, and the highest value counts.

    Parameters
    ----------
    items
        The photographs.
    method
        What deblurs.

    Raises
    ------
    DataError
        If a view has another size than its photograph.
    """
    found = []
    for item in items:
        result = method(rgb(read_image(item.blurred)))
        scores = []
        for path in item.sharp:
            view = rgb(read_image(path))
            if view.shape != result.shape:
                raise DataError(
                    f"{path} is {view.shape[1]}x{view.shape[0]}, but {item.blurred} is "
                    f"{result.shape[1]}x{result.shape[0]}"
                )
            psnr = compare(view, result).psnr
            scores.append((psnr, multi_scale_similarity(view, result)))
        found.append(Quality(*np.max(scores, axis=0).tolist()))
    return mean_quality(found)


def multi_scale_similarity(truth: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Return the multi-scale SSIM of two images of 8 bits, of colour images the channels' mean.

    Contrast and structure of five scales are multiplied with the luminance of the coarsest, each
    to the power of its `SCALE_WEIGHTS`. Between scales, blocks of 2x2 pixels are averaged.

    Parameters
    ----------
    truth, image
        ``(H, W)`` or ``(H, W, 3)`` uint8 of one size, 176 pixels or more on each side.

    Raises
    ------
    ArgumentError
        If the sizes differ or are too small for five scales.

    References
    ----------
    Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality
    assessment", Asilomar 2003.
    """
    smallest = 11 << (len(SCALE_WEIGHTS) - 1)
    if truth.shape != image.shape or min(truth.shape[:2]) < smallest:
        raise ArgumentError(
            f"multi-scale SSIM needs two images of one size, of {smallest} pixels or more on each "
            f"side, not {truth.shape} and {image.shape}"
        )
    if truth.ndim == 3:
        channels = range(truth.shape[2])
        return float(np.mean([multi_scale_similarity(truth[..., c], image[..., c])
                              for c in channels]))  # fmt: skip
    first, second = truth.astype(np.float64), image.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, structure = _similarities(first, second)
        value = luminance * structure if scale == len(SCALE_WEIGHTS) - 1 else structure
        product *= max(float(value.mean()), 0.0) ** weight
        first, second = (_halved(item) for item in (first, second))
    return product


def _similarities(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return luminance, and contrast times structure, where the window of 11 pixels fits."""
    taps = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    taps /= taps.sum()

    def smooth(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        for axis in (0, 1):
            plane = np.lib.stride_tricks.sliding_window_view(plane, 11, axis) @ taps
        return plane

    one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean, other = smooth(first), smooth(second)
    variance, second_variance = (
        smooth(item * item) - average**2 for item, average in ((first, mean), (second, other))
    )
    covariance = smooth(first * second) - mean * other
    luminance = (2 * mean * other + one) / (mean**2 + other**2 + one)
    return luminance, (2 * covariance + two) / (variance + second_variance + two)


def _halved(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = (size // 2 * 2 for size in plane.shape)
    return plane[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
