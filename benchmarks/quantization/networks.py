"""Released networks as plain torch modules: their weights are read from a folder of data.

MobileNet: A. G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications", 2017. SqueezeNet: F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy
with 50x fewer parameters and <0.5MB model size", 2016. ResNet: K. He et al., "Deep Residual
Learning for Image Recognition", CVPR 2016. ESPCN: W. Shi et al., "Real-Time Single Image and Video
Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the arrays of a ``.npz`` file as tensors."""
    with np.load(path) as data:
        return {name: torch.from_numpy(data[name]) for name in data.files}


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    """Return convolution and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class MobileNet(nn.Module):
    """MobileNetV1 of a quarter of the channels, with leaky ReLUs of slope 0.1."""

    #: Channels into and out of each separable block, and its stride.
    stages = (
        ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)),
        ((64, 128, 2), *((128, 128, 1),) * 5),
        ((128, 256, 2), (256, 256, 1)),
    )

    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(*_convolution(3, 8, 3, 2, 1), nn.LeakyReLU(0.1))
        blocks = [
            [
                nn.Sequential(
                    *_convolution(inputs, inputs, 3, stride, inputs), nn.LeakyReLU(0.1),
                    *_convolution(inputs, outputs, 1, 1, 1), nn.LeakyReLU(0.1),
                )
                for inputs, outputs, stride in stage
            ]
            for stage in self.stages
        ]  # fmt: skip
        self.stage1 = nn.Sequential(first, *blocks[0])
        self.stage2, self.stage3 = nn.Sequential(*blocks[1]), nn.Sequential(*blocks[2])
        self.fc = nn.Linear(256, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Return 1,000 scores."""
        features = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(functional.adaptive_avg_pool2d(features, 1).flatten(1))


def mobilenet(data: Path) -> nn.Module:
    """Return MobileNetV1 x0.25."""
    network = MobileNet()
    network.load_state_dict(_tensors(data / "weights" / "mobilenetv1_025_imagenet.npz"))
    return network.eval()


class Fire(nn.Module):
    """A narrow convolution, then two wide ones side by side."""

    def __init__(self, inputs: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the two results one after the other."""
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 for 227x227 pixels."""

    def __init__(self) -> None:
        super().__init__()
        fires = ((96, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128), (256, 48, 192),
                 (384, 48, 192), (384, 64, 256), (512, 64, 256))  # fmt: skip
        self.first = nn.Conv2d(3, 96, 7, 2)
        self.fires = nn.ModuleList(Fire(*channels) for channels in fires)
        self.last = nn.Conv2d(512, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return 1,000 scores."""
        x = functional.max_pool2d(torch.relu(self.first(x)), 3, 2, ceil_mode=True)
        for number, fire in enumerate(self.fires):
            x = fire(x)
            if number in (2, 6):
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return functional.adaptive_avg_pool2d(torch.relu(self.last(x)), 1).flatten(1)


def squeezenet(data: Path) -> nn.Module:
    """Return SqueezeNet 1.0 with the weights of Deep Compression."""
    network = SqueezeNet()
    tensors = _tensors(data / "weights" / "squeezenet10_deepcompression.npz")
    layers = {"conv1": network.first, "conv_final": network.last}
    for number, fire in enumerate(network.fires, 2):
        assert isinstance(fire, Fire)
        layers[f"fire{number}__conv1x1_1"] = fire.squeeze
        layers[f"fire{number}__conv1x1_2"] = fire.expand1x1
        layers[f"fire{number}__conv3x3_2"] = fire.expand3x3
    for name, layer in layers.items():
        layer.load_state_dict({key: tensors[f"{name}__{key}"] for key in ("weight", "bias")})
    return network.eval()


class BasicBlock(nn.Module):
    """Block of ResNet-20: where the size changes, the shortcut is padded with empty channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.added = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the two ways."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return torch.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR-10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                BasicBlock(inputs, outputs, stride),
                *(BasicBlock(outputs, outputs, 1) for _ in range(2)),
            )
            for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )  # fmt: skip
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return ten scores."""
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet20(data: Path) -> nn.Module:
    """Return ResNet-20."""
    network = ResNet20()
    # The file leaves out how many batches were counted.
    network.load_state_dict(_tensors(data / "weights" / "resnet20_cifar10.npz"), strict=False)
    return network.eval()


class PaddedBlock(nn.Module):
    """Block of ResNet-8: where the size changes, the shortcut is a convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # Padding "same" of a stride of two adds below and to the right alone.
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the two ways."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(self.pad(x))))))
        return torch.relu(y + self.shortcut(x))


class ResNet8(nn.Module):
    """ResNet-8 for CIFAR-10, as in MLPerf Tiny; it takes pixels of 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16, eps=1e-3)
        self.blocks = nn.Sequential(
            PaddedBlock(16, 16, 1), PaddedBlock(16, 32, 2), PaddedBlock(32, 64, 2)
        )
        self.dense = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the ten scores."""
        x = self.blocks(torch.relu(self.bn(self.conv(x))))
        return self.dense(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def resnet8(data: Path) -> nn.Module:
    """Return ResNet-8."""
    network = ResNet8()
    tensors = _tensors_of_keras(data / "weights" / "resnet8_cifar10_mlperftiny.npz")
    first, second, third = network.blocks
    convolutions = [
        network.conv, first.conv1, first.conv2, second.conv1, second.conv2, second.shortcut,
        third.conv1, third.conv2, third.shortcut,
    ]  # fmt: skip
    norms = [network.bn, *(norm for block in network.blocks for norm in (block.bn1, block.bn2))]
    with torch.no_grad():
        for number, layer in enumerate(convolutions):
            name = f"conv2d_{number}" if number else "conv2d"
            layer.weight.copy_(tensors[f"{name}/kernel"].permute(3, 2, 0, 1))
            layer.bias.copy_(tensors[f"{name}/bias"])
        for number, norm in enumerate(norms):
            name = f"batch_normalization_{number}" if number else "batch_normalization"
            norm.weight.copy_(tensors[f"{name}/gamma"])
            norm.bias.copy_(tensors[f"{name}/beta"])
            norm.running_mean.copy_(tensors[f"{name}/moving_mean"])
            norm.running_var.copy_(tensors[f"{name}/moving_variance"])
        network.dense.weight.copy_(tensors["dense/kernel"].T)
        network.dense.bias.copy_(tensors["dense/bias"])
    return network.eval()


def _tensors_of_keras(path: Path) -> dict[str, Tensor]:
    """Return the arrays of a Keras file, without what it says of the layers."""
    with np.load(path) as data:
        return {
            name.removesuffix(":0"): torch.from_numpy(data[name].astype(np.float32))
            for name in data.files
            if name.endswith(":0")
        }


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
