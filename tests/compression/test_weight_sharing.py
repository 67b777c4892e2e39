"""Shared weights: few values, trained as such."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import chain, integer_graph
from torch import nn

from fxp.compression.hashing import hash_layers
from fxp.compression.layers import plain
from fxp.compression.pruning import prune_weights
from fxp.compression.weight_sharing import cluster, codes_of, share_weights, shared_values
from fxp.support.errors import ArgumentError


def test_clusters_of_points_on_a_line():
    points = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 30.0], np.float32)
    assert cluster(points, 3).tolist() == [1.0, 11.0, 30.0]
    # Few different values are their own centroids.
    assert cluster(np.array([[3.0, -1.0], [3.0, -1.0]], np.float32), 4).tolist() == [-1.0, 3.0]


def test_clusters_without_members_are_left_out():
    # Of the four centroids 0, 4, 8 and 12 at first, none of the points is nearest to 4 and 8.
    points = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 12.0], np.float32)
    assert cluster(points, 4).tolist() == [0.5, 12.0]


def test_codes_name_the_nearest_centroid_and_keep_zeros():
    values = np.array([0.0, -3.0, 0.4, 5.0], np.float32)
    assert codes_of(values, np.array([-2.0, 1.0, 4.0], np.float32)).tolist() == [0, 1, 2, 3]
    assert shared_values(np.array([0.0, 1.0, 2.0, 9.0], np.float32), 1).tolist() == [0, 1.5, 1.5, 9]


def test_the_gradient_of_a_centroid_is_the_sum_over_its_weights():
    network = nn.Sequential(nn.Linear(4, 1, bias=False)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0, 2.0, 9.0]]))
    shared = share_weights(network, linear_bits=1)
    (centroids,) = shared.parameters()
    assert centroids.tolist() == [1.5, 9.0]
    shared(torch.tensor([[1.0, 10.0, 100.0, 1000.0]])).sum().backward()
    assert centroids.grad is not None
    assert centroids.grad.tolist() == [101.0, 1000.0]
    torch.optim.SGD([centroids], 0.001).step()
    weight = plain(shared)[0].weight
    np.testing.assert_allclose(weight.detach(), [[1.399, 0.0, 1.399, 8.0]], rtol=1e-6)
    assert network[0].weight.tolist() == [[1, 0, 2, 9]]


def test_widths_of_layers():
    shared = plain(share_weights(chain(), convolution_bits=3, linear_bits=2, bits={"2": 0}))
    counts = {name: len(weight.unique()) for name, weight in shared.named_parameters()
              if weight.ndim > 1}  # fmt: skip
    assert counts == {"0.weight": 8, "2.weight": 432, "6.weight": 4}


def test_shared_weights_become_few_integers():
    pruned = prune_weights(chain(), 0.5)
    network = share_weights(pruned, convolution_bits=2, linear_bits=2)
    graph = integer_graph(network, torch.rand(2, 3, 8, 8), per_channel=False)
    weights = [item.data for item in graph.constants if item.data.ndim > 1]
    assert len(weights) == 3
    assert all(len(np.unique(weight)) <= 5 for weight in weights)  # four, and zero


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convolution_bits": 0}, "convolution_bits must be an integer from 1 to 8, got 0"),
        ({"linear_bits": 9}, "linear_bits must be an integer from 1 to 8, got 9"),
        ({"bits": {"0": -1}}, "the bits of 0 must be an integer from 0 to 8, got -1"),
        ({"bits": {"9": 4}}, "no layer is called '9', only 0, 2, 6"),
        ({"linear_bits": 2.0}, "linear_bits must be an integer"),
    ],
)
def test_codebooks_too_small_or_too_large_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        share_weights(chain(), **options)


def test_layers_that_share_a_parameter_are_shared_each_by_itself():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).eval()
    network[2].weight = network[0].weight
    expected = network[0].weight.detach().clone()
    shared = plain(share_weights(network, linear_bits=8))
    assert torch.equal(shared[0].weight, expected)
    assert torch.equal(shared[2].weight, expected)
    hashed = plain(hash_layers(network, rate=1.0))
    assert torch.equal(hashed[0].weight, hashed[2].weight)


def test_a_network_whose_plain_copy_was_taken_is_trained_on():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).eval()
    for made in (share_weights(network), hash_layers(network)):
        copies = plain(made), plain(made)
        for copy in copies:
            assert torch.equal(copy(torch.eye(3)), made(torch.eye(3)))
        made(torch.eye(3)).sum().backward()
        assert made[0].parametrizations.weight.original.grad is not None


def test_a_width_may_be_a_number_of_numpy():
    shared = plain(share_weights(chain(), convolution_bits=np.int64(1)))
    assert len(shared[0].weight.unique()) == 2
