"""QONNX files: what qonnx computes from them, and the graph that comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantized_files import by_qonnx
from torch import nn
from torch.nn import functional

import fxp
from fxp import Constant, Format, Graph, GraphError, Node, Overflow, Quantization, Rounding, Value
from fxp.executors import oracle
from fxp.export.qonnx import INEXACT, to_qonnx
from fxp.graph.ops import Conv2d, GlobalAveragePool, Sigmoid


class Upscaler(nn.Module):
    """Layers that move, join and enlarge images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.act = nn.PReLU(4)
        self.down = nn.Conv2d(4, 4, 3, 2, 1, groups=2)
        self.up = nn.ConvTranspose2d(4, 4, 4, 2, 1)
        self.last = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.act(self.first(x))
        b = torch.relu(self.up(torch.relu(self.down(a))))
        skip = functional.interpolate(x[:, :1] * 0.5, scale_factor=2)
        return self.shuffle(self.last(torch.cat([a, b], 1))) + skip


class Classifier(nn.Module):
    """Pools, a sum, and a layer of a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(torch.relu(self.first(x)), 2)
        x = functional.hardtanh(self.second(x) + x, 0.0, 2.0)
        return self.last(functional.avg_pool2d(x, 4).flatten(1))


@pytest.mark.parametrize(
    ("kind", "rounding"),
    [(Upscaler, "HALF_UP"), (Classifier, "HALF_UP"), (Classifier, "HALF_EVEN")],
)
def test_round_trip(kind: type[nn.Module], rounding: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 2, 8, 8)
    graph = fxp.quantize(
        kind().eval(), [images], weight_bits=6, activation_bits=7, effort="fast",
        rounding=Rounding[rounding],
    ).graph  # fmt: skip
    back = fxp.from_quantized_onnx(to_qonnx(graph)).graph
    assert [node.name for node in back.nodes] == [node.name for node in graph.nodes]
    assert back.constants == graph.constants
    assert back.inputs == graph.inputs
    for ours, theirs in zip(graph.nodes, back.nodes, strict=True):
        # The modes of a node that rounds nothing have no meaning, and QONNX does not keep them.
        assert (ours.op, ours.inputs) == (theirs.op, theirs.inputs)
        if not ours.is_exact:
            assert ours.quantization == theirs.quantization
    if rounding == "HALF_UP":
        assert back == graph
    symbols = {"H": 4, "W": 4} if kind is Upscaler else {"H": 8, "W": 8}
    sizes = symbols if graph.inputs[0].shape[1:] != (8, 8) else {}
    form = graph.inputs[0].format
    assert form is not None
    raw = np.random.default_rng(0).integers(0, form.max_raw + 1, (2, 8, 8))
    model = to_qonnx(graph, sizes=sizes)
    # Nothing says of the mean, which is rounded where it is flattened, that its last bits are zero.
    assert (INEXACT in {entry.key for entry in model.metadata_props}) == (kind is Classifier)
    found = by_qonnx(model, np.ldexp(raw.astype(np.float64), -form.frac)[None])
    (wanted,) = oracle.run(graph, [raw]).outputs
    end = graph.values[graph.outputs[0]].format
    assert end is not None
    assert (np.ldexp(found[0].astype(np.float64), end.frac) == wanted).all()


def one_layer(quantization: Quantization, size: int = 4) -> Graph:
    x = Value("x", (1, size, size), Format(8, 5))
    constant = Constant("w", np.full((1, 1, 1, 1), 5), (Format(4, 1),))
    return Graph("one", (x,), (Node("y", Conv2d(), ("x", "w"), quantization),), ("y",), (constant,))


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
def test_every_rounding_is_that_of_qonnx(rounding: Rounding, overflow: Overflow) -> None:
    graph = one_layer(Quantization(Format(6, 2), rounding, overflow), size=16)
    raw = np.arange(-128, 128).reshape(1, 16, 16)
    (wanted,) = oracle.run(graph, [raw]).outputs
    found = by_qonnx(to_qonnx(graph), raw[None] / 32)
    assert (found[0] * 4 == wanted).all()
    (again,) = oracle.run(fxp.from_quantized_onnx(to_qonnx(graph)).graph, [raw]).outputs
    assert (again == wanted).all()


def test_names_and_formats_are_in_the_file() -> None:
    model = to_qonnx(one_layer(Quantization(Format(6, 2))))
    assert [(node.op_type, node.name) for node in model.graph.node] == [
        ("Quant", "x.quant"), ("Quant", "w.quant"), ("Conv", "y"), ("Add", "y/Add_4"),
        ("Quant", "y.quant"),
    ]  # fmt: skip
    assert model.graph.node[-1].doc_string == "ap_fixed<6,4,AP_RND,AP_SAT>"
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told == {"format:x": "ap_fixed<8,3>", "format:y": "ap_fixed<6,4>"}


def test_what_qonnx_has_not_is_refused() -> None:
    def refusal(graph: Graph) -> str:
        with pytest.raises(GraphError) as caught:
            to_qonnx(graph)
        return str(caught.value)

    wraps = one_layer(Quantization(Format(6, 2), Rounding.FLOOR, Overflow.WRAP))
    assert refusal(wraps) == (
        "node 'y' (conv2d): its overflow mode is WRAP; write the model as ONNX, which has all "
        "operations"
    )
    x = Value("x", (1, 3, 3), Format(4, 2))
    table = Constant("t", np.arange(16), (Format(5, 2),))
    node = Node("y", Sigmoid(), ("x", "t"), Quantization(Format(5, 2)))
    assert "QONNX has no such operation" in refusal(Graph("g", (x,), (node,), ("y",), (table,)))
    node = Node("y", GlobalAveragePool(), ("x",), Quantization(Format(5, 2)))
    assert "of 9 pixels is exact for powers of two alone" in refusal(
        Graph("g", (x,), (node,), ("y",))
    )


def test_sums_beyond_float32_are_named() -> None:
    x = Value("x", (64, 4, 4), Format(14, 8))
    constant = Constant("w", np.full((1, 64, 3, 3), 127), (Format(8, 7),))
    node = Node("y", Conv2d(), ("x", "w"), Quantization(Format(14, 2)))
    told = to_qonnx(Graph("wide", (x,), (node,), ("y",), (constant,))).metadata_props
    assert {entry.key: entry.value for entry in told}[INEXACT] == "y"
