"""Costs of shared adders and line memories, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fxp
from fxp import hls
from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, ConvTranspose2d, Linear
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import ModuleInstance

BYTE = Format(8, 0, signed=False)
WIDE = Quantization(Format(24, 0))


def image(channels: int) -> Value:
    return Value("x", (channels, Extent("H"), Extent("W")), BYTE)


def layer(op, weight, channels: int = 1, bias=None) -> Graph:
    constants = [Constant("w", np.asarray(weight), (Format(8, 0),))]
    if bias is not None:
        constants.append(Constant("b", np.asarray(bias), (Format(8, 0),)))
    node = Node("y", op, ("x", *(item.name for item in constants)), WIDE)
    return Graph("layer", (image(channels),), (node,), ("y",), tuple(constants))


@pytest.mark.parametrize(
    ("weights", "adders"),
    [
        ([[4]], 0),
        ([[3]], 1),  # 4x - x
        ([[3, 5]], 3),  # 4x - x, and y + 4y added
        ([[3], [6]], 1),  # 6x is 3x shifted
        ([[3, 5], [3, 5]], 3),
        ([[0, 0]], 0),
    ],
)
def test_adders_of_a_pointwise_layer_by_hand(weights: list[list[int]], adders: int):
    matrix = np.array(weights)
    graph = layer(Conv2d(), matrix[:, :, None, None], matrix.shape[1])
    assert hls.ShiftAddCost("adders").parts(graph) == {"y": adders}


def test_adders_of_a_depthwise_layer_are_not_shared():
    graph = layer(Conv2d(groups=2), np.array([[[[3]]], [[[3]]]]), 2)
    assert hls.ShiftAddCost("adders").parts(graph) == {"y": 2}


def test_a_bias_takes_an_adder():
    assert hls.ShiftAddCost("adders").parts(layer(Conv2d(), [[[[3]]]], bias=[7])) == {"y": 2}


@pytest.mark.parametrize(
    ("weight", "luts"),
    [
        (3, 10),  # 4x - x is at most 765, ten bits, of which none is passed on
        (5, 9),  # x + 4x is at most 1275, eleven bits, the lowest two those of x
    ],
)
def test_luts_by_hand(weight: int, luts: int):
    cost = hls.ShiftAddCost()
    assert cost.parts(layer(Conv2d(), [[[[weight]]]])) == {"y": luts}
    assert cost.name == "LUTs"


def test_a_linear_layer_counts():
    weight = Constant("w", np.array([[3, 5]]), (Format(8, 0),))
    node = Node("y", Linear(), ("x", "w"), WIDE)
    graph = Graph("vector", (Value("x", (2,), BYTE),), (node,), ("y",), (weight,))
    assert hls.ShiftAddCost("adders").parts(graph) == {"y": 3}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_counts_are_those_of_the_core(groups: int, transposed: bool):
    generator = np.random.default_rng(groups)
    side = 4 if transposed else 3
    weight = generator.integers(-30, 30, (4, 2 // groups, side, side))
    op = (
        ConvTranspose2d(stride=(2, 2), padding=(1, 1), groups=groups)
        if transposed
        else Conv2d(padding=(1, 1, 1, 1), groups=groups)
    )
    graph = layer(op, weight, 2, bias=[1, 0, 3, 4])
    narrow = replace(graph.nodes[0], quantization=Quantization(Format(24, 0)))
    graph = Graph("layer", graph.inputs, (narrow,), graph.outputs, graph.constants)
    plan, _ = plan_graph(graph, max_width=8, multipliers="shift_add")
    matrix = next(
        item.cost
        for item in plan.items
        if isinstance(item, ModuleInstance) and item.module.endswith("_matrix")
    )
    assert hls.ShiftAddCost("adders").parts(graph) == {"y": matrix.adders}
    assert hls.ShiftAddCost("registers").parts(graph) == {"y": matrix.registers}


def test_line_memories_by_hand():
    weight = Constant("w", np.ones((1, 2, 3, 3), np.int64), (Format(8, 0),))
    tall = Constant("v", np.ones((1, 2, 5, 1), np.int64), (Format(8, 0),))
    flat = Constant("u", np.ones((1, 2, 1, 5), np.int64), (Format(8, 0),))
    nodes = (
        Node("a", Conv2d(padding=(1, 1, 1, 1)), ("x", "w"), WIDE),
        Node("b", Conv2d(padding=(1, 1, 1, 1)), ("x", "w"), WIDE),
        Node("c", Conv2d(padding=(2, 2, 0, 0)), ("x", "v"), WIDE),
        Node("d", Conv2d(padding=(0, 0, 2, 2)), ("x", "u"), WIDE),
        Node("y", Add(), ("a", "b"), Quantization(Format(25, 0))),
        Node("z", Add(), ("c", "d"), Quantization(Format(25, 0))),
    )
    graph = Graph("windows", (image(2),), nodes, ("y", "z"), (weight, tall, flat))
    # Two and four lines of 100 pixels of two channels of eight bits; a and b share theirs.
    assert hls.LineMemoryCost(100).parts(graph) == {"a": 2 * 100 * 2 * 8, "c": 4 * 100 * 2 * 8}


def test_what_cannot_be_counted():
    with pytest.raises(fxp.ArgumentError, match="unknown count 'watts'; choose one of luts"):
        hls.ShiftAddCost("watts")  # type: ignore[arg-type]
    with pytest.raises(fxp.ArgumentError, match="the width must be at least 1 pixel, got 0"):
        hls.LineMemoryCost(0)


def test_line_memories_are_those_of_the_data_sheet():
    model = fxp.models.sr.load("kimsr_x2")
    plan, _ = plan_graph(model.graph, max_width=640)
    windows = sum(
        item.cost.memory_bits
        for item in plan.items
        if isinstance(item, ModuleInstance) and item.module == "fxp_window"
    )
    assert sum(hls.LineMemoryCost(640).parts(model.graph).values()) == windows
