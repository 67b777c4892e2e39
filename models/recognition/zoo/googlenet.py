"""GoogLeNet, the first version of Inception.

C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015. The auxiliary classifiers, which
matter in training alone, are left out.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.parts import Classifier

BLOCKS: Final = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
"""Channels of the blocks: 1x1; 1x1 and 3x3; 1x1 and 5x5; 1x1 after the pooling."""


class Convolution(nn.Module):
    """A convolution and a ReLU, with batch normalization between them or with a bias.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel
        Height and width.
    stride
        Of the convolution.
    normalized
        Whether there is batch normalization.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, normalized: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=not normalized
        )
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3) if normalized else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return what is positive of the result."""
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four ways side by side: convolutions of three sizes, and a pooling.

    Parameters
    ----------
    inputs
        Channels of the input.
    channels
        One item of `BLOCKS`.
    kernel
        Height and width of the largest convolution.
    normalized
        See `Convolution`.
    """

    def __init__(
        self, inputs: int, channels: tuple[int, ...], *, kernel: int, normalized: bool
    ) -> None:
        super().__init__()

        def convolution(inputs: int, outputs: int, kernel: int) -> Convolution:
            return Convolution(inputs, outputs, kernel, normalized=normalized)

        one, narrow3, wide3, narrow5, wide5, pooled = channels
        self.branch1 = convolution(inputs, one, 1)
        self.branch2 = nn.Sequential(
            convolution(inputs, narrow3, 1), convolution(narrow3, wide3, 3)
        )
        self.branch3 = nn.Sequential(
            convolution(inputs, narrow5, 1), convolution(narrow5, wide5, kernel)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(inputs, pooled, 1))
        self.outputs = one + wide3 + wide5 + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Return the four results one after the other."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(Classifier):
    """GoogLeNet for ImageNet; the modules have torchvision's names.

    Parameters
    ----------
    classes
        Number of scores.
    kernel
        Size of the largest convolutions. It is 5 in the paper; torchvision's weights need 3.
    normalized
        Whether there is batch normalization, as in torchvision and not in the paper.
    """

    def __init__(self, classes: int = 1000, kernel: int = 5, *, normalized: bool = False) -> None:
        super().__init__(classes=classes, kernel=kernel, normalized=normalized)
        self.conv1 = Convolution(3, 64, 7, stride=2, normalized=normalized)
        self.conv2 = Convolution(64, 64, 1, normalized=normalized)
        self.conv3 = Convolution(64, 192, 3, normalized=normalized)
        inputs = 192
        for name, channels in BLOCKS.items():
            block = Inception(inputs, channels, kernel=kernel, normalized=normalized)
            self.add_module(f"inception{name}", block)
            inputs = block.outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        for name in BLOCKS:
            if name == "4a":
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            if name == "5a":
                x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
            x = self.get_submodule(f"inception{name}")(x)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
