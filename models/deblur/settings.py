"""The options of a training of a network that deblurs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from fxp.models.common.settings import (
    TrainingError,
    TrainingSettings,
    option,
)
from fxp.models.deblur.networks import PRESETS


class Preset(StrEnum):
    """Networks by their names in `fxp.models.deblur.networks.PRESETS`."""

    PAPER = "paper"
    SMALL = "small"


class Source(StrEnum):
    """Where blurred photographs come from.

    Pictures before a moving camera, averages of the frames of films, or the pairs of GOPRO.
    """

    CAMERA = "camera"
    FRAMES = "frames"
    GOPRO = "gopro"


class Loss(StrEnum):
    """Squared error, as in the paper, or its logarithm, which is PSNR."""

    MSE = "mse"
    PSNR = "psnr"


@dataclass(frozen=True)
class DeblurSettings(TrainingSettings):
    """Everything that determines a training of `Generator`, besides the images.

    Attributes
    ----------
    network
        Preset of the network.
    scales, width, blocks
        Options of `Generator` in place of those of the preset; 0, and -1 for blocks, keep those.
    source
        Where blurred photographs come from.
    loss
        Squared error, or PSNR.
    patch
        Side of the patches, pixels; 256 in the paper.
    linear
        Blur as a camera without gamma.
    frames, interpolate
        Frames of a film that are averaged, an odd number, and how many each becomes before.
    adversarial
        Factor of the adversarial loss, 1e-4 in the paper; 0 trains by the squared error alone.
    extra
        The discriminator of the authors' code, with one more convolution than the paper's.
    discriminator_width
        Feature maps of the discriminator's first layer, 32 in the paper.
    """

    module: ClassVar[str] = "fxp.models.deblur.train"

    network: Preset = option(Preset.SMALL, "Network.")
    scales: int = option(0, "Scales; 0 = those of the network.", minimum=0)
    width: int = option(0, "Feature maps; 0 = those of the network.", minimum=0)
    blocks: int = option(-1, "Residual blocks of a scale; -1 = those of the network.", minimum=-1)
    source: Source = option(Source.CAMERA, "Where blurred photographs come from.")
    loss: Loss = option(Loss.PSNR, "Squared error, or PSNR.")
    patch: int = option(96, "Side of the patches.", minimum=8)
    linear: bool = option(False, "Blur without gamma.")
    frames: int = option(7, "Frames of a film that are averaged, odd.", minimum=3)
    interpolate: int = option(1, "Frames that each frame of a film becomes.", minimum=1)
    adversarial: float = option(0.0, "Factor of the adversarial loss.", minimum=0.0)
    extra: bool = option(False, "The discriminator of the authors' code.")
    discriminator_width: int = option(32, "Feature maps of its first layer.", minimum=1)
    steps: int = option(30_000, "Optimizer steps in all.", minimum=1)
    epoch: int = option(500, "Steps between measurements.", minimum=1)
    batch: int = option(8, "Patches per step.", minimum=1)
    rate: float = option(2e-3, "Peak learning rate.", minimum=0.0)
    compiled: bool = option(False, "Fuse the step with torch.compile.")

    def __post_init__(self) -> None:
        super().__post_init__()
        options = self.generator()
        if self.patch % (1 << (options["scales"] - 1)):
            raise TrainingError(
                f"--patch must be a multiple of {1 << (options['scales'] - 1)}, not {self.patch}"
            )
        if self.adversarial and (self.patch % 64 or self.fixed):
            raise TrainingError(
                "--adversarial needs a --patch that is a multiple of 64, and floating point"
            )

    def generator(self) -> dict[str, Any]:
        """Return the arguments of `Generator`."""
        options = dict(PRESETS[self.network])
        options |= {
            name: getattr(self, name) for name in ("scales", "width") if getattr(self, name)
        }
        if self.blocks >= 0:
            options["blocks"] = self.blocks
        elif self.scales:
            # The published rule for the paper's network, the coarsest of the preset for others.
            blocks = options.pop("blocks", None)
            if blocks is not None:
                options["blocks"] = [*[blocks[0]] * self.scales, *blocks][-self.scales :]
        return options
