"""SPADE-E2VID: a recurrent U-Net whose decoders read the last picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fxp.models.events.networks.cells import BINS, ConvLSTM, Shape, StepNetwork

COLOURS = 3
"""Channels of the picture that the network returns; their mean is the grey picture."""
HIDDEN = 64
"""Channels between the last picture and the scale and offset that it gives."""


class _Encoder(nn.Module):
    """A 5x5 convolution with batch normalization and ReLU, and a convolutional LSTM."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 5, stride, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.lstm = ConvLSTM(outputs)

    def forward(self, features: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        return self.lstm(torch.relu(self.norm(self.conv(features))), hidden, cell)


class _NormalizedBlock(nn.Module):
    """A residual block with batch normalization."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)
        )
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(features)))
        return torch.relu(self.norm2(self.conv2(inner)) + features)


class _Decoder(nn.Module):
    """Pixel shuffle, and a normalization whose scale and offset depend on the last picture."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 4 * outputs, 3, padding=1, bias=False)
        self.shuffle = nn.PixelShuffle(2)
        self.norm = nn.BatchNorm2d(outputs, affine=False)
        self.shared = nn.Conv2d(COLOURS, hidden, 3, padding=1)
        self.scale, self.offset = (nn.Conv2d(hidden, outputs, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        normalized = self.norm(self.shuffle(self.conv(features)))
        seen = torch.relu(self.shared(image))
        return torch.relu(normalized * (1 + self.scale(seen)) + self.offset(seen))


class SpadeE2VID(StepNetwork):
    """SPADE-E2VID as its authors released it: 45.86 MB with the statistics of its normalizations.

    The picture has three channels, of which the grey picture is the mean. The authors begin a
    sequence with the first three bins of events, stretched to 0...1, as last picture; here it
    begins with zeros as every other network does. `fxp.quantize` fixes its sizes to those of the
    example.

    Parameters
    ----------
    base
        Channels at full resolution; each of three encoders doubles them.
    bins
        Bins of the voxel grid.
    hidden
        Channels between the last picture and the scale and offset that it gives.

    References
    ----------
    P. R. G. Cadena et al., "SPADE-E2VID: spatially-adaptive denormalization for event-based video
    reconstruction", IEEE Trans. Image Processing 30, 2021.
    """

    multiple = 4

    def __init__(self, base: int = 32, bins: int = BINS, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.base, self.bins, self.hidden = base, bins, hidden
        self.head = nn.Conv2d(bins, base, 5, padding=2)
        self.encoders = nn.ModuleList(
            _Encoder(base << level, base << level + 1, 2 if level else 1) for level in range(3)
        )
        self.blocks = nn.ModuleList(_NormalizedBlock(8 * base) for _ in range(2))
        self.decoders = nn.ModuleList(
            _Decoder(base << level + 1, base << level, hidden) for level in (2, 1)
        )
        self.last = _Encoder(2 * base, base, 1)
        self.pred, self.norm = nn.Conv2d(base, COLOURS, 1), nn.BatchNorm2d(COLOURS)

    def options(self) -> dict[str, int | bool]:
        """Return the arguments of the constructor."""
        return {"base": self.base, "bins": self.bins, "hidden": self.hidden}

    def state_shapes(self, height: int, width: int) -> list[Shape]:
        """Return the shapes of the last picture, and of hidden state and cell of each LSTM."""
        levels = [(2 * self.base, 0), (4 * self.base, 1), (8 * self.base, 2), (self.base, 0)]
        return [
            (COLOURS, height, width),
            *((channels, height >> level, width >> level) for channels, level in levels
              for _ in range(2)),
        ]  # fmt: skip

    def forward(
        self,
        events: Tensor,
        last_image: Tensor,
        hidden_1: Tensor,
        cell_1: Tensor,
        hidden_2: Tensor,
        cell_2: Tensor,
        hidden_3: Tensor,
        cell_3: Tensor,
        hidden_4: Tensor,
        cell_4: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the picture of three channels, and the states in the order of the arguments.

        Parameters
        ----------
        events
            The voxel grid, ``(N, bins, H, W)``.
        last_image
            The picture that the last call has returned, ``(N, 3, H, W)``.
        hidden_1, cell_1, hidden_2, cell_2, hidden_3, cell_3
            The states of each encoder that the last call has returned.
        hidden_4, cell_4
            Those of the last LSTM, behind the decoders.
        """
        head = features = torch.relu(self.head(events))
        old = ((hidden_1, cell_1), (hidden_2, cell_2), (hidden_3, cell_3))
        states: list[Tensor] = []
        skipped: list[Tensor] = []
        for encoder, (hidden, cell) in zip(self.encoders, old, strict=True):
            features, cell = encoder(features, hidden, cell)
            states += [features, cell]
            skipped.append(features)
        for block in self.blocks:
            features = block(features)
        # The nearest neighbour of half the size is every second pixel.
        for decoder, image in zip(
            self.decoders, (last_image[:, :, ::2, ::2], last_image), strict=True
        ):
            features = decoder(features + skipped.pop(), image)
        hidden_4, cell_4 = self.last(features + skipped.pop(), hidden_4, cell_4)
        image = torch.sigmoid(self.norm(self.pred(torch.relu(hidden_4 + head))))
        return image, image, *states, hidden_4, cell_4
