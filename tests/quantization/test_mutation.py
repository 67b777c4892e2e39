"""The comparison of executors can fail: the smallest change of a graph changes its output."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from small_graphs import constant, format_of, graph, image, lowered, node

from fxp.engine import Engine
from fxp.executors import oracle
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Graph
from fxp.graph.ops import Add, Conv2d, Relu, Requantize

GENERATOR = np.random.default_rng(8)
SAME = (1, 1, 1, 1)
DATA = torch.from_numpy(GENERATOR.uniform(0.2, 1, (1, 2, 16, 16)))


@pytest.fixture(scope="module")
def network() -> Graph:
    """Residual network of positive weights, in which no channel is ever zero."""
    nodes = [
        node("first", Conv2d(padding=SAME), "x", "w1", "b1"),
        node("relu", Relu(), "first"),
        node("second", Conv2d(padding=SAME), "relu", "w2", "b2"),
        node("sum", Add(), "second", "x"),
    ]
    constants = [
        constant("w1", GENERATOR.uniform(0.05, 0.3, (3, 2, 3, 3))),
        constant("b1", GENERATOR.uniform(0, 0.2, 3)),
        constant("w2", GENERATOR.uniform(0.05, 0.3, (2, 3, 3, 3))),
        constant("b2", GENERATOR.uniform(0, 0.2, 2)),
    ]
    return lowered(graph(image(channels=2), nodes, constants=constants), DATA)


def raw_input(integer: Graph) -> list[np.ndarray]:
    return [np.floor(np.ldexp(DATA[0].numpy(), format_of(integer, "x").frac)).astype(np.int64)]


def result(integer: Graph) -> np.ndarray:
    return oracle.run(integer, raw_input(integer)).outputs[0]


def with_modes(integer: Graph, name: str, **modes) -> Graph:
    """Change rounding or overflow of one node."""
    nodes = [
        replace(item, quantization=replace(item.quantization, **modes)) if item.name == name
        else item
        for item in integer.nodes
        if item.quantization is not None
    ]  # fmt: skip
    return integer.with_nodes(nodes, integer.constants)


@pytest.mark.parametrize("name", ["w1", "w2"])
def test_one_bit_of_any_weight(network, name):
    before = result(network)
    engine_before = Engine(network).run(raw_input(network)).outputs[0]
    assert np.array_equal(before, engine_before)
    for index in np.ndindex(network.constants_by_name[name].data.shape):
        constants = []
        for item in network.constants:
            data = item.data.copy()
            if item.name == name:
                data[index] -= 1
            constants.append(replace(item, data=data))
        changed = network.with_nodes(network.nodes, constants)
        assert not np.array_equal(result(changed), before)
        assert not np.array_equal(Engine(changed).run(raw_input(network)).outputs[0], before)


def test_the_rounding_of_every_rounded_node(network):
    before = result(network)
    rounded = []
    for item in network.nodes:
        assert item.accumulator is not None
        changed = with_modes(network, item.name, rounding=Rounding.FLOOR)
        if item.accumulator.frac > format_of(network, item.name).frac:
            rounded.append(item.name)
            assert not np.array_equal(result(changed), before)
        else:
            assert np.array_equal(result(changed), before)
    assert rounded == ["relu", "sum"]


def test_every_pair_of_rounding_modes_differs_on_ties():
    source = Format(6, 2)
    raw = [np.arange(source.min_raw, source.max_raw + 1).reshape(1, 8, 8)]
    x = replace(image(), format=source)
    results = {}
    for rounding in Rounding:
        quantization = Quantization(Format(6, 0), rounding)
        step = replace(node("y", Requantize(), "x"), quantization=quantization)
        integer = Graph("rounding", (x,), (step,), ("y",))
        results[rounding] = oracle.run(integer, raw).outputs[0]
        assert np.array_equal(Engine(integer).run(raw).outputs[0], results[rounding])
    for first, second in combinations(Rounding, 2):
        assert not np.array_equal(results[first], results[second]), (first, second)


def test_every_pair_of_overflow_modes_differs_where_values_clip():
    source = Format(6, 0)
    raw = [np.arange(source.min_raw, source.max_raw + 1).reshape(1, 8, 8)]
    x = replace(image(), format=source)
    results = {}
    for overflow in Overflow:
        quantization = Quantization(Format(4, 0), Rounding.FLOOR, overflow)
        step = replace(node("y", Requantize(), "x"), quantization=quantization)
        integer = Graph("overflow", (x,), (step,), ("y",))
        results[overflow] = oracle.run(integer, raw).outputs[0]
        assert np.array_equal(Engine(integer).run(raw).outputs[0], results[overflow])
    for first, second in combinations(Overflow, 2):
        assert not np.array_equal(results[first], results[second]), (first, second)
