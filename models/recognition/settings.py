"""The options of a training of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fxp.models.common.settings import Optimizer, TrainingError, TrainingSettings, option


class Network(StrEnum):
    """Small networks by their names in `fxp.models.recognition.zoo.SMALL`."""

    RESNET20 = "resnet20"
    RESNET32 = "resnet32"
    RESNET56 = "resnet56"
    VGGS = "vggs"
    SQUEEZENET = "squeezenet"
    MOBILENETV2 = "mobilenetv2"


@dataclass(frozen=True)
class RecognitionSettings(TrainingSettings):
    """A training of a classifier.

    Attributes
    ----------
    model
        The network.
    width
        Channels of its first convolution, or the factor on all channels of MobileNetV2; 0 for the
        usual width.
    training, test
        Names of the sets within the folder of data; see `fxp.models.recognition.data.find`.
    side
        Height and width of the pictures.
    channels
        1 for grey, 3 for colour.
    held_out
        The first of so many training pictures of each class is left out, to choose the weights.
    shift
        Largest shift of a picture.
    flip
        Whether pictures are mirrored.
    smoothing
        Share of the wanted probability that all classes get alike.
    decay
        Weight decay.
    teacher
        Weights of another classifier to imitate; empty for none.
    temperature
        Divides the scores of both where they are compared, see `distillation_loss`.
    teacher_share
        Share of the teacher in the loss.
    hint
        Names of a module of the teacher and of one of the network, with a colon between, whose
        results are compared; empty for none. See `hint_loss`.
    hint_weight
        Factor of that comparison in the loss.
    """

    module: ClassVar[str] = "fxp.models.recognition.train"

    model: Network = option(Network.RESNET20, "Network.")
    width: float = option(0.0, "Width of the network; 0 = the usual one.", minimum=0.0)
    training: str = option("cifar10_jpeg_train20000.zip", "Training pictures, in --data.")
    test: str = option("cifar10_jpeg_test2000.zip", "Test pictures, in --data; empty for none.")
    side: int = option(32, "Side of the pictures.", minimum=32, maximum=512)
    channels: int = option(3, "1 = grey, 3 = colour.", minimum=1, maximum=3)
    held_out: int = option(40, "One of so many pictures chooses the weights.", minimum=2)
    shift: int = option(4, "Largest shift of a picture, pixels.", minimum=0, maximum=64)
    flip: bool = option(True, "Mirror pictures.")
    smoothing: float = option(0.1, "Label smoothing.", minimum=0.0, maximum=0.9)
    decay: float = option(5e-4, "Weight decay.", minimum=0.0)
    teacher: str = option("", "Weights of a classifier to imitate: name or file.")
    temperature: float = option(4.0, "Of both sets of scores in distillation.", minimum=0.1)
    teacher_share: float = option(
        0.9, "Share of the teacher in the loss.", minimum=0.0, maximum=1.0
    )
    hint: str = option("", "TEACHER_MODULE:MODULE whose results are compared.")
    hint_weight: float = option(1.0, "Factor of the hint in the loss.", minimum=0.0)
    steps: int = option(6000, "Optimizer steps in all.", minimum=1)
    epoch: int = option(300, "Steps between measurements.", minimum=1)
    batch: int = option(128, "Pictures per step.", minimum=2)
    rate: float = option(0.2, "Peak learning rate.", minimum=0.0)
    average: float = option(
        0.998, "Decay of the weight average; 0 = off.", minimum=0.0, maximum=0.99999
    )
    optimizer: Optimizer = option(Optimizer.SGD, "Update rule.")
    compiled: bool = option(False, "Fuse the step with torch.compile.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels == 2:
            raise TrainingError("--channels is 1 for grey or 3 for colour")
        if self.hint and not self.teacher:
            raise TrainingError("--hint needs --teacher")
        if self.hint and len(self.hint.split(":")) != 2:
            raise TrainingError("--hint is TEACHER_MODULE:MODULE, such as layer2:layer2")
