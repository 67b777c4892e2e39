"""Parts that the networks share: convolutional recurrent cells, blocks, and the step form."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.support.errors import ArgumentError

BINS = 5
"""Bins of time of a voxel grid, the channels of every network's input."""

Shape = tuple[int, int, int]
"""Channels, height and width of a state."""


class StepNetwork(nn.Module):
    """A recurrent network written as one time step.

    ``forward(events, *states)`` takes a voxel grid ``(N, bins, H, W)`` and the states, and returns
    the picture ``(N, 1, H, W)`` and the next states in the same order.

    Attributes
    ----------
    multiple
        Height and width must be multiples of this.
    """

    multiple: ClassVar[int] = 1

    @abstractmethod
    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return channels, height and width of each state, for a picture of this size."""

    @abstractmethod
    def options(self) -> dict[str, int | bool]:
        """Return the arguments of the constructor."""

    def initial_states(self, height: int, width: int) -> list[Tensor]:
        """Return the states at the beginning of a sequence: zeros, with a batch of one.

        Raises
        ------
        ArgumentError
            If the size is no multiple of `multiple`.
        """
        if height % self.multiple or width % self.multiple:
            raise ArgumentError(
                f"{type(self).__name__} takes heights and widths that are multiples of "
                f"{self.multiple}, not {height}x{width}; pad the grid"
            )
        return [torch.zeros(1, *shape) for shape in self.state_shapes(height, width)]

    def state_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of input and output position that `fxp.quantize` takes as ``states``."""
        count = len(self.state_shapes(self.multiple, self.multiple))
        return [(position, position) for position in range(1, 1 + count)]


class ConvLSTM(nn.Module):
    """Convolutional long short-term memory, of which one convolution gives all gates.

    With the gates i, f, o and g of ``[x, hidden]``, in this order of channels::

        cell   = sigmoid(f) * cell + sigmoid(i) * tanh(g)
        hidden = sigmoid(o) * tanh(cell)

    Parameters
    ----------
    channels
        Channels of the input and of both states.
    padding_mode
        Padding of the 3x3 convolution.

    References
    ----------
    X. Shi et al., "Convolutional LSTM network: a machine learning approach for precipitation
    nowcasting", NeurIPS 2015.
    """

    def __init__(self, channels: int, padding_mode: Literal["zeros", "reflect"] = "zeros") -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1, padding_mode=padding_mode)

    def forward(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and the next cell.

        Parameters
        ----------
        features
            What the cell reads, ``(N, C, H, W)``.
        hidden, cell
            The states that the last call has returned, of the same shape.
        """
        gates = self.gates(torch.cat([features, hidden], 1))
        into, forget, out, new = gates.chunk(4, 1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(cell), cell


class ConvGRU(nn.Module):
    """Convolutional gated recurrent unit with one 3x3 convolution for each gate.

    The next state is::

        u, r   = sigmoid(conv_u([x, hidden])), sigmoid(conv_r([x, hidden]))
        new    = tanh(conv_o([x, hidden * r]))
        hidden = hidden * (1 - u) + new * u

    Parameters
    ----------
    channels
        Channels of the input and of the state.

    References
    ----------
    N. Ballas et al., "Delving deeper into convolutional networks for learning video
    representations", ICLR 2016.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reset_gate, self.update_gate, self.out_gate = (
            nn.Conv2d(2 * channels, channels, 3, padding=1) for _ in range(3)
        )

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        """Return the next state from what the unit reads and the last state."""
        both = torch.cat([features, hidden], 1)
        update, reset = torch.sigmoid(self.update_gate(both)), torch.sigmoid(self.reset_gate(both))
        new = torch.tanh(self.out_gate(torch.cat([features, hidden * reset], 1)))
        return hidden * (1 - update) + new * update


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the sum with what went in, and a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's result, of the same shape."""
        return torch.relu(self.conv2(torch.relu(self.conv1(features))) + features)


def enlarged(features: Tensor) -> Tensor:
    """Return features of twice the height and width, by bilinear interpolation."""
    return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
