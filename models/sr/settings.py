"""The options of a training of KimSR."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fxp.models.common.settings import TrainingError, TrainingSettings, option
from fxp.models.sr.networks import KimSROptions


class Loss(StrEnum):
    """Pixel loss: mean absolute or mean squared error."""

    L1 = "l1"
    MSE = "mse"


class Images(StrEnum):
    """How the low-resolution images are made: the standard protocol, or `Degradation`."""

    BICUBIC = "bicubic"
    COMPRESSED = "compressed"


class Skip(StrEnum):
    """Start of the residual connection; see `KimSR`."""

    POST_RELU = "post_relu"
    PRE_RELU = "pre_relu"


@dataclass(frozen=True)
class KimSRSettings(TrainingSettings):
    """Everything that determines a training of KimSR, besides the images.

    The finishing loss, see `TrainingSettings.finish`, is the squared error.

    Attributes
    ----------
    scale
        Upscaling factor.
    patch
        Low-resolution side of the patches, pixels.
    loss
        Pixel loss.
    branches
        Train every kernel as a sum of parallel branches; see `fxp.models.sr.branches`.
    rescale
        Train on the images downscaled to 90, 80, 70 and 60 % as well.
    images
        Degradation of the inputs.
    teacher
        Weights of a larger network whose results are mixed into the targets; empty for none.
    teacher_share
        Share of the teacher in the targets.
    digits
        Factor of the mean number of signed digits of a weight in the loss, for runs with roundings:
        hardware of shifts and additions becomes cheaper. See `fxp.QatModel.digit_penalty`.
    skip_from, relu_after_add, relu_between_depthwise_pointwise, width
        Options of `KimSR`.
    """

    module: ClassVar[str] = "fxp.models.sr.train"

    scale: int = option(2, "Upscaling factor.", minimum=2, maximum=4)
    patch: int = option(48, "Low-resolution side.", minimum=16)
    loss: Loss = option(Loss.L1, "Pixel loss.")
    branches: bool = option(False, "Re-parameterize kernels.")
    rescale: bool = option(False, "Downscaled images too.")
    images: Images = option(Images.BICUBIC, "Degradation of the inputs.")
    teacher: str = option("", "Weights of a larger network to imitate.")
    teacher_share: float = option(
        0.5, "Share of the teacher in the targets.", minimum=0.0, maximum=1.0
    )
    digits: float = option(0.0, "Penalty on signed digits of weights.", minimum=0.0)
    skip_from: Skip = option(Skip.POST_RELU, "Start of the skip.")
    relu_after_add: bool = option(True, "ReLU after the skip is added.")
    relu_between_depthwise_pointwise: bool = option(
        False, "ReLU between depthwise and pointwise convolutions."
    )
    width: int = option(1, "Factor on the feature maps.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fixed and self.branches:
            raise TrainingError("training with roundings needs --precision float32, no --branches")
        if self.digits and not self.fixed:
            raise TrainingError("--digits needs --weight-bits and --activation-bits")

    def network(self) -> KimSROptions:
        """Return the options of the network."""
        return {
            "scale": self.scale,
            "skip_from": "pre_relu" if self.skip_from == Skip.PRE_RELU else "post_relu",
            "relu_after_add": self.relu_after_add,
            "relu_between_depthwise_pointwise": self.relu_between_depthwise_pointwise,
            "width": self.width,
        }
