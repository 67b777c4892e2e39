"""The generator that turns a flash photograph into one in ambient light, in floating point."""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.support.errors import ArgumentError

Decoder = Literal["deconv", "unpool"]
Activation = Literal["sigmoid", "tanh"]

ENCODER = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Channels, in units of the width, and number of convolutions of each block, from the top."""
DECODER = ((8, 3), (4, 2), (2, 2), (1, 2))
"""The same for each level of the decoder, from the bottom."""


class FlashOptions(TypedDict):
    """Constructor arguments of `FlashGenerator`."""

    width: int
    decoder: Decoder
    activation: Activation


def _convolutions(inputs: int, outputs: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


class FlashGenerator(nn.Module):
    """VGG-16's convolutions as encoder, and a decoder that joins each level's features.

    At the default width it has 30,387,011 parameters: 14,714,688 in the encoder, whose layers are
    VGG-16's and can take its weights, and 15,672,323 in the decoder.

    Parameters
    ----------
    width
        Channels of the first block: 64 in the paper. All others grow with it.
    decoder
        How a level doubles the size of its features: ``"deconv"`` by a transposed 3x3 convolution
        of stride 2; ``"unpool"`` by a 3x3 convolution to the channels of the level above, whose
        results go to the places where that level's max pooling found its maxima.
    activation
        What the output passes last; ``"sigmoid"`` gives [0, 1].

    Raises
    ------
    ArgumentError
        A `ValueError`: if the width is not positive or a name is unknown.

    References
    ----------
    J. Chávez, R. Mora, E. Cayllahua-Cahuina, "Ambient Lighting Generation for Flash Images with
    Guided Conditional Adversarial Networks", arXiv 1912.08813; the authors' code is
    jozech/flash-to-ambient on GitHub.
    """

    def __init__(
        self,
        width: int = 64,
        *,
        decoder: Decoder = "deconv",
        activation: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        if width < 1:
            raise ArgumentError(f"width must be at least 1, not {width}")
        for what, value, known in (
            ("decoder", decoder, get_args(Decoder)),
            ("activation", activation, get_args(Activation)),
        ):
            if value not in known:
                raise ArgumentError(f"{what} must be one of {', '.join(known)}, not {value!r}")
        self.width = width
        self.decoder: Decoder = decoder
        self.activation: Activation = activation
        channels = 3
        self.encoder = nn.ModuleList()
        for multiple, count in ENCODER:
            self.encoder.append(_convolutions(channels, multiple * width, count))
            channels = multiple * width
        self.upscale, self.levels = nn.ModuleList(), nn.ModuleList()
        for multiple, count in DECODER:
            outputs = multiple * width
            self.upscale.append(
                nn.ConvTranspose2d(channels, outputs, 3, stride=2, padding=1, output_padding=1)
                if decoder == "deconv"
                else nn.Conv2d(channels, outputs, 3, padding=1)
            )
            self.levels.append(_convolutions(2 * outputs, outputs, count))
            channels = outputs
        self.output = nn.Conv2d(channels, 3, 3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise He-normally, with biases of zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def options(self) -> FlashOptions:
        """Return the constructor arguments that rebuild this network."""
        return {"width": self.width, "decoder": self.decoder, "activation": self.activation}

    def forward(self, flash: Tensor) -> Tensor:
        """Return the photograph as ambient light would have shown it.

        Parameters
        ----------
        flash
            ``(N, 3, H, W)`` RGB in [0, 1], without ImageNet's mean and deviation taken off; height
            and width are multiples of 16.

        Returns
        -------
        Tensor
            ``(N, 3, H, W)``.
        """
        features, skips, places = flash, [], []
        for number, block in enumerate(self.encoder):
            features = block(features)
            if number + 1 < len(self.encoder):
                skips.append(features)
                if self.decoder == "unpool":
                    features, found = functional.max_pool2d(features, 2, return_indices=True)
                    places.append(found)
                else:
                    features = functional.max_pool2d(features, 2)
        for upscale, level in zip(self.upscale, self.levels, strict=True):
            features = upscale(features)
            if self.decoder == "unpool":
                features = functional.max_unpool2d(features, places.pop(), (2, 2))
            features = level(torch.cat([features, skips.pop()], 1))
        result = self.output(features)
        return torch.tanh(result) if self.activation == "tanh" else torch.sigmoid(result)
