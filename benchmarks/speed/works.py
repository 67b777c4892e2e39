"""The networks that are timed, with their sizes and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.speed.networks import (
    CarnM,
    DnCNN,
    InvertedResidual,
    LapSRN,
    MobileNetV1,
    ResidualChain,
    ResNet20,
    convolution,
    digits,
)
from benchmarks.speed.pictures import CALIBRATION, PHOTOGRAPH, Kind, picture
from benchmarks.zoo.networks import build, settle
from fxp.models import sr
from fxp.models.events.networks import E2VID, CistaTC, FireNet
from fxp.models.flash.networks import FlashGenerator

CALIBRATION_SIDE: Final = 64


class Goal(NamedTuple):
    """How many times as fast to be at least, and at best."""

    least: float
    aim: float


AGAINST: Final = {
    "openvino": Goal(1.5, 2.5),
    "torch": Goal(1.0, 2.0),
    "onnxruntime_int8": Goal(1.0, 1.5),
}
"""Goals for every network; those against ONNX Runtime in float32 are the networks' own."""
TWO_THREADS: Final = Goal(1.85, 2.0)
"""Two threads against one."""
CALL_SECONDS: Final = 30e-6
"""Most time for one call of the smallest network, which is nearly all overhead."""


@dataclass(frozen=True)
class Work:
    """A network at one size.

    Attributes
    ----------
    name, title
        Name on the command line; name in the table, to which the sizes are added.
    build
        Makes the network in eval mode; sets no seed.
    shape
        Channels, height and width of the input.
    goal
        Against float32 in ONNX Runtime.
    kind
        What the input is like.
    margin
        Pixels around its own place that an output pixel depends on, where that is known: then the
        corners of the whole frame are compared with the oracle, else a small image.
    pixels
        Whether input and output are 8-bit pixels.
    side
        Height and width of the calibration images.
    batch
        Images in one call.
    """

    name: str
    title: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    goal: Goal
    kind: Kind
    margin: int | None = None
    pixels: bool = False
    side: int = CALIBRATION_SIDE
    batch: int = 1

    @property
    def recurrent(self) -> bool:
        """Whether the network has states; it has `initial_states` then."""
        return self.kind == "events"

    def network(self) -> Any:
        """Make the network in eval mode, always with the same weights."""
        torch.manual_seed(0)
        return self.build().eval()

    def frame(self) -> NDArray[np.float32]:
        """Return the input, ``(N, C, H, W)``; the steps of a sequence for a recurrent network."""
        return picture(self.kind, PHOTOGRAPH, self.shape, self.batch)

    def calibration(self, side: int | None = None) -> list[NDArray[np.float32]]:
        """Return typical inputs; one sequence each for a recurrent network.

        Parameters
        ----------
        side
            Their height and width; by default those of the frame.
        """
        size = self.shape[1:] if side is None else (side, side)
        shape = (self.shape[0], *size)
        return [picture(self.kind, name, shape, self.batch) for name in CALIBRATION]

    def tiny(self) -> Work:
        """Return the same work on a frame of a few pixels, to try the script."""
        channels, height, width = self.shape
        if self.kind in ("normalized", "events"):
            height, width = min(height, 64), min(width, 64)
        elif self.kind != "digits":
            height, width = min(height, 32), min(width, 48)
        return replace(self, shape=(channels, height, width), batch=min(self.batch, 3))


def _with_relu(kernel: int) -> nn.Module:
    return nn.Sequential(convolution(64, 64, kernel), nn.ReLU())


def _smallest() -> nn.Module:
    return nn.Sequential(convolution(1, 4, 3), nn.ReLU(), convolution(4, 1, 3))


def _kimsr() -> nn.Module:
    """Return KimSR with its trained weights."""
    return sr.load_float("kimsr_x2_bicubic")


def _untrained(make: Callable[[], nn.Module], last: str, *, adds_input: bool = False) -> nn.Module:
    """Scale the last layer so that the output is an image, not black and white.

    Otherwise hardly any value would depend on the layers before.
    """
    network = make()
    image = torch.from_numpy(
        picture("luma", CALIBRATION[0], (1, CALIBRATION_SIDE, CALIBRATION_SIDE), 1)
    )
    layer = network.get_submodule(last)
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    with torch.no_grad():
        result = network.train()(image)  # not clamped
        change = result - image if adds_input else result
        layer.weight *= (0.05 if adds_input else 0.2) / change.std()
        if layer.bias is not None:
            layer.bias += 0.5 - network(image).mean()
    return network


def _settled(make: Callable[[], nn.Module], kind: Kind, shape: tuple[int, int, int]) -> nn.Module:
    """Give an untrained network values such as those of a trained one."""
    network: Any = make().eval()
    image = picture(kind, CALIBRATION[0], shape, 1)[:1]
    states = network.initial_states(*shape[1:]) if kind == "events" else ()
    settle(network, image, *(state.numpy() for state in states))
    return network


def torchvision_work(name: str, title: str, goal: Goal) -> Work:
    """Return one of torchvision's classifiers, untrained, on a photograph of 224x224.

    Parameters
    ----------
    name
        As torchvision names it.
    title, goal
        As in `Work`.
    """
    shape = (3, 224, 224)
    make = partial(_settled, partial(build, name), "normalized", shape)
    return Work(name, title, make, shape, goal, "normalized", side=224)


def _events(name: str, title: str, make: Callable[[], nn.Module], height: int, width: int) -> Work:
    settled = partial(_settled, make, "events", (5, 64, 64))
    return Work(name, title, settled, (5, height, width), SYSTEM, "events")


CONVOLUTION, IMAGE, SMALL = Goal(2.8, 3.5), Goal(2.5, 3.2), Goal(1.5, 2.5)
KIMSR, CLASSIFIER, MOBILE, ANY = Goal(3.5, 5), Goal(2.0, 2.5), Goal(1.5, 2.2), Goal(1.0, 2.0)
SYSTEM = Goal(2.0, 3.0)

WORKS = (
    Work("conv3x3", "conv 3×3, 64→64, ReLU", partial(_with_relu, 3), (64, 180, 320), CONVOLUTION,
         "features", margin=1),
    Work("conv5x5", "conv 5×5, 64→64, ReLU", partial(_with_relu, 5), (64, 180, 320), CONVOLUTION,
         "features", margin=2),
    Work("vdsr", "VDSR, 20 layers",
         partial(_untrained, sr.VDSR, "layers.38", adds_input=True),
         (1, 512, 512), IMAGE, "luma", margin=20, pixels=True),
    Work("dncnn", "DnCNN, 17 layers",
         partial(_untrained, partial(_settled, DnCNN, "luma", (1, 64, 64)), "tail",
                 adds_input=True),
         (1, 256, 256), IMAGE, "luma", margin=17, pixels=True),
    Work("resblocks", "4 DeepDeblur ResBlocks, 5×5, 64", ResidualChain, (64, 180, 320),
         CONVOLUTION, "features", margin=16),
    Work("kimsr-64", "KimSR ×2", _kimsr, (1, 64, 64), KIMSR, "luma", margin=7, pixels=True),
    Work("kimsr-540", "KimSR ×2", _kimsr, (1, 540, 960), KIMSR, "luma", margin=7, pixels=True),
    Work("kimsr-1080", "KimSR ×2", _kimsr, (1, 1080, 1920), KIMSR, "luma", margin=7, pixels=True),
    Work("fsrcnn-s", "FSRCNN-s ×2", partial(_untrained, sr.FSRCNN, "upscale"),
         (1, 540, 960), SMALL, "luma", margin=6, pixels=True),
    Work("espcn", "ESPCN ×2", partial(_untrained, sr.ESPCN, "tail"),
         (1, 540, 960), SMALL, "luma", margin=4, pixels=True),
    Work("lapsrn", "LapSRN ×2", partial(_untrained, LapSRN, "tail"),
         (1, 128, 128), ANY, "luma", margin=13, pixels=True),
    Work("carn-m", "CARN-M ×2", partial(_settled, CarnM, "colour", (3, 64, 64)),
         (3, 128, 128), ANY, "colour"),
    Work("mobilenet-56", "MobileNetV2 block 24→144→24", InvertedResidual, (24, 56, 56),
         MOBILE, "features", margin=1),
    Work("mobilenet-112", "MobileNetV2 block 24→144→24", InvertedResidual, (24, 112, 112),
         MOBILE, "features", margin=1),
    torchvision_work("resnet18", "ResNet-18", CLASSIFIER),
    torchvision_work("resnet50", "ResNet-50", CLASSIFIER),
    torchvision_work("vgg16", "VGG-16", CLASSIFIER),
    torchvision_work("squeezenet1_0", "SqueezeNet 1.0", CLASSIFIER),
    torchvision_work("googlenet", "GoogLeNet", CLASSIFIER),
    Work("mobilenet_v1", "MobileNetV1",
         partial(_settled, MobileNetV1, "normalized", (3, 224, 224)),
         (3, 224, 224), MOBILE, "normalized", side=224),
    torchvision_work("mobilenet_v2", "MobileNetV2", MOBILE),
    Work("resnet20", "ResNet-20", partial(_settled, ResNet20, "normalized", (3, 32, 32)),
         (3, 32, 32), ANY, "normalized", side=32),
    Work("flash", "flash generator, 30 million parameters",
         partial(_settled, FlashGenerator, "colour", (3, 64, 64)),
         (3, 240, 320), SYSTEM, "colour", pixels=True),
    _events("e2vid", "E2VID, one step", E2VID, 184, 240),
    _events("cista-tc", "CISTA-TC, one step", CistaTC, 180, 240),
    _events("firenet", "FireNet, one step", FireNet, 180, 240),
    Work("tiny", "conv 1→4→1", _smallest, (1, 8, 8), ANY, "luma", margin=2),
    Work("digits", "digits, 1,000 at once", partial(_settled, digits, "digits", (1, 28, 28)),
         (1, 28, 28), ANY, "digits", side=28, batch=1000),
)  # fmt: skip
