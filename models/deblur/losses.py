"""Losses of DeepDeblur: the squared error of all scales, and the adversarial game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.deblur.networks import Generator

FLOOR: Final = 1e-5
"""Squared error of 50 dB, below which the logarithm rewards nothing more."""


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
    """Return the mean over images of the squared error, or of its logarithm.

    The logarithm is PSNR but for a factor. By it all patches count alike; by the error itself those
    that are blurred beyond help count most.

    Parameters
    ----------
    made, truth
        ``(N, 3, H, W)``.
    logarithmic
        Which of the two.
    """
    errors = (made - truth).square().mean((1, 2, 3))
    return torch.log(errors + FLOOR).mean() if logarithmic else errors.mean()


def discriminator_loss(critic: nn.Module, made: Tensor, sharp: Tensor) -> Tensor:
    """Return the cross entropy of a discriminator that ought to tell made images from true ones.

    Parameters
    ----------
    critic
        Returns logits, ``(N, 1)``.
    made
        What the generator made, detached from it.
    sharp
        True images.
    """
    true, false = critic(sharp), critic(made)
    return functional.binary_cross_entropy_with_logits(
        true, torch.ones_like(true)
    ) + functional.binary_cross_entropy_with_logits(false, torch.zeros_like(false))


def generator_loss(critic: nn.Module, made: Tensor) -> Tensor:
    """Return the cross entropy of made images taken for true ones: the non-saturating form.

    Parameters
    ----------
    critic
        Returns logits, ``(N, 1)``.
    made
        What the generator made.
    """
    logits = critic(made)
    return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
