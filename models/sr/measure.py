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
from fxp.models.common.data import modcrop
from fxp.models.sr.data import downscale

Enlarge = Callable[[NDArray[np.float64]], NDArray]
"""Maps low-resolution luma in 8-bit codes, (H, W), to (scale*H, scale*W)."""


def by_network(model: nn.Module) -> Enlarge:
    """Return how a network on the CPU enlarges; it should be in eval mode."""

    def enlarge(low: NDArray[np.float64]) -> NDArray:
        with torch.inference_mode():
            luma = torch.from_numpy((low / 255.0).astype(np.float32))[None, None]
            return model(luma)[0, 0].numpy() * 255.0

    return enlarge


def by_fixed(model: FixedModel) -> Enlarge:
    """Return how a fixed-point model of pixels in steps of 1/256 enlarges."""
    return lambda low: model(low / 256.0) * 256.0


def pair_scores(
    pairs: Iterable[tuple[NDArray, NDArray[np.uint8]]], enlarge: Enlarge, scale: int
) -> Quality:
    """Score a method of enlargement on pairs of low- and high-resolution luma.

    Returns
    -------
    Quality
        Means over the pairs; a border of ``scale`` pixels is left out.
    """
    values = [
        compare(high, to_codes(enlarge(low.astype(np.float64))), border=scale)
        for low, high in pairs
    ]
    psnr, ssim = np.mean(values, axis=0)
    return Quality(float(psnr), float(ssim))


def luma_scores(
    images: Iterable[NDArray[np.uint8]],
    enlarge: Enlarge,
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
        The method.
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
    large = (modcrop(image, scale) for image in images)
    pairs = ((downscale(high, scale), high) for high in large)
    if round_input:
        pairs = ((to_codes(low), high) for low, high in pairs)
    return pair_scores(pairs, enlarge, scale)


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
    """Score bicubic enlargement on luma images; see `luma_scores`."""
    return luma_scores(images, lambda low: imresize(low, scale), scale, round_input=round_input)
