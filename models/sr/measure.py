"""PSNR and SSIM of the standard super-resolution protocol.

Luma rounded to uint8, antialiased bicubic shrinking in float, result rounded to uint8, a border
of ``scale`` pixels left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fxp.imaging.quality import Quality, compare, to_codes
from fxp.imaging.resize import imresize
from fxp.model import FixedModel

from .data import degrade, modcrop


def luma_scores(
    images: Iterable[NDArray[np.uint8]],
    enlarge: Callable[[NDArray[np.float64]], NDArray],
    scale: int,
    *,
    round_input: bool = False,
) -> Quality:
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
    Quality
        Means over the images.
    """
    values = []
    for image in images:
        high = modcrop(image, scale)
        low = degrade(high, scale)
        if round_input:
            low = to_codes(low).astype(np.float64)
        values.append(compare(high, to_codes(enlarge(low)), border=scale))
    psnr, ssim = np.mean(values, axis=0)
    return Quality(float(psnr), float(ssim))


def scores(
    model: nn.Module,
    images: Iterable[NDArray[np.uint8]],
    scale: int,
    *,
    round_input: bool = False,
) -> Quality:
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


def fixed_scores(model: FixedModel, images: Iterable[NDArray[np.uint8]], scale: int) -> Quality:
    """Score a fixed-point model of 8-bit pixels on luma images; see `luma_scores`."""
    return luma_scores(images, lambda low: model(low / 256.0) * 256.0, scale, round_input=True)


def bicubic_scores(
    images: Iterable[NDArray[np.uint8]], scale: int, *, round_input: bool = False
) -> Quality:
    """Score bicubic enlargement on luma images; see `luma_scores`."""
    return luma_scores(images, lambda low: imresize(low, scale), scale, round_input=round_input)
