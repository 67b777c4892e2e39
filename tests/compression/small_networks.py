"""Small networks with everything that channels are followed over."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.frontend import from_torch
from fxp.graph import Graph
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.quantize import choose_formats


class Branches(nn.Module):
    """A residual addition, a depthwise layer, a concatenation, a linear layer behind flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Conv2d(8, 6, 3, padding=1)
        self.back = nn.Conv2d(6, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 3, padding=1)
        self.joint = nn.Conv2d(8, 6, 1)
        self.last = nn.Linear(6 * 4, 5)

    def forward(self, image: Tensor) -> Tensor:
        stem = self.first(image)
        stem = functional.relu(stem + self.back(torch.sigmoid(self.inner(stem))))
        stem = functional.relu(self.depthwise(stem))
        joined = torch.cat([functional.relu(self.left(stem)), self.right(stem)], 1)
        joined = functional.relu(self.joint(joined))
        return self.last(torch.flatten(functional.adaptive_avg_pool2d(joined, 2), 1))


class PaddedShortcut(nn.Module):
    """A residual block whose shortcut pads channels with zeros, as those of CIFAR networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.back = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        stem = functional.relu(self.first(image))
        shortcut = functional.pad(stem[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        stem = functional.relu(shortcut + self.back(functional.relu(self.inner(stem))))
        return self.last(stem.mean((2, 3)))


def chain(*, bias: bool = True) -> nn.Sequential:
    """Two convolutions and a linear layer, of fixed random weights, in eval mode."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4, bias=bias),
    ).eval()


def integer_graph(network: nn.Module, images: Tensor, **options) -> Graph:
    """Quantize a network without refinements, and so without compiling kernels."""
    graph = from_torch(network, (images,))
    return choose_formats(graph, [[images]], QuantizeOptions(**options))
