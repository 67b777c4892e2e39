"""Statistics and softmax of groups of channels, and of axes along which tensors were stacked."""

import warnings

import pytest
import torch
from frontend_checks import OneInput, compare, converted
from torch import nn
from torch.nn import functional

from fxp.frontend import from_torch
from fxp.graph.extents import Extent
from fxp.graph.ops import GlobalAveragePool, GlobalMaxPool, L2Norm, StandardDeviation, Variance

CLOSE = 1e-9
IMAGE = (1, 6, 12, 16)


def split(x: torch.Tensor, *parts: int) -> torch.Tensor:
    return x.view(1, *parts, *x.shape[2:])


def three(x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.stack([x, 2 * x - 1, x.sigmoid()], dim)


def group_norm(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Y. Wu, K. He, Group Normalization, ECCV 2018, figure 3."""
    flat = x.view(1, groups, -1)
    mean, variance = flat.mean(-1, keepdim=True), flat.var(-1, keepdim=True)
    return ((flat - mean) / (variance + 1e-5).sqrt()).view(x.shape)


def simple_attention(x: torch.Tensor) -> torch.Tensor:
    """L. Yang and others, SimAM, ICML 2021, appendix."""
    count = x.shape[2] * x.shape[3] - 1
    squares = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
    energy = squares / (4 * (squares.sum(dim=[2, 3], keepdim=True) / count + 1e-4)) + 0.5
    return x * energy.sigmoid()


STATISTICS = {
    "deviation of stacked": (lambda m, x: three(x, 1).std(1), StandardDeviation(6, "pixel", 1)),
    "variance, stacked last": (
        lambda m, x: three(x, -1).var(-1, unbiased=False), Variance(6, "pixel"),
    ),
    "variance of the faster part": (
        lambda m, x: split(x, 2, 3).var(2), Variance(2, "pixel", 1),
    ),
    "deviation of the slower part": (
        lambda m, x: split(x, 2, 3).std(1, keepdim=True).flatten(1, 2),
        StandardDeviation(3, "pixel", 1),
    ),
    "variance of groups in the image": (
        lambda m, x: split(x, 2, 3).var((2, 3, 4), correction=0), Variance(2, "image"),
    ),
    "norm of groups": (
        lambda m, x: torch.linalg.vector_norm(x.view(1, 3, -1), dim=2), L2Norm(3, "image"),
    ),
    "mean of groups": (lambda m, x: x.view(1, 3, -1).mean(2), GlobalAveragePool()),
    "maximum of groups": (lambda m, x: split(x, 3, 2).amax((2, 3, 4)), GlobalMaxPool()),
    "sum over one pixel less": (lambda m, x: simple_attention(x), Variance(6, "image", 1)),
    "group normalization": (lambda m, x: group_norm(x, 3), StandardDeviation(3, "image", 1, 1e-5)),
}  # fmt: skip


@pytest.mark.parametrize(("function", "wanted"), STATISTICS.values(), ids=STATISTICS)
def test_statistics(function, wanted):
    """One exact op, and sizes stay free."""
    graph = converted(OneInput(function), IMAGE, tolerance=CLOSE)
    assert wanted in [node.op for node in graph.nodes]


def test_features():
    """A vector is split like the channels of an image."""
    model = OneInput(
        lambda m, x: torch.cat([x.view(1, 2, 3).mean(-1), x.view(1, 3, 2).std(1)], 1)
    ).eval()
    graph = from_torch(model, [torch.rand(1, 6)])
    compare(graph, model, [((1, 6),)], CLOSE)


SOFTMAX = {
    "selective kernels": lambda m, x: (
        (pair := torch.stack([x, x.relu()], 1))
        * pair.sum(1).mean((2, 3)).repeat(1, 2).view(1, 2, 6, 1, 1).softmax(1)
    ).sum(1),
    "of stacked pixels": lambda m, x: (three(x, 1) * three(x, 1).softmax(dim=1)).sum(1),
    "of a part": lambda m, x: split(x, 2, 3).softmax(2).view(x.shape),
    "of stacked third axis": lambda m, x: functional.softmax(three(x, 2), 2).sum(2),
}


@pytest.mark.parametrize("function", SOFTMAX.values(), ids=SOFTMAX)
def test_softmax(function):
    graph = converted(OneInput(function), IMAGE, tolerance=CLOSE)
    assert "softmax" in [node.op.name for node in graph.nodes]


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
def test_softmax_of_rows_fixes_the_size():
    model = OneInput(lambda m, x: x.softmax(2)).eval()
    graph = from_torch(model, [torch.rand(IMAGE)])
    compare(graph, model, [(IMAGE,)], CLOSE)


POOLS = {
    "average": lambda m, x: functional.avg_pool2d(x, x.shape[2:]),
    "average by name": lambda m, x: functional.avg_pool2d(x, kernel_size=x.size()[2:]),
    "maximum": lambda m, x: functional.max_pool2d(x, (x.size(2), x.size(3))),
}


@pytest.mark.parametrize("function", POOLS.values(), ids=POOLS)
def test_a_window_of_the_whole_image_leaves_its_size_free(function):
    model = OneInput(lambda m, x: x * function(m, x).sigmoid())
    graph = converted(model, IMAGE, tolerance=CLOSE)
    assert graph.inputs[0].shape == (6, Extent("H"), Extent("W"))


def test_a_size_that_an_operation_fixes_is_told():
    """A window as high as the image, three columns wide, is of one size alone."""
    model = OneInput(lambda m, x: functional.avg_pool2d(x, (x.shape[2], 3))).eval()
    with pytest.warns(UserWarning, match=r"fixed .*gives the image size to an operation"):
        graph = from_torch(model, [torch.rand(IMAGE)])
    assert graph.inputs[0].shape[1] == 12


def test_constants_among_the_channels():
    """They are zeros in the concatenation, and added to it."""
    level = nn.Parameter(torch.rand(1, 2, 1, 1))
    model = OneInput(
        lambda m, x: torch.cat([x, torch.full_like(x[:, :1], 0.5), torch.zeros_like(x)], 1)
    )
    graph = converted(model, IMAGE)
    assert [node.op.name for node in graph.nodes] == ["gather_channels", "add"]
    model = OneInput(lambda m, x: m.dense(torch.cat([x.mean((2, 3)), m.level[:, :, 0, 0]], 1)),
                     dense=nn.Linear(8, 3))  # fmt: skip
    model.level = level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted(model, IMAGE, tolerance=CLOSE)
