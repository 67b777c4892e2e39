"""Released networks: their weights are read from a folder of data.

ESPCN: W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016. The classifiers are in
`fxp.models.recognition.zoo.released`.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo import released


def mobilenet(data: Path) -> nn.Module:
    """Return MobileNetV1 x0.25."""
    return released.mobilenet(data / "weights" / "mobilenetv1_025_imagenet.npz")


def squeezenet(data: Path) -> nn.Module:
    """Return SqueezeNet 1.0 with the weights of Deep Compression."""
    return released.squeezenet(data / "weights" / "squeezenet10_deepcompression.npz")


def resnet20(data: Path) -> nn.Module:
    """Return ResNet-20."""
    return released.resnet20(data / "weights" / "resnet20_cifar10.npz")


def resnet8(data: Path) -> nn.Module:
    """Return ResNet-8."""
    return released.resnet8(data / "weights" / "resnet8_cifar10_mlperftiny.npz")


class DeepESPCN(nn.Module):
    """ESPCN x3 with four convolutions and ReLUs, for luma of 0 to 1."""

    scale = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv4 = nn.Conv2d(32, self.scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged luma."""
        for layer in (self.conv1, self.conv2, self.conv3):
            x = torch.relu(layer(x))
        return functional.pixel_shuffle(self.conv4(x), self.scale)


def espcn(data: Path) -> nn.Module:
    """Return ESPCN x3 with the weights in an ONNX file."""
    network = DeepESPCN()
    graph = onnx.load(data / "onnx" / "super_resolution.onnx").graph
    network.load_state_dict(
        {
            item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
            for item in graph.initializer
        }
    )
    return network.eval()
