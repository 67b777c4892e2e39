"""The adversarial game: a discriminator that tells made pictures from true ones, and its losses."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.common.trainer import NETWORK, Trainer

DISCRIMINATOR: Final = "discriminator"
"""Its name among the modules that train, see `fxp.models.common.recipe.Recipe.helpers`."""


def judged(logits: Tensor, real: bool) -> Tensor:
    """Return the mean binary cross-entropy of logits that ought to say real, or made."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def discriminator_loss(discriminator: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    """Return the sum of both errors of a discriminator.

    Parameters
    ----------
    discriminator
        Returns logits.
    real, made
        True pictures, and those of the network, which gets no gradient.
    """
    return judged(discriminator(made.detach()), False) + judged(discriminator(real), True)


def adversarial_step(
    trainer: Trainer, real: Tensor, made: Tensor, loss: Tensor, weight: float
) -> float:
    """Do a step of the discriminator, then one of the network, in the non-saturating form.

    Parameters
    ----------
    trainer
        Holds the network and a module named `DISCRIMINATOR`.
    real, made
        True pictures, and those of the network.
    loss
        What the network is taught besides, a scalar.
    weight
        Of the discriminator's judgement in the loss of the network.

    Returns
    -------
    float
        The loss of the network.
    """
    discriminator = trainer.modules[DISCRIMINATOR]
    trainer.update(DISCRIMINATOR, discriminator_loss(discriminator, real, made))
    return trainer.update(NETWORK, loss + weight * judged(discriminator(made), True))


def log_squared_error(made: Tensor, truth: Tensor, floor: float) -> Tensor:
    """Return the mean logarithm of the squared error of each picture: PSNR, up to its scale.

    By it pictures of large and of small errors count alike.

    Parameters
    ----------
    made, truth
        ``(N, C, H, W)``.
    floor
        Added to each error. Pictures whose error is below it count less.
    """
    return (made - truth).square().mean((1, 2, 3)).add(floor).log().mean()
