"""PSNR and SSIM of the standard super-resolution protocol.

Luma rounded to uint8, antialiased bicubic downscaling in float, result rounded to uint8, a border
of ``scale`` pixels left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fxp.imaging.quality import Quality, to_codes
from fxp.imaging.resize import imresize
from fxp.models.common.data import modcrop
from fxp.models.common.measure import FloatPixels, PixelFunction, evaluating, pair_scores
from fxp.models.sr.data import downscale


def luma_scores(
    images: Iterable[NDArray[np.uint8]],
    upscale: PixelFunction,
    scale: int,
    *,
    round_input: bool = False,
) -> Quality:
    """Score a method of upscaling on the luma of images.

    Parameters
    ----------
    images
        High-resolution luma, ``(H, W)`` uint8.
    upscale
        The method.
    scale
        Upscaling factor, also the border left out.
    round_input
        Round the low-resolution luma to 8 bits, as a camera or decoder delivers it. The published
        protocol does not.

    Returns
    -------
    Quality
        Means over the images.
    """
    large = (modcrop(image, scale) for image in images)
    pairs = ((downscale(high, scale), high) for high in large)
    if round_input:
        pairs = ((to_codes(low), high) for low, high in pairs)
    return pair_scores(pairs, upscale, scale)


def scores(
    model: nn.Module,
    images: Iterable[NDArray[np.uint8]],
    scale: int,
    *,
    round_input: bool = False,
) -> Quality:
    """Score a network on luma images by `luma_scores`. The network's mode is kept.

    Parameters
    ----------
    model
        Maps luma in [0, 1], ``(N, 1, H, W)``, to luma upscaled; ``model.margin`` is its context in
        rows and columns, by which images are continued beyond their border.
    images, scale, round_input
        As for `luma_scores`.
    """
    with evaluating(model):
        upscale = FloatPixels(model, border=model.margin)  # type: ignore[arg-type]
        return luma_scores(images, upscale, scale, round_input=round_input)


def bicubic_scores(
    images: Iterable[NDArray[np.uint8]], scale: int, *, round_input: bool = False
) -> Quality:
    """Score bicubic upscaling on luma images by `luma_scores`, whose parameters it has.

    Parameters
    ----------
    images, scale, round_input
        As for `luma_scores`.
    """
    return luma_scores(images, lambda low: imresize(low, scale), scale, round_input=round_input)
