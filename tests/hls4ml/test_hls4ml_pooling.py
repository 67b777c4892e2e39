"""Classifiers give the oracle's integers; windows keep no more rows than they need."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.executors import oracle
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import AveragePool, ReduceSum

pytest.importorskip("hls4ml")

from fxp import hls
from fxp.hls.hls4ml_export import ExportError
from fxp.hls.hls4ml_export.layers import Axis

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
pytestmark = pytest.mark.usefixtures("compiled_once")


class Block(nn.Module):
    """Two convolutions and a shortcut; a 1×1 convolution where the image becomes smaller."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, stride, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        narrower = stride > 1
        self.shortcut = nn.Conv2d(inputs, channels, 1, stride) if narrower else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.second(torch.relu(self.first(x)))
        return torch.relu(inner + self.shortcut(x))


def lenet() -> nn.Module:
    """LeNet-5 with fewer channels: max and average pooling, an odd size, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 10),
    )  # fmt: skip


def resnet() -> nn.Module:
    """A ResNet of two blocks, with ImageNet's overlapping windows at the start."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.ReLU(),
        Block(4, 4, 1), Block(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


@needs_compiler
@pytest.mark.parametrize(
    ("network", "shape", "backend", "io_type"),
    [
        (lenet, (1, 13, 12), "Quartus", "io_parallel"),
        (resnet, (3, 10, 12), "Vitis", "io_stream"),
    ],
    ids=["lenet", "resnet"],
)
def test_classifiers_are_exact(network, shape, backend, io_type, tmp_path):
    torch.manual_seed(2)
    images = torch.rand(4, *shape)
    model = fxp.quantize(network().eval(), [images], effort="fast")
    project = hls.export(
        model, tmp_path / "p", size=shape[1:], backend=backend, io_type=io_type, verify=False
    )
    project.compile()
    raw = np.random.default_rng(3).integers(0, 256, (2, *shape))
    for image in raw:
        expected = oracle.run(model.graph, [image])
        (found,) = project.trace(image[None])
        assert [*found] == [node.name for node in model.graph.nodes]
        assert all(np.array_equal(found[name], expected.values[name]) for name in found)
        assert np.array_equal(project.predict_raw(image), expected.outputs[0])
        assert len(np.unique(expected.outputs[0])) > 5


@needs_compiler
def test_padding_that_is_not_counted(tmp_path):
    """Every place has a divisor of its own: 1, 2 or 4 pixels lie inside."""
    op = AveragePool((2, 2), (2, 2), (1, 1, 1, 1), count_padding=False)
    node = Node("y", op, ("x",), Quantization(Format(8, 0)))
    graph = Graph("corners", (Value("x", (1, 4, 4), Format(8, 0)),), (node,), ("y",))
    project = hls.export(graph, tmp_path / "p", io_type="io_parallel", verify=False)
    project.compile()
    image = [[[8, 10, 20, -1], [30, 40, 50, 60], [70, 80, 90, 100], [-7, 11, 33, -128]]]
    expected = [[[8, 15, -1], [50, 65, 80], [-7, 22, -128]]]
    assert project.predict_raw(np.array(image)).tolist() == expected


def test_sums_narrower_than_their_bound_are_refused(tmp_path):
    """The accumulator is proved for frames of any size; the sum of 8 × 8 pixels has 14 bits."""
    image = Value("x", (2, Extent("H"), Extent("W")), Format(8, 0))
    node = Node("odd", ReduceSum(), ("x",), Quantization(Format(6, -15)))
    with pytest.raises(ExportError, match=r"'odd' \(reduce_sum\).*drops 15 bits of a value of 14"):
        hls.export(Graph("wide", (image,), (node,), ("odd",)), tmp_path / "p", size=(8, 8))


@pytest.mark.parametrize(
    ("axis", "results", "lines"),
    [
        (Axis(6, step=2, window=2), 6, 1),  # rows 0 1 2 3 4 5
        (Axis(6, step=2, start=-1, window=3), 9, 1),  # rows -1 0 1 1 2 3 3 4 5
        (Axis(6, step=1, window=3), 12, 2),  # rows 0 1 2 1 2 3 2 3 4 3 4 5
        (Axis(7, step=1, window=2, dilation=3), 8, 3),  # rows 0 3 1 4 2 5 3 6
    ],
)
def test_rows_that_windows_keep(axis, results, lines):
    assert axis.lines(results) == lines
