"""Train a network that deblurs: ``python -m fxp.models.deblur.train --data DIR --out FILE``.

By ``--source`` the sharp photographs are those of BSD200 and T91 in ``DIR``, before a camera that
moves; the films in ``DIR/video``, a folder of frames each; or GOPRO in ``DIR/GOPRO_Large``. The
weights kept are those with the best PSNR on what is held out: every twentieth picture or sequence,
and the patches of a GOPRO training sequence in ``DIR/deblur/gopro_patches30_128.npz`` if there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fxp.imaging.metrics import psnr
from fxp.imaging.quality import to_codes
from fxp.models.common.adversarial import DISCRIMINATOR, adversarial_step
from fxp.models.common.data import DataError, held_out, read_pictures
from fxp.models.common.pairs import rgb
from fxp.models.common.photographs import photograph_method
from fxp.models.common.pixels import PIXEL
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.run import run_training, training_command
from fxp.models.common.trainer import Trainer
from fxp.models.deblur.blur import blurred_pairs, interpolated
from fxp.models.deblur.data import (
    Pairs,
    PatchSource,
    ShakenPictures,
    augmented,
    gopro_pairs,
    read_frames,
    sequences,
)
from fxp.models.deblur.losses import content_loss, image_errors
from fxp.models.deblur.networks import Discriminator, Generator, load_float
from fxp.models.deblur.settings import DeblurSettings, Loss, Source

PICTURES = ("T91", "BSD200")
FILMS, GOPRO = "video", "GOPRO_Large"
NOT_FOR_WEIGHTS = ("davis_bmx-trees", "davis_tennis")
"""Films whose licence allows no weights for any use."""
PATCHES = Path("deblur") / "gopro_patches30_128.npz"
HELD_OUT_EVERY = 20
SCORED, SCORED_SIDE = 24, 128
"""Patches that are scored, and their side."""

Scored = Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


class DeblurRecipe(Recipe[DeblurSettings]):
    """A generator on patches of blurred photographs, scored by PSNR of RGB.

    Parameters
    ----------
    settings
        The run.
    training
        Where patches come from.
    scored
        Pairs ``(H, W, 3)`` that are measured, by name; the first choose the weights.
    """

    def __init__(
        self, settings: DeblurSettings, training: PatchSource, scored: dict[str, Scored]
    ) -> None:
        super().__init__(settings)
        self.training, self.scored = training, scored

    def network(self) -> Generator:
        """Return a new network."""
        return Generator(**self.settings.generator())

    def load(self, name: str) -> Generator:
        """Load float weights by name or file."""
        return load_float(name)

    def helpers(self) -> dict[str, nn.Module]:
        """Return the discriminator, if it takes part."""
        if not self.settings.adversarial:
            return {}
        width, extra = self.settings.discriminator_width, self.settings.extra
        return {DISCRIMINATOR: Discriminator(width, extra=extra, side=self.settings.patch)}

    def batch(self, number: int) -> Sequence[NDArray]:
        """Return blurred and sharp patches, ``(N, 3, side, side)``."""
        random = np.random.default_rng([self.settings.seed, number])
        pairs = [
            augmented(*self.training.patch(random, self.settings.patch), random)
            for _ in range(self.settings.batch)
        ]
        return [np.stack(patches) for patches in zip(*pairs, strict=True)]

    def tensors(self, batch: Sequence[NDArray], device: str) -> tuple[Tensor, ...]:
        """Bring a batch to the device, and to the fixed-point model's range if it has roundings."""
        # The fixed-point model takes 8-bit codes in steps of 1/256.
        factor = 255 / 256 if self.settings.fixed else 1.0
        return tuple(
            (item * factor).contiguous(memory_format=torch.channels_last)
            for item in super().tensors(batch, device)
        )

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the error of all scales, with roundings that of the finest alone.

        Parameters
        ----------
        network
            What trains.
        batch
            Blurred and sharp patches.
        finishing
            Changes nothing.
        """
        blurred, sharp = batch
        if isinstance(network, Generator):
            return self._content(network, network.latent(blurred), sharp)
        logarithmic = self.settings.loss == Loss.PSNR
        return image_errors(network(blurred), sharp, logarithmic=logarithmic) / 2

    def _content(self, network: Generator, latent: Sequence[Tensor], sharp: Tensor) -> Tensor:
        logarithmic = self.settings.loss == Loss.PSNR
        return content_loss(network, latent, sharp, logarithmic=logarithmic)

    def step(self, trainer: Trainer, batch: Sequence[Tensor]) -> float:
        """Do one step; with the adversarial loss, one of the discriminator before."""
        factor = self.settings.adversarial
        if not factor:
            return super().step(trainer, batch)
        network: Any = trainer.network
        blurred, sharp = batch
        latent = network.latent(blurred)
        loss = self._content(network, latent, sharp)
        return adversarial_step(trainer, sharp, latent[0], loss, factor)

    def quantize_options(self) -> dict[str, Any]:
        """Return the patches that formats are chosen on."""
        pairs = [blurred for pairs in self.scored.values() for blurred, _ in pairs]
        calibration = [item.transpose(2, 0, 1)[None] / 256 for item in pairs[:16]]
        return {"calibration": calibration, "input_format": PIXEL, "output_format": PIXEL}

    def scores(self, model: Model) -> dict[str, float]:
        """Return the mean PSNR on what is held out, and by how much it exceeds the input's."""
        found, deblur = {}, photograph_method(model)
        for name, pairs in self.scored.items():
            before = np.mean([psnr(sharp, blurred, 255) for blurred, sharp in pairs])
            after = np.mean([psnr(sharp, deblur(blurred), 255) for blurred, sharp in pairs])
            found[name], found[f"{name} gain"] = float(after), float(after - before)
        return found

    def summary(self) -> str:
        """Return how many pictures there are."""
        held = ", ".join(f"{len(pairs)} {name}" for name, pairs in self.scored.items())
        return f"{len(self.training)} training pictures or pairs; scored patches: {held}"

    def metadata(self) -> dict[str, str]:
        """Return the data."""
        images = {
            Source.CAMERA: " + ".join(PICTURES),
            Source.FRAMES: "films",
            Source.GOPRO: "GOPRO",
        }
        return {
            "training_images": images[self.settings.source],
            "blur": str(self.settings.source),
            "chosen_on": next(iter(self.scored)),
        }


def recipe(settings: DeblurSettings, folder: Path) -> DeblurRecipe:
    """Return the training of a data folder.

    Raises
    ------
    DataError, ImageError
        If data are missing or corrupt.
    """
    training, held = _sources(settings, folder)
    random = np.random.default_rng([settings.seed, 1])
    scored: dict[str, Scored] = {}
    if (folder / PATCHES).is_file():
        scored["GOPRO patches"] = _read_patches(folder / PATCHES)
    side = min(SCORED_SIDE, settings.patch) if settings.source == Source.FRAMES else SCORED_SIDE
    scored["held-out"] = [_codes(*held.patch(random, side)) for _ in range(SCORED)]
    return DeblurRecipe(settings, training, scored)


def _sources(settings: DeblurSettings, folder: Path) -> tuple[PatchSource, PatchSource]:
    """Return where patches come from: to train, and held out."""
    if settings.source == Source.CAMERA:
        first, second = (
            [rgb(picture) for picture in read_pictures(folder / name)] for name in PICTURES
        )
        training, held = held_out(second, HELD_OUT_EVERY)
        return ShakenPictures([*first, *training]), ShakenPictures(held)
    if settings.source == Source.GOPRO:
        pairs = gopro_pairs(folder / GOPRO, "train", linear=settings.linear)
        names = sorted({pair.sharp.parent.parent for pair in pairs})
        _, chosen = held_out(names, HELD_OUT_EVERY)
        held = [pair for pair in pairs if pair.sharp.parent.parent in chosen]
        training = [pair for pair in pairs if pair.sharp.parent.parent not in chosen]
        if not training:
            raise DataError(
                f"{folder / GOPRO / 'train'} has one sequence, but a training needs two at least, "
                "as it is measured on another one; add a sequence"
            )
        return Pairs(training), Pairs(held)
    made = []
    for name, paths in sequences(folder / FILMS).items():
        if name in NOT_FOR_WEIGHTS:
            continue
        frames = interpolated(read_frames(paths), settings.interpolate)
        try:
            made.append(
                blurred_pairs(
                    frames, settings.frames, linear=settings.linear, factor=settings.interpolate
                )
            )
        except DataError as error:
            raise DataError(f"{folder / FILMS / name}: {error}") from error
    pairs = [pair for found in made for pair in found]
    if len(pairs) < 2:
        raise DataError(
            f"the films in {folder / FILMS} make {len(pairs)} blurred photographs, but a training "
            "needs two at least; add films, or average fewer --frames"
        )
    training, held = held_out(pairs, HELD_OUT_EVERY)
    return Pairs(training), Pairs(held)


def _read_patches(path: Path) -> Scored:
    try:
        with np.load(path) as stored:
            return list(zip(stored["blur"], stored["sharp"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read the patches {path}: {error}") from error


def _codes(*patches: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    blurred, sharp = (to_codes(255 * patch.transpose(1, 2, 0)) for patch in patches)
    return blurred, sharp


main = training_command(
    DeblurSettings, recipe, "Train a network that deblurs photographs of moving scenes."
)

if __name__ == "__main__":
    run_training(main)
