"""Small networks around single layers: they quantize, and every executor gives equal integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from equality import check_engine, check_onnx, check_torch
from torch import nn

import fxp
from fxp import oracle
from fxp.formats import quantize
from fxp.metrics import sqnr


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
