"""What the generator is taught with: attention map, discriminator, encoder weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fxp.models.common.weights import WeightsError
from fxp.models.flash.networks import FlashGenerator, check_width


def attention_map(flash: Tensor, ambient: Tensor) -> Tensor:
    """Return where the flash has changed little, ``1 - mean |ambient - flash|`` over the colours.

    Eq. 1 and 2 of the paper multiply truth and result by it before they are compared.

    Parameters
    ----------
    flash, ambient
        ``(N, 3, H, W)`` in [0, 1]; in [-1, 1] the map could become negative.

    Returns
    -------
    Tensor
        ``(N, 1, H, W)`` in [0, 1].
    """
    return 1 - (ambient - flash).abs().mean(1, keepdim=True)


class Discriminator(nn.Module):
    """Tells photographs in ambient light from generated ones, region by region.

    Six 3x3 convolutions, five of stride 2; 6,283,649 parameters at the default width. It sees the
    picture, multiplied by the attention map, and not the flash photograph beside it.

    Parameters
    ----------
    width
        Channels of the first convolution.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_width(width)
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        for level in range(4):
            inputs, outputs = width << level, width << level + 1
            layers += [
                nn.Conv2d(inputs, outputs, 3, 2, 1),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.01),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width << 4, 1, 3, 1, 1))

    def forward(self, picture: Tensor) -> Tensor:
        """Return logits ``(N, 1, H / 32, W / 32)``, rounded up, of ``(N, 3, H, W)``."""
        return self.layers(picture)


def load_encoder(network: nn.Module, path: str | Path) -> None:
    """Give an encoder the convolutions of VGG-16 from a file.

    Parameters
    ----------
    network
        A `FlashGenerator` of width 64, or a network with one as ``generator``.
    path
        State dict of torchvision's ``vgg16``, as ``torch.save`` writes it.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or its layers are not those of the encoder.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"encoder weights not found: {path}") from error
    except Exception as error:  # damaged files raise almost anything in torch.load
        raise WeightsError(f"cannot read encoder weights {path}") from error
    layers = [item for item in encoder_of(network).modules() if isinstance(item, nn.Conv2d)]
    named = state if isinstance(state, Mapping) else {}
    tensors = [item for name, item in named.items() if str(name).startswith("features.")]
    wanted = [item for layer in layers for item in (layer.weight, layer.bias)]
    shapes = [getattr(item, "shape", None) for item in tensors]
    if shapes != [item.shape for item in wanted if item is not None]:
        raise WeightsError(
            f"{path} does not hold the {len(layers)} convolutions of VGG-16 that the encoder has; "
            "save torchvision.models.vgg16(weights=...).state_dict() by torch.save, and train "
            "with --width 64"
        )
    with torch.no_grad():
        for own, given in zip(wanted, tensors, strict=True):
            assert own is not None
            own.copy_(given)


def encoder_of(network: nn.Module) -> nn.Module:
    """Return the encoder of a network that has VGG-16's.

    Raises
    ------
    WeightsError
        If it has another one.
    """
    generator = getattr(network, "generator", network)
    if not isinstance(generator, FlashGenerator):
        raise WeightsError(f"the encoder of a {type(network).__name__} is not that of VGG-16")
    return generator.encoder
