"""FireNet: a small recurrent network at full resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fxp.models.events.networks.cells import BINS, ConvGRU, ResidualBlock, Shape, StepNetwork


class FireNet(StepNetwork):
    """FireNet, with 37,777 parameters; the picture is not limited to 0...1.

    Parameters
    ----------
    base
        Channels of every layer.
    bins
        Bins of the voxel grid.

    References
    ----------
    C. Scheerlinck et al., "Fast image reconstruction with an event camera", WACV 2020.
    """

    def __init__(self, base: int = 16, bins: int = BINS) -> None:
        super().__init__()
        self.base, self.bins = base, bins
        self.head = nn.Conv2d(bins, base, 3, padding=1)
        self.recurrent = nn.ModuleList(ConvGRU(base) for _ in range(2))
        self.blocks = nn.ModuleList(ResidualBlock(base) for _ in range(2))
        self.pred = nn.Conv2d(base, 1, 1)

    def options(self) -> dict[str, int | bool]:
        """Return the arguments of the constructor."""
        return {"base": self.base, "bins": self.bins}

    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return the shapes of the two states."""
        return [(self.base, height, width)] * 2

    def forward(self, events: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Return the picture and both states.

        Parameters
        ----------
        events
            The voxel grid, ``(N, bins, H, W)``.
        first, second
            The states that the last call has returned, ``(N, base, H, W)``.
        """
        first = self.recurrent[0](torch.relu(self.head(events)), first)
        second = self.recurrent[1](self.blocks[0](first), second)
        return self.pred(self.blocks[1](second)), first, second
