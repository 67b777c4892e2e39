"""PSNR and SSIM of the standard super-resolution protocol.

Luma rounded to uint8, antialiased bicubic shrinking in float, result rounded to uint8, a border
of ``scale`` pixels left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from .data import degrade, modcrop
from .resize import imresize


class Score(NamedTuple):
    """Mean quality over a set of images: PSNR in decibel, and SSIM."""

    psnr: float
    ssim: float


def _to_codes(image: NDArray) -> NDArray[np.uint8]:
    return np.clip(np.floor(np.asarray(image, np.float64) + 0.5), 0, 255).astype(np.uint8)


def luma_scores(
    images: Iterable[NDArray[np.uint8]],
    enlarge: Callable[[NDArray[np.float64]], NDArray],
    scale: int,
    *,
    round_input: bool = False,
) -> Score:
    """Score a method of enlargement on the luma of images.

    Parameters
    ----------
    images
        High-resolution luma, ``(H, W)`` uint8.
    enlarge
        Maps low-resolution luma in 8-bit codes ``(H/scale, W/scale)`` float64 to ``(H, W)``.
    scale
        Enlargement factor, also the border left out.
    round_input
        Round the low-resolution luma to 8 bits, as a camera or decoder delivers it. The published
        protocol does not.

    Returns
    -------
    Score
        Means over the images; SSIM with the Gaussian window of Wang et al. (2004).
    """
    values = []
    for image in images:
        high = modcrop(image, scale)
        low = degrade(high, scale)
        if round_input:
            low = _to_codes(low).astype(np.float64)
        inside = (slice(scale, -scale), slice(scale, -scale))
        result, truth = _to_codes(enlarge(low))[inside], high[inside]
        ssim = structural_similarity(
            truth,
            result,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        values.append((peak_signal_noise_ratio(truth, result, data_range=255), ssim))
    psnr, ssim = np.mean(values, axis=0)
    return Score(float(psnr), float(ssim))


def scores(
    model: nn.Module,
    images: Iterable[NDArray[np.uint8]],
    scale: int,
    *,
    round_input: bool = False,
) -> Score:
    """Score a network on luma images; see `luma_scores`. The network's mode is kept."""
    training = model.training
    model.eval()

    def enlarge(low: NDArray[np.float64]) -> NDArray:
        with torch.inference_mode():
            luma = torch.from_numpy((low / 255.0).astype(np.float32))[None, None]
            return model(luma)[0, 0].numpy() * 255.0

    try:
        return luma_scores(images, enlarge, scale, round_input=round_input)
    finally:
        model.train(training)


def bicubic_scores(
    images: Iterable[NDArray[np.uint8]], scale: int, *, round_input: bool = False
) -> Score:
    """Score bicubic enlargement on luma images; see `luma_scores`."""
    return luma_scores(images, lambda low: imresize(low, scale), scale, round_input=round_input)
