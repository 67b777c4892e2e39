"""Classifiers as PyTorch modules, one module for each family of networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from fxp.models.recognition.zoo.alexnet import AlexNet, SingleTowerAlexNet
from fxp.models.recognition.zoo.cifar import (
    CifarMobileNetV2,
    CifarResNet,
    CifarSqueezeNet,
    CifarVGGS,
)
from fxp.models.recognition.zoo.googlenet import GoogLeNet
from fxp.models.recognition.zoo.inception import InceptionV3
from fxp.models.recognition.zoo.mobilenet import MobileNetV1, MobileNetV2
from fxp.models.recognition.zoo.parts import Classifier
from fxp.models.recognition.zoo.resnet import ResNet
from fxp.models.recognition.zoo.squeezenet import SqueezeNet
from fxp.models.recognition.zoo.vgg import VGG, VGGS

ZOO: Final[dict[str, Callable[..., Classifier]]] = {
    "alexnet": AlexNet,
    "alexnet_single_tower": SingleTowerAlexNet,
    "googlenet": GoogLeNet,
    "googlenet_torchvision": partial(GoogLeNet, kernel=3, normalized=True),
    "inception_v3": InceptionV3,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v2_1.4": partial(MobileNetV2, 1.4),
    "resnet50": ResNet,
    "resnet50_v1": partial(ResNet, version="1"),
    "resnet101": partial(ResNet, 101),
    "resnet152": partial(ResNet, 152),
    "squeezenet_1.0": partial(SqueezeNet, "1.0"),
    "squeezenet_1.1": SqueezeNet,
    "vgg16": VGG,
    "vgg19": partial(VGG, 19),
    "vggs": VGGS,
    "vggs_faces": partial(VGGS, 8, variant=True),
}
"""Makers of the networks for ImageNet; all take `classes`, and have no weights at first."""
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

__all__ = ["SMALL", "SMALL_CLASSES", "ZOO", "Classifier"]
