"""The generator of flash to ambient: its size, its shapes, and that it quantizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fxp
from fxp.models.flash.networks import FlashGenerator
from fxp.support.errors import ArgumentError


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_of_the_paper():
    with torch.device("meta"):
        network = FlashGenerator()
    assert count(network) == 30_387_011
    assert count(network.encoder) == 14_714_688
    assert network.levels[0][0].weight.shape == (512, 1024, 3, 3)


def test_encoder_takes_the_weights_of_vgg16():
    # 3-64-64, 64-128-128, 128-256-256-256, 256-512-512-512, 512-512-512-512.
    with torch.device("meta"):
        shapes = [tuple(item.shape) for item in FlashGenerator().encoder.parameters()]
    ends = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256),
            (256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)]  # fmt: skip
    expected = [shape for a, b in ends for shape in ((b, a, 3, 3), (b,))]
    assert shapes == expected


@pytest.mark.parametrize("decoder", ["transposed", "unpool"])
def test_quantizes_and_equals_the_oracle(decoder):
    torch.manual_seed(0)
    network = FlashGenerator(2, decoder=decoder).eval()
    assert FlashGenerator(**network.options()).state_dict().keys() == network.state_dict().keys()
    flash = torch.rand(2, 3, 32, 48)
    result = network(flash)
    assert result.shape == flash.shape
    assert result.min() > 0
    assert result.max() < 1
    model = fxp.quantize(network, [flash], effort="fast")
    found = model(flash)
    assert torch.equal(found, model.oracle(flash))
    # Unpooling puts a value elsewhere where rounding makes two neighbours equal.
    error = np.abs((found - result).detach().numpy())
    assert (error.mean() if decoder == "unpool" else error.max()) < 0.005


def test_tanh_gives_both_signs():
    torch.manual_seed(0)
    result = FlashGenerator(2, activation="tanh")(torch.rand(1, 3, 16, 16))
    assert result.min() < 0 < result.max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"decoder": "nearest"}, "decoder must be one of transposed, unpool, not 'nearest'"),
        ({"activation": "relu"}, "activation must be one of sigmoid, tanh, none, not 'relu'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        FlashGenerator(**options)
