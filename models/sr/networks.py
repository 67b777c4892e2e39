"""Super-resolution networks in floating point.

Every network maps a luma image in [0, 1], shape ``(N, 1, H, W)``, to ``(N, 1, s*H, s*W)``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.common.weights import load_weights, read_weights
from fxp.models.sr.baselines import PlainSR
from fxp.models.sr.fixed import MODELS
from fxp.support.errors import ArgumentError

SkipSource = Literal["post_relu", "pre_relu"]


class KimSROptions(TypedDict, total=False):
    """Constructor arguments of `KimSR`."""

    scale: int
    skip_from: SkipSource
    relu_after_add: bool
    relu_between_depthwise_pointwise: bool
    features: int
    quality_input: bool


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution followed by a pointwise one, both without bias.

    Parameters
    ----------
    channels_in, channels_out
        Feature maps in and out.
    kernel
        Depthwise kernel, (rows, columns), both odd. Zero padding keeps the size.
    relu_between
        Apply a ReLU between the two convolutions.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, int],
        *,
        relu_between: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels_in,
            channels_in,
            kernel,
            padding=(kernel[0] // 2, kernel[1] // 2),
            groups=channels_in,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.relu_between = relu_between
        self.merged = False

    def forward(self, features: Tensor) -> Tensor:
        """Filter ``(N, channels_in, H, W)`` to ``(N, channels_out, H, W)``."""
        if self.merged and not self.relu_between:
            kernel = self.pointwise.weight * self.depthwise.weight.transpose(0, 1)
            bias = self.pointwise.bias
            return functional.conv2d(features, kernel, bias, padding=self.depthwise.padding)
        features = self.depthwise(features)
        if self.relu_between:
            features = functional.relu(features)
        return self.pointwise(features)


class QualityBias(nn.Module):
    """Biases in proportion to how strongly the image is compressed; they start at zero.

    Parameters
    ----------
    channels
        Feature maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        """Add to ``(N, channels, H, W)`` the biases of the levels ``(N, 1, 1, 1)``."""
        return features + (level * self.weight[:, None, None]).to(features.dtype)


class KimSR(nn.Module):
    """Hardware-oriented super-resolution network of Kim, Choi and Kim.

    One 3x3 convolution, a residual block of two depthwise-separable convolutions with horizontal
    1x5 kernels, two with 3x3 kernels, pixel shuffle, plus the nearest-neighbour upscaling of
    the input. No biases: 2,560 parameters at x2, 2,640 at x3 and 2,752 at x4.

    The order of kernels and the places of the ReLUs are a reconstruction from the parameter count
    and the published description; the keyword options cover the readings that remain open.

    Parameters
    ----------
    scale
        Upscaling factor, 2, 3 or 4.
    skip_from
        Take the residual connection after (``"post_relu"``) or before (``"pre_relu"``) the ReLU
        of the first convolution.
    relu_after_add
        Apply a ReLU to the sum that ends the residual block.
    relu_between_depthwise_pointwise
        Apply a ReLU inside every depthwise-separable convolution.
    features
        Feature maps of the wide layers, an even number; the narrow layers have half of them. The
        published network has 32. A wider one serves as a teacher.
    quality_input
        Take the level of compression as a second input, which moves the biases of four layers:
        one network for clean and for JPEG-compressed images. See `at_level`.

    Raises
    ------
    ValueError
        For another scale or ``skip_from``, or an odd number of features.

    References
    ----------
    Y. Kim, J.-S. Choi, M. Kim, "A Real-Time Convolutional Neural Network for Super-Resolution on
    FPGA with Applications to 4K UHD 60 fps Video Services", IEEE Trans. Circuits and Systems for
    Video Technology 29(8), 2019.
    """

    #: Rows and columns of input on each side that an output pixel depends on.
    margin: tuple[int, int] = (3, 7)

    def __init__(
        self,
        scale: int = 2,
        *,
        skip_from: SkipSource = "post_relu",
        relu_after_add: bool = True,
        relu_between_depthwise_pointwise: bool = False,
        features: int = 32,
        quality_input: bool = False,
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise ArgumentError(f"scale must be 2, 3 or 4, not {scale}")
        if skip_from not in ("post_relu", "pre_relu"):
            raise ArgumentError(f"skip_from must be 'post_relu' or 'pre_relu', not {skip_from!r}")
        if features < 2 or features % 2:
            raise ArgumentError(f"features must be an even number from 2 on, not {features}")
        self.scale = scale
        self.features = features
        self.skip_from: SkipSource = skip_from
        self.relu_after_add = relu_after_add
        self.relu_between_depthwise_pointwise = relu_between_depthwise_pointwise
        between = relu_between_depthwise_pointwise
        many, few = features, features // 2
        self.head = nn.Conv2d(1, many, 3, padding=1, bias=False)
        self.residual1 = DepthwiseSeparable(many, few, (1, 5), relu_between=between)
        self.residual2 = DepthwiseSeparable(few, many, (1, 5), relu_between=between)
        self.body = DepthwiseSeparable(many, few, (3, 3), relu_between=between)
        self.tail = DepthwiseSeparable(few, scale * scale, (3, 3), relu_between=between)
        self.quality: nn.ModuleDict | None = (
            nn.ModuleDict(
                {
                    name: QualityBias(channels)
                    for name, channels in (
                        ("head", many),
                        ("residual1", few),
                        ("residual2", many),
                        ("body", few),
                    )
                }
            )
            if quality_input
            else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weights so that training starts from nearest-neighbour upscaling.

        Pointwise and head kernels are He-normal; depthwise kernels start near the identity,
        which keeps the variance of the maps; the last pointwise kernel is small.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module.groups > 1:
                    nn.init.normal_(module.weight, std=0.5 / math.sqrt(module.weight[0].numel()))
                    with torch.no_grad():
                        rows, columns = module.weight.shape[2:]
                        module.weight[:, :, rows // 2, columns // 2] += 1.0
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.tail.pointwise.weight, std=1e-3)

    def options(self) -> KimSROptions:
        """Return the constructor arguments that rebuild this network."""
        return {
            "scale": self.scale,
            "skip_from": self.skip_from,
            "relu_after_add": self.relu_after_add,
            "relu_between_depthwise_pointwise": self.relu_between_depthwise_pointwise,
            "features": self.features,
            "quality_input": self.quality is not None,
        }

    def merge(self, merged: bool = True) -> None:
        """Run every depthwise-separable convolution as one dense convolution, or no longer.

        The function and the parameters stay the same. Dense kernels multiply more and move less
        memory, which trains several times faster.
        """
        for module in self.modules():
            if isinstance(module, DepthwiseSeparable):
                module.merged = merged

    def at_level(self, level: float) -> KimSR:
        """Return the network for one level of compression, with constant biases and one input.

        Parameters
        ----------
        level
            As for `forward`.

        Raises
        ------
        ValueError
            If the network takes no level.
        """
        if self.quality is None:
            raise ArgumentError("this network takes no level of compression")
        fixed = KimSR(**{**self.options(), "quality_input": False})
        state = self.state_dict()
        fixed.load_state_dict({name: state[name] for name in fixed.state_dict()})
        for name, biases in self.quality.items():
            layer = getattr(fixed, name)
            layer = layer.pointwise if isinstance(layer, DepthwiseSeparable) else layer
            layer.bias = nn.Parameter(biases.weight.detach() * level)
        return fixed.train(self.training)

    def _biased(self, name: str, features: Tensor, level: Tensor | None) -> Tensor:
        return features if self.quality is None else self.quality[name](features, level)

    def forward(self, luma: Tensor, level: Tensor | None = None) -> Tensor:
        """Upscale a luma image.

        Parameters
        ----------
        luma
            ``(N, 1, H, W)`` floating point, nominally in [0, 1].
        level
            How strongly the images are compressed, ``(N, 1, 1, 1)``, for a network with that
            input: `fxp.models.sr.jpeg.jpeg_level` of their JPEG quality, 0 for clean ones.

        Returns
        -------
        Tensor
            ``(N, 1, scale*H, scale*W)``; clamped to [0, 1] in eval mode only, since a clamp
            would stop the gradient of saturated pixels in training.
        """
        first = self._biased("head", self.head(luma), level)
        active = functional.relu(first)
        features = functional.relu(self._biased("residual1", self.residual1(active), level))
        features = self._biased("residual2", self.residual2(features), level)
        features = features + (active if self.skip_from == "post_relu" else first)
        if self.relu_after_add:
            features = functional.relu(features)
        features = functional.relu(self._biased("body", self.body(features), level))
        detail = functional.pixel_shuffle(self.tail(features), self.scale)
        upscaled = functional.interpolate(luma, scale_factor=self.scale, mode="nearest")
        output = detail + upscaled
        return output if self.training else output.clamp(0.0, 1.0)


def load_float(name: str | Path) -> Any:
    """Load a trained floating-point network in eval mode.

    Parameters
    ----------
    name
        Name of shipped weights, such as ``"kimsr_x2_bicubic"``, or the path of a file whose name
        ends in ``.safetensors``.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not of a known network.
    """
    return load_weights(MODELS.weights_path(name), KimSR, PlainSR)


def read_metadata(name: str | Path) -> dict[str, str]:
    """Return the metadata of shipped weights, by name, or of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If the file is missing or damaged.
    """
    return read_weights(MODELS.weights_path(name))[1]
