"""What the tables compare: trainings of every kind, and the paper's figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.trainings import trained
from fxp.imaging.quality import Quality
from fxp.models.flash.data import FlashPair
from fxp.models.flash.networks import load_float
from fxp.models.flash.settings import FlashSettings, Network, Reconstruction
from fxp.models.flash.train import FlashRecipe

SMALL: Final = FlashSettings(
    network=Network.SMALL, attention=False, adversarial=0.0, square=False, side=160,
    reconstruction=Reconstruction.LOG_MSE, steps=400, epoch=100, rate=0.01, average=0.98,
)  # fmt: skip
"""The training of the shipped network."""
GUIDED: Final = FlashSettings(
    network=Network.PAPER, width=8, side=112, batch=4, steps=200, epoch=100, rate=1e-3,
    average=0.95, discriminator_width=8,
)  # fmt: skip
"""The training of the paper with an eighth of the channels and crops of half the side, for a
processor without a GPU; all trainings of Table 2 differ from it in one thing each."""


@dataclass(frozen=True)
class Trained:
    """A method that is trained for each fold.

    Attributes
    ----------
    key
        Name of its files.
    title
        What the tables call it.
    settings
        Its training; the fold is set for each.
    paper
        PSNR and SSIM that the paper reports, on its own test set; None if it has none.
    """

    key: str
    title: str
    settings: FlashSettings
    paper: Quality | None = None

    def network(self, pairs: list[FlashPair], fold: int, folder: Path) -> Any:
        """Return the network of a fold, trained unless the folder holds its weights.

        Parameters
        ----------
        pairs
            All pairs.
        fold
            The fold that is left out.
        folder
            Of weights, logs and checkpoints; a training that was interrupted there continues.
        """
        settings = replace(self.settings, fold=fold)
        return load_float(trained(FlashRecipe(settings, pairs), folder, f"{self.key}_fold{fold}"))


DEEPFLASH: Final = Trained(
    "deepflash",
    "DeepFlash",
    replace(GUIDED, network=Network.DEEPFLASH, attention=False, adversarial=0.0),
    Quality(15.39, 0.671),
)
OURS: Final = Trained("guided", "the paper's network, guided", GUIDED, Quality(15.67, 0.684))
SHIPPED: Final = Trained("small", "light field (shipped)", SMALL)
CONDITIONS: Final = (
    replace(OURS, title="R + A, guided by attention"),
    Trained("unguided", "R + A, without attention", replace(GUIDED, attention=False),
            Quality(15.55, 0.676)),
    Trained("reconstruction", "R only", replace(GUIDED, attention=False, adversarial=0.0),
            Quality(15.64, 0.681)),
    Trained("unet", "U-Net from scratch", replace(GUIDED, network=Network.UNET, width=4),
            Quality(14.81, 0.643)),
)  # fmt: skip
"""The rows of Table 2."""
PAPER: Final = {"LIME": Quality(12.38, 0.611), "SRIE": Quality(14.09, 0.659)}
"""What the paper reports of the methods without training."""
