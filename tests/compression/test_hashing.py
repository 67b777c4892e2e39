"""HashedNets: linear layers of few stored values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_networks import chain, integer_graph
from torch import nn

from fxp.compression.hashing import hash_layers, hashed_parameters, hashed_positions
from fxp.compression.layers import plain
from fxp.support.errors import ArgumentError


def xxh32(data: bytes, seed: int) -> int:
    """XXH32 of fewer than 16 bytes, by its specification."""
    primes = 2654435761, 2246822519, 3266489917, 668265263, 374761393

    def rotated(value: int, places: int) -> int:
        return (value << places | value >> (32 - places)) & 0xFFFFFFFF

    total = (seed + primes[4] + len(data)) & 0xFFFFFFFF
    whole = len(data) // 4 * 4
    for place in range(0, whole, 4):
        word = int.from_bytes(data[place : place + 4], "little")
        total = rotated((total + word * primes[2]) & 0xFFFFFFFF, 17) * primes[3] & 0xFFFFFFFF
    for byte in data[whole:]:
        total = rotated((total + byte * primes[4]) & 0xFFFFFFFF, 11) * primes[0] & 0xFFFFFFFF
    for shift, prime in ((15, primes[1]), (13, primes[2]), (16, 1)):
        total = (total ^ total >> shift) * prime & 0xFFFFFFFF
    return total


def test_keys_are_texts_of_rows_columns_and_a_tag():
    hashes = hashed_positions(2, 2, "idxW")
    assert hashes.tolist() == [
        [xxh32(b"123_123idxW", 1691), xxh32(b"123_234idxW", 1691)],
        [xxh32(b"234_123idxW", 1691), xxh32(b"234_234idxW", 1691)],
    ]


def test_weights_are_signed_buckets():
    network = nn.Sequential(nn.Linear(3, 2)).eval()
    hashed = hash_layers(network, rate=0.5, seed=2)
    buckets = dict(hashed.named_parameters())["0.parametrizations.weight.original"]
    assert buckets.shape == (3,)
    assert buckets.abs().max() <= 3**-0.5
    weight = plain(hashed)[0].weight
    for i, j in np.ndindex(2, 3):
        key = f"{i + 1}{i + 2}{i + 3}_{j + 1}{j + 2}{j + 3}".encode()
        sign = 1 if xxh32(key + b"xi_W", 1691) % 2 else -1
        assert weight[i, j] == sign * buckets[xxh32(key + b"idxW", 1691) % 3]


def test_the_gradient_of_a_bucket_is_the_sum_over_its_weights():
    hashed = hash_layers(nn.Sequential(nn.Linear(3, 2, bias=False)), rate=0.5)
    mapping = hashed[0].parametrizations.weight
    hashed(torch.tensor([[1.0, 10.0, 100.0]])).sum().backward()
    expected = [0.0] * 3
    for (_, j), place in np.ndenumerate(mapping[0].places.numpy()):
        expected[place] += float(mapping[0].signs.numpy()[_, j]) * 10**j
    assert mapping.original.grad.tolist() == expected


def test_a_bucket_begins_as_the_mean_of_its_weights():
    network = nn.Sequential(nn.Linear(8, 4)).eval()
    hashed = hash_layers(network)
    mapping = hashed[0].parametrizations.weight[0]
    signed = (network[0].weight * mapping.signs).detach()
    for bucket, value in enumerate(hashed[0].parametrizations.weight.original.tolist()):
        assert value == pytest.approx(float(signed[mapping.places == bucket].mean()), abs=1e-6)


def test_an_eighth_of_all_weights_and_biases_is_stored():
    network = nn.Sequential(nn.Linear(20, 12), nn.Linear(12, 5))
    hashed = hash_layers(network)
    expected = sum(math.ceil(count / 8) for count in (240, 12, 60, 5))
    assert hashed_parameters(hashed) == expected == 30 + 2 + 8 + 1


def test_a_hashed_network_is_trained_and_becomes_an_integer_graph():
    hashed = hash_layers(chain(), rate=0.25)
    images = torch.rand(2, 3, 8, 8)
    hashed(images).sum().backward()
    torch.optim.SGD(hashed.parameters(), 0.01).step()
    graph = integer_graph(hashed, images, per_channel=False)
    weight = next(item.data for item in graph.constants if item.data.shape == (4, 32))
    assert len(np.unique(np.abs(weight))) <= 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"rate": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"layers": ["0"]}, "no Linear is called '0', only 6"),
    ],
)
def test_errors_of_hashing(options, message):
    with pytest.raises(ArgumentError, match=message):
        hash_layers(chain(), **options)
