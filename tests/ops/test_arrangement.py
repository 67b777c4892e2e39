"""Ops that choose channels and arrange rows and columns, on values written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.executors import oracle
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Flip,
    GatherChannels,
    GraphError,
    Op,
    Part,
    SpatialConcat,
    Transpose,
    Unflatten,
)
from fxp.graph.strips import in_strips

BYTE = Format(8, 0)
H, W = Extent("H"), Extent("W")
IMAGE = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
"""Two channels of two by two pixels."""


def result(op: Op, *arrays: np.ndarray) -> list:
    values = tuple(Value(f"x{i}", array.shape, BYTE) for i, array in enumerate(arrays))
    names = tuple(value.name for value in values)
    graph = Graph("one", values, (Node("y", op, names, Quantization(BYTE)),), ("y",))
    return oracle.run(graph, arrays).outputs[0].tolist()


def test_gathered_channels():
    first, second = IMAGE.tolist()
    assert result(GatherChannels((1, -1, 0, 1)), IMAGE) == [second, [[0, 0], [0, 0]], first, second]
    assert result(GatherChannels((2, -1)), np.array([7, 8, 9])) == [9, 0]


def test_parts():
    assert result(Part("row", 1, 2, 2), IMAGE) == [[[3, 4]], [[7, 8]]]
    assert result(Part("column", 0, 1, 2), IMAGE) == [[[1], [3]], [[5], [7]]]


def test_spatial_concat_aligns_the_points():
    row = np.array([[[1, 2]]])
    assert result(SpatialConcat("row"), row, row + 2) == [[[1, 2], [3, 4]]]
    assert result(SpatialConcat("column"), row, row + 2) == [[[1, 2, 3, 4]]]
    values = (Value("a", (1, 1, 1), Format(8, 0)), Value("b", (1, 1, 1), Format(8, 2)))
    node = Node("y", SpatialConcat(), ("a", "b"), Quantization(Format(12, 2)))
    graph = Graph("two points", values, (node,), ("y",))
    found = oracle.run(graph, [np.full((1, 1, 1), 3), np.full((1, 1, 1), 3)])
    assert found.outputs[0].tolist() == [[[12], [3]]]


def test_mirrored_and_turned():
    assert result(Flip("row"), IMAGE) == [[[3, 4], [1, 2]], [[7, 8], [5, 6]]]
    assert result(Flip("column"), IMAGE) == [[[2, 1], [4, 3]], [[6, 5], [8, 7]]]
    assert result(Transpose(), np.array([[[1, 2, 3]]])) == [[[1], [2], [3]]]


def test_unflattened():
    vector = np.arange(1, 9)
    assert result(Unflatten(2, 2), vector) == IMAGE.tolist()
    assert result(Unflatten(), np.array([4, 5])) == [[[4]], [[5]]]


def test_sizes_as_formulas():
    assert SpatialConcat("row").shape((3, H, W), (3, H, W)) == (3, 2 * H, W)
    assert SpatialConcat("row").shape((3, H, W), (3, 4, W)) == (3, H + 4, W)
    assert SpatialConcat("column").shape((3, H, 2 * W), (3, H, W + 1)) == (3, H, 3 * W + 1)
    assert SpatialConcat("row").shape((3, H // 2, W), (3, H // 2, W)) == (3, 2 * (H // 2), W)
    assert Part("row", 1, 3, 4).shape((3, 4 * H, W)) == (3, 2 * H, W)
    assert Transpose().shape((3, H, W)) == (3, W, H)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GatherChannels(()), "1 to 65536 numbers, got 0"),
        (lambda: GatherChannels((0, -2)), "or -1 for zeros"),
        (lambda: GatherChannels((0, 3)).shape((3, 2, 2)), "no channel 3 among 3"),
        (lambda: Part("row", 1, 1, 2), "start < stop"),
        (lambda: Part("channel"), "axis must be one of"),
        (lambda: Part("row", 0, 1, 3).shape((1, 4, 4)), "size 4 is not a multiple of 3"),
        (lambda: SpatialConcat("row").shape((1, 2, 3), (1, 2, 4)), "do not fit side by side"),
        (lambda: SpatialConcat("row").shape((1, 2, 3), (2, 2, 3)), "do not fit side by side"),
        (lambda: SpatialConcat("row").shape((1, H // 2, 3), (1, (H + 1) // 2, 3)), "no|not a form"),
        (lambda: Unflatten(2, 3).shape((8,)), "6 pixels do not divide 8 features"),
        (lambda: Unflatten(0, 1), "at least 1"),
    ],
)
def test_rules(make, message):
    with pytest.raises(GraphError, match=message):
        make()


@pytest.mark.parametrize("op", [Flip("row"), Transpose()])
def test_strips_leave_such_graphs_whole(op):
    """A strip of a mirrored or turned image is no strip of the result."""
    value = Value("x", (1, H, W), BYTE)
    graph = Graph("whole", (value,), (Node("y", op, ("x",), Quantization(BYTE)),), ("y",))
    planes = np.arange(12 * 12).reshape(1, 12, 12) % 100
    seen = []

    def run(part: np.ndarray) -> np.ndarray:
        seen.append(part.shape)
        return oracle.run(graph, [part]).outputs[0]

    found = in_strips(graph, planes, run, strip_pixels=12, min_rows=2)
    assert seen == [(1, 12, 12)]
    wanted = planes[:, ::-1] if isinstance(op, Flip) else planes.transpose(0, 2, 1)
    assert np.array_equal(found, wanted)
