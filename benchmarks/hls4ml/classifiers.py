"""Classifiers of usual size, with random weights."""

from __future__ import annotations

import torch
from torch import nn

import fxp


def lenet() -> fxp.FixedModel:
    """Return LeNet-5 for images of 28×28, with random weights of 8 bits."""
    layers = [
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ]  # fmt: skip
    return _classifier(nn.Sequential(*layers), (1, 28, 28))


class _Residual(nn.Module):
    """Two convolutions and a shortcut, which a convolution makes smaller."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 2 if outputs > inputs else 1
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions make to the shortcut."""
        inner = torch.relu(self.first(image))
        return torch.relu(self.second(inner) + self.shortcut(image))


def resnet8() -> fxp.FixedModel:
    """Return ResNet-8 for images of 32×32, with random weights of 8 bits."""
    layers = [
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), _Residual(16, 16), _Residual(16, 32),
        _Residual(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    ]  # fmt: skip
    return _classifier(nn.Sequential(*layers), (3, 32, 32))


def _classifier(network: nn.Module, shape: tuple[int, int, int]) -> fxp.FixedModel:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return fxp.quantize(
        network.eval(), [torch.rand(4, *shape)], weight_bits=8, activation_bits=8,
        input_format=fxp.Format(8, 8, signed=False),
    )  # fmt: skip
