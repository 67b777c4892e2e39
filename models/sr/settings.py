"""The options of a training of KimSR."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fxp.models.common.settings import TrainingError, TrainingSettings, listed, option
from fxp.models.sr.baselines import PlainSR
from fxp.models.sr.networks import KimSR


class Loss(StrEnum):
    """Pixel loss: mean absolute error, mean squared error, or its logarithm for each patch.

    The logarithm is what PSNR averages.
    """

    L1 = "l1"
    MSE = "mse"
    LOG = "log"


class Images(StrEnum):
    """How the low-resolution images are made: see `fxp.models.sr.train.IMAGES`."""

    BICUBIC = "bicubic"
    COMPRESSED = "compressed"
    MIXED = "mixed"


class Network(StrEnum):
    """What trains: `KimSR`, or a chain of 3x3 convolutions, `fxp.models.sr.baselines.PlainSR`."""

    KIMSR = "kimsr"
    PLAIN = "plain"


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
    extra
        Folder of further training images, below that of the data; empty for none.
    extra_every
        Take every so manieth of these, as the frames of a video are much alike.
    tail_rate
        Learning rate of the last layer, in units of that of the others.
    teacher
        Weights of a larger network whose results are mixed into the targets; empty for none. Of
        several, separated by commas, the mean of the results is taken.
    teacher_share
        Share of the teacher in the targets.
    digits
        Factor of the mean number of signed digits of a weight in the loss, for runs with roundings:
        hardware of shifts and additions becomes cheaper. See `fxp.QatModel.digit_penalty`.
    network_kind
        Which network.
    skip_from, relu_after_add, relu_between_depthwise_pointwise, features, quality_input
        Options of `KimSR`; a chain of convolutions has `features` too.
    blocks, prelu
        Options of the chain of convolutions.
    """

    module: ClassVar[str] = "fxp.models.sr.train"

    scale: int = option(2, "Upscaling factor.", minimum=2, maximum=4)
    patch: int = option(48, "Low-resolution side.", minimum=16)
    loss: Loss = option(Loss.L1, "Pixel loss.")
    branches: bool = option(False, "Re-parameterize kernels.")
    rescale: bool = option(False, "Downscaled images too.")
    images: Images = option(Images.BICUBIC, "Degradation of the inputs.")
    extra: str = option("", "Folder of further images, below --data.")
    extra_every: int = option(10, "Take every so manieth of these.", minimum=1)
    tail_rate: float = option(1.0, "Relative learning rate of the last layer.", minimum=0.0)
    teacher: str = option("", "Weights of larger networks to imitate, comma-separated.")
    teacher_share: float = option(
        0.5, "Share of the teacher in the targets.", minimum=0.0, maximum=1.0
    )
    digits: float = option(0.0, "Penalty on signed digits of weights.", minimum=0.0)
    skip_from: Skip = option(Skip.POST_RELU, "Start of the skip.")
    relu_after_add: bool = option(True, "ReLU after the skip is added.")
    relu_between_depthwise_pointwise: bool = option(
        False, "ReLU between depthwise and pointwise convolutions."
    )
    features: int = option(32, "Feature maps of the wide layers.", minimum=2)
    quality_input: bool = option(False, "Take the JPEG quality as an input.")
    network_kind: Network = option(Network.KIMSR, "What trains.")
    blocks: int = option(4, "Inner convolutions of a chain.", minimum=0)
    prelu: bool = option(False, "PReLU in a chain, not ReLU.")

    def __post_init__(self) -> None:
        super().__post_init__()
        listed(self.teacher)
        if self.fixed and self.branches:
            raise TrainingError("training with roundings needs --precision float32, no --branches")
        if self.fixed and self.quality_input:
            raise TrainingError("training with roundings takes no --quality-input")
        if self.quality_input and self.network_kind != Network.KIMSR:
            raise TrainingError("--quality-input is an option of KimSR alone")
        if self.digits and not self.fixed:
            raise TrainingError("--digits needs --weight-bits and --activation-bits")

    def network(self) -> KimSR | PlainSR:
        """Return a new network."""
        if self.network_kind == Network.PLAIN:
            return PlainSR(self.scale, features=self.features, blocks=self.blocks, prelu=self.prelu)
        return KimSR(
            self.scale,
            skip_from="pre_relu" if self.skip_from == Skip.PRE_RELU else "post_relu",
            relu_after_add=self.relu_after_add,
            relu_between_depthwise_pointwise=self.relu_between_depthwise_pointwise,
            features=self.features,
            quality_input=self.quality_input,
        )
