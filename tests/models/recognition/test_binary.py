"""Binary layers: their weights and gradients by hand, training, and every executor."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.executors import oracle
from fxp.frontend import from_torch
from fxp.models.common.run import RunFiles, train
from fxp.models.common.weights import load_weights
from fxp.models.recognition.binary import (
    BinaryConv2d,
    BinaryLinear,
    BinaryResNet,
    XnorConv2d,
    XnorLinear,
    binarized,
    constrain,
)
from fxp.models.recognition.binary.layers import binary_weight, signs
from fxp.models.recognition.binary.train import BinaryRecipe, BinarySettings
from fxp.models.recognition.data import LabelledImages
from fxp.support.errors import ArgumentError


def test_weights_are_the_mean_size_times_the_sign() -> None:
    weight = torch.tensor([[0.5, -1.5, 0.0, 2.0], [-0.25, 0.25, -0.25, -0.25]])
    assert binary_weight(weight).tolist() == [[1, -1, 1, 1], [-0.25, 0.25, -0.25, -0.25]]
    assert binary_weight(weight, scaled=False).tolist() == [[1, -1, 1, 1], [-1, 1, -1, -1]]


def test_gradient_of_a_weight() -> None:
    """Equation of section 3.1: ``g (1/n + size * [|w| <= 1])``, here with n = 4 and size 1."""
    weight = torch.tensor([[0.5, -1.5, 0.0, 2.0]], requires_grad=True)
    binary_weight(weight).backward(torch.tensor([[1.0, 2.0, 4.0, 8.0]]))
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.25, 0.5, 5.0, 2.0]]


def test_gradient_of_an_activation() -> None:
    x = torch.tensor([-1.5, -1.0, 0.0, 0.5, 1.25], requires_grad=True)
    result = signs(x)
    assert result.tolist() == [-1, -1, 1, 1, 1]
    result.backward(torch.ones(5))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_padding_adds_nothing() -> None:
    layer = XnorConv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.full((1, 1, 3, 3), -0.5))
        found = layer(torch.zeros(1, 1, 2, 2))
    # Four ones of weight -0.5 in every window: the five others lie outside.
    assert found.tolist() == [[[[-2, -2], [-2, -2]]]]


def test_centred_and_clipped() -> None:
    layer = BinaryConv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1))
    constrain(layer)
    assert layer.weight.flatten().tolist() == [1, -1]


def test_first_and_last_layer_stay_real() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 5), nn.Linear(5, 2),
    )  # fmt: skip
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    assert binarized(network) is network
    kinds = [type(layer) for layer in network if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert kinds == [nn.Conv2d, BinaryConv2d, BinaryLinear, nn.Linear]
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
    assert network(torch.rand(1, 1, 10, 10)).shape == (1, 2)


def test_what_binary_layers_refuse() -> None:
    with pytest.raises(ArgumentError, match="pads with zeros, not by 'reflect'"):
        XnorConv2d(1, 1, 3, padding=1, padding_mode="reflect")
    with pytest.raises(ArgumentError, match="has 2 layers with weights"):
        binarized(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    with pytest.raises(ArgumentError, match="depth must be 8, 14"):
        BinaryResNet(10)


class Streaming(nn.Module):
    """Layers of signs that a streaming core takes, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16, affine=False)
        self.middle = XnorConv2d(16, 16, 3, padding=1)
        self.last = BinaryConv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.middle(self.norm(self.first(x)))))


@pytest.fixture(scope="module")
def streaming() -> fxp.FixedModel:
    images = [torch.rand(1, 1, 9, 9) for _ in range(3)]
    return fxp.quantize(Streaming().eval(), images, output_format=fxp.Format(8, 4), effort="fast")


def test_layers_count_bits_and_every_executor_agrees(streaming: fxp.FixedModel) -> None:
    graph = streaming.graph
    assert [node.op.name for node in graph.nodes] == ["conv2d", "sign", "conv2d", "relu", "conv2d"]
    middle = graph.constants_by_name[graph.nodes[2].inputs[1]].data
    assert all(len(np.unique(np.abs(row))) == 1 for row in middle)
    plan = streaming.plan(9, 7).describe()
    raws = np.random.default_rng(0).integers(0, graph.inputs[0].format.max_raw, (1, 9, 7))
    wanted = oracle.run(graph, [raws]).outputs[0]
    assert np.ptp(wanted) > 0
    assert np.array_equal(streaming.run_raw(raws), wanted)
    assert "bit counts" in plan or "quads" in plan


def test_sums_of_zero_do_not_fail_the_check_of_the_graph() -> None:
    """Sums of 288 signs are often zero, where float32 leaves errors of either sign."""
    torch.manual_seed(0)
    layers = [XnorConv2d(32, 32, 3, padding=1, bias=False) for _ in range(3)]
    graph = from_torch(nn.Sequential(*layers).eval(), [torch.randn(1, 32, 9, 9)])
    assert [node.op.name for node in graph.nodes] == ["sign", "conv2d"] * 3


def test_core_has_no_multiplier_for_signs(streaming: fxp.FixedModel, tmp_path: Path) -> None:
    """Every layer of signs is made of adders though the others have multipliers."""
    folder = tmp_path / "core"
    fxp.hls.emit_rtl(streaming, folder, max_width=8, name="signs")
    texts = {path.stem: path.read_text() for path in folder.rglob("*.sv")}
    # The first layer alone multiplies.
    uses = [len(re.findall(r"^ +fxp_dot #", text, re.MULTILINE)) for text in texts.values()]
    assert sum(uses) == 1
    matrices = [
        re.sub(r"//.*", "", text) for name, text in texts.items() if name.endswith("_matrix")
    ]
    assert len(matrices) == 2
    assert not any(re.search(r"\w\s*\*\s*\w", text) for text in matrices)


CLASSES = ("dark", "light")


def _pictures(count: int) -> LabelledImages:
    random = np.random.default_rng(count)
    labels = np.arange(count) % 2
    images = random.integers(0, 90, (count, 32, 32, 3)) + labels[:, None, None, None] * 150
    return LabelledImages(images.astype(np.uint8), labels.astype(np.int64), CLASSES)


def test_it_trains(tmp_path: Path) -> None:
    settings = BinarySettings(
        depth=8, width=4, activations=True, steps=4, epoch=2, batch=4, average=0.5,
        precision="float32", held_out=2,
    )  # fmt: skip
    recipe = BinaryRecipe(settings, _pictures(12), _pictures(4))
    files = RunFiles(tmp_path / "a.safetensors", tmp_path / "a.log", tmp_path / "a.pt")
    train(recipe, files)
    network = load_weights(files.weights, BinaryResNet)
    assert network.options() == {
        "depth": 8, "classes": 2, "width": 4, "channels": 3, "activations": True
    }  # fmt: skip
    assert "activations" in settings.command()
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 32, 32)).shape == (1, 2)


def test_linear_layers_of_signs() -> None:
    layer = XnorLinear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.5, 0.5]]))
        # 1 * 0.5 + -1 * -0.5 + 1 * 0.5
        assert layer(torch.tensor([[2.0, -3.0, 0.0]])).tolist() == [[1.5]]
