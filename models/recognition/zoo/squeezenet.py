"""SqueezeNet of both versions.

F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", 2016.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.parts import Classifier
from fxp.support.errors import ArgumentError


class Fire(nn.Module):
    """A narrow convolution, then two wide ones side by side.

    Parameters
    ----------
    inputs
        Channels of the input.
    narrow
        Channels after the first convolution, of 1x1.
    wide
        Channels of each of the two others, of 1x1 and of 3x3.
    normalized
        Whether batch normalization follows the convolutions, which the published network has not.
    """

    def __init__(self, inputs: int, narrow: int, wide: int, *, normalized: bool = False) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, narrow, 1, bias=not normalized)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1, bias=not normalized)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1, bias=not normalized)
        self.squeeze_norm = nn.BatchNorm2d(narrow) if normalized else nn.Identity()
        self.expand_norm = nn.BatchNorm2d(2 * wide) if normalized else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the two results one after the other."""
        x = torch.relu(self.squeeze_norm(self.squeeze(x)))
        both = torch.cat([self.expand1x1(x), self.expand3x3(x)], 1)
        return torch.relu(self.expand_norm(both))


FIRES: Final = (
    (16, 64),
    (16, 64),
    (32, 128),
    (32, 128),
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
)
"""Narrow and wide channels of the fire modules of both versions."""
POOLED_BEFORE: Final = {"1.0": (0, 3, 7), "1.1": (0, 2, 4)}
"""Numbers of the fire modules that max pooling precedes."""


class SqueezeNet(Classifier):
    """SqueezeNet for 1,000 classes of ImageNet.

    The modules have torchvision's names. Version 1.0 is for 227x227 pixels.

    Parameters
    ----------
    version
        ``"1.0"`` or ``"1.1"``.
    classes
        Number of scores.

    Raises
    ------
    ArgumentError
        If there is no such version.
    """

    def __init__(self, version: str = "1.1", classes: int = 1000) -> None:
        super().__init__(version=version, classes=classes)
        if version not in POOLED_BEFORE:
            raise ArgumentError(f"version must be 1.0 or 1.1, not {version!r}")
        first = nn.Conv2d(3, 96, 7, 2) if version == "1.0" else nn.Conv2d(3, 64, 3, 2)
        layers: list[nn.Module] = [first, nn.ReLU()]
        inputs = first.out_channels
        for number, (narrow, wide) in enumerate(FIRES):
            if number in POOLED_BEFORE[version]:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            layers.append(Fire(inputs, narrow, wide))
            inputs = 2 * wide
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(inputs, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes; they are never negative."""
        x = torch.relu(self.classifier(self.features(x)))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)
