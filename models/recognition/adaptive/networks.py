"""Residual networks for pictures of 32x32 pixels that stop early.

* `AdaptiveResNet`: A. Graves, "Adaptive Computation Time for Recurrent Neural Networks", 2016, on
  the units of a residual network, and for every position of its own, M. Figurnov et al., "Spatially
  Adaptive Computation Time for Residual Networks", CVPR 2017.
* `BranchyResNet`: S. Teerapittayanon, B. McDanel, H. T. Kung, "BranchyNet: Fast Inference via Early
  Exiting from Deep Neural Networks", ICPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.cifar import CifarResNet
from fxp.support.errors import ArgumentError

HALTING_BIAS: Final = -3.0
"""Of halting scores at first, so that all units run."""
EPSILON: Final = 0.01
"""Halting scores need to add up to 1 less this much."""


class Halting(nn.Module):
    """Halting score ``sigmoid(W * norm(x) + w . mean(norm(x)) + b)``, from 0 to 1.

    Parameters
    ----------
    channels
        Of the features.
    spatial
        Whether every position has a score; else there is one for the picture, and no ``W``.
    """

    def __init__(self, channels: int, *, spatial: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.whole = nn.Conv2d(channels, 1, 1)
        self.local = nn.Conv2d(channels, 1, 3, padding=1, bias=False) if spatial else None
        assert self.whole.bias is not None
        nn.init.constant_(self.whole.bias, HALTING_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, 1, H, W)``, or ``(N, 1, 1, 1)``."""
        y = self.norm(x)
        score = self.whole(functional.adaptive_avg_pool2d(y, 1))
        return torch.sigmoid(score if self.local is None else score + self.local(y))


@dataclass(frozen=True)
class StageRun:
    """What one stage did.

    Attributes
    ----------
    features
        Those after each unit, ``(N, C, H, W)``; finished positions keep what they had.
    result
        Their weighted sum.
    ponder
        Ponder cost of each picture, ``(N,)``: units plus remainder, the mean over positions.
    units
        How many units each position ran, ``(N, 1, H, W)`` or ``(N, 1, 1, 1)``.
    """

    features: Sequence[Tensor]
    result: Tensor
    ponder: Tensor
    units: Tensor


def check_epsilon(epsilon: float) -> float:
    """Return epsilon.

    Raises
    ------
    ArgumentError
        If it does not lie between 0 and 1.
    """
    if not 0 < epsilon < 1:
        raise ArgumentError(f"epsilon must lie between 0 and 1, not {epsilon}")
    return epsilon


class AdaptiveResNet(CifarResNet):
    """ResNet-20, -32, ... whose units stop where halting scores add up to 1.

    The first unit of every stage, which may change the size, always runs. A stage returns the mean
    of the features after each unit, weighted with the halting scores; the last weight is what is
    left to 1.

    Parameters
    ----------
    depth, classes, width, channels
        As for `fxp.models.recognition.zoo.cifar.CifarResNet`.
    spatial
        Whether each position stops by itself (SACT), or the picture does (ACT).
    epsilon
        Halting scores need to add up to 1 less this much.

    Raises
    ------
    ArgumentError
        If there is no such depth, a stage has a single unit, or epsilon does not lie between 0 and
        1.
    """

    def __init__(
        self,
        depth: int = 20,
        classes: int = 10,
        width: int = 16,
        channels: int = 3,
        *,
        spatial: bool = True,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__(depth, classes, width, channels)
        self._options |= {"spatial": spatial, "epsilon": check_epsilon(epsilon)}
        self.spatial, self.epsilon = spatial, epsilon
        units = (depth - 2) // 6
        if units < 2:
            raise ArgumentError(f"depth {depth} has one unit in each stage, and none to leave out")
        self.halting = nn.ModuleList(
            nn.ModuleList(Halting(width << stage, spatial=spatial) for _ in range(units - 1))
            for stage in range(3)
        )

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The units of the three stages."""
        return self.layer1, self.layer2, self.layer3

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first stage reads."""
        return torch.relu(self.bn1(self.conv1(x)))

    def head(self, x: Tensor) -> Tensor:
        """Return the scores of the classes for the result of the last stage."""
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))

    def run_stage(self, number: int, x: Tensor) -> StageRun:
        """Run one stage, with masks in place of skipping.

        Parameters
        ----------
        number
            Of the stage, from 0.
        x
            ``(N, C, H, W)``.
        """
        scores = cast(nn.ModuleList, self.halting[number])
        x = self.stages[number][0](x)
        shape = (len(x), 1, *(x.shape[2:] if self.spatial else (1, 1)))
        total = x.new_zeros(shape)
        result, remainder, units, features = torch.zeros_like(x), total, total, []
        for place, unit in enumerate(self.stages[number]):
            active = total < 1 - self.epsilon
            if place:
                x = torch.where(active, unit(x), x)
            features.append(x)
            last = place == len(scores)
            score = torch.ones_like(total) if last else scores[place](x)
            halts = active & (total + score >= 1 - self.epsilon)
            share = torch.where(halts, 1 - total, score) * active
            result = result + share * x
            remainder = remainder + (1 - total) * halts
            units = units + active
            total = total + share
        ponder = (units + remainder).mean((1, 2, 3))
        return StageRun(features, result, ponder, units)

    def run(self, x: Tensor) -> tuple[Tensor, list[StageRun]]:
        """Return the scores of the classes, and what the stages did.

        Parameters
        ----------
        x
            Pictures, ``(N, channels, H, W)``.
        """
        x = self.stem(x)
        runs = []
        for number in range(3):
            runs.append(self.run_stage(number, x))
            x = runs[-1].result
        return self.head(x), runs

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.run(x)[0]


class BranchyResNet(CifarResNet):
    """ResNet-20, -32, ... with an exit behind each of its stages.

    Parameters
    ----------
    depth, classes, width, channels
        As for `fxp.models.recognition.zoo.cifar.CifarResNet`.
    """

    def __init__(
        self, depth: int = 20, classes: int = 10, width: int = 16, channels: int = 3
    ) -> None:
        super().__init__(depth, classes, width, channels)
        self.exits = nn.ModuleList(nn.Linear(width << stage, classes) for stage in range(2))

    def segment(self, number: int, x: Tensor) -> Tensor:
        """Return the features behind a stage.

        Parameters
        ----------
        number
            Of the stage, from 0.
        x
            What the stage reads; the first one reads pictures.
        """
        if not number:
            x = torch.relu(self.bn1(self.conv1(x)))
        return (self.layer1, self.layer2, self.layer3)[number](x)

    def exit(self, number: int, x: Tensor) -> Tensor:
        """Return the scores of the classes by the features behind a stage.

        Parameters
        ----------
        number
            Of the stage, from 0.
        x
            The features.
        """
        layer = self.linear if number == 2 else self.exits[number]
        return layer(functional.adaptive_avg_pool2d(x, 1).flatten(1))

    def all_scores(self, x: Tensor) -> list[Tensor]:
        """Return the scores of all exits, the earliest first."""
        found = []
        for number in range(3):
            x = self.segment(number, x)
            found.append(self.exit(number, x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the last exit."""
        return self.all_scores(x)[-1]
