"""Small networks around single layers: they quantize, and every executor gives equal integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from equality import check_engine, check_onnx, check_torch
from torch import nn

import fxp
from fxp.executors import oracle
from fxp.formats import quantize
from fxp.graph.ops import GraphError
from fxp.imaging.metrics import sqnr


def quantized(model: nn.Module, data: torch.Tensor, **options) -> tuple[fxp.FixedModel, float]:
    """Quantize, compare the executors on new data, and return the SQNR in dB."""
    fixed = fxp.quantize(model.eval(), [data], **options)
    graph = fixed.graph
    other = data.flip(0).roll(1, dims=-1)[:2]
    batch = [[quantize(item.numpy(), graph.inputs[0].format)] for item in other.double()]
    expected = [oracle.run(graph, arrays) for arrays in batch]
    for arrays, result in zip(batch, expected, strict=True):
        check_engine(graph, result, arrays)
    check_torch(graph, expected, batch)
    check_onnx(graph, expected, batch)
    with torch.no_grad():
        wanted = model(other).numpy()
    return fixed, sqnr(wanted, fixed(other.numpy()))


def data(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Enlarging(nn.Module):
    """A network of the FSRCNN kind, with normalization behind its last layer."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.head = nn.Conv2d(1, 6, 3, padding=1)
        self.activation = nn.PReLU(6)
        self.tail = nn.ConvTranspose2d(
            6, 2, 9, stride=2, padding=4, output_padding=1, groups=groups
        )
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.tail(self.activation(self.head(x))))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups: int, per_channel: bool) -> None:
    fixed, quality = quantized(Enlarging(groups), data(2, 1, 8, 9), per_channel=per_channel)
    assert "conv_transpose2d" in {node.op.name for node in fixed.graph.nodes}
    assert fixed(np.zeros((3, 4), np.float32)).shape == (2, 6, 8)
    assert quality > 40


class Shrinking(nn.Module):
    """One step of a sparse code with learned thresholds, written out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.code = nn.Conv2d(2, 6, 3, padding=1)
        self.threshold = nn.Parameter(torch.tensor([0.3, -0.2, 0.0, 0.05, 1.5, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code, threshold = self.code(x), self.threshold.view(6, 1, 1)
        return torch.relu(code - threshold) - torch.relu(-code - threshold)


def test_soft_threshold_by_the_formula() -> None:
    assert quantized(Shrinking(), data(2, 2, 7, 9))[1] > 45


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1e-12])
def test_soft_threshold(threshold: float) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Softshrink(threshold), nn.Conv2d(6, 2, 1))
    fixed, quality = quantized(model, data(2, 2, 7, 9))
    # The exact result of the convolution flows in.
    assert fixed.graph.node("0").quantization.format.width > 14
    assert quality > 40


@pytest.mark.parametrize("activation_bits", [8, 14])
def test_softmax(activation_bits: int) -> None:
    torch.manual_seed(4)
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 10), nn.Softmax(1)
    )
    fixed, quality = quantized(model, data(4, 2, 7, 9), activation_bits=activation_bits)
    assert quality > (35 if activation_bits == 8 else 48)
    assert fixed.graph.values["4"].format.signed is False
    table = fixed.graph.constants_by_name["4.table"]
    assert table.formats[0].width == activation_bits + 2


def test_softmax_of_images() -> None:
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Softmax2d())
    assert quantized(model, data(2, 2, 7, 9))[1] > 60


def test_softmax_of_wide_activations_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Softmax2d()).eval()
    with pytest.raises(GraphError, match=r"node '1' \(softmax\): .*at most 16 bits"):
        fxp.quantize(model, [data(1, 1, 4, 4)], activation_bits=20)


@pytest.mark.parametrize("scale", [1, 300])
def test_local_response_norm(scale: float) -> None:
    """The features of AlexNet's first layer are far above 1."""
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.LocalResponseNorm(5, k=2.0), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 4, 3, groups=2),
    )  # fmt: skip
    fixed, quality = quantized(model, scale * data(2, 2, 12, 13))
    assert quality > 45
    assert "2.table" in fixed.graph.constants_by_name
