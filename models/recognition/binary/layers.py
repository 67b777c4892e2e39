"""Layers with weights ``size * sign(w)``, and with activations ``sign(x)`` as well.

The real weights are trained and kept; each forward pass takes their signs. ``sign(0)`` is 1. Such a
layer converts to an ordinary convolution of the integer graph whose weights are ``a`` or ``-a`` in
each output channel, and a sign to the op `fxp.graph.ops.Sign`. Padding is zero: a place outside the
image adds nothing to a sum, neither 1 nor -1.

* M. Courbariaux, Y. Bengio, J.-P. David, "BinaryConnect: Training Deep Neural Networks with binary
  weights during propagations", NIPS 2015: weights of size 1.
* M. Rastegari, V. Ordonez, J. Redmon, A. Farhadi, "XNOR-Net: ImageNet Classification Using Binary
  Convolutional Neural Networks", ECCV 2016: the size is the mean of ``|w|`` of each filter (binary
  weight networks), and activations are signs (XNOR networks). The paper scales activations by their
  local mean, too; the authors' release leaves that out, and so does this module.
* I. Hubara et al., "Binarized Neural Networks", NIPS 2016: the gradient of the sign of an
  activation passes where its magnitude is at most 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.support.errors import ArgumentError


class _SignOfActivation(torch.autograd.Function):
    """Sign whose gradient passes where the magnitude is at most 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x.abs() <= 1)


class _BinaryWeight(torch.autograd.Function):
    """``size * sign(w)`` with the gradient of section 3.1 of XNOR-Net."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scaled: bool) -> Tensor:
        axes = tuple(range(1, weight.ndim))
        signs = torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)
        if not scaled:
            ctx.save_for_backward(weight, None)
            return signs
        size = weight.abs().mean(axes, keepdim=True)
        ctx.save_for_backward(weight, size)
        return size * signs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        weight, size = ctx.saved_tensors
        passes = (weight.abs() <= 1).to(weight.dtype)
        if size is None:
            return gradients[0] * passes, None
        return gradients[0] * (1 / weight[0].numel() + passes * size), None


def signs(x: Tensor) -> Tensor:
    """Return 1 where a value is not negative, and -1 elsewhere; any shape.

    In training, the gradient passes where the magnitude is at most 1.
    """
    return _SignOfActivation.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def binary_weight(weight: Tensor, *, scaled: bool = True) -> Tensor:
    """Return the weights that a binary layer multiplies by.

    Parameters
    ----------
    weight
        Real weights, ``(outputs, ...)``.
    scaled
        Whether the signs are multiplied by the mean magnitude of their output; else by 1.
    """
    return _BinaryWeight.apply(weight, scaled)  # type: ignore[no-any-return, no-untyped-call]


class BinaryConv2d(nn.Conv2d):
    """Convolution whose weights are signs times one number per output channel.

    Parameters
    ----------
    inputs, outputs, kernel
        Channels, and height and width of the window.
    scaled
        Whether that number is the mean magnitude of the real weights (binary weight networks), or 1
        (BinaryConnect).
    options
        As for `torch.nn.Conv2d`.

    Raises
    ------
    ArgumentError
        If the padding is not zero.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Any, *, scaled: bool = True, **options: Any
    ) -> None:
        super().__init__(inputs, outputs, kernel, **options)
        if self.padding_mode != "zeros":
            raise ArgumentError(
                f"a binary convolution pads with zeros, not by {self.padding_mode!r}; pad before it"
            )
        self.scaled = scaled

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of ``(N, inputs, H, W)`` with the binary weights."""
        weight = binary_weight(self.weight, scaled=self.scaled)
        return functional.conv2d(
            input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class XnorConv2d(BinaryConv2d):
    """`BinaryConv2d` of the signs of its input.

    A batch normalization before it, without factor and shift, centres the values whose signs are
    taken; no ReLU may come before it, because that has no negative values.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of the signs of ``(N, inputs, H, W)``."""
        return super().forward(signs(input))


class BinaryLinear(nn.Linear):
    """Linear layer whose weights are signs times one number per output.

    Parameters
    ----------
    inputs, outputs
        Features.
    scaled
        As for `BinaryConv2d`.
    bias
        Whether there is a bias, which is real.
    """

    def __init__(
        self, inputs: int, outputs: int, *, scaled: bool = True, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.scaled = scaled

    def forward(self, input: Tensor) -> Tensor:
        """Return the product of ``(N, inputs)`` with the binary weights."""
        return functional.linear(input, binary_weight(self.weight, scaled=self.scaled), self.bias)


class XnorLinear(BinaryLinear):
    """`BinaryLinear` of the signs of its input; see `XnorConv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the product of the signs of ``(N, inputs)`` with the binary weights."""
        return super().forward(signs(input))


def binarized(network: nn.Module, *, scaled: bool = True) -> nn.Module:
    """Make the weights of a network binary, in place, but for its first and its last layer.

    Activations stay: a network for XNOR layers has another order of layers, see `BinaryResNet`.

    Parameters
    ----------
    network
        Any network with convolutions and linear layers.
    scaled
        As for `BinaryConv2d`.

    Returns
    -------
    torch.nn.Module
        The network itself; its real weights are those that it had.

    Raises
    ------
    ArgumentError
        If it has fewer than three such layers.
    """
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if type(module) in (nn.Conv2d, nn.Linear)
    ]
    if len(layers) < 3:
        raise ArgumentError(
            f"the network has {len(layers)} layers with weights; the first and the last one stay "
            "real, so it needs three or more"
        )
    for name, module in layers[1:-1]:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, _binary_layer(module, scaled=scaled))
    return network


def _binary_layer(layer: nn.Module, *, scaled: bool) -> nn.Module:
    made: nn.Module
    if isinstance(layer, nn.Linear):
        made = BinaryLinear(
            layer.in_features, layer.out_features, scaled=scaled, bias=layer.bias is not None
        )
    else:
        assert isinstance(layer, nn.Conv2d)
        made = BinaryConv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            scaled=scaled,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        )
    made.load_state_dict(layer.state_dict())
    return made.train(layer.training)


@torch.no_grad()
def constrain(network: nn.Module) -> None:
    """Centre and clip the real weights of binary layers in place, as before every step of XNOR-Net.

    The mean over the inputs of a convolution is subtracted, and what lies beyond -1 and 1 is
    clipped, where no gradient would move it any more.

    Parameters
    ----------
    network
        The network.
    """
    for module in network.modules():
        if isinstance(module, BinaryConv2d | BinaryLinear):
            weight = module.weight
            # One input has no mean to subtract.
            if weight.shape[1] > 1:
                weight.sub_(weight.mean(1, keepdim=True))
            weight.clamp_(-1.0, 1.0)
