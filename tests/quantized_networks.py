"""A small network with weights per output channel, for what must take such weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import fxp
from fxp.formats import Format


class Uneven(nn.Module):
    """Every layer that has weights, with output channels from about 1 down to 1/1000."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.slopes = nn.PReLU(4)
        self.depthwise = nn.Conv2d(4, 4, (1, 5), padding=(0, 2), groups=4, bias=False)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.enlarge = nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.slopes(self.first(image))
        inner = torch.relu(self.middle(self.depthwise(first)))
        return self.enlarge(inner + first)


def uneven(*, per_channel: bool = True) -> fxp.FixedModel:
    """Quantize `Uneven` with 8-bit weights, 12-bit activations, and the other defaults."""
    torch.manual_seed(1)
    network = Uneven().eval()
    with torch.no_grad():
        for layer in network.children():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
                count = layer.weight.shape[axis]
                shape = [count if index == axis else 1 for index in range(4)]
                layer.weight *= torch.logspace(0, -3, count).reshape(shape)
    calibration = np.random.default_rng(0).random((2, 1, 12, 10))
    return fxp.quantize(
        network,
        calibration,
        weight_bits=8,
        activation_bits=12,
        per_channel=per_channel,
        effort="fast",
        input_format=Format(8, 8, signed=False),
    )
