"""PSNR and SSIM of the standard super-resolution protocol.

Luma rounded to uint8, antialiased bicubic downscaling in float, result rounded to uint8, a border
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
from fxp.models.common.data import modcrop
from fxp.models.sr.data import downscale

Upscale = Callable[[NDArray[np.float64]], NDArray]
"""Maps low-resolution luma in 8-bit codes, (H, W), to (scale*H, scale*W)."""


def by_network(model: nn.Module) -> Upscale:
    """Return how a network on the CPU upscales; it should be in eval mode."""

    def upscale(low: NDArray[np.float64]) -> NDArray:
        with torch.inference_mode():
            luma = torch.from_numpy((low / 255.0).astype(np.float32))[None, None]
            return model(luma)[0, 0].numpy() * 255.0

    return upscale


def by_fixed(model: FixedModel) -> Upscale:
    """Return how a fixed-point model of pixels in steps of 1/256 upscales."""
    return lambda low: model(low / 256.0) * 256.0


def pair_scores(
    pairs: Iterable[tuple[NDArray, NDArray[np.uint8]]], upscale: Upscale, scale: int
) -> Quality:
    """Score a method of upscaling on pairs of low- and high-resolution luma.

    Returns
    -------
    Quality
        Means over the pairs; a border of ``scale`` pixels is left out.
    """
    values = [
        compare(high, to_codes(upscale(low.astype(np.float64))), border=scale)
        for low, high in pairs
    ]
    psnr, ssim = np.mean(values, axis=0)
    return Quality(float(psnr), float(ssim))


def luma_scores(
    images: Iterable[NDArray[np.uint8]],
    upscale: Upscale,
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
    """Score a network on luma images; see `luma_scores`. The network's mode is kept."""
    training = model.training
    model.eval()
    try:
        return luma_scores(images, by_network(model), scale, round_input=round_input)
    finally:
        model.train(training)


def bicubic_scores(
    images: Iterable[NDArray[np.uint8]], scale: int, *, round_input: bool = False
) -> Quality:
    """Score bicubic upscaling on luma images; see `luma_scores`."""
    return luma_scores(images, lambda low: imresize(low, scale), scale, round_input=round_input)
