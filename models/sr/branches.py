"""Structural re-parameterization: branches that train in parallel and collapse into one kernel.

The sum of linear branches is one convolution, so the trained network costs what it always did; the
branches change the path of the optimizer alone (Ding et al., "Diverse Branch Block", CVPR 2021;
Zhang et al., "Edge-oriented Convolution Block", ACM MM 2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Branches(nn.Module):
    """A kernel plus the product of two matrices, or plus filters with a weight per channel.

    Dense kernels get the product: a wide hidden layer without nonlinearity. Depthwise kernels get
    averages and derivatives along both axes. All start at zero, so the function is kept.

    Parameters
    ----------
    kernel
        Weight of the convolution, (outputs, inputs per group, rows, columns).
    depthwise
        Whether it is a depthwise convolution.
    """

    filters: Tensor

    def __init__(self, kernel: Tensor, *, depthwise: bool) -> None:
        super().__init__()
        outputs, inputs = kernel.shape[0], kernel[0].numel()
        if depthwise:
            self.register_buffer("filters", _filter_bank(*kernel.shape[2:]))
            self.first = nn.Parameter(torch.zeros(outputs, len(self.filters)))
            self.second = None
        else:
            hidden = 2 * max(outputs, inputs)
            self.first = nn.Parameter(torch.randn(outputs, hidden) / math.sqrt(hidden))
            self.second = nn.Parameter(torch.zeros(hidden, inputs))

    def forward(self, kernel: Tensor) -> Tensor:
        """Return the sum of the branches."""
        added = self.first @ (self.filters if self.second is None else self.second)
        return kernel + added.reshape(kernel.shape)


def _filter_bank(rows: int, columns: int) -> Tensor:
    """Averages and derivatives, one per row: products of [1], [1, 1, 1]/3, [1, 0, -1]/2, ..."""

    def along(size: int) -> list[Tensor]:
        centre = torch.zeros(size)
        centre[size // 2] = 1.0
        if size == 1:
            return [centre]
        slope = torch.roll(centre, -1) - torch.roll(centre, 1)
        bend = torch.roll(centre, -1) + torch.roll(centre, 1) - 2.0 * centre
        return [centre, torch.full((size,), 1.0 / size), slope / 2.0, bend / 4.0]

    pairs = [torch.outer(v, h).flatten() for v in along(rows) for h in along(columns)]
    return torch.stack(pairs)


def add_branches(model: nn.Module) -> None:
    """Give every convolution parallel branches; the function stays the same."""
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d):
            branches = Branches(module.weight, depthwise=module.groups > 1)
            parametrize.register_parametrization(module, "weight", branches)
