"""Small networks of which it is known where they lose precision."""

from __future__ import annotations

import torch
from torch import nn


class Plain(nn.Module):
    """Three convolutions with ReLUs between them, on images of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.middle(x)))


def plain() -> Plain:
    torch.manual_seed(1)
    return Plain().eval()


class Heads(nn.Module):
    """Scores from 0 to 1 beside a distance of hundreds."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.large, self.small = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.body(x))
        return torch.cat([5000 * torch.relu(self.large(y)), torch.sigmoid(self.small(y))], 1)


class Accumulating(nn.Module):
    """A state that keeps nine tenths of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(1, 2, 3, padding=1)
        self.tail = nn.Conv2d(2, 1, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = 0.9 * state + torch.relu(self.read(x))
        return self.tail(state), state


class Classifier(nn.Module):
    """Five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


def images(count: int = 3, size: int = 20) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(1, 1, size, size, generator=generator) for _ in range(count)]
