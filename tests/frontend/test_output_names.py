"""Outputs returned in dictionaries keep their names, and branches on the image size are told."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from torch import nn

import fxp
from fxp.frontend import from_torch


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 2, 3, padding=1)
        self.depth = nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor):
        y = self.head(x)
        return {"mask": torch.relu(y), "depth": self.depth(x), "levels": [y, x + 1], "again": y}


def test_outputs_are_called_as_their_keys():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 6, 8)
    network = TwoHeads().eval()
    graph = from_torch(network, [images])
    assert graph.outputs == ("mask", "depth", "levels_0", "levels_1", "again")
    assert graph.node("depth").origin == "depth"
    assert graph.node("mask").inputs == ("levels_0",)
    assert graph.node("again").inputs == ("levels_0",)
    model = fxp.quantize(network, [images])
    found = model(images, named=True)
    assert list(found) == ["mask", "depth", "levels_0", "levels_1", "again"]
    with torch.no_grad():
        wanted = network(images)
    assert torch.allclose(found["mask"], wanted["mask"], rtol=0, atol=0.002)
    assert torch.allclose(found["levels_1"], wanted["levels"][1], rtol=0, atol=0.002)
    for name, value in zip(model.graph.outputs, model(images), strict=True):
        assert torch.equal(found[name], value)


def test_a_key_that_is_taken_gets_a_number():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor):
            y = self.conv(x)
            return {"conv": torch.relu(y), "two words": y + 1}

    graph = from_torch(Model().eval(), [torch.rand(1, 1, 4, 4)])
    assert graph.outputs == ("conv_1", "two_words")


def test_the_one_output_of_a_model_has_a_name_too():
    network = nn.Conv2d(1, 1, 1).eval()
    images = torch.rand(1, 1, 4, 4)
    model = fxp.quantize(network, [images])
    (name,) = model.graph.outputs
    assert torch.equal(model(images, named=True)[name], model(images))


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] == 16:
            x = x * 2
        return x + 1


def test_a_branch_on_the_image_size_is_told_with_its_place():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), Doubled()).eval()
    place = re.escape(__file__) + r":\d+ in forward"
    with pytest.warns(UserWarning, match=rf"sizes are fixed.*\(1, H, 16\).*{place}"):
        model = fxp.quantize(network, [torch.rand(1, 1, 12, 16)])
    assert "(1, H, 16)" in model.summary()


def test_a_size_that_follows_from_the_weights_is_no_branch():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(1, 1, 6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = fxp.quantize(Scaled().eval(), [torch.rand(1, 1, 6, 6)])
    assert "takes images (1, 6, 6)" in model.summary()
