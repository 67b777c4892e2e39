"""Networks of the zoo in fixed point: the engine gives the oracle's integers on 64x64 pixels.

They have few channels here; ``python -m benchmarks.recognition`` compares them as published.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.models.recognition.zoo.mobilenet import MobileNetV1, MobileNetV2
from fxp.models.recognition.zoo.resnet import ResNet
from fxp.models.recognition.zoo.squeezenet import Fire
from fxp.models.recognition.zoo.vgg import VGG, VGGS

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fire": lambda: nn.Sequential(Fire(3, 4, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "mobilenet_v1": lambda: MobileNetV1(1 / 8, 5, 0.1),
    "mobilenet_v2": lambda: MobileNetV2(0.1, 5),
    "resnet50_v1": lambda: ResNet(50, 5, "1", 4),
    "vgg16": lambda: VGG(16, 5, 1 / 32),
    "vggs": lambda: VGGS(5, width=1 / 16),
    "vggs_faces": lambda: VGGS(8, variant=True, width=1 / 16),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_engine_and_oracle_agree(name: str):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    pictures = np.random.default_rng(0).normal(size=(3, 3, 64, 64))
    model = fxp.quantize(network, [pictures[:2]], weight_bits=10, activation_bits=14, effort="fast")
    assert np.array_equal(model(pictures[2:]), model.oracle(pictures[2:]))
