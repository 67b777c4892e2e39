"""CISTA, CISTA-D and CISTA-TC: networks unrolled from iterative soft thresholding.

S. Liu, R. Alexandru, P. L. Dragotti, "Convolutional ISTA network with temporal consistency
constraints for video reconstruction from event cameras", ICASSP 2022.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from fxp.models.events.networks.cells import BINS, ConvLSTM, Shape, StepNetwork, enlarged

REFLECT: Final = "reflect"
"""Padding of every convolution of these networks."""
LARGEST_START: Final = 1e-3
"""Thresholds and scales start at random between 0 and this."""


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """Return ``relu(x - t) - relu(-x - t)``, which shrinks values toward zero by a threshold.

    The threshold is learned without a limit. A negative one does not shrink; the formula holds
    as it stands.
    """
    return torch.relu(values - threshold) - torch.relu(-values - threshold)


class Iteration(nn.Module):
    """The weights of one iteration: a step toward the features, and the soft threshold.

    Parameters
    ----------
    base, code
        Channels of the features and of the sparse code.
    scaled
        Whether the iteration has a scale for the temporal consistency.
    """

    def __init__(self, base: int, code: int, *, scaled: bool) -> None:
        super().__init__()
        self.decode, self.encode = _convolution(code, base), _convolution(base, code)
        self.threshold = nn.Parameter(LARGEST_START * torch.rand(1, code, 1, 1))
        if scaled:
            self.alpha = nn.Parameter(LARGEST_START * torch.rand(1, code, 1, 1))

    def forward(self, code: Tensor, features: Tensor, change: Tensor | None = None) -> Tensor:
        """Return the next sparse code.

        Parameters
        ----------
        code
            The code so far.
        features
            What the code shall explain.
        change
            The pull toward the last frame's code, if there is any.
        """
        wide = code + self.encode(features - self.decode(code))
        return soft_threshold(wide if change is None else wide + change, self.threshold)


class Cista(StepNetwork):
    """CISTA, with 371,649 parameters: its only state is the last picture.

    Parameters
    ----------
    base
        Channels of the features; the sparse code has twice as many.
    bins
        Bins of the voxel grid.
    iterations
        Iterations of soft thresholding in every frame.
    tied
        Whether all iterations share their weights, as in the weights that the authors released.
    """

    multiple = 2
    consistent = False

    def __init__(
        self, base: int = 64, bins: int = BINS, iterations: int = 5, *, tied: bool = True
    ) -> None:
        super().__init__()
        code = 2 * base
        self.base, self.bins, self.iterations, self.tied = base, bins, iterations, tied
        self.events, self.image = _convolution(bins, base // 2), _convolution(1, base // 2)
        self.start, self.code = _convolution(base, base, 2), _convolution(base, code)
        self.blocks = nn.ModuleList(
            Iteration(base, code, scaled=self.consistent) for _ in range(1 if tied else iterations)
        )
        self.features = _convolution(code, base)
        self.up, self.tail = _convolution(base, base), _convolution(base, 1)

    def options(self) -> dict[str, int | bool]:
        """Return the arguments of the constructor."""
        return {
            "base": self.base,
            "bins": self.bins,
            "iterations": self.iterations,
            "tied": self.tied,
        }

    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return the shape of the last picture."""
        return [(1, height, width)]

    def forward(self, events: Tensor, last_image: Tensor) -> tuple[Tensor, ...]:
        """Return the picture, and the picture as state.

        Parameters
        ----------
        events
            The voxel grid, ``(N, bins, H, W)``.
        last_image
            The picture that the last call has returned, ``(N, 1, H, W)``.
        """
        x = self._read(events, last_image)
        code = self.code(x)
        for number in range(self.iterations):
            code = self._block(number)(code, x)
        image = self._picture(torch.relu(self.features(code)))
        return image, image

    def _read(self, events: Tensor, image: Tensor) -> Tensor:
        return self.start(torch.cat([self.events(events), self.image(image)], 1))

    def _block(self, number: int) -> Iteration:
        block = self.blocks[0 if self.tied else number]
        assert isinstance(block, Iteration)
        return block

    def _picture(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.tail(self.up(enlarged(features))))


class CistaD(Cista):
    """CISTA-D, with 666,817 parameters: CISTA with a convolutional LSTM in the decoder.

    The states are the last picture and the two states of the LSTM. Parameters are those of `Cista`.
    """

    def __init__(
        self, base: int = 64, bins: int = BINS, iterations: int = 5, *, tied: bool = True
    ) -> None:
        super().__init__(base, bins, iterations, tied=tied)
        self.lstm = ConvLSTM(base, REFLECT)

    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return the shapes of the last picture and of the LSTM's states."""
        small = (self.base, height // 2, width // 2)
        return [(1, height, width), small, small]

    def forward(  # type: ignore[override]
        self, events: Tensor, last_image: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the picture, and the states: the picture, `hidden` and `cell`.

        Parameters
        ----------
        events
            The voxel grid, ``(N, bins, H, W)``.
        last_image
            The picture that the last call has returned, ``(N, 1, H, W)``.
        hidden, cell
            The states that the last call has returned, ``(N, base, H/2, W/2)``.
        """
        x = self._read(events, last_image)
        code = self.code(x)
        for number in range(self.iterations):
            code = self._block(number)(code, x)
        hidden, cell = self.lstm(torch.relu(self.features(code)), hidden, cell)
        image = self._picture(hidden)
        return image, image, hidden, cell


class CistaTC(CistaD):
    """CISTA-TC, with 669,251 parameters: CISTA-D with a code pulled toward that of the last frame.

    In every iteration ``sigmoid(before(Z') * now(Z)) * alpha * (Z' - Z)`` is added before the
    soft threshold, where Z is the code so far, and Z' the last frame's. The states are the last
    picture, the last code, and the two states of the LSTM. Parameters are those of `Cista`.
    """

    consistent = True

    def __init__(
        self, base: int = 64, bins: int = BINS, iterations: int = 5, *, tied: bool = True
    ) -> None:
        super().__init__(base, bins, iterations, tied=tied)
        self.before, self.now = _convolution(2 * base, 1), _convolution(2 * base, 1)

    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return the shapes of the last picture, the last code and the LSTM's states."""
        image, hidden, cell = super().state_shapes(height, width)
        return [image, (2 * self.base, height // 2, width // 2), hidden, cell]

    def forward(  # type: ignore[override]
        self, events: Tensor, last_image: Tensor, last_code: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the picture, and the states: the picture, the code, `hidden` and `cell`.

        Parameters
        ----------
        events
            The voxel grid, ``(N, bins, H, W)``.
        last_image, last_code
            The picture ``(N, 1, H, W)`` and the code ``(N, 2*base, H/2, W/2)`` of the last call.
        hidden, cell
            The states that the last call has returned, ``(N, base, H/2, W/2)``.
        """
        x = self._read(events, last_image)
        code, before = self.code(x), self.before(last_code)
        for number in range(self.iterations):
            block = self._block(number)
            gate = torch.sigmoid(before * self.now(code))
            code = block(code, x, gate * (block.alpha * (last_code - code)))
        hidden, cell = self.lstm(torch.relu(self.features(code)), hidden, cell)
        image = self._picture(hidden)
        return image, image, code, hidden, cell


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode=REFLECT)
