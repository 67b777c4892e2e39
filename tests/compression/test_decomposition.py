"""Factors of convolutions and of linear layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import integer_graph
from torch import nn

from fxp.compression.decomposition import (
    cp_convolution,
    cp_rank,
    cp_rank_limit,
    decompose,
    kernel_of,
    relative_error,
    tucker_convolution,
    tucker_ranks,
)
from fxp.compression.layers import replace_layer
from fxp.compression.tensor_train import TensorTrainLinear, tensor_train_linear
from fxp.models.recognition.binary import BinaryConv2d, BinaryLinear
from fxp.support.errors import ArgumentError


def convolution(**options) -> nn.Conv2d:
    torch.manual_seed(4)
    return nn.Conv2d(4, 6, 3, **options).eval()


def of_rank_two() -> nn.Conv2d:
    """A layer whose kernel is the sum of two products of vectors."""
    layer = convolution(padding=1)
    vectors = [torch.randn(size, 2) for size in (6, 4, 3, 3)]
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("or,ir,hr,wr->oihw", *vectors))
    return layer


GEOMETRIES = [
    {"padding": 1},
    {"padding": (2, 1), "stride": (2, 1), "dilation": (2, 1), "bias": False},
    {"padding": "same", "padding_mode": "reflect"},
]


@pytest.mark.parametrize("options", GEOMETRIES)
def test_the_chain_of_cp_computes_what_its_kernel_says(options):
    layer = convolution(**options)
    chain = cp_convolution(layer, 5)
    images = torch.randn(2, 4, 9, 10)
    same = convolution(**options)
    with torch.no_grad():
        same.weight.copy_(kernel_of(chain))
    torch.testing.assert_close(chain(images), same(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", GEOMETRIES)
def test_tucker_of_full_ranks_is_the_layer(options):
    layer = convolution(**options)
    images = torch.randn(2, 4, 9, 10)
    chain = tucker_convolution(layer, (6, 4))
    torch.testing.assert_close(chain(images), layer(images), rtol=1e-4, atol=1e-5)


def test_cp_finds_the_rank_that_a_kernel_has():
    layer = of_rank_two()
    chain = cp_convolution(layer, 2)
    assert relative_error(layer.weight, kernel_of(chain)) < 1e-3
    assert cp_rank(layer, 0.01) == 2
    # R(C_in + k_h + k_w + C_out) weights, and the bias of the outputs.
    assert sum(weight.numel() for weight in chain.parameters()) == 2 * (4 + 3 + 3 + 6) + 6
    assert torch.equal(chain[3].bias, layer.bias)


def test_the_longest_axis_does_not_limit_the_rank():
    assert cp_rank_limit(convolution()) == 4 * 3 * 3


def test_tucker_ranks_keep_the_error():
    layer = convolution()
    ranks = tucker_ranks(layer, 0.6)
    assert 0.0 < relative_error(layer.weight, kernel_of(tucker_convolution(layer, ranks))) <= 0.6
    assert tucker_ranks(of_rank_two(), 0.01) == (2, 2)
    zeros = convolution()
    with torch.no_grad():
        zeros.weight.zero_()
    assert tucker_ranks(zeros, 0.5) == (1, 1)
    assert not kernel_of(cp_convolution(zeros, 2)).any()


def test_a_decomposed_network_becomes_an_integer_graph():
    torch.manual_seed(6)
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                            nn.Conv2d(8, 2, 1)).eval()  # fmt: skip
    smaller = decompose(network, lambda layer: cp_convolution(layer, 4), layers=["0"])
    smaller = decompose(smaller, lambda layer: tucker_convolution(layer, (3, 3)), layers=["2"])
    assert [type(layer).__name__ for layer in smaller] == [
        "Sequential", "ReLU", "Sequential", "ReLU", "Conv2d"
    ]  # fmt: skip
    graph = integer_graph(smaller, torch.rand(2, 4, 8, 8))
    convolutions = [node for node in graph.nodes if node.op.name == "conv2d"]
    assert [node.op.groups for node in convolutions] == [1, 4, 4, 1, 1, 1, 1, 1]


def test_layers_that_would_not_become_smaller_are_left_alone():
    network = nn.Sequential(convolution(), nn.Conv2d(6, 6, 3, groups=2), nn.Conv2d(6, 6, 1)).eval()
    same = decompose(network, lambda layer: tucker_convolution(layer, (6, 4)))
    assert all(isinstance(layer, nn.Conv2d) for layer in same)
    smaller = decompose(network, lambda layer: tucker_convolution(layer, (2, 2)))
    assert isinstance(smaller[0], nn.Sequential)
    assert isinstance(network[0], nn.Conv2d)


@pytest.mark.parametrize(
    ("inputs", "outputs", "full"),
    [((4, 6), (5, 2), (12,)), ((2, 3, 2), (2, 2, 3), (4, 6)), ((8,), (3,), ())],
)
def test_a_train_of_full_ranks_is_the_layer(inputs, outputs, full):
    torch.manual_seed(7)
    layer = nn.Linear(torch.tensor(inputs).prod().item(), torch.tensor(outputs).prod().item())
    train = tensor_train_linear(layer.eval(), inputs, outputs, full)
    vectors = torch.randn(3, layer.in_features)
    torch.testing.assert_close(train(vectors), layer(vectors), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(train.matrix(), layer.weight, rtol=1e-4, atol=1e-5)
    # Further axes stay, as with the layer.
    for given in (vectors[0], vectors.reshape(3, 1, -1).expand(3, 2, -1)):
        torch.testing.assert_close(train(given), layer(given), rtol=1e-4, atol=1e-5)


def test_ranks_of_a_train_follow_from_the_error():
    torch.manual_seed(8)
    layer = nn.Linear(24, 10, bias=False).eval()
    train = tensor_train_linear(layer, (4, 6), (5, 2), 0.5)
    assert 0.0 < relative_error(layer.weight, train.matrix()) <= 0.5
    assert train.ranks[1] < 12
    with torch.no_grad():  # a product of two small matrices has rank one
        layer.weight.copy_(torch.kron(torch.randn(5, 4), torch.randn(2, 6)))
    assert tensor_train_linear(layer, (4, 6), (5, 2), 0.01).ranks == (1, 1, 1)


def test_a_train_is_trained_and_becomes_an_integer_graph():
    torch.manual_seed(9)
    network = nn.Sequential(
        TensorTrainLinear((4, 6), (5, 2), (3,), bias=True), nn.ReLU(), nn.Linear(10, 3)
    ).eval()
    vectors = torch.randn(4, 24)
    network(vectors).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    ops = [node.op.name for node in integer_graph(network, vectors).nodes]
    assert ops.count("conv2d") == 2
    assert ops[-1] == "linear"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cp_convolution(convolution(), 37), "the rank must be an integer from 1 to 36"),
        (lambda: cp_convolution(convolution(), 0), "the rank must be an integer from 1"),
        (lambda: cp_convolution(nn.Conv2d(4, 4, 3, groups=2), 2), "Conv2d of one group"),
        (lambda: tucker_convolution(convolution(), (7, 2)), "the rank of the outputs must be"),
        (lambda: tucker_convolution(convolution(), (2, 5)), "of the inputs must be an integer from "
                                                            "1 to 4, got 5"),
        (lambda: tucker_convolution(convolution(), (2,)), "the ranks are those of outputs and"),
        (lambda: tucker_convolution(convolution(), 2), "the ranks are those of outputs and"),
        (lambda: tensor_train_linear(nn.Linear(4, 4), (2, 2), (2, 2), None), "relative error must"),
        (lambda: tensor_train_linear(nn.Linear(4, 4), (-2, -2), (2, 2), 0.5), "a factor of the "),
        (lambda: tensor_train_linear(nn.Linear(4, 4), (2, 2), (2, 2), (2.5,)), "rank 1 must be an"),
        (lambda: tucker_ranks(convolution(), 1.0), "above 0 and below 1, got 1.0"),
        (lambda: cp_rank(convolution(), 0.0), "above 0 and below 1, got 0.0"),
        (lambda: cp_rank(convolution(), 1e-6), "no CP rank up to 13"),
        (lambda: cp_convolution(nn.Conv2d(2, 2, 2, padding="same"), 1), "even kernel"),
        (lambda: tensor_train_linear(nn.Linear(6, 4), (2, 3), (2, 2), (5,)), "rank 1 must be an "
                                                                             "integer from 1 to 4"),
        (lambda: tensor_train_linear(nn.Linear(6, 4), (2, 2), (2, 2), (1,)), "do not multiply to"),
        (lambda: tensor_train_linear(nn.Linear(6, 4), (6,), (2, 2), ()), "need as many of outputs"),
        (lambda: tensor_train_linear(nn.Linear(6, 4), (2, 3), (2, 2), (1, 1)), "2 cores have 1 "),
        (lambda: tensor_train_linear(nn.Linear(6, 4), (2, 3), (2, 2), 2.0), "above 0 and below 1"),
        (lambda: decompose(nn.Sequential(nn.ReLU()), lambda layer: layer), "has no Conv2d"),
    ],
)  # fmt: skip
def test_errors_of_decomposition(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


class Larger(nn.Conv2d):
    """A convolution that pads by itself, as those of timm with the padding of TensorFlow do."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(image, (0, 1, 0, 1)))


def test_layers_that_compute_something_else_are_not_decomposed():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), Larger(8, 8, 2), BinaryConv2d(8, 8, 3)).eval()
    smaller = decompose(network, lambda layer: tucker_convolution(layer, (2, 2)))
    assert [type(layer).__name__ for layer in smaller] == ["Sequential", "Larger", "BinaryConv2d"]
    with pytest.raises(ArgumentError, match="BinaryConv2d computes something else than a Conv2d"):
        decompose(network, lambda layer: cp_convolution(layer, 1), layers=["2"])
    with pytest.raises(ArgumentError, match="an ordinary Linear layer becomes a tensor train"):
        tensor_train_linear(BinaryLinear(4, 4), (2, 2), (2, 2), (1,))


def test_a_network_that_is_one_convolution_is_replaced():
    layer = convolution()
    smaller = decompose(layer, lambda layer: tucker_convolution(layer, (2, 2)))
    assert [type(part) for part in smaller] == [nn.Conv2d] * 3
    with pytest.raises(ArgumentError, match="a network cannot be replaced in itself"):
        replace_layer(layer, "", smaller)


def test_ranks_may_be_numbers_of_numpy():
    layer = convolution()
    assert cp_convolution(layer, np.int64(2))[0].out_channels == 2
    assert tucker_convolution(layer, [np.int64(3), np.int32(2)])[0].out_channels == 2
    train = tensor_train_linear(nn.Linear(4, 4), (2, 2), (2, 2), np.array([3]))
    assert train.ranks == (1, 3, 1)
    assert tucker_ranks(layer, np.float32(0.5)) == tucker_ranks(layer, 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float):
    layer = convolution()
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = value
    dense = nn.Linear(4, 4)
    with torch.no_grad():
        dense.weight[0, 0] = value
    for call in (
        lambda: cp_convolution(layer, 2),
        lambda: tucker_ranks(layer, 0.5),
        lambda: tensor_train_linear(dense, (2, 2), (2, 2), 0.5),
    ):
        with pytest.raises(ArgumentError, match="are NaN or infinite"):
            call()
