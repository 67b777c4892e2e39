"""Train a network for flash photographs: ``python -m fxp.models.flash.train``.

``--data DIR --out FILE.safetensors`` name the pairs and the weights.

``DIR/flash`` holds pairs ``NAME_flash.png`` and ``NAME_ambient.png``, in folders of any names but
``classic``, which is left for looking at. One pair in four is left out, see ``--fold``; it chooses
nothing. The weights kept are those with the best PSNR on pairs that are trained on: with so few
pairs, choosing by those left out would flatter the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.common.adversarial import (
    DISCRIMINATOR,
    adversarial_step,
    log_squared_error,
)
from fxp.models.common.photographs import photograph_method
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.run import run_training, training_command
from fxp.models.common.trainer import Trainer
from fxp.models.flash.data import FlashPair, divided, smoothed, training_pairs
from fxp.models.flash.fixed import quantize_options
from fxp.models.flash.guidance import (
    Discriminator,
    attention_map,
    encoder_of,
    load_encoder,
)
from fxp.models.flash.measure import pairs_quality
from fxp.models.flash.networks import load_float, preset
from fxp.models.flash.settings import FlashSettings, Network, Reconstruction

SCORED = 8
"""Training pairs whose PSNR chooses the weights."""
GAMMA = 2.2
"""Of pixel values against linear light."""
FLOOR = 1e-4
"""Squared error of 40 dB, below which the logarithm rewards little more."""


class FlashRecipe(Recipe[FlashSettings]):
    """A network on crops of pairs, guided as the settings say.

    Parameters
    ----------
    settings
        The run.
    pairs
        All pairs, in the order of their names.
    """

    unit = ""
    betas = (0.5, 0.999)

    def __init__(self, settings: FlashSettings, pairs: Sequence[FlashPair]) -> None:
        super().__init__(settings)
        self.pairs, self.left_out = divided(pairs, settings.fold, settings.folds)
        learned = self.pairs
        if settings.network == Network.DEEPFLASH:
            learned = [
                replace(pair, flash=smoothed(pair.flash), ambient=smoothed(pair.ambient))
                for pair in learned
            ]
        self._pictures: list[NDArray[np.float32]] = [
            np.divide(
                np.concatenate([pair.flash, pair.ambient], 2), 255, dtype=np.float32
            ).transpose(2, 0, 1)
            for pair in learned
        ]

    def network(self) -> nn.Module:
        """Return a new network, with the encoder of the settings."""
        network = preset(str(self.settings.network), self.settings.width)
        if self.settings.encoder:
            load_encoder(network, self.settings.encoder)
        return network

    def load(self, name: str) -> nn.Module:
        """Load float weights by name or file."""
        return load_float(name)

    def prepared(self, network: nn.Module) -> nn.Module:
        """Freeze an encoder whose weights were given, unless it is to train too."""
        if self.settings.encoder and not self.settings.train_encoder:
            encoder_of(network).requires_grad_(False)
        return network.train()

    def helpers(self) -> dict[str, nn.Module]:
        """Return the discriminator, if the settings have one."""
        if not self.settings.adversarial:
            return {}
        return {DISCRIMINATOR: Discriminator(self.settings.discriminator_width)}

    def rate_factor(self, name: str) -> float:
        """Return the learning rate of a module in units of the generator's."""
        return self.settings.discriminator_rate if name == DISCRIMINATOR else 1.0

    def batch(self, number: int) -> Sequence[NDArray[np.float32]]:
        """Return crops of flash and ambient photographs, ``(N, 3, H, W)`` each."""
        random = np.random.default_rng([self.settings.seed, number])
        pictures, side = self._pictures, self.settings.side
        shape = (side, side)
        if not self.settings.square:
            # All pictures of a batch are upright, or all are not.
            upright = _upright(pictures[random.integers(len(pictures))])
            pictures = [item for item in pictures if _upright(item) == upright]
            shape = (side, side * 3 // 4) if upright else (side * 3 // 4, side)
        items = np.stack(
            [
                self._crop(pictures[random.integers(len(pictures))], shape, random)
                for _ in range(self.settings.batch)
            ]
        )
        return items[:, :3], items[:, 3:]

    def _crop(
        self, picture: NDArray[np.float32], shape: tuple[int, int], random: np.random.Generator
    ) -> NDArray[np.float32]:
        sides = np.array(picture.shape[1:])
        whole = np.full(2, sides.min()) if self.settings.square else sides
        height, width = (whole * random.uniform(self.settings.crop, 1.0)).astype(int)
        top, left = random.integers(sides - (height, width) + 1)
        crop = picture[:, top : top + height, left : left + width]
        if random.random() < 0.5:
            crop = crop[:, :, ::-1]
        resized = functional.interpolate(
            torch.from_numpy(crop[None].copy()), size=shape, mode="bilinear", antialias=True
        )[0].numpy()
        return self._other_light(resized, random)

    def _other_light(
        self, both: NDArray[np.float32], random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Vary the lights of flash and ambient photograph, ``(6, H, W)``."""
        settings = self.settings
        if not settings.exposure and not settings.fill_light:
            return both
        linear = both.clip(0, 1) ** GAMMA
        share = random.uniform(0, settings.fill_light)
        flash = (linear[:3] + share * linear[3:]) / (1 + share)
        stops = random.normal(0, 1, (2, 1)) + random.normal(0, 0.5, (2, 3))
        factors = np.exp(settings.exposure * stops).reshape(6, 1, 1).astype(np.float32)
        light = np.concatenate([flash, linear[3:]]) * factors
        return (light.clip(0, 1) ** (1 / GAMMA)).astype(np.float32)

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the pixel loss.

        Parameters
        ----------
        network
            What trains.
        batch
            Photographs with flash, and in ambient light.
        finishing
            Changes nothing.
        """
        flash, ambient = batch
        attention = self._attention(flash, ambient)
        return self._pixel_loss(_result(network, flash) * attention, ambient * attention)

    def _attention(self, flash: Tensor, ambient: Tensor) -> Tensor:
        guided = self.settings.attention
        return attention_map(flash, ambient) if guided else flash.new_ones(1, 1, 1, 1)

    def _pixel_loss(self, result: Tensor, truth: Tensor) -> Tensor:
        if self.settings.reconstruction == Reconstruction.LOG_MSE:
            return log_squared_error(result, truth, FLOOR)
        return functional.l1_loss(result, truth)

    def step(self, trainer: Trainer, batch: Sequence[Tensor]) -> float:
        """Do a step of the discriminator, then one of the generator, Eq. 3 and 4 of the paper."""
        weight = self.settings.adversarial
        if not weight:
            return super().step(trainer, batch)
        flash, ambient = batch
        attention = self._attention(flash, ambient)
        real, made = ambient * attention, _result(trainer.network, flash) * attention
        return adversarial_step(trainer, real, made, self._pixel_loss(made, real), weight)

    def quantize_options(self) -> dict[str, Any]:
        """Return the photographs that formats are chosen on, and the formats of pixels."""
        return quantize_options(self.pairs, self.network().multiple)  # type: ignore[arg-type]

    def scores(self, model: Model) -> dict[str, float]:
        """Return PSNR of training pairs, and PSNR and SSIM of those left out."""
        relight = photograph_method(model)
        left_out = pairs_quality(self.left_out, relight)
        return {
            "training": pairs_quality(self.pairs[:SCORED], relight).psnr,
            "left-out": left_out.psnr,
            "left-out ssim": left_out.ssim,
            "flash itself": pairs_quality(self.left_out).psnr,
        }

    def summary(self) -> str:
        """Return the pairs, and what trains."""
        settings = self.settings
        names = ", ".join(pair.name for pair in self.left_out) or "none"
        encoder = "trained from scratch"
        if settings.encoder:
            encoder = "VGG-16, trained on" if settings.train_encoder else "VGG-16, frozen"
        return f"{len(self.pairs)} training pairs; left out: {names}; encoder {encoder}"

    def metadata(self) -> dict[str, str]:
        """Return the pairs that were left out."""
        return {"left_out": ", ".join(pair.name for pair in self.left_out)}


def _upright(picture: NDArray) -> bool:
    """Whether a picture ``(C, H, W)`` is higher than wide."""
    return picture.shape[1] > picture.shape[2]


def _result(network: nn.Module, flash: Tensor) -> Tensor:
    """Return what losses see: pixels beyond black and white need a gradient back."""
    return getattr(network, "unclamped", network)(flash)


def recipe(settings: FlashSettings, folder: Path) -> FlashRecipe:
    """Return the training of a data folder."""
    return FlashRecipe(settings, training_pairs(folder))


main = training_command(
    FlashSettings, recipe, "Train a network that shows flash photographs in ambient light."
)

if __name__ == "__main__":
    run_training(main)
