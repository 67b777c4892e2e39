"""What determines a training run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fxp.models.sr.networks import KimSROptions, SkipSource
from fxp.support.errors import FxpError


class TrainingError(FxpError, ValueError):
    """Training cannot start or go on; the message is one line."""


class Loss(StrEnum):
    """Pixel loss: mean absolute or mean squared error."""

    L1 = "l1"
    MSE = "mse"


class Optimizer(StrEnum):
    """SOAP (Vyas et al., arXiv:2409.11321) or Adam."""

    SOAP = "soap"
    ADAM = "adam"


class Precision(StrEnum):
    """Arithmetic of the forward and backward passes; weights are always float32."""

    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Images(StrEnum):
    """How the low-resolution images are made: the standard protocol, or `Degradation`."""

    BICUBIC = "bicubic"
    COMPRESSED = "compressed"


@dataclass(frozen=True)
class Settings:
    """Everything that determines a training run, besides the images.

    Attributes
    ----------
    scale
        Enlargement factor.
    steps
        Optimizer steps of the whole run; sets the cosine schedule.
    epoch
        Steps between measurements and checkpoints.
    batch, patch
        Patches per step, and their low-resolution side in pixels.
    rate
        Peak learning rate; the first 1 % of the steps ramp up to it.
    average
        Decay of the running average of the weights; 0 turns it off.
    loss
        Pixel loss.
    finish
        Share of the steps, at the end, that minimize the squared error whatever `loss` is.
    seed
        Seed of the initial weights, the patches and the degradation.
    optimizer, precision
        See there.
    compiled
        Whether torch.compile fuses the step.
    branches
        Train every kernel as a sum of parallel branches; see `fxp.models.sr.branches`.
    rescale
        Train on the images shrunk to 90, 80, 70 and 60 % as well.
    images
        Degradation of the inputs.
    start
        Weights to start from, a name or a file; empty to start from scratch.
    teacher
        Weights of a larger network whose results are mixed into the targets; empty for none.
    teacher_share
        Share of the teacher in the targets.
    weight_bits, activation_bits
        Train with the roundings of the fixed-point model of these widths; 0 for floating point.
    skip_from, relu_after_add, relu_between_depthwise_pointwise, width
        Options of `KimSR`.

    Raises
    ------
    TrainingError
        If the settings contradict each other.
    """

    scale: int = 2
    steps: int = 50_000
    epoch: int = 1000
    batch: int = 16
    patch: int = 48
    rate: float = 0.04
    average: float = 0.999
    loss: str = "l1"
    finish: float = 0.0
    seed: int = 0
    optimizer: str = "soap"
    precision: str = "bfloat16"
    compiled: bool = True
    branches: bool = False
    rescale: bool = False
    images: str = "bicubic"
    start: str = ""
    teacher: str = ""
    teacher_share: float = 0.5
    weight_bits: int = 0
    activation_bits: int = 0
    skip_from: SkipSource = "post_relu"
    relu_after_add: bool = True
    relu_between_depthwise_pointwise: bool = False
    width: int = 1

    def __post_init__(self) -> None:
        if (self.weight_bits == 0) != (self.activation_bits == 0):
            raise TrainingError("give both --weight-bits and --activation-bits, or neither")
        if self.fixed and (self.precision != "float32" or self.branches):
            raise TrainingError("training with roundings needs --precision float32, no --branches")

    @property
    def fixed(self) -> bool:
        """Whether the run trains with the roundings of a fixed-point model."""
        return self.weight_bits > 0

    def widths(self) -> dict[str, Any]:
        """Return the widths as arguments of `fxp.quantize`."""
        return {"weight_bits": self.weight_bits, "activation_bits": self.activation_bits}

    def network(self) -> KimSROptions:
        """Return the options of the network."""
        return {
            "scale": self.scale,
            "skip_from": self.skip_from,
            "relu_after_add": self.relu_after_add,
            "relu_between_depthwise_pointwise": self.relu_between_depthwise_pointwise,
            "width": self.width,
        }

    def command(self) -> str:
        """Return the command line of this run, with placeholders for the paths."""
        default = asdict(Settings())
        words = ["python -m fxp.models.sr.train --data DIR --out FILE"]
        for name, value in asdict(self).items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                if value != default[name]:
                    words.append(f"--{option}" if value else f"--no-{option}")
            elif value != default[name] or not isinstance(value, str):
                # Files by their names alone: the folder is the machine's business.
                words.append(f"--{option} {Path(value).name if isinstance(value, str) else value}")
        return " ".join(words)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then cosine to zero."""
        warmup = max(1, self.steps // 100)
        progress = step / max(1, self.steps)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return self.rate * min(1.0, (step + 1) / warmup) * cosine

    def loss_at(self, step: int) -> str:
        """Return the loss of a step."""
        return Loss.MSE if step >= self.steps * (1.0 - self.finish) else self.loss
