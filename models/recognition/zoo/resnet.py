"""ResNet-50, -101 and -152, of both versions.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. `CifarResNet` is in
`fxp.models.recognition.zoo.cifar`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.parts import Classifier, normalized_convolution
from fxp.support.errors import ArgumentError

BLOCKS: Final = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage by the depth."""
EXPANSION: Final = 4


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 with a shortcut; the modules have torchvision's names.

    Parameters
    ----------
    inputs
        Channels of the input.
    middle
        Channels between the convolutions; the result has four times as many.
    stride
        Of the convolution of 3x3, or of the first one.
    early
        Whether it is the first.
    """

    def __init__(self, inputs: int, middle: int, stride: int, *, early: bool) -> None:
        super().__init__()
        outputs = EXPANSION * middle
        first, second = (stride, 1) if early else (1, stride)
        self.conv1, self.bn1 = normalized_convolution(inputs, middle, 1, stride=first)
        self.conv2, self.bn2 = normalized_convolution(middle, middle, 3, stride=second)
        self.conv3, self.bn3 = normalized_convolution(middle, outputs, 1)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                *normalized_convolution(inputs, outputs, 1, stride=stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the two ways, without its negative part."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(Classifier):
    """ResNet for ImageNet.

    Parameters
    ----------
    depth
        50, 101 or 152 layers with weights.
    classes
        Number of scores.
    version
        ``"1.5"``, where the convolutions of 3x3 carry the stride, as in torchvision and timm, or
        ``"1"``, where the first of 1x1 do, as published. The weights are the same.
    width
        Channels of the first convolution.

    Raises
    ------
    ArgumentError
        If there is no such depth or version.
    """

    def __init__(
        self, depth: int = 50, classes: int = 1000, version: str = "1.5", width: int = 64
    ) -> None:
        super().__init__(depth=depth, classes=classes, version=version, width=width)
        if depth not in BLOCKS:
            raise ArgumentError(f"depth must be 50, 101 or 152, not {depth}")
        if version not in ("1", "1.5"):
            raise ArgumentError(f"version must be 1 or 1.5, not {version!r}")
        self.conv1, self.bn1 = normalized_convolution(3, width, 7, stride=2)
        inputs = width
        for number, count in enumerate(BLOCKS[depth]):
            middle = width << number
            blocks = []
            for block in range(count):
                stride = 2 if number and not block else 1
                blocks.append(Bottleneck(inputs, middle, stride, early=version == "1"))
                inputs = EXPANSION * middle
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
