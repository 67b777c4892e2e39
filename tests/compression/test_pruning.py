"""Magnitude pruning by masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import chain, integer_graph
from torch import nn

from fxp.compression.layers import plain
from fxp.compression.pruning import densities, prune_below, prune_weights
from fxp.support.errors import ArgumentError, ArgumentTypeError


def two_layers() -> nn.Sequential:
    """Weights 1, 2, 3, 4 and 10, 20, 30, 40."""
    network = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 4.0]]))
        network[1].weight.copy_(torch.tensor([[10.0], [-20.0], [30.0], [40.0]]))
    return network


def test_global_pruning_takes_the_smallest_weights_of_all_layers():
    network = two_layers()
    pruned = prune_weights(network, 3 / 8)
    assert pruned[0].weight.tolist() == [[0, 0, 0, 4]]
    assert pruned[1].weight.flatten().tolist() == [10, -20, 30, 40]
    assert network[0].weight.tolist() == [[1, -2, 3, 4]]  # the network given stays


def test_each_layer_loses_its_own_share():
    assert densities(prune_weights(two_layers(), 0.5, scope="layer")) == {"0": 0.5, "1": 0.5}
    assert densities(prune_weights(two_layers(), {"1": 0.25})) == {"0": 1.0, "1": 0.75}
    assert densities(prune_weights(two_layers(), 0.5, layers=["1"])) == {"0": 1.0, "1": 0.5}


def test_repeated_pruning_counts_all_zeros():
    pruned = prune_weights(prune_weights(two_layers(), 0.25), 0.5)
    assert densities(pruned) == {"0": 0.0, "1": 1.0}


def test_pruned_weights_stay_zero_while_the_rest_is_trained():
    pruned = prune_weights(two_layers(), 3 / 8)
    optimizer = torch.optim.SGD(pruned.parameters(), 0.01)
    pruned(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    pruned(torch.ones(1, 4))
    assert pruned[0].weight[0, :3].tolist() == [0, 0, 0]
    # The gradient of the last weight is 10 - 20 + 30 + 40.
    assert pruned[0].weight[0, 3].item() == pytest.approx(4 - 0.6)
    again = prune_weights(pruned, 0.5)  # a network that has run can be copied
    assert densities(again) == {"0": 0.0, "1": 1.0}


def test_the_threshold_is_a_multiple_of_the_deviation():
    # Deviation of 1, -2, 3, 4 is √5.25 = 2.29; that of the other layer ten times as much.
    assert densities(prune_below(two_layers(), 1.0)) == {"0": 0.5, "1": 0.5}


def test_plain_weights_hold_the_zeros():
    pruned = plain(prune_weights(two_layers(), 3 / 8))
    assert list(pruned.state_dict()) == ["0.weight", "1.weight"]
    assert pruned[0].weight.tolist() == [[0, 0, 0, 4]]


def test_a_masked_network_becomes_an_integer_graph_with_the_zeros():
    pruned = plain(prune_weights(chain(), 0.75))
    graph = integer_graph(pruned, torch.rand(2, 3, 8, 8))
    weights = [item for item in graph.constants if item.data.ndim > 1]
    zeros = sum(int((item.data == 0).sum()) for item in weights)
    assert zeros >= 0.75 * sum(item.data.size for item in weights) - 1


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan"), "0.5", True])
def test_fractions_out_of_range_are_refused(fraction):
    with pytest.raises(ArgumentError, match="at least 0 and below 1"):
        prune_weights(two_layers(), fraction)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prune_weights(two_layers(), {"0": 2.0}), "the fraction of 0 must be"),
        (lambda: prune_weights(two_layers(), 0.5, layers=["2"]), "called '2', only 0, 1"),
        (lambda: prune_weights(two_layers(), {"0": 0.5}, layers=["0"]), "leave out layers"),
        (lambda: prune_weights(two_layers(), 0.5, scope="all"), "'global' or 'layer', got 'all'"),
        (lambda: prune_weights(nn.Sequential(nn.ReLU()), 0.5), "has no Conv2d or"),
        (lambda: prune_below(two_layers(), -1.0), "at least 0, got -1.0"),
        (lambda: prune_below(two_layers(), float("inf")), "at least 0, got inf"),
        (lambda: prune_below(two_layers(), 5.0), "above all weights of 0; the largest is 1.75"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_only_modules_are_pruned():
    with pytest.raises(ArgumentTypeError, match="Module is compressed, not dict"):
        prune_weights({}, 0.5)  # type: ignore[type-var]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ],
)
def test_normalized_weights_are_pruned_as_they_are(norm):
    network = nn.Sequential(norm(nn.Linear(4, 1, bias=False))).eval()
    weight = plain(network)[0].weight
    assert torch.equal(plain(network)(torch.eye(4)), network(torch.eye(4)))
    plain(network).load_state_dict(plain(network).state_dict())
    pruned = plain(prune_weights(network, 0.5))
    assert list(pruned.state_dict()) == ["0.weight"]
    expected = torch.where(weight.abs() > weight.abs().flatten().sort()[0][1], weight, 0)
    assert torch.equal(pruned[0].weight, expected)
    assert list(network.state_dict()) != ["0.weight"]  # the network given stays
    assert torch.equal(network(torch.eye(4))[:, 0], weight[0])


def test_weights_that_are_not_finite_are_refused():
    network = two_layers()
    with torch.no_grad():
        network[1].weight[2] = float("nan")
    with pytest.raises(ArgumentError, match="weights of 1 are NaN or infinite"):
        prune_weights(network, 0.5)
    pruned = prune_weights(network, 0.5, layers=["0"])
    assert pruned[0].weight.tolist() == [[0, 0, 3, 4]]


def test_a_fraction_may_be_a_number_of_numpy():
    assert densities(prune_weights(two_layers(), np.float32(0.5))) == {"0": 0.0, "1": 1.0}
