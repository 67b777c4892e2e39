"""Small classifiers for pictures of 32x32 pixels, such as those of CIFAR-10.

`CifarResNet` is that of section 4.2 of K. He et al., "Deep Residual Learning for Image
Recognition", CVPR 2016, with the shortcuts of option A. The others are small relatives of networks
for 224x224 pixels: of VGG-S, SqueezeNet and MobileNetV2, see the modules of these. All of them take
pixels divided by 256, without further normalization.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.mobilenet import InvertedResidual
from fxp.models.recognition.zoo.parts import Classifier, normalized_convolution
from fxp.models.recognition.zoo.squeezenet import Fire
from fxp.support.errors import ArgumentError


class PaddedShortcut(nn.Module):
    """The shortcut of option A: every second pixel, and channels of zeros on both sides.

    Parameters
    ----------
    added
        Channels of zeros before the first and behind the last channel; none leave the input as it
        is.
    """

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with half the height and width and the added channels."""
        if not self.added:
            return x
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))


class CifarBlock(nn.Module):
    """Two convolutions, and a shortcut without weights around them.

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Of the first convolution; 2 where the channels double.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = normalized_convolution(inputs, outputs, stride=stride)
        self.conv2, self.bn2 = normalized_convolution(outputs, outputs)
        self.shortcut = PaddedShortcut((outputs - inputs) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the two ways, without its negative part."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class CifarResNet(Classifier):
    """ResNet-20, -32, -44, -56 or -110 for CIFAR-10.

    Parameters
    ----------
    depth
        Layers with weights: 2 more than a multiple of 6.
    classes
        Number of scores.
    width
        Channels of the first of the three stages; they double twice.
    channels
        Channels of the pictures.

    Raises
    ------
    ArgumentError
        If there is no such depth.
    """

    side = 32

    def __init__(
        self, depth: int = 20, classes: int = 10, width: int = 16, channels: int = 3
    ) -> None:
        super().__init__(depth=depth, classes=classes, width=width, channels=channels)
        if depth < 8 or (depth - 2) % 6:
            raise ArgumentError(f"depth must be 8, 14, 20, 26, ..., not {depth}")
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = normalized_convolution(channels, width)
        self.layer1 = _stage(width, width, blocks, 1)
        self.layer2 = _stage(width, 2 * width, blocks, 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = CifarBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(CifarBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


class CifarVGGS(Classifier):
    """A small relative of VGG-S: five convolutions, three poolings, three linear layers.

    Every convolution is followed by batch normalization, as in the variant of VGG-S for facial
    expressions. More than half of the weights are those of the linear layers.

    Parameters
    ----------
    classes
        Number of scores.
    width
        Channels of the first convolution; the others have two and three times as many.
    hidden
        Outputs of the first two linear layers.
    channels
        Channels of the pictures.
    """

    side = 32

    def __init__(
        self, classes: int = 10, width: int = 40, hidden: int = 256, channels: int = 3
    ) -> None:
        super().__init__(classes=classes, width=width, hidden=hidden, channels=channels)
        wide = 3 * width
        layers: list[nn.Module] = []
        for inputs, outputs, pooled in (
            (channels, width, True),
            (width, 2 * width, True),
            (2 * width, wide, False),
            (wide, wide, False),
            (wide, wide, True),
        ):
            layers += [*normalized_convolution(inputs, outputs), nn.ReLU()]
            if pooled:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(16 * wide, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(self.features(x).flatten(1))


class CifarSqueezeNet(Classifier):
    """A small relative of SqueezeNet 1.1: six fire modules, and a convolution that classifies.

    Parameters
    ----------
    classes
        Number of scores.
    width
        Channels of the first convolution, a multiple of 4.
    channels
        Channels of the pictures.
    """

    side = 32

    def __init__(self, classes: int = 10, width: int = 64, channels: int = 3) -> None:
        super().__init__(classes=classes, width=width, channels=channels)
        half = width // 2
        self.first = nn.Sequential(*normalized_convolution(channels, width), nn.ReLU())
        stages = []
        inputs = width
        for narrow, wide in ((half // 2, half), (half, width), (3 * half // 2, 3 * half)):
            fires = (
                Fire(inputs, narrow, wide, normalized=True),
                Fire(2 * wide, narrow, wide, normalized=True),
            )
            stages.append(nn.Sequential(*fires))
            inputs = 2 * wide
        self.fires = nn.ModuleList(stages)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = self.first(x)
        for number, stage in enumerate(self.fires):
            # The size halves before every stage but the last, which is on 8x8 pixels.
            x = stage(functional.max_pool2d(x, 2) if number < 2 else x)
        return functional.adaptive_avg_pool2d(self.last(self.dropout(x)), 1).flatten(1)


SMALL_STAGES: Final = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 2, 1))
"""Expansion, channels, blocks and first stride of the stages of `CifarMobileNetV2`."""


class CifarMobileNetV2(Classifier):
    """A small relative of MobileNetV2: eight inverted residuals.

    Parameters
    ----------
    classes
        Number of scores.
    width
        Factor on the channels.
    channels
        Channels of the pictures.
    """

    side = 32

    def __init__(self, classes: int = 10, width: float = 1.0, channels: int = 3) -> None:
        super().__init__(classes=classes, width=width, channels=channels)
        inputs = max(4, round(16 * width))
        layers: list[nn.Module] = [*normalized_convolution(channels, inputs), nn.ReLU6()]
        for expansion, wanted, blocks, stride in SMALL_STAGES:
            outputs = max(4, round(wanted * width))
            for number in range(blocks):
                layers.append(
                    InvertedResidual(inputs, outputs, stride if number == 0 else 1, expansion)
                )
                inputs = outputs
        last = 4 * inputs
        layers += [*normalized_convolution(inputs, last, 1), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
