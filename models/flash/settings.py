"""The options of a training of a network for flash photographs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fxp.models.common.settings import (
    Optimizer,
    Precision,
    TrainingError,
    TrainingSettings,
    option,
)


class Network(StrEnum):
    """Presets of `fxp.models.flash.networks.NETWORKS`."""

    SMALL = "small"
    PAPER = "paper"
    UNET = "unet"
    DEEPFLASH = "deepflash"


class Reconstruction(StrEnum):
    """Pixel loss: mean absolute error, or the logarithm of each picture's squared error."""

    L1 = "l1"
    LOG_MSE = "log_mse"


@dataclass(frozen=True)
class FlashSettings(TrainingSettings):
    """Everything that determines a training, besides the pairs.

    The defaults are those of the paper for its network; `fxp.models.flash.train` shows the
    command of the small one. The learning rate falls to zero along a cosine, and the weights are
    averaged, which the paper does not do.

    Attributes
    ----------
    network, width
        Preset, and channels of its first block; 0 for those of the preset.
    encoder
        State dict of torchvision's VGG-16; empty to train the encoder from scratch.
    train_encoder
        Train the encoder whose weights were given as well, as the authors' release does. The paper
        freezes it.
    attention
        Multiply result and truth by the attention map in the losses.
    reconstruction
        Pixel loss.
    adversarial
        Weight of the discriminator in the loss of the generator; 0 for none.
    discriminator_rate
        Learning rate of the discriminator, in units of the generator's.
    discriminator_width
        Channels of its first convolution.
    crop
        Smallest side of the crops, in units of that of a pair.
    square
        Take square crops, as the paper does. Otherwise crops have the shape of the pair, so that
        the network learns what lies where in a photograph.
    side
        Side to which square crops are resized; the longer side of others, whose shorter one is
        three quarters of it.
    exposure
        Deviation of random exposures of both photographs, each by itself, in natural logarithms of
        linear light; half of it for each colour.
    fill_light
        Most ambient light that is added to the flash photograph, in units of what there is.
    fold, folds
        Fold of the cross-validation that is left out, and their number; fold -1 leaves none out.
    """

    module: ClassVar[str] = "fxp.models.flash.train"

    network: Network = option(Network.PAPER, "Network to train.")
    width: int = option(0, "Channels of its first block; 0 = the preset's.", minimum=0)
    encoder: str = option("", "VGG-16 state dict of torchvision, a .pth file.")
    train_encoder: bool = option(False, "Train the given encoder too; the paper freezes it.")
    attention: bool = option(True, "Guide the losses by the attention map.")
    reconstruction: Reconstruction = option(Reconstruction.L1, "Pixel loss.")
    adversarial: float = option(1.0, "Weight of the discriminator; 0 = none.", minimum=0.0)
    discriminator_rate: float = option(
        0.1, "Its learning rate, in units of --rate.", minimum=0.0, maximum=100.0
    )
    discriminator_width: int = option(64, "Channels of its first convolution.", minimum=1)
    crop: float = option(0.8, "Smallest crop, share of the side.", minimum=0.1, maximum=1.0)
    square: bool = option(True, "Square crops; otherwise those of the shape of photographs.")
    side: int = option(224, "Side of the resized crops, pixels.", minimum=16)
    exposure: float = option(0.0, "Deviation of random exposures.", minimum=0.0, maximum=3.0)
    fill_light: float = option(0.0, "Most ambient light in the flash.", minimum=0.0, maximum=10.0)
    fold: int = option(0, "Fold left out; -1 = none.", minimum=-1)
    folds: int = option(4, "Folds of the cross-validation.", minimum=2)

    steps: int = option(121_000, "Optimizer steps in all.", minimum=1)
    epoch: int = option(500, "Steps between measurements.", minimum=1)
    batch: int = option(8, "Items per step.", minimum=1)
    rate: float = option(2e-5, "Peak learning rate.", minimum=0.0)
    optimizer: Optimizer = option(Optimizer.ADAM, "Update rule.")
    precision: Precision = option(
        Precision.FLOAT32, "Of forward and backward; weights stay float32."
    )
    compiled: bool = option(False, "Fuse the step with torch.compile.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fold >= self.folds:
            raise TrainingError(f"--fold must be below --folds, {self.folds}, not {self.fold}")
        if self.encoder and self.network not in (Network.PAPER, Network.DEEPFLASH):
            raise TrainingError("--encoder is for the networks paper and deepflash")
        if self.train_encoder and not self.encoder:
            raise TrainingError("--train-encoder needs --encoder; without it the encoder trains")
