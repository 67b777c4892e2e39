"""The networks that KimSR is compared with, in floating point: SRCNN, ESPCN, FSRCNN and VDSR.

Like KimSR they work on luma in [0, 1], ``(N, 1, H, W)``, and clamp their output to [0, 1] in eval
mode only, since a clamp would stop the gradient of saturated pixels in training.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class SRCNN(nn.Module):
    """Three convolutions that sharpen an image which bicubic has already upscaled.

    SRCNN 9-1-5: 8,129 parameters, 8,032 of them weights. The factor is that of the upscaling
    before the network. Zero padding keeps the size.

    References
    ----------
    C. Dong, C. C. Loy, K. He, X. Tang, "Learning a Deep Convolutional Network for Image
    Super-Resolution", ECCV 2014.
    """

    #: Rows and columns of input on each side that an output pixel depends on.
    margin: tuple[int, int] = (6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 64, 9, padding=4)
        self.mapping = nn.Conv2d(64, 32, 1)
        self.reconstruction = nn.Conv2d(32, 1, 5, padding=2)
        for layer in (self.patches, self.mapping, self.reconstruction):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(_bias(layer))

    def forward(self, upscaled: Tensor) -> Tensor:
        """Sharpen ``(N, 1, H, W)``, a bicubically upscaled image; the size stays."""
        features = functional.relu(self.mapping(functional.relu(self.patches(upscaled))))
        output = self.reconstruction(features)
        return output if self.training else output.clamp(0.0, 1.0)


class ESPCN(nn.Module):
    """Efficient sub-pixel network: three convolutions with tanh, then a pixel shuffle.

    At x2 it has 21,284 parameters, 21,184 of them weights.

    Parameters
    ----------
    scale
        Upscaling factor.

    References
    ----------
    W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016.
    """

    #: Rows and columns of input on each side that an output pixel depends on.
    margin: tuple[int, int] = (4, 4)

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(1, 64, 5, padding=2)
        self.body = nn.Conv2d(64, 32, 3, padding=1)
        self.tail = nn.Conv2d(32, scale * scale, 3, padding=1)
        for layer in (self.head, self.body, self.tail):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(_bias(layer))

    def forward(self, luma: Tensor) -> Tensor:
        """Upscale ``(N, 1, H, W)`` to ``(N, 1, scale*H, scale*W)``."""
        features = torch.tanh(self.body(torch.tanh(self.head(luma))))
        output = functional.pixel_shuffle(self.tail(features), self.scale)
        return output if self.training else output.clamp(0.0, 1.0)


class PlainSR(nn.Module):
    """A chain of 3x3 convolutions, then a pixel shuffle, added to the input upscaled by nearest.

    The structure that ECBSR has once its branches are merged, and that of ABPN with its anchor of
    repeated pixels, on luma: what mobile processors run. The defaults are ECBSR-M4C8 with ReLU,
    2,708 parameters at x2.

    Parameters
    ----------
    scale
        Upscaling factor.
    features, blocks
        Feature maps, and number of convolutions between the first and the last: C and M of ECBSR.
    prelu
        Activate by PReLU, as ECBSR does, and not by ReLU, as ABPN does.

    References
    ----------
    X. Zhang, H. Zeng, L. Zhang, "Edge-oriented Convolution Block for Real-time Super Resolution on
    Mobile Devices", ACM MM 2021. Z. Du et al., "Anchor-based Plain Net for Mobile Image
    Super-Resolution", CVPR Workshops 2021.
    """

    def __init__(
        self, scale: int = 2, *, features: int = 8, blocks: int = 4, prelu: bool = False
    ) -> None:
        super().__init__()
        self.scale, self.features, self.blocks, self.prelu = scale, features, blocks, prelu
        #: Rows and columns of input on each side that an output pixel depends on.
        self.margin = (blocks + 2, blocks + 2)
        layers: list[nn.Module] = []
        for inputs in (1, *(features,) * blocks):
            layer = nn.Conv2d(inputs, features, 3, padding=1)
            nn.init.kaiming_normal_(layer.weight, a=0.25 if prelu else 0.0)
            nn.init.zeros_(_bias(layer))
            layers += [layer, nn.PReLU(features) if prelu else nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.tail = nn.Conv2d(features, scale * scale, 3, padding=1)
        nn.init.normal_(self.tail.weight, std=1e-3)
        nn.init.zeros_(_bias(self.tail))

    def options(self) -> dict[str, int]:
        """Return the constructor arguments that rebuild this network."""
        names = ("scale", "features", "blocks", "prelu")
        return {name: getattr(self, name) for name in names}

    def forward(self, luma: Tensor) -> Tensor:
        """Upscale ``(N, 1, H, W)`` to ``(N, 1, scale*H, scale*W)``."""
        detail = functional.pixel_shuffle(self.tail(self.layers(luma)), self.scale)
        output = detail + functional.interpolate(luma, scale_factor=self.scale, mode="nearest")
        return output if self.training else output.clamp(0.0, 1.0)


class FSRCNN(nn.Module):
    """Hourglass-shaped network with PReLUs that ends in a transposed convolution.

    The defaults are FSRCNN-s with 4,086 parameters, 3,937 of them weights; FSRCNN(56, 12, 4) has
    12,809 and 12,464.

    Parameters
    ----------
    channels, shrunk, depth
        Feature maps outside and inside the hourglass, and number of 3x3 convolutions inside: d, s
        and m of the paper.
    scale
        Upscaling factor.

    References
    ----------
    C. Dong, C. C. Loy, X. Tang, "Accelerating the Super-Resolution Convolutional Neural Network",
    ECCV 2016.
    """

    def __init__(
        self, channels: int = 32, shrunk: int = 5, depth: int = 1, *, scale: int = 2
    ) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in (
            (1, channels, 5),
            (channels, shrunk, 1),
            *((shrunk, shrunk, 3),) * depth,
            (shrunk, channels, 1),
        ):
            layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
            nn.init.kaiming_normal_(layer.weight, a=0.25)  # the initial slope of PReLU
            nn.init.zeros_(_bias(layer))
            layers += [layer, nn.PReLU(outputs)]
        self.features = nn.Sequential(*layers)
        # Two pixels of the 5x5 kernel, one of every 3x3, and those under a 9x9 kernel of stride s.
        self.margin = (2 + depth + 4 // scale + 1,) * 2
        self.upscale = nn.ConvTranspose2d(
            channels, 1, 9, stride=scale, padding=4, output_padding=scale - 1
        )
        nn.init.normal_(self.upscale.weight, std=1e-3)
        nn.init.zeros_(_bias(self.upscale))

    def forward(self, luma: Tensor) -> Tensor:
        """Upscale ``(N, 1, H, W)`` to ``(N, 1, scale*H, scale*W)``."""
        output = self.upscale(self.features(luma))
        return output if self.training else output.clamp(0.0, 1.0)


class VDSR(nn.Module):
    """Twenty 3x3 convolutions that add detail to an image which bicubic has already upscaled.

    No biases: 664,704 parameters. The factor is that of the upscaling before the network; one
    set of weights may serve several.

    Parameters
    ----------
    channels, depth
        Feature maps and number of convolutions.

    References
    ----------
    J. Kim, J. K. Lee, K. M. Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional
    Networks", CVPR 2016.
    """

    def __init__(self, channels: int = 64, depth: int = 20) -> None:
        super().__init__()
        self.margin = (depth, depth)
        widths = [1, *[channels] * (depth - 1), 1]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])  # the last convolution has no ReLU

    def forward(self, upscaled: Tensor) -> Tensor:
        """Sharpen ``(N, 1, H, W)``, a bicubically upscaled image; the size stays."""
        output = upscaled + self.layers(upscaled)
        return output if self.training else output.clamp(0.0, 1.0)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
