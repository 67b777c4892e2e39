"""A residual network for pictures of 32x32 pixels whose weights, or activations too, are signs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.binary.layers import BinaryConv2d, XnorConv2d
from fxp.models.recognition.zoo.cifar import PaddedShortcut
from fxp.models.recognition.zoo.parts import Classifier, normalized_convolution
from fxp.support.errors import ArgumentError

NORM_EPSILON = 1e-4
"""Of the normalizations before signs, as in the release of XNOR-Net."""


class BinaryBlock(nn.Module):
    """Two binary convolutions with a shortcut around each or around both.

    With real activations it is the block of the residual network: convolution, normalization, ReLU,
    convolution, normalization, sum, ReLU. With signs, each convolution has the order of XNOR-Net:
    normalization, sign, convolution; and each has a shortcut of its own, which keeps the real
    values (Z. Liu et al., "Bi-Real Net", ECCV 2018).

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Of the first convolution; 2 where the channels double.
    activations
        Whether activations are signs.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, activations: bool) -> None:
        super().__init__()
        self.activations = activations
        layer = XnorConv2d if activations else BinaryConv2d
        self.conv1 = layer(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = layer(outputs, outputs, 3, padding=1, bias=False)
        if activations:
            self.bn1 = nn.BatchNorm2d(inputs, eps=NORM_EPSILON, affine=False)
            self.bn2 = nn.BatchNorm2d(outputs, eps=NORM_EPSILON, affine=False)
        else:
            self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = PaddedShortcut((outputs - inputs) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, outputs, H / stride, W / stride)``."""
        if self.activations:
            y = self.conv1(self.bn1(x)) + self.shortcut(x)
            return y + self.conv2(self.bn2(y))
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class BinaryResNet(Classifier):
    """ResNet-20, -32, ... for CIFAR-10 with binary weights, and binary activations on demand.

    The first convolution and the linear layer at the end are real, as in the papers; see
    `fxp.models.recognition.binary.layers`.

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
    activations
        Whether activations are signs, too (XNOR-Net).

    Raises
    ------
    ArgumentError
        If there is no such depth.
    """

    side = 32

    def __init__(
        self,
        depth: int = 20,
        classes: int = 10,
        width: int = 32,
        channels: int = 3,
        *,
        activations: bool = False,
    ) -> None:
        super().__init__(
            depth=depth, classes=classes, width=width, channels=channels, activations=activations
        )
        if depth < 8 or (depth - 2) % 6:
            raise ArgumentError(f"depth must be 8, 14, 20, 26, ..., not {depth}")
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = normalized_convolution(channels, width)
        stages, inputs = [], width
        for stage in range(3):
            for block in range(blocks):
                outputs, stride = width << stage, 2 if stage and not block else 1
                stages.append(BinaryBlock(inputs, outputs, stride, activations=activations))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = self.blocks(torch.relu(self.bn1(self.conv1(x))))
        return self.linear(functional.adaptive_avg_pool2d(torch.relu(x), 1).flatten(1))
