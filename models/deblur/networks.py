"""DeepDeblur in floating point: the generator of Nah, Kim and Lee, and its discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.common.weights import load_weights
from fxp.models.deblur.fixed import MODELS
from fxp.support.errors import ArgumentError

CONVOLUTIONS: Final = 120
"""Convolutions of the published generator in all, whatever the number of scales."""
KERNEL: Final = 5
TAPS: Final = ((52, 127, 52), (127, 308, 127), (52, 127, 52))
"""The Gaussian of the pyramid, of deviation 0.75 pixels, in 1024ths."""
TAPS_SUM: Final = 1024
GREY: Final = 0.5
"""Taken off the pixels before the network, and added after it."""


PHASES: Final = ((0.0, 0.25, 0.75, 0.0, 0.0), (0.0, 0.0, 0.75, 0.25, 0.0))
"""Taps of bilinear interpolation by two, of the first and of the second of each pair of pixels."""


class GeneratorOptions(TypedDict):
    """Constructor arguments of `Generator`."""

    scales: int
    width: int
    blocks: list[int]
    residual: bool
    corrections: bool


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, KERNEL, padding=KERNEL // 2)


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, plus the input; no ReLU behind the sum.

    Parameters
    ----------
    width
        Feature maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = _convolution(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(N, width, H, W)`` for the same."""
        return features + self.second(functional.relu(self.first(features)))


class Scale(nn.Module):
    """The network of one scale: from a blurred image, and what coarser scales made, to a sharp one.

    Parameters
    ----------
    inputs
        Channels: 3 at the coarsest scale, 6 at the others.
    width
        Feature maps.
    blocks
        Number of `ResidualBlock`.
    """

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.head = _convolution(inputs, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.tail = _convolution(width, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(N, 3, H, W)`` for ``(N, inputs, H, W)``."""
        features = self.head(image)
        for block in self.blocks:
            features = block(features)
        return self.tail(features)


class Generator(nn.Module):
    """Multi-scale network from a blurred photograph to a sharp one.

    The coarsest scale sees the smallest image of a Gaussian pyramid. The sharp image that it makes
    is enlarged by a convolution and a pixel shuffle, and goes to the next scale together with the
    blurred image of that size. The published network has 120 convolutions of 5x5, besides those
    that enlarge, for any number of scales: 11,721,321 parameters with three.

    The pyramid is part of the network: a 3x3 Gaussian of deviation 0.75, of which every second row
    and column is kept. Beyond the border the image is continued by its edge; the authors' first
    release continues it by the mean of each channel, which makes a difference there alone.

    Parameters
    ----------
    scales
        Number of scales, K in the paper.
    width
        Feature maps.
    blocks
        Residual blocks of each scale, the finest first, or one number for all; by default those
        of the published network.
    residual
        Add the blurred image of every scale to what the scale makes. The published network does
        not; small networks train much faster with it.
    corrections
        Of a coarser scale, enlarge what it adds to its blurred image, and add that to the blurred
        image of the next one before the scale sees both. What a coarser scale has learned then
        serves the finer ones from the first step on. It needs `residual`.

    Raises
    ------
    ArgumentError
        A `ValueError`: if a number does not fit.

    References
    ----------
    S. Nah, T. H. Kim, K. M. Lee, "Deep Multi-scale Convolutional Neural Network for Dynamic Scene
    Deblurring", CVPR 2017. Code of the authors: SeungjunNah/DeepDeblur_release (Torch 7) and
    SeungjunNah/DeepDeblur-PyTorch.
    """

    taps: Tensor

    def __init__(
        self,
        scales: int = 3,
        width: int = 64,
        blocks: int | Sequence[int] | None = None,
        *,
        residual: bool = False,
        corrections: bool = False,
    ) -> None:
        super().__init__()
        if scales < 1:
            raise ArgumentError(f"scales must be at least 1, not {scales}")
        if width < 1:
            raise ArgumentError(f"width must be at least 1, not {width}")
        if blocks is None:
            blocks = (CONVOLUTIONS // scales - 2) // 2
        counts = [blocks] * scales if isinstance(blocks, int) else list(blocks)
        if len(counts) != scales or min(counts) < 0:
            raise ArgumentError(
                f"blocks must be a number for each of the {scales} scales, not {blocks}"
            )
        if corrections and not residual:
            raise ArgumentError("corrections need residual")
        self.width, self.counts = width, counts
        self.residual, self.corrections = residual, corrections
        self.scales = nn.ModuleList(
            Scale(3 if level == scales - 1 else 6, width, count)
            for level, count in enumerate(counts)
        )
        self.enlarge = nn.ModuleList(_convolution(3, 12) for _ in range(scales - 1))
        taps = torch.tensor(TAPS, dtype=torch.float32) / TAPS_SUM
        self.register_buffer("taps", taps.expand(3, 1, 3, 3).clone(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as Xavier does, with biases of zero.

        A residual network begins as what it adds to: its last convolutions are nearly zero, and
        enlarging begins as bilinear interpolation.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        if not self.residual:
            return
        with torch.no_grad():
            for scale in self.scales:
                assert isinstance(scale, Scale)
                scale.tail.weight.mul_(0.1)
                for block in scale.blocks:
                    assert isinstance(block, ResidualBlock)
                    block.second.weight.mul_(0.1)
            for layer in self.enlarge:
                assert isinstance(layer, nn.Conv2d)
                layer.weight.zero_()
                phases = torch.tensor(PHASES)
                for output in range(12):
                    channel, row, column = output // 4, output // 2 % 2, output % 2
                    layer.weight[output, channel] = torch.outer(phases[row], phases[column])

    def options(self) -> GeneratorOptions:
        """Return the constructor arguments that rebuild this network."""
        return {
            "scales": len(self.scales),
            "width": self.width,
            "blocks": self.counts,
            "residual": self.residual,
            "corrections": self.corrections,
        }

    @property
    def multiple(self) -> int:
        """Height and width that the network takes are multiples of it."""
        return 1 << (len(self.scales) - 1)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return an image at all scales, itself first; sides are halved, and odd ones rounded up.

        Parameters
        ----------
        image
            ``(N, 3, H, W)``.
        """
        images = [image]
        for _ in self.enlarge:
            around = functional.pad(images[-1], (1, 1, 1, 1), mode="replicate")
            images.append(functional.conv2d(around, self.taps, stride=2, groups=3))
        return images

    def latent(self, image: Tensor) -> list[Tensor]:
        """Return what all scales make of an image, the finest first, not clamped.

        Parameters
        ----------
        image
            ``(N, 3, H, W)`` in [0, 1]; the sides are multiples of ``2 ** (scales - 1)``.
        """
        blurred = self.pyramid(image - GREY)
        results: list[Tensor] = []
        given, added = blurred[-1], None
        for level in reversed(range(len(blurred))):
            made = self.scales[level](given)
            if added is not None:
                made = made + added
            result = made + blurred[level] if self.residual else made
            results.insert(0, result)
            if level:
                passed = made if self.corrections else result
                larger = functional.pixel_shuffle(self.enlarge[level - 1](passed), 2)
                if self.corrections:
                    added = larger
                    larger = larger + blurred[level - 1]
                # The release has the blurred image first, and so have its weights.
                given = torch.cat([blurred[level - 1], larger], 1)
        return [result + GREY for result in results]

    def forward(self, image: Tensor) -> Tensor:
        """Return the sharp image.

        Parameters
        ----------
        image
            ``(N, 3, H, W)`` in [0, 1]; the sides are multiples of ``2 ** (scales - 1)``.

        Returns
        -------
        Tensor
            ``(N, 3, H, W)``; clamped to [0, 1] in eval mode only, since a clamp would stop the
            gradient of saturated pixels in training.
        """
        sharp = self.latent(image)[0]
        return sharp if self.training else sharp.clamp(0.0, 1.0)


class Discriminator(nn.Module):
    """Tells sharp photographs from deblurred ones (Table 1 of the paper); only training needs it.

    Nine convolutions without bias, each followed by a LeakyReLU, and a fully connected layer:
    10,699,617 parameters at the published width. It sees patches of 256 pixels. The paper's sigmoid
    is part of the loss.

    Parameters
    ----------
    width
        Feature maps in units of the paper's 32 at the first layer.
    extra
        Begin with one more convolution, as the authors' code does: 10,725,217 parameters.
    side
        Side of the patches, pixels. The last convolution takes what is left of them.
    """

    def __init__(self, width: int = 32, *, extra: bool = False, side: int = 256) -> None:
        super().__init__()
        if width < 1 or side < 64 or side % 64:
            raise ArgumentError(
                f"width must be at least 1 and side a multiple of 64, not {width} and {side}"
            )
        self.width, self.extra, self.side = width, extra, side
        layers: list[nn.Module] = []
        inputs = 3
        plan = [(1, 2), (2, 1), (2, 2), (4, 1), (4, 4), (8, 1), (8, 4), (16, 1)]
        for multiple, stride in [(1, 1), *plan] if extra else plan:
            outputs = multiple * width
            layers += [
                nn.Conv2d(inputs, outputs, KERNEL, stride, KERNEL // 2, bias=False),
                nn.LeakyReLU(0.2),
            ]
            inputs = outputs
        layers += [nn.Conv2d(inputs, inputs, side // 64, bias=False), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(inputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logit that an image is a sharp photograph.

        Parameters
        ----------
        image
            ``(N, 3, side, side)`` in [0, 1].

        Returns
        -------
        Tensor
            ``(N, 1)``.
        """
        return self.output(self.layers(image - GREY).flatten(1))


PRESETS: Final[dict[str, dict[str, Any]]] = {
    "paper": {"scales": 3, "width": 64},
    "small": {
        "scales": 3,
        "width": 32,
        "blocks": (0, 1, 10),
        "residual": True,
        "corrections": True,
    },
}
"""Options of `Generator` by name: the published network, and one for processors."""


def preset(name: str) -> Generator:
    """Return a new network by the name of its options in `PRESETS`."""
    if name not in PRESETS:
        raise ArgumentError(f"no network {name!r}, only {', '.join(PRESETS)}")
    return Generator(**PRESETS[name])


def load_float(name: str | Path) -> Generator:
    """Load a trained floating-point network in eval mode.

    Parameters
    ----------
    name
        Name of shipped weights, or the path of a file whose name ends in ``.safetensors``.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not of a generator.
    """
    return load_weights(MODELS.weights_path(name), Generator)
