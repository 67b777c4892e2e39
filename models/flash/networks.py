"""Networks that turn a flash photograph into one in ambient light, in floating point.

`FlashGenerator` is the network of the paper, `UNet` and `DeepFlash` are those it is compared with,
and `LightField` is a small one for few pairs. All take and return RGB ``(N, 3, H, W)`` in [0, 1].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.common.weights import load_weights
from fxp.models.flash.shipped import MODELS
from fxp.support.errors import ArgumentError

Decoder = Literal["transposed", "unpool"]
Activation = Literal["sigmoid", "tanh", "none"]

ENCODER: Final = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Channels, in units of the width, and number of convolutions of each block, from the top."""
DECODER: Final = ((8, 3), (4, 2), (2, 2), (1, 2))
"""The same for each level of the decoder, from the bottom."""
POOLED: Final = 16
"""Factor by which the encoder reduces height and width, rounded up."""


class FlashOptions(TypedDict):
    """Constructor arguments of `FlashGenerator`."""

    width: int
    decoder: Decoder
    activation: Activation
    outputs: int


class WidthOption(TypedDict):
    """Constructor argument of the other networks."""

    width: int


def convolutions(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """Return 3x3 convolutions, each with a ReLU.

    Parameters
    ----------
    inputs, outputs
        Channels before the first, and after each.
    count
        Their number.
    """
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def reset_parameters(network: nn.Module) -> None:
    """Initialise all convolutions He-normally, with biases of zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def fitted(features: Tensor, skip: Tensor) -> Tensor:
    """Return doubled features in the size of those they are joined with.

    Pooling rounds odd sizes up, and doubling then makes one row or column too many. Nearest
    interpolation from n + 1 to n leaves out the last, which the integer graph can do for any size.

    Parameters
    ----------
    features
        ``(N, C, H, W)``, ``(N, C, H + 1, W)``, or one column more.
    skip
        ``(N, D, H, W)``.
    """
    return functional.interpolate(features, size=skip.shape[-2:], mode="nearest")


def check_width(width: int) -> None:
    """Raise `ArgumentError` if a width is not positive."""
    if width < 1:
        raise ArgumentError(f"width must be at least 1, not {width}")


class FlashGenerator(nn.Module):
    """VGG-16's convolutions as encoder, and a decoder that joins each level's features.

    At the default width it has 30,387,011 parameters: 14,714,688 in the encoder, whose layers are
    VGG-16's and can take its weights, and 15,672,323 in the decoder.

    Parameters
    ----------
    width
        Channels of the first block: 64 in the paper. All others grow with it.
    decoder
        How a level doubles the size of its features: ``"transposed"`` by a transposed 3x3
        convolution of stride 2; ``"unpool"`` by a 3x3 convolution to the channels of the level
        above, whose results go to the places where that level's max pooling found its maxima. It
        takes multiples of 16 as height and width, the other any size.
    activation
        What the output passes last; ``"sigmoid"`` gives [0, 1].
    outputs
        Channels of the output.

    Raises
    ------
    ArgumentError
        A `ValueError`: if a number is not positive or a name is unknown.

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
        decoder: Decoder = "transposed",
        activation: Activation = "sigmoid",
        outputs: int = 3,
    ) -> None:
        super().__init__()
        check_width(width)
        if outputs < 1:
            raise ArgumentError(f"outputs must be at least 1, not {outputs}")
        for what, value, known in (
            ("decoder", decoder, get_args(Decoder)),
            ("activation", activation, get_args(Activation)),
        ):
            if value not in known:
                raise ArgumentError(f"{what} must be one of {', '.join(known)}, not {value!r}")
        self.width, self.outputs = width, outputs
        self.decoder: Decoder = decoder
        self.activation: Activation = activation
        channels = 3
        self.encoder = nn.ModuleList()
        for multiple, count in ENCODER:
            self.encoder.append(convolutions(channels, multiple * width, count))
            channels = multiple * width
        self.upscale, self.levels = nn.ModuleList(), nn.ModuleList()
        for multiple, count in DECODER:
            above = multiple * width
            self.upscale.append(
                nn.ConvTranspose2d(channels, above, 3, stride=2, padding=1, output_padding=1)
                if decoder == "transposed"
                else nn.Conv2d(channels, above, 3, padding=1)
            )
            self.levels.append(convolutions(2 * above, above, count))
            channels = above
        self.output = nn.Conv2d(channels, outputs, 3, padding=1)
        reset_parameters(self)

    def options(self) -> FlashOptions:
        """Return the constructor arguments that rebuild this network."""
        return {
            "width": self.width,
            "decoder": self.decoder,
            "activation": self.activation,
            "outputs": self.outputs,
        }

    @property
    def multiple(self) -> int:
        """Height and width that the network takes are multiples of it."""
        return POOLED if self.decoder == "unpool" else 1

    def forward(self, flash: Tensor) -> Tensor:
        """Return the photograph as ambient light would have shown it.

        Parameters
        ----------
        flash
            ``(N, 3, H, W)`` RGB in [0, 1], without ImageNet's mean and deviation taken off; sides
            are multiples of `multiple`.

        Returns
        -------
        Tensor
            ``(N, outputs, H, W)``.
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
                    features = functional.max_pool2d(features, 2, ceil_mode=True)
        for upscale, level in zip(self.upscale, self.levels, strict=True):
            features, skip = upscale(features), skips.pop()
            if self.decoder == "unpool":
                features = functional.max_unpool2d(features, places.pop(), (2, 2))
            else:
                features = fitted(features, skip)
            features = level(torch.cat([features, skip], 1))
        result = self.output(features)
        if self.activation == "none":
            return result
        return torch.tanh(result) if self.activation == "tanh" else torch.sigmoid(result)


class DeepFlash(nn.Module):
    """The generator, taught to predict what the flash has added, which is then taken off.

    It trains on pictures without fine texture, see `fxp.models.flash.data.smoothed`; the texture
    of the result is that of the flash photograph.

    Parameters
    ----------
    width
        Channels of the first block.

    References
    ----------
    N. Capece et al., "DeepFlash: Turning a flash selfie into a studio portrait", Signal
    Processing: Image Communication 77, 2019, in the form of Chávez et al.
    """

    multiple = 1

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.generator = FlashGenerator(width, activation="tanh")

    def options(self) -> WidthOption:
        """Return the constructor arguments that rebuild this network."""
        return {"width": self.width}

    def unclamped(self, flash: Tensor) -> Tensor:
        """Return the result before it is cut to [0, 1], for losses."""
        return flash - self.generator(flash)

    def forward(self, flash: Tensor) -> Tensor:
        """Return ``(N, 3, H, W)`` for a flash photograph of that shape, both in [0, 1]."""
        return self.unclamped(flash).clamp(0.0, 1.0)


class UNet(nn.Module):
    """The U-Net that the paper trains from scratch: 7,760,163 parameters at the default width.

    Parameters
    ----------
    width
        Channels of the first level; each of the four below has twice as many.

    References
    ----------
    C. Chen et al., "Learning to see in the dark", CVPR 2018, without its pixel shuffle.
    """

    multiple = 1

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        check_width(width)
        self.width = width
        widths = [width << level for level in range(5)]
        self.encoder = nn.ModuleList(
            convolutions(inputs, outputs, 2)
            for inputs, outputs in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.upscale, self.levels = nn.ModuleList(), nn.ModuleList()
        for above in reversed(widths[:-1]):
            self.upscale.append(nn.ConvTranspose2d(2 * above, above, 2, stride=2))
            self.levels.append(convolutions(2 * above, above, 2))
        self.output = nn.Conv2d(width, 3, 1)
        reset_parameters(self)

    def options(self) -> WidthOption:
        """Return the constructor arguments that rebuild this network."""
        return {"width": self.width}

    def forward(self, flash: Tensor) -> Tensor:
        """Return ``(N, 3, H, W)`` for a flash photograph of that shape, both in [0, 1].

        Inside, pictures are in [-1, 1], the range of the hyperbolic tangent.
        """
        features, skips = 2 * flash - 1, []
        for number, block in enumerate(self.encoder):
            features = block(features)
            if number + 1 < len(self.encoder):
                skips.append(features)
                features = functional.max_pool2d(features, 2, ceil_mode=True)
        for upscale, level in zip(self.upscale, self.levels, strict=True):
            skip = skips.pop()
            features = level(torch.cat([fitted(upscale(features), skip), skip], 1))
        return (torch.tanh(self.output(features)) + 1) / 2


class LightFieldOptions(WidthOption):
    """Constructor arguments of `LightField`."""

    grid: int


class LightField(nn.Module):
    """A small network for few pairs: a tone curve, and a smooth field of light that is added.

    The curve maps each pixel by itself. The field has a coarse grid of cells over the whole
    picture, whatever its size: what a cell adds to a colour depends on its place and on the mean of
    that colour in it, and is interpolated bilinearly in between. The result keeps the texture of
    the photograph. New, the network returns the photograph itself. It has 113 parameters at the
    default size.

    Parameters
    ----------
    width
        Hidden values of the tone curve.
    grid
        Cells along each side of the field.

    Raises
    ------
    ArgumentError
        If a number is not positive.
    """

    multiple = 1

    def __init__(self, width: int = 8, grid: int = 4) -> None:
        super().__init__()
        check_width(width)
        if grid < 1:
            raise ArgumentError(f"grid must be at least 1, not {grid}")
        self.width, self.grid = width, grid
        self.tone = nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, 3, 1))
        self.place = nn.Parameter(torch.zeros(1, 3, grid, grid))
        self.field = nn.Conv2d(3, 3, 1, groups=3)
        for layer in (self.tone[2], self.field):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def options(self) -> LightFieldOptions:
        """Return the constructor arguments that rebuild this network."""
        return {"width": self.width, "grid": self.grid}

    def unclamped(self, flash: Tensor) -> Tensor:
        """Return the result before it is cut to [0, 1], for losses."""
        cells = functional.adaptive_avg_pool2d(flash, (self.grid, self.grid))
        light = functional.interpolate(
            self.field(cells - 0.5) + self.place, size=flash.shape[-2:], mode="bilinear"
        )
        return flash + self.tone(flash) + light

    def forward(self, flash: Tensor) -> Tensor:
        """Return the photograph as ambient light would have shown it.

        Parameters
        ----------
        flash
            ``(N, 3, H, W)`` in [0, 1], of any size.
        """
        return self.unclamped(flash).clamp(0.0, 1.0)


NETWORKS: Final[dict[str, type[nn.Module]]] = {
    "small": LightField,
    "paper": FlashGenerator,
    "unet": UNet,
    "deepflash": DeepFlash,
}
"""Networks by the name of their preset, whose width is the default of the class."""


def preset(name: str, width: int = 0) -> Any:
    """Return a new network.

    Parameters
    ----------
    name
        One of `NETWORKS`.
    width
        Channels of its first block; 0 for those of the preset.

    Raises
    ------
    ArgumentError
        If there is no such preset.
    """
    if name not in NETWORKS:
        raise ArgumentError(f"no network {name!r}, only {', '.join(NETWORKS)}")
    return NETWORKS[name](**({"width": width} if width else {}))


def load_float(name: str | Path) -> Any:
    """Load a trained network by the name of shipped weights or from a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not of a network of this module.
    """
    return load_weights(MODELS.weights_path(name), *NETWORKS.values())
