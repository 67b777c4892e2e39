"""Binary networks: weights that are signs, and activations that are signs as well.

`layers` has the modules, `networks` a residual network of them, and `train` trains it.
"""

from __future__ import annotations

from fxp.models.recognition.binary.layers import (
    BinaryConv2d,
    BinaryLinear,
    XnorConv2d,
    XnorLinear,
    binarized,
    constrain,
)
from fxp.models.recognition.binary.networks import BinaryResNet

__all__ = [
    "BinaryConv2d",
    "BinaryLinear",
    "BinaryResNet",
    "XnorConv2d",
    "XnorLinear",
    "binarized",
    "constrain",
]
