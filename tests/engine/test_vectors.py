"""Batches whose vectors run as pixels of an image."""

from __future__ import annotations

import numpy as np
import pytest
from engine_graphs import BYTE, FULL, OPTIONS, PIXEL, Network, random_images

from fxp.engine import Engine, Options
from fxp.engine.program import Program
from fxp.engine.vectors import Halves, cut_batch
from fxp.executors import oracle
from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops import Add, Flatten, Linear, MaxPool, Multiply, Prelu, Relu, Softmax, Subtract

SIGN = Format(2, 0)


def linear(network: Network, source: str, features: int, to: Format | None, **weight) -> str:
    """Add a linear layer with a bias."""
    weights = network.weight((features, network.known[source].channels), **weight)
    return network.node(Linear(), source, weights, network.bias(source, weights), to=to)


def networks() -> dict[str, Graph]:
    """Graphs that end in linear layers."""
    made = {}
    network = Network()
    hidden = network.node(Relu(), linear(network, network.vector(45, PIXEL), 70, BYTE), to=BYTE)
    linear(network, hidden, 11, FULL)
    made["perceptron"] = network.graph()
    network = Network()
    hidden = linear(network, network.vector(260, FULL), 100, FULL, bits=16, per_channel=True)
    linear(network, hidden, 3, Format(32, 12), bits=16)
    made["sums of many bits"] = network.graph()
    network = Network()
    source = network.vector(40, SIGN)
    weights = network.constant(network.generator.choice([-3, 3], (36, 40)), Format(4, 2))
    network.node(Relu(), network.node(Linear(), source, weights, to=Format(6, 1)), to=BYTE)
    made["signs"] = network.graph()
    network = Network()
    source = network.vector(24)
    left = linear(network, source, 48, BYTE)
    right = linear(network, left, 48, None)
    total = network.node(Subtract(), left, right, to=Format(24, 4))
    slope = network.constant(network.generator.integers(-9, 9, 48), Format(6, 4))
    bent = network.node(Prelu(), network.node(Add(), left, total, to=BYTE), slope, to=BYTE)
    product = network.node(Multiply(), bent, left, to=BYTE)
    made["residual, many outputs"] = network.graph(source, left, total, product, left)
    network = Network()
    image = network.conv(network.image(3), 6)
    pooled = network.node(MaxPool((2, 2), (2, 2)), image, to=BYTE)
    fixed = network.graph(pooled)
    source = fixed.inputs[0]
    network.inputs[0] = type(source)(source.name, (3, 8, 6), source.format)
    network.known[pooled] = type(network.known[pooled])((6, 4, 3), (BYTE,))
    vector = network.node(Flatten(), pooled, to=BYTE)
    network.node(Relu(), linear(network, linear(network, vector, 40, BYTE), 10, BYTE), to=BYTE)
    made["classifier"] = network.graph(network.nodes[-1].name, pooled)
    network = Network()
    source = network.vector(16)
    scale = network.constant(network.generator.integers(-9, 9, 16), Format(6, 4))
    scaled = network.node(Multiply(), source, scale, to=BYTE)
    one = network.constant([7], Format(6, 4))
    shifted = network.node(Subtract(), one, linear(network, scaled, 20, BYTE), to=BYTE)
    network.node(Relu(), shifted, to=BYTE)
    made["constants"] = network.graph()
    network = Network()
    row = linear(network, network.vector(16), 20, BYTE)
    one = linear(network, row, 1, BYTE)
    repeated = network.node(Multiply(), row, one, to=BYTE)
    linear(network, repeated, 6, BYTE)
    made["one feature for all"] = network.graph()
    network = Network()
    scores = linear(network, network.vector(45, PIXEL), 11, BYTE)
    table = network.constant([255, 120, 60, 20, 5, 0], Format(9, 8))
    network.node(Softmax(), scores, table, to=Format(9, 8, signed=False))
    made["probabilities"] = network.graph()
    return made


NETWORKS = networks()
SIZE = (8, 6)


@pytest.mark.parametrize("name", NETWORKS)
def test_vectors_of_a_batch_are_cut_off(name: str) -> None:
    halves = Halves.of(Program(NETWORKS[name], Options()))
    assert halves is not None
    assert (halves.images is None) == (name not in ("classifier", "one feature for all"))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_many_vectors(name: str, options: str) -> None:
    graph = NETWORKS[name]
    generator = np.random.default_rng(1)
    images = [random_images(graph, SIZE, generator) for _ in range(61)]
    expected = [oracle.run(graph, image).outputs for image in images]
    engine = Engine(graph, OPTIONS[options])
    for count in (*range(1, 17), 29, 61):
        batches = [np.stack(arrays[:count]) for arrays in zip(*images, strict=True)]
        found = engine.run_batch(batches, threads=1 + count % 3)
        for number in range(count):
            for want, got in zip(expected[number], found, strict=True):
                assert np.array_equal(want, got[number])


def test_extreme_vectors() -> None:
    graph = NETWORKS["sums of many bits"]
    for raw in (FULL.min_raw, FULL.max_raw):
        batch = np.full((30, 260), raw)
        (found,) = Engine(graph).run_batch([batch], threads=2)
        (expected,) = oracle.run(graph, [batch[0]]).outputs
        assert np.array_equal(found, np.repeat(expected[None], 30, axis=0))


def test_a_batch_of_several_images() -> None:
    graph = NETWORKS["perceptron"]
    batch = np.random.default_rng(2).integers(0, 2**14, (1801, 45))
    (found,) = Engine(graph).run_batch([batch], threads=2)
    for number in (0, 599, 600, 1200, 1800):
        assert np.array_equal(found[number], oracle.run(graph, [batch[number]]).outputs[0])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(0, 1, 1, 1)]),
        (14, [(0, 14, 1, 14)]),
        (15, [(0, 15, 2, 8)]),
        (30, [(0, 30, 4, 8)]),
        (896, [(0, 896, 8, 112)]),
        (897, [(0, 456, 8, 57), (456, 897, 8, 57)]),
    ],
)
def test_batches_are_cut_into_images_of_one_size(
    count: int, expected: list[tuple[int, int, int, int]]
) -> None:
    assert list(cut_batch(count)) == expected


def test_few_weights_behind_large_images_are_not_worth_while() -> None:
    halves = Halves.of(Program(NETWORKS["classifier"], Options()))
    assert halves is not None
    planes = {"node0": (6, 8, 6), "node1": (6, 4, 3)}
    assert halves.are_worth_while(planes)
    # 40 * 72 + 10 * 40 = 3280 products, and 162 for a pixel of the convolution.
    assert halves.are_worth_while({"node0": (6, 110, 110)})
    assert not halves.are_worth_while({"node0": (6, 111, 111)})
