"""Softmax, soft thresholds and local response normalization of torch."""

import pytest
import torch
from frontend_checks import OneInput, converted
from torch import nn
from torch.nn import functional

from fxp.frontend import FrontendError, from_torch
from fxp.graph.ops import LocalResponseNorm, Relu, Softmax, SoftThreshold, Subtract

CLOSE = 1e-12
IMAGE = (1, 6, 12, 16)

SOFTMAX = {
    "method": lambda m, x: x.softmax(1),
    "negative_axis": lambda m, x: functional.softmax(x, dim=-3),
    "layer": lambda m, x: m.layer(x),
    "layer_2d": lambda m, x: m.layer_2d(x),
    "softmin": lambda m, x: functional.softmin(x, 1),
}


@pytest.mark.parametrize("function", SOFTMAX.values(), ids=SOFTMAX)
def test_softmax_of_images(function):
    model = OneInput(function, layer=nn.Softmax(dim=1), layer_2d=nn.Softmax2d())
    assert converted(model, IMAGE, tolerance=CLOSE).nodes[-1].op == Softmax()


def test_softmax_of_vectors():
    model = nn.Sequential(nn.Linear(5, 4), nn.Softmax(dim=-1))
    graph = converted(model, (1, 5), tolerance=CLOSE)
    assert [node.name for node in graph.nodes] == ["0", "1"]


def test_softmax_of_a_pooled_image():
    model = OneInput(lambda m, x: x.mean((2, 3)).softmax(1))
    assert len(converted(model, IMAGE, tolerance=CLOSE).nodes) == 3


@pytest.mark.parametrize("in_place", [False, True])
def test_soft_shrink(in_place):
    # An op in place makes torch expand softshrink into several ops.
    model = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU6(inplace=in_place), nn.Softshrink(0.3))
    graph = converted(model, IMAGE)
    assert [type(node.op) for node in graph.nodes][2:] == [SoftThreshold]
    assert [node.name for node in graph.nodes] == ["0", "1", "2"]
    assert graph.constants_by_name[graph.nodes[2].inputs[1]].data.tolist() == [0.3]


def test_soft_shrink_of_zero():
    graph = converted(OneInput(lambda m, x: functional.softshrink(x, 0.0)), IMAGE)
    assert isinstance(graph.nodes[0].op, SoftThreshold)


class Shrink(nn.Module):
    """Learned thresholds, some of them negative, by the literal formula."""

    def __init__(self):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor([0.5, -0.25, 0.0, 2.0, -3.0, 0.1]).view(6, 1, 1))

    def forward(self, x):
        return functional.relu(x - self.threshold) - functional.relu(-x - self.threshold)


def test_thresholds_by_the_formula():
    graph = converted(Shrink(), IMAGE)
    assert [type(node.op) for node in graph.nodes].count(Relu) == 2
    assert isinstance(graph.nodes[-1].op, Subtract)
    assert "threshold" in graph.constants_by_name


LOCAL = {
    "alexnet": {"size": 5, "k": 2.0},
    "caffe": {"size": 5},
    "even": {"size": 4, "alpha": 0.5, "beta": 0.3, "k": 1.5},
    "wider_than_channels": {"size": 11, "alpha": 1.0, "beta": 2},
    "one": {"size": 1, "alpha": 0.1},
}


@pytest.mark.parametrize("options", LOCAL.values(), ids=LOCAL)
@pytest.mark.parametrize("in_place", [False, True])
def test_local_response_norm(options, in_place):
    model = nn.Sequential(
        nn.Conv2d(6, 7, 3), nn.ReLU(inplace=in_place), nn.LocalResponseNorm(**options)
    )
    graph = converted(model, IMAGE, tolerance=CLOSE)
    assert [node.name for node in graph.nodes] == ["0", "1", "2"]
    assert graph.nodes[2].op == LocalResponseNorm(**{"alpha": 1e-4, "beta": 0.75, **options})


def test_local_response_norm_beside_its_square():
    """A square that something else reads as well stays."""

    def function(m, x):
        square = x * x
        return functional.local_response_norm(x, 3) + square

    graph = converted(OneInput(function), IMAGE, tolerance=CLOSE)
    assert [node.op.name for node in graph.nodes] == ["multiply", "local_response_norm", "add"]


def test_formula_around_another_square_is_not_mistaken():
    def function(m, x):
        squares = functional.pad((x * x.relu()).unsqueeze(1), (0, 0, 0, 0, 1, 1))
        pooled = functional.avg_pool3d(squares, (3, 1, 1), 1).squeeze(1)
        return x / (pooled * 0.1 + 1.0) ** 0.75

    with pytest.raises(FrontendError, match=r"aten\."):
        from_torch(OneInput(function).eval(), [torch.randn(IMAGE)])
