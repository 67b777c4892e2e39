"""Train KimSR: ``python -m fxp.models.sr.train --data DIR --out FILE.safetensors``.

``DIR`` holds the image folders T91 and BSD200 (training) and, for information only, Set5. Every
twentieth BSD200 image is held out; the weights kept are those with the best PSNR on these, so
that the test sets choose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from fxp.imaging.colour import luma
from fxp.imaging.quality import mean_quality, to_codes
from fxp.imaging.resize import imresize
from fxp.models.common.data import DataError, Pictures, held_out, read_pictures
from fxp.models.common.measure import pair_scores, pixel_function
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.run import run_training, training_command
from fxp.models.common.settings import TrainingError, listed, portable
from fxp.models.sr.branches import add_branches
from fxp.models.sr.data import Downscaling, TrainingSet, bicubic
from fxp.models.sr.degradation import Degradation
from fxp.models.sr.fixed import formats
from fxp.models.sr.jpeg import jpeg_level
from fxp.models.sr.networks import KimSR, load_float
from fxp.models.sr.settings import Images, KimSRSettings, Loss
from fxp.quantization.signed_digits import signed_digit_count

TRAINING_FOLDERS = ("T91", "BSD200")
TEST_FOLDER = "Set5"
TEST_SETS = (TEST_FOLDER, "Set14", "B100")
"""What the project's tables measure on."""
HELD_OUT_EVERY = 20
RESCALED = (0.9, 0.8, 0.7, 0.6)
VARIANTS = 8
"""Inputs made of every image by a random degradation."""
QUALITIES = (50, 100)
"""Lowest and highest JPEG quality of `mixed`."""
CLEAN = 0.2
"""Share of images that `mixed` does not compress."""
LOG_FLOOR = 1e-5
"""Added to the squared error before its logarithm; patches of a smaller error count less."""


def load_images(folder: Path) -> tuple[Pictures, Pictures, Pictures]:
    """Read the training, held-out and Set5 images of a data folder.

    Raises
    ------
    DataError, ImageError
        If a training folder is missing or an image is corrupt. Set5 may be missing.
    """
    if not folder.is_dir():
        raise DataError(f"data folder not found: {folder}")
    first, second = (read_pictures(folder / name) for name in TRAINING_FOLDERS)
    training, held = held_out(second, HELD_OUT_EVERY)
    test = read_pictures(folder / TEST_FOLDER) if (folder / TEST_FOLDER).is_dir() else []
    return [*first, *training], held, test


def compressed(image: NDArray[np.uint8], scale: int, seed: int) -> NDArray[np.uint8]:
    """Degrade as `Degradation` does by default, and return the luma.

    Parameters
    ----------
    image
        ``(H, W)`` or ``(H, W, 3)`` uint8.
    scale
        Downscaling factor.
    seed
        Seed of what is random in it.
    """
    return luma(Degradation()(image, scale, seed))


def mixed_quality(seed: int) -> int | None:
    """Return the JPEG quality of the image of a seed: one in five is clean, see `mixed`."""
    generator = np.random.default_rng([seed, 1])
    clean = generator.random() < CLEAN
    return None if clean else int(generator.integers(QUALITIES[0], QUALITIES[1] + 1))


def mixed_level(seed: int) -> float:
    """Return how strongly the image of a seed is compressed."""
    quality = mixed_quality(seed)
    return 0.0 if quality is None else jpeg_level(quality)


def mixed(image: NDArray[np.uint8], scale: int, seed: int) -> NDArray[np.uint8]:
    """Downscale, and compress most images by JPEG of quality 50 to 100, half of them as grey.

    Parameters
    ----------
    image
        ``(H, W)`` or ``(H, W, 3)`` uint8.
    scale
        Downscaling factor.
    seed
        Seed of the quality.
    """
    degradation = Degradation(blur=0, quality=mixed_quality(seed), noise=0)
    return luma(degradation(luma(image) if seed % 2 else image, scale, seed))


IMAGES: dict[Images, Downscaling] = {
    Images.BICUBIC: bicubic,
    Images.COMPRESSED: compressed,
    Images.MIXED: mixed,
}
"""How the low-resolution images are made."""


def mean_digits(model: fxp.FixedModel) -> float:
    """Return the mean number of canonical signed digits of a weight."""
    constants = [item.data for item in model.graph.constants if item.name.endswith("weight")]
    weights = torch.from_numpy(np.concatenate([data.ravel() for data in constants]))
    return signed_digit_count(weights.to(torch.int64)).double().mean().item()


def decibels(change: float, psnr: float, loss: Loss) -> float:
    """Return by how much PSNR falls if a loss rises a little, in dB.

    Parameters
    ----------
    change
        Of the loss.
    psnr
        Where; the absolute error is taken for as large as the root of the squared one.
    loss
        Which.
    """
    # PSNR is -10 log10 of the squared error, and -20 log10 of its root.
    steepness = {
        Loss.L1: 20 * 10 ** (psnr / 20),
        Loss.MSE: 10 * 10 ** (psnr / 10),
        Loss.LOG: 10.0,
    }
    return steepness[loss] / math.log(10) * change


def training_pairs(settings: KimSRSettings, images: Pictures) -> TrainingSet:
    """Return the patches that a run trains on, from the images as they were read."""
    if settings.rescale:
        images = images + [to_codes(imresize(item, size)) for size in RESCALED for item in images]
    teachers = [load_float(name) for name in listed(settings.teacher)]
    for teacher in teachers:
        if teacher.scale != settings.scale:
            raise TrainingError(f"a teacher upscales by {teacher.scale}, not by {settings.scale}")
    random = settings.images != Images.BICUBIC
    return TrainingSet(
        images,
        scale=settings.scale,
        patch=settings.patch,
        margin=settings.network().margin,
        seed=settings.seed,
        downscaling=IMAGES[settings.images],
        level=mixed_level if settings.images == Images.MIXED else lambda seed: 0.0,
        variants=VARIANTS if random else 1,
        teachers=teachers,
        teacher_share=settings.teacher_share,
    )


class KimSRRecipe(Recipe[KimSRSettings]):
    """KimSR on pairs of patches, scored by PSNR.

    Parameters
    ----------
    settings
        The run.
    training
        Source of the patches.
    held_out, test
        Images that choose the weights, and that are measured only.
    """

    def __init__(
        self, settings: KimSRSettings, training: TrainingSet, held_out: Pictures, test: Pictures
    ) -> None:
        super().__init__(settings)
        self.training = training
        self.pairs = {"held-out": training.whole(held_out), TEST_FOLDER: training.whole(test)}
        self.margin = self.network().margin

    def network(self) -> Any:
        """Return a new network."""
        return self.settings.network()

    def load(self, name: str) -> nn.Module:
        """Load float weights by name or file; a network may learn to take the quality as well."""
        start = load_float(name)
        if self.settings.quality_input and isinstance(start, KimSR) and start.quality is None:
            taught = KimSR(**{**start.options(), "quality_input": True})
            taught.load_state_dict(taught.state_dict() | start.state_dict())
            return taught
        return start

    def prepared(self, network: nn.Module) -> nn.Module:
        """Merge the depthwise-separable convolutions, and add branches if wanted."""
        if self.settings.branches:
            add_branches(network)
        if isinstance(network, KimSR):
            network.merge()
        return network.train()

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        """Return low resolution, high resolution, mask, and the levels that are an input."""
        batch = self.training.batch(number, self.settings.batch)
        levels = (batch.level,) if self.settings.quality_input else ()
        return batch.low, batch.high, batch.mask, *levels

    def tensors(self, batch: Sequence[NDArray], device: str) -> tuple[Tensor, ...]:
        """Bring a batch to the device."""
        low, high, mask, *levels = super().tensors(batch, device)
        if self.settings.fixed:
            # The fixed-point model takes 8-bit codes in steps of 1/256.
            low, high = low * (255 / 256), high * (255 / 256)
        return low.contiguous(memory_format=torch.channels_last), high, mask, *levels

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the pixel error where the network sees all its context, and the digits' penalty.

        Parameters
        ----------
        network
            What trains.
        batch
            Low resolution, high resolution and mask, and the levels if they are an input.
        finishing
            Take the squared error, whatever the settings say.
        """
        low, high, mask, *levels = batch
        difference = network(low, *levels) - high
        kind = Loss.MSE if finishing else self.settings.loss
        error = difference.abs() if kind == Loss.L1 else difference.square()
        if kind == Loss.LOG:
            means = (error * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
            loss = (means + LOG_FLOOR).log().mean()
        else:
            loss = (error * mask).sum() / mask.sum()
        if self.settings.digits:
            assert isinstance(network, fxp.QatModel)
            loss = loss + self.settings.digits * network.digit_penalty()
        return loss

    def layer_factor(self, parameter: str) -> float:
        """Return the learning rate of a layer: that of the last one is an option."""
        return self.settings.tail_rate if parameter.startswith("tail.") else 1.0

    def quantize_options(self) -> dict[str, Any]:
        """Return calibration and formats of the shipped models."""
        return formats(self.settings.scale)

    def scores(self, model: Model) -> dict[str, float]:
        """Return the mean PSNR on the held-out images and on Set5, that with digits first."""
        if self.settings.quality_input:
            assert isinstance(model, KimSR)
            return {
                name: mean_quality(
                    pair_scores(
                        [pair], pixel_function(model.at_level(level), self.margin), model.scale
                    )
                    for pair, level in zip(pairs, map(self.training.level, count()), strict=False)
                ).psnr
                for name, pairs in self.pairs.items()
            }
        upscale = pixel_function(model, self.margin)
        found = {
            name: pair_scores(pairs, upscale, self.settings.scale).psnr
            for name, pairs in self.pairs.items()
        }
        if self.settings.digits and isinstance(model, fxp.FixedModel):
            weighed = self.settings.digits * mean_digits(model)
            less = decibels(weighed, found["held-out"], self.settings.loss)
            found = {"with digits": found["held-out"] - less, **found}
        return found

    def summary(self) -> str:
        """Return how many images there are."""
        held, test = (len(pairs) for pairs in self.pairs.values())
        count = len(self.training.high)
        return f"{count} training images, {held} held out, {test} of {TEST_FOLDER}"

    def metadata(self) -> dict[str, str]:
        """Return the data, the degradation, and the widths of a training with roundings."""
        widths = self.settings.widths() if self.settings.fixed else {}
        extra = portable(self.settings.extra)
        return {
            "training_images": " + ".join((*TRAINING_FOLDERS, *([extra] if extra else []))),
            "degradation": str(self.settings.images),
            **{name: str(width) for name, width in widths.items()},
        }


def extra_images(settings: KimSRSettings, folder: Path) -> Pictures:
    """Read the further training images.

    Parameters
    ----------
    settings
        Name them.
    folder
        Of the data.

    Raises
    ------
    DataError, ImageError
        If there are none, one is corrupt, none is large enough, or they are of a set that chooses
        the weights or measures them.
    """
    extra = folder / settings.extra
    if extra.resolve() in [(folder / name).resolve() for name in (*TRAINING_FOLDERS, *TEST_SETS)]:
        raise DataError(f"{extra} is trained on or measured on already; give other images")
    found = read_pictures(extra)[:: settings.extra_every]
    side = settings.patch * settings.scale
    if all(min(image.shape[:2]) < side for image in found):
        raise DataError(f"no image of {extra} has {side} by {side} pixels")
    return found


def recipe(settings: KimSRSettings, folder: Path) -> KimSRRecipe:
    """Return the training of a data folder."""
    training, held, test = load_images(folder)
    if settings.extra:
        training += extra_images(settings, folder)
    return KimSRRecipe(settings, training_pairs(settings, training), held, test)


main = training_command(
    KimSRSettings,
    recipe,
    "Train the KimSR network, in floating point or with the roundings of its fixed-point model.",
)

if __name__ == "__main__":
    run_training(main)
