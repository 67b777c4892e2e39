"""Classifiers as PyTorch modules, one module for each family of networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from fxp.models.recognition.zoo.cifar import (
    CifarMobileNetV2,
    CifarResNet,
    CifarSqueezeNet,
    CifarVGGS,
)
from fxp.models.recognition.zoo.parts import Classifier

SMALL: Final[dict[str, Callable[..., Classifier]]] = {
    "resnet20": partial(CifarResNet, 20),
    "resnet32": partial(CifarResNet, 32),
    "resnet56": partial(CifarResNet, 56),
    "vggs": CifarVGGS,
    "squeezenet": CifarSqueezeNet,
    "mobilenetv2": CifarMobileNetV2,
}
"""Makers of networks for pictures of 32x32 pixels; all take `classes`, `width` and `channels`."""
SMALL_CLASSES: Final = (CifarResNet, CifarVGGS, CifarSqueezeNet, CifarMobileNetV2)
"""Their classes, for `fxp.models.common.weights.load_weights`."""

__all__ = ["SMALL", "SMALL_CLASSES", "Classifier"]
