"""The networks that are timed, their inputs and their targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fxp.imaging.colour import luma
from fxp.models import sr

CALIBRATION = ("chelsea", "coffee", "rocket")
CALIBRATION_SIDE = 64
PHOTOGRAPH = "astronaut"
"""What is run; not among those of the calibration."""


@dataclass(frozen=True)
class Work:
    """A network at one size.

    Attributes
    ----------
    name, title
        Name on the command line; name in the table, to which the sizes are added.
    build
        Makes the network.
    shape
        Channels, height and width of the input. One channel is the 8-bit luma of a photograph, and
        so is the output; several are feature maps made from a photograph.
    margin
        Pixels around its own place that an output pixel depends on.
    target, aim
        How many times as fast as float32 in ONNX Runtime to be at least, and at best.
    """

    name: str
    title: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    margin: int
    target: float
    aim: float | None = None

    @property
    def on_pixels(self) -> bool:
        """Whether input and output are 8-bit images."""
        return self.shape[0] == 1

    def network(self) -> nn.Module:
        """Make the network in eval mode, always with the same weights."""
        torch.manual_seed(0)
        return self.build().eval()

    def frame(self) -> NDArray[np.float32]:
        """Return the input, ``(1, C, H, W)``."""
        return self._input(PHOTOGRAPH, *self.shape[1:])

    def calibration(self) -> list[NDArray[np.float32]]:
        """Return small typical inputs."""
        return [self._input(name, CALIBRATION_SIDE, CALIBRATION_SIDE) for name in CALIBRATION]

    def tiny(self) -> Work:
        """Return the same work on a frame of a few pixels, to try the script."""
        channels, height, width = self.shape
        return replace(self, shape=(channels, min(height, 20), min(width, 28)))

    def _input(self, photograph: str, height: int, width: int) -> NDArray[np.float32]:
        if self.on_pixels:
            return luma_of_size(photograph, height, width)
        image = photograph_of_size(photograph, height, width)
        pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
        generator = torch.Generator().manual_seed(1)
        kernels = torch.randn(self.shape[0], 3, 3, 3, generator=generator) * (2 / 27) ** 0.5
        return functional.relu(functional.conv2d(pixels, kernels, padding=1)).numpy()


def photograph_of_size(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return a shipped photograph, cut in its middle or mirrored to a size, ``(H, W, 3)``.

    Parameters
    ----------
    name
        Name of the photograph in `skimage.data`.
    height, width
        Wanted size in pixels.
    """
    image = getattr(skimage.data, name)()
    for axis, size in enumerate((height, width)):
        first = max(image.shape[axis] - size, 0) // 2
        image = image.take(range(first, min(first + size, image.shape[axis])), axis)
    missing = [(0, size - have) for size, have in zip((height, width), image.shape, strict=False)]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric")


def luma_of_size(name: str, height: int, width: int) -> NDArray[np.float32]:
    """Return the 8-bit luma of a photograph as ``(1, 1, H, W)`` in steps of 1/256.

    Parameters
    ----------
    name
        Name of the photograph in `skimage.data`.
    height, width
        Wanted size in pixels.
    """
    return (luma(photograph_of_size(name, height, width))[None, None] / 256).astype(np.float32)


class ResidualChain(nn.Module):
    """Residual blocks of DeepDeblur: convolution, ReLU, convolution, plus the block's input."""

    def __init__(self, channels: int = 64, kernel: int = 5, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _convolution(channels, channels, kernel),
                nn.ReLU(),
                _convolution(channels, channels, kernel),
            )
            for _ in range(blocks)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        for block in self.blocks:
            features = features + block(features)
        return features


class InvertedResidual(nn.Module):
    """Block of MobileNetV2: 1x1 to more channels, depthwise 3x3, 1x1 back, plus its input."""

    def __init__(self, channels: int = 24, expanded: int = 144) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(channels, expanded, 1),
            nn.ReLU6(),
            _convolution(expanded, expanded, 3, groups=expanded),
            nn.ReLU6(),
            _convolution(expanded, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features + self.layers(features)


def _convolution(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def _with_relu(kernel: int) -> nn.Module:
    return nn.Sequential(_convolution(64, 64, kernel), nn.ReLU())


def kimsr() -> nn.Module:
    """Return KimSR with its trained weights."""
    return sr.load_float("kimsr_x2_bicubic")


def _untrained(network: nn.Module, last: str, *, adds_input: bool = False) -> nn.Module:
    """Scale the last layer so that the output is an image, not black and white.

    Otherwise hardly any value would depend on the layers before.
    """
    image = torch.from_numpy(luma_of_size(CALIBRATION[0], CALIBRATION_SIDE, CALIBRATION_SIDE))
    layer = network.get_submodule(last)
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    with torch.no_grad():
        result = network.train()(image)  # not clamped
        change = result - image if adds_input else result
        layer.weight *= (0.05 if adds_input else 0.2) / change.std()
        if layer.bias is not None:
            layer.bias += 0.5 - network(image).mean()
    return network


def _vdsr() -> nn.Module:
    return _untrained(sr.VDSR(), "layers.38", adds_input=True)


def _fsrcnn() -> nn.Module:
    return _untrained(sr.FSRCNN(), "upscale")


def _espcn() -> nn.Module:
    return _untrained(sr.ESPCN(), "tail")


WORKS = (
    Work("conv3x3", "conv 3×3, 64→64, ReLU", lambda: _with_relu(3), (64, 180, 320), 1,
         target=2.0),
    Work("conv5x5", "conv 5×5, 64→64, ReLU", lambda: _with_relu(5), (64, 180, 320), 2,
         target=1.8),
    Work("vdsr", "VDSR, 20 layers", _vdsr, (1, 512, 512), 20, target=2.0),
    Work("resblocks", "4 DeepDeblur ResBlocks, 5×5, 64", ResidualChain, (64, 180, 320), 16,
         target=1.8),
    Work("kimsr-540", "KimSR ×2", kimsr, (1, 540, 960), 7,
         target=2.5, aim=3.5),
    Work("kimsr-1080", "KimSR ×2", kimsr, (1, 1080, 1920), 7,
         target=2.5, aim=3.5),
    Work("fsrcnn-s", "FSRCNN-s ×2", _fsrcnn, (1, 540, 960), 6,
         target=1.5, aim=2.5),
    Work("espcn", "ESPCN ×2", _espcn, (1, 540, 960), 4,
         target=1.5, aim=2.5),
    Work("mobilenet-56", "MobileNetV2 block 24→144→24", InvertedResidual, (24, 56, 56), 1,
         target=1.0),
    Work("mobilenet-112", "MobileNetV2 block 24→144→24", InvertedResidual, (24, 112, 112),
         1, target=1.0),
)  # fmt: skip
