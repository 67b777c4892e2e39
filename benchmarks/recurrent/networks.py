"""FireNet and CISTA-TC as plain torch modules, with the weights that their authors released.

FireNet: C. Scheerlinck et al., "Fast image reconstruction with an event camera", WACV 2020.
CISTA-TC: S. Liu, R. Alexandru, P. L. Dragotti, "Convolutional ISTA network with temporal
consistency constraints for video reconstruction from event cameras", ICASSP 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


class ConvGRU(nn.Module):
    """Convolutional gated recurrent unit with one convolution for each gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reset_gate, self.update_gate, self.out_gate = (
            nn.Conv2d(2 * channels, channels, 3, padding=1) for _ in range(3)
        )

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """Return the next state."""
        both = torch.cat([x, h], 1)
        update, reset = torch.sigmoid(self.update_gate(both)), torch.sigmoid(self.reset_gate(both))
        new = torch.tanh(self.out_gate(torch.cat([x, h * reset], 1)))
        return h * (1 - update) + new * update


class ResidualBlock(nn.Module):
    """Two convolutions, the sum with what went in, and a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's result."""
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + x)


class FireNet(nn.Module):
    """FireNet: event bins ``(N, 5, H, W)`` to a picture, with two states of 16 channels."""

    state_channels = (16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(5, 16, 3, padding=1)
        self.recurrent = nn.ModuleList(ConvGRU(16) for _ in range(2))
        self.blocks = nn.ModuleList(ResidualBlock(16) for _ in range(2))
        self.pred = nn.Conv2d(16, 1, 1)

    def forward(
        self, events: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the picture and both states.

        Parameters
        ----------
        events
            Bins of events.
        first, second
            The states that the last call has returned.
        """
        first = self.recurrent[0](torch.relu(self.head(events)), first)
        second = self.recurrent[1](self.blocks[0](first), second)
        return self.pred(self.blocks[1](second)), first, second

    def initial_states(self, height: int, width: int) -> list[torch.Tensor]:
        """Return zeros for a picture of this size."""
        return [torch.zeros(1, channels, height, width) for channels in self.state_channels]


def firenet(path: Path) -> FireNet:
    """Return FireNet with released weights."""
    names = {
        "head.": "net.head.conv.conv2d.",
        "recurrent.0.": "net.head.recurrent_block.",
        "recurrent.1.": "net.resblocks.0.recurrent_block.",
        "blocks.0.": "net.resblocks.0.conv.",
        "blocks.1.": "net.resblocks.1.",
        "pred.": "net.pred.conv2d.",
    }
    return _loaded(FireNet(), path, names)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="reflect")


class CistaTC(nn.Module):
    """CISTA-TC with tied iterations: events and the last picture to the next picture.

    The states are the last picture, the sparse code, and the two states of a convolutional LSTM.
    """

    def __init__(self, base: int = 64, bins: int = 5, iterations: int = 5) -> None:
        super().__init__()
        code = 2 * base
        self.base, self.iterations = base, iterations
        self.events, self.image = _convolution(bins, base // 2), _convolution(1, base // 2)
        self.start, self.code = _convolution(base, base, 2), _convolution(base, code)
        self.before, self.now = _convolution(code, 1), _convolution(code, 1)
        self.alpha = nn.Parameter(torch.zeros(1, code, 1, 1))
        self.threshold = nn.Parameter(torch.zeros(1, code, 1, 1))
        self.decode, self.encode = _convolution(code, base), _convolution(base, code)
        self.features, self.gates = _convolution(code, base), _convolution(2 * base, 4 * base)
        self.up, self.tail = _convolution(base, base), _convolution(base, 1)

    def forward(
        self,
        events: torch.Tensor,
        last: torch.Tensor,
        old: torch.Tensor,
        h: torch.Tensor,
        c: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return the picture, and the four states: the picture, the code, h and c.

        Parameters
        ----------
        events
            Bins of events.
        last, old, h, c
            The states that the last call has returned.
        """
        x = self.start(torch.cat([self.events(events), self.image(last)], 1))
        code, before = self.code(x), self.before(old)
        for _ in range(self.iterations):
            gate = torch.sigmoid(before * self.now(code))
            change = gate * (self.alpha * (old - code))
            wide = code + self.encode(x - self.decode(code)) + change
            code = torch.relu(wide - self.threshold) - torch.relu(-wide - self.threshold)
        gates = self.gates(torch.cat([torch.relu(self.features(code)), h], 1))
        into, forget, out, cell = gates.chunk(4, 1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(cell)
        h = torch.sigmoid(out) * torch.tanh(c)
        large = nn.functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
        image = torch.sigmoid(self.tail(self.up(large)))
        return image, image, code, h, c

    def initial_states(self, height: int, width: int) -> list[torch.Tensor]:
        """Return zeros for a picture of this size."""
        half = (height // 2, width // 2)
        code, cell = (1, 2 * self.base, *half), (1, self.base, *half)
        shapes = ((1, 1, height, width), code, cell, cell)
        return [torch.zeros(shape) for shape in shapes]


def cista_tc(path: Path) -> CistaTC:
    """Return CISTA-TC with released weights."""
    names = {
        "events.": "We.conv2d.",
        "image.": "Wi.conv2d.",
        "start.": "W0.conv2d.",
        "code.": "P0.conv2d.",
        "before.": "one_conv_for_prev.conv2d.",
        "now.": "one_conv_for_cur.conv2d.",
        "alpha": "alpha.0",
        "threshold": "lista_blocks.0.Lambda",
        "decode.": "lista_blocks.0.D.conv2d.",
        "encode.": "lista_blocks.0.P.conv2d.",
        "features.": "Dg.conv.conv2d.",
        "gates.": "Dg.recurrent_block.Gates.",
        "up.": "upsamp_conv.conv2d.",
        "tail.": "final_conv.conv2d.",
    }
    return _loaded(CistaTC(), path, names)


def _loaded(network: Any, path: Path, names: dict[str, str]) -> Any:
    """Fill a network from a file whose names begin otherwise."""
    with np.load(path) as stored:
        weights = {}
        for name in network.state_dict():
            ours = next(prefix for prefix in names if name.startswith(prefix))
            weights[name] = torch.from_numpy(stored[names[ours] + name.removeprefix(ours)])
    network.load_state_dict(weights)
    return network.eval()


def pairs(network: Any) -> list[tuple[int, int]]:
    """Return the pairs of positions that `fxp.quantize` takes as states."""
    return [(index, index) for index in range(1, 1 + len(network.initial_states(2, 2)))]
