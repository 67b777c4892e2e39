"""The loss of DeepDeblur: the squared error of all scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from fxp.models.common.adversarial import log_squared_error
from fxp.models.deblur.networks import Generator

FLOOR: Final = 1e-3
"""Squared error of 30 dB, below which the logarithm rewards little more. By a lower one, patches of
sky and walls would count most, where all there is to learn is to take off noise."""


def content_loss(
    network: Generator, latent: Sequence[Tensor], sharp: Tensor, *, logarithmic: bool = False
) -> Tensor:
    """Return the mean squared error of all scales over two (equation 5 of the paper).

    Parameters
    ----------
    network
        Makes the pyramid of the sharp image.
    latent
        What its scales made, the finest first.
    sharp
        The truth, ``(N, 3, H, W)``.
    logarithmic
        Take the logarithm of the error of every patch and scale, see `image_errors`.
    """
    with torch.no_grad(), torch.autocast(sharp.device.type, enabled=False):
        truths = network.pyramid(sharp)
    errors = [
        image_errors(made, truth, logarithmic=logarithmic)
        for made, truth in zip(latent, truths, strict=True)
    ]
    return torch.stack(errors).sum() / (2 * len(errors))


def image_errors(made: Tensor, truth: Tensor, *, logarithmic: bool) -> Tensor:
    """Return the mean over images of the squared error, or of its logarithm, which is PSNR.

    Parameters
    ----------
    made, truth
        ``(N, 3, H, W)``.
    logarithmic
        Which of the two.
    """
    if logarithmic:
        return log_squared_error(made, truth, FLOOR)
    return (made - truth).square().mean()
