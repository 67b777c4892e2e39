"""Reductions, deviations, norms and normalizations of torch, in the spellings people use."""

import numpy as np
import pytest
import torch
from frontend_checks import OneInput, TwoInputs, compare, converted
from torch import nn
from torch.nn import functional

from fxp.frontend import FrontendError, from_torch
from fxp.graph.ops import (
    Clamp,
    Conv2d,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    L2Norm,
    Power,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    StandardDeviation,
    Variance,
)

CLOSE = 1e-9
IMAGE = (1, 6, 12, 16)


def ops(model, shape=IMAGE, **more):
    """Ops of the graph, which computes what the model does."""
    return [node.op for node in converted(model, shape, tolerance=CLOSE, **more).nodes]


REDUCTIONS = {
    "sum_rows": (lambda m, x: x.sum(2, keepdim=True), ReduceSum(False, True, False)),
    "sum_columns": (lambda m, x: x.sum(-1, keepdim=True), ReduceSum(False, False, True)),
    "sum_image": (lambda m, x: x.sum((2, 3), keepdim=True), ReduceSum()),
    "sum_image_in_steps": (lambda m, x: x.sum(3, keepdim=True).sum(2, keepdim=True), ReduceSum()),
    "sum_channels": (lambda m, x: x.sum(1, keepdim=True), ReduceSum(True, False, False)),
    "sum_all": (lambda m, x: x.sum((1, 2, 3), keepdim=True), ReduceSum(True, True, True)),
    "mean_rows": (lambda m, x: x.mean(2, keepdim=True), ReduceMean(False, True, False)),
    "mean_channels": (lambda m, x: x.mean(1, keepdim=True), ReduceMean(True, False, False)),
    "mean_channels_torch": (
        lambda m, x: torch.mean(x, dim=1, keepdim=True), ReduceMean(True, False, False),
    ),
    "mean_image": (lambda m, x: x.mean((-1, -2), keepdim=True), GlobalAveragePool()),
    "mean_image_in_steps": (
        lambda m, x: x.mean(3, keepdim=True).mean(2, keepdim=True), GlobalAveragePool(),
    ),
    "mean_all": (lambda m, x: x.mean((1, 2, 3), keepdim=True), ReduceMean(True, True, True)),
    "mean_by_size": (
        lambda m, x: x.sum((2, 3), keepdim=True) / (x.size(2) * x.size(3)), GlobalAveragePool(),
    ),
    "mean_channels_by_size": (
        lambda m, x: x.sum(1, keepdim=True) / x.shape[1], ReduceMean(True, False, False),
    ),
    "max_channels": (lambda m, x: x.max(1, keepdim=True)[0], ReduceMax()),
    "max_channels_values": (lambda m, x: torch.max(x, dim=1, keepdim=True).values, ReduceMax()),
    "amax_channels": (lambda m, x: x.amax(1, keepdim=True), ReduceMax()),
    "amax_image": (lambda m, x: x.amax((2, 3), keepdim=True), GlobalMaxPool()),
    "max_image_in_steps": (
        lambda m, x: x.max(3, keepdim=True)[0].max(2, keepdim=True)[0], GlobalMaxPool(),
    ),
    "max_rows": (lambda m, x: x.amax(2, keepdim=True), ReduceMax(False, True, False)),
    "std": (
        lambda m, x: x.std((2, 3), keepdim=True), StandardDeviation(6, "image", 1),
    ),
    "std_biased": (
        lambda m, x: x.std((2, 3), unbiased=False, keepdim=True), StandardDeviation(6),
    ),
    "std_channels": (
        lambda m, x: x.std(1, correction=0, keepdim=True), StandardDeviation(1, "pixel"),
    ),
    "var_all": (lambda m, x: x.var((1, 2, 3), keepdim=True), Variance(1, "image", 1)),
    "var_mean": (
        lambda m, x: torch.var_mean(x, (2, 3), correction=0, keepdim=True)[0], Variance(6),
    ),
    "norm": (lambda m, x: x.norm(dim=1, keepdim=True), L2Norm()),
    "norm_p": (lambda m, x: torch.norm(x, p=2, dim=1, keepdim=True), L2Norm()),
    "vector_norm": (lambda m, x: torch.linalg.norm(x, dim=1, keepdim=True), L2Norm()),
    "norm_by_hand": (lambda m, x: (x**2).sum(1, keepdim=True).sqrt(), L2Norm()),
    "max_image_norm": (
        lambda m, x: torch.linalg.vector_norm(x, float("inf"), (2, 3), keepdim=True),
        GlobalMaxPool(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "op"), REDUCTIONS.values(), ids=REDUCTIONS)
def test_reductions(function, op):
    found = ops(OneInput(function))
    assert found[-1] == op
    assert len(found) == 1 + (op == GlobalMaxPool() and "inf" in function.__code__.co_consts)


def test_smallest_value():
    found = ops(OneInput(lambda m, x: x.min(1, keepdim=True)[0] + x.amin((2, 3), keepdim=True)))
    assert [op.name for op in found if "max" in op.name] == ["reduce_max", "global_max_pool"]


def test_reductions_of_a_vector():
    model = OneInput(
        lambda m, x: (
            torch.cat((x.sum(1, keepdim=True), x.amax(-1, keepdim=True)), 1)
            + x.mean(1, keepdim=True)
            + x.std(1, keepdim=True)
        )
    )
    names = [op.name for op in ops(model, (1, 7))]
    assert {"reduce_sum", "reduce_max", "reduce_mean", "standard_deviation"} <= {*names}


def test_mean_of_everything():
    found = ops(OneInput(lambda m, x: x - x.mean() + x.max()))
    assert ReduceMean(True, True, True) in found
    assert ReduceMax(True, True, True) in found


def test_both_results_of_std_mean():
    def function(m, x):
        std, mean = torch.std_mean(x, (2, 3), keepdim=True)
        return std * 2 + mean

    assert {StandardDeviation(6, "image", 1), GlobalAveragePool()} <= {*ops(OneInput(function))}


def stdv_channels(x):
    """Contrast of each channel as IMDN writes it."""
    mean = x.sum(3, keepdim=True).sum(2, keepdim=True) / (x.size(2) * x.size(3))
    squares = (x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True)
    return (squares / (x.size(2) * x.size(3))).pow(0.5)


def layer_norm_2d(x, eps=1e-6):
    """Layer normalization of channels as ConvNeXt writes it."""
    u = x.mean(1, keepdim=True)
    s = (x - u).pow(2).mean(1, keepdim=True)
    return (x - u) / torch.sqrt(s + eps)


def instance_norm_by_hand(x):
    """Instance normalization as style transfer writes it."""
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    return (x - mean) * torch.rsqrt(var + 1e-5)


FORMULAS = {
    "contrast": (lambda m, x: stdv_channels(x), StandardDeviation(6)),
    "contrast_root": (
        lambda m, x: (x - x.mean((2, 3), keepdim=True)).square().mean((2, 3), keepdim=True).sqrt(),
        StandardDeviation(6),
    ),
    "variance_of_squares": (
        lambda m, x: (x * x).mean((2, 3), keepdim=True) - x.mean((2, 3), keepdim=True) ** 2,
        Variance(6),
    ),
    "layer_norm_2d": (lambda m, x: layer_norm_2d(x), GroupNorm(1, "pixel", epsilon=1e-6)),
    "instance_norm": (lambda m, x: instance_norm_by_hand(x), GroupNorm(6)),
    "whole_image": (
        lambda m, x: (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt(), GroupNorm(),
    ),
    "rms": (
        lambda m, x: x * torch.rsqrt((x**2).mean(1, keepdim=True) + 1e-6),
        GroupNorm(1, "pixel", "root_mean_square", 1e-6),
    ),
    "normalize": (
        lambda m, x: functional.normalize(x, dim=1), GroupNorm(1, "pixel", "norm", 1e-12),
    ),
    "normalize_by_hand": (
        lambda m, x: x / x.norm(dim=1, keepdim=True), GroupNorm(1, "pixel", "norm", 0.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "op"), FORMULAS.values(), ids=FORMULAS)
def test_formulas(function, op):
    assert ops(OneInput(function)) == [op]


def test_a_sum_over_another_count_is_no_mean():
    found = ops(OneInput(lambda m, x: x.sum((2, 3), keepdim=True) / 7))
    assert [op.name for op in found] == ["reduce_sum", "multiply"]


def test_deviation_from_another_mean_is_no_normalization():
    model = TwoInputs(lambda m, x, y: (x - y.mean(1, keepdim=True)) / (1 + x.var(1, keepdim=True)))
    graph = from_torch(model.eval(), [torch.randn(IMAGE), torch.randn(IMAGE)])
    assert not any(isinstance(node.op, GroupNorm) for node in graph.nodes)


LAYERS = {
    "instance": (nn.InstanceNorm2d(6), [GroupNorm(6)]),
    "instance_affine": (nn.InstanceNorm2d(6, affine=True), [GroupNorm(6), Conv2d(groups=6)]),
    "group": (nn.GroupNorm(3, 6, eps=1e-3), [GroupNorm(3, epsilon=1e-3), Conv2d(groups=6)]),
    "group_plain": (nn.GroupNorm(1, 6, affine=False), [GroupNorm()]),
    "batch": (
        nn.BatchNorm2d(6, track_running_stats=False), [GroupNorm(6), Conv2d(groups=6)],
    ),
    "batch_plain": (
        nn.BatchNorm2d(6, affine=False, track_running_stats=False), [GroupNorm(6)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("layer", "wanted"), LAYERS.values(), ids=LAYERS)
def test_layers(layer, wanted, in_place):
    # An op in place makes torch write layers as other ops.
    first = nn.ReLU(inplace=in_place)
    found = ops(nn.Sequential(nn.Conv2d(6, 6, 1), first, layer))
    assert found[2:] == wanted


def test_instance_norm_with_running_statistics_folds():
    layer = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    found = ops(nn.Sequential(nn.Conv2d(6, 6, 1), layer))
    assert [op.name for op in found] == ["conv2d"]


def test_layer_norm_of_features():
    found = ops(nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8)), (1, 5))
    assert [op.name for op in found] == ["linear", "group_norm", "multiply", "add"]


def test_layer_norm_of_images():
    model = nn.Sequential(nn.Conv2d(6, 4, 1), nn.LayerNorm((4, 8, 8))).eval()
    nn.init.normal_(model[1].weight)
    graph = from_torch(model, [torch.randn(1, 6, 8, 8)])
    compare(graph, model, [((1, 6, 8, 8),)], CLOSE)
    names = [node.op.name for node in graph.nodes]
    assert names == ["conv2d", "group_norm", "multiply", "add"]


def test_group_norm_of_features():
    found = ops(nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(2, 8, affine=False)), (1, 5))
    assert found[1:] == [GroupNorm(2, "pixel")]


PAIRS = {
    "maximum": lambda m, x, y: torch.maximum(x, y),
    "max": lambda m, x, y: torch.max(x, y),
    "minimum": lambda m, x, y: torch.minimum(x, y),
    "min": lambda m, x, y: torch.min(x, y * 2),
    "maximum_of_image_and_mean": lambda m, x, y: torch.maximum(x.mean((2, 3), keepdim=True), y),
}


@pytest.mark.parametrize("function", PAIRS.values(), ids=PAIRS)
def test_larger_and_smaller(function):
    model = TwoInputs(function).eval()
    graph = from_torch(model, [torch.randn(IMAGE), torch.randn(IMAGE)])
    assert {"relu", "subtract"} <= {node.op.name for node in graph.nodes}


def test_larger_than_a_constant():
    assert ops(OneInput(lambda m, x: torch.maximum(x, torch.tensor(0.25)))) == [Clamp(low=0.25)]
    assert ops(OneInput(lambda m, x: torch.minimum(torch.tensor(0.25), x))) == [Clamp(high=0.25)]
    bounds = nn.Parameter(torch.linspace(-1, 1, 6).view(1, 6, 1, 1))
    found = ops(OneInput(lambda m, x: torch.maximum(x, m.bounds), bounds=bounds))
    assert [op.name for op in found] == ["subtract", "relu", "add"]


FUNCTIONS = {
    "sqrt": (lambda m, x: (x.relu() + 1).sqrt(), [Power(0.5)]),
    "rsqrt": (lambda m, x: torch.rsqrt(x.relu() + 1), [Power(-0.5)]),
    "reciprocal": (lambda m, x: torch.reciprocal(x.relu() + 1), [Power(-1.0)]),
    "one_over": (lambda m, x: 1 / (x.relu() + 1), [Power(-1.0)]),
    "softsign": (lambda m, x: x / (1 + x.abs()), [Power(-1.0)]),
    "softsign_layer": (lambda m, x: functional.softsign(x), [Power(-1.0)]),
    "power": (lambda m, x: (x.relu() + 1) ** 1.7, [Power(1.7)]),
    "cube": (lambda m, x: x**3, [Power(3.0)]),
}


@pytest.mark.parametrize(("function", "wanted"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_powers(function, wanted):
    assert [op for op in ops(OneInput(function)) if isinstance(op, Power)] == wanted


def test_constant_weights_of_a_normalization_keep_their_names():
    model = nn.Sequential(nn.Conv2d(6, 6, 1), nn.GroupNorm(2, 6))
    graph = from_torch(model.eval(), [torch.randn(IMAGE)])
    assert [node.name for node in graph.nodes] == ["0", "1.normalized", "1"]
    assert np.array_equal(graph.constants_by_name["1.weight"].data, np.ones((6, 1, 1, 1)))


REFUSED = {
    "batch": (lambda m, x: x.mean((0, 2, 3)), "reduces the batch axis"),
    "std_of_rows": (lambda m, x: x.std(2), r"deviation over axes \[2\].*dim=\(2, 3\)"),
    "correction": (lambda m, x: x.std((2, 3), correction=2), "correction is 2.*only 0 and 1"),
    "position": (lambda m, x: x.max(1, keepdim=True)[1].float() + x, "result 1 is not supported"),
    "norm_3": (lambda m, x: x.norm(3, dim=1, keepdim=True), "order 3"),
    "power_of_value": (lambda m, x: 2**x, r"aten\.pow"),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(function, message):
    with pytest.raises(FrontendError, match=message):
        from_torch(OneInput(function).eval(), [torch.randn(IMAGE)])
