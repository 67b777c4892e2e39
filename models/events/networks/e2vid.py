"""E2VID: a recurrent U-Net."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fxp.models.events.networks.cells import (
    BINS,
    ConvLSTM,
    ResidualBlock,
    Shape,
    StepNetwork,
    enlarged,
)

LEVELS = 3
"""Encoders, and decoders."""


class E2VID(StepNetwork):
    """E2VID without normalization layers, with 10,710,401 parameters.

    Three encoders halve the size, each with a convolutional LSTM; three decoders double it, and
    each adds the output of the encoder of its size first.

    Parameters
    ----------
    base
        Channels at full resolution; each encoder doubles them.
    bins
        Bins of the voxel grid.

    References
    ----------
    H. Rebecq et al., "High speed and high dynamic range video with an event camera", IEEE Trans.
    Pattern Analysis and Machine Intelligence 43(6), 2021.
    """

    multiple = 2**LEVELS

    def __init__(self, base: int = 32, bins: int = BINS) -> None:
        super().__init__()
        self.base, self.bins = base, bins
        channels = [base << level for level in range(LEVELS + 1)]
        self.head = nn.Conv2d(bins, base, 5, padding=2)
        self.encoders = nn.ModuleList(
            nn.Conv2d(few, many, 5, 2, padding=2) for few, many in pairwise(channels)
        )
        self.recurrent = nn.ModuleList(ConvLSTM(many) for many in channels[1:])
        self.blocks = nn.ModuleList(ResidualBlock(channels[-1]) for _ in range(2))
        self.decoders = nn.ModuleList(
            nn.Conv2d(many, many // 2, 5, padding=2) for many in reversed(channels[1:])
        )
        self.pred = nn.Conv2d(base, 1, 1)

    def options(self) -> dict[str, int | bool]:
        """Return the arguments of the constructor."""
        return {"base": self.base, "bins": self.bins}

    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return the shapes of the hidden state and the cell of each encoder, finest first."""
        return [
            (self.base << level, height >> level, width >> level)
            for level in range(1, LEVELS + 1)
            for _ in range(2)
        ]

    def forward(
        self,
        events: Tensor,
        hidden_1: Tensor,
        cell_1: Tensor,
        hidden_2: Tensor,
        cell_2: Tensor,
        hidden_3: Tensor,
        cell_3: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the picture, and the states in the order of the arguments.

        Parameters
        ----------
        events
            The voxel grid, ``(N, bins, H, W)``.
        hidden_1, cell_1, hidden_2, cell_2, hidden_3, cell_3
            The states of each encoder that the last call has returned.
        """
        head = features = torch.relu(self.head(events))
        old = ((hidden_1, cell_1), (hidden_2, cell_2), (hidden_3, cell_3))
        states: list[Tensor] = []
        skipped: list[Tensor] = []
        for encoder, lstm, (hidden, cell) in zip(self.encoders, self.recurrent, old, strict=True):
            features, cell = lstm(torch.relu(encoder(features)), hidden, cell)
            states += [features, cell]
            skipped.append(features)
        for block in self.blocks:
            features = block(features)
        for decoder in self.decoders:
            features = torch.relu(decoder(enlarged(features + skipped.pop())))
        return torch.sigmoid(self.pred(features + head)), *states
