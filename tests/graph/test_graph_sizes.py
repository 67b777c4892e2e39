"""Free sizes: how they are bound, and what is found out then."""

from __future__ import annotations

import re

import pytest
from graph_parts import PIXEL, H, W, X, conv_graph, node, one, raw, recurrent, refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.formats import Format
from fxp.graph import Graph, State, Value
from fxp.graph.extents import Extent, evaluate_shape
from fxp.graph.ops import (
    Add,
    AveragePool,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    GlobalAveragePool,
    MaxPool,
    Nearest,
    Op,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Relu,
    Requantize,
    Slice,
)
from fxp.graph.ops.base import GraphError

# Free sizes


def chain(*ops: Op, x: Value = X) -> Graph:
    nodes, last = [], "x"
    for index, op in enumerate(ops):
        nodes.append(node(f"n{index}", op, last))
        last = f"n{index}"
    return Graph("g", (x,), nodes, (last,))  # type: ignore[arg-type]


def test_bind() -> None:
    graph = conv_graph()
    assert graph.bind([(2, 5, 7)]) == {"H": 5, "W": 7}
    for shapes, words in [
        ([(3, 5, 7)], "input 'x' needs shape (2, H, W), got (3, 5, 7)"),
        ([(2, 5)], "input 'x' needs shape (2, H, W), got (2, 5)"),
        ([()], "input 'x' needs shape (2, H, W), got ()"),
        ([(1, 2, 5, 7)], "got (1, 2, 5, 7)"),
        ([(2, 0, 7)], "got (2, 0, 7)"),
        ([(2, 5, -7)], "got (2, 5, -7)"),
        ([], "graph 'g' takes 1 inputs, got 0"),
        ([(2, 5, 7)] * 2, "graph 'g' takes 1 inputs, got 2"),
    ]:
        refuses(lambda shapes=shapes: graph.bind(shapes), words)


def test_bind_inputs_that_share_sizes() -> None:
    inputs = (X, Value("z", (1, H, W), PIXEL))
    graph = Graph("g", inputs, (node("y", Concat(), "x", "z"),), ("y",))
    assert graph.bind([(2, 3, 4), (1, 3, 4)]) == {"H": 3, "W": 4}
    for z in ((1, 3, 5), (1, 2, 4), (1, 30, 40)):
        refuses(lambda z=z: graph.bind([(2, 3, 4), z]), "needs shape", "from all inputs")
    square = chain(Relu(), x=Value("x", (2, H, H), PIXEL))
    assert square.bind([(2, 3, 3)]) == {"H": 3}
    refuses(lambda: square.bind([(2, 3, 4)]), "needs shape (2, H, H), got (2, 3, 4)")
    fixed = chain(Relu(), x=Value("x", (2, 4, W), PIXEL))
    assert fixed.bind([(2, 4, 9)]) == {"W": 9}
    refuses(lambda: fixed.bind([(2, 3, 9)]), "needs shape (2, 4, W)")


def test_bind_solves_formulas() -> None:
    even = chain(PixelUnshuffle(2), x=Value("x", (2, H * 2, W * 2 + 1), PIXEL))
    assert even.bind([(2, 8, 3)]) == {"H": 4, "W": 1}
    refuses(lambda: even.bind([(2, 7, 3)]), "needs shape (2, 2*H, 2*W+1), got (2, 7, 3)")
    guided = (Value("low", (2, H // 2, W // 2), PIXEL), Value("high", (2, H, W), PIXEL))
    nodes = (node("down", MaxPool(), "high"), node("y", Add(), "low", "down"))
    graph = Graph("g", guided, nodes, ("y",))
    for inputs in ([(2, 4, 5), (2, 9, 10)], [(2, 4, 5), (2, 8, 11)]):
        sizes = graph.bind(inputs)
        assert (2, sizes["H"], sizes["W"]) == inputs[1]
        assert graph.concrete_shapes(sizes)["y"] == inputs[0]
    refuses(lambda: graph.bind([(2, 4, 5), (2, 7, 10)]), "input 'high'", "got (2, 7, 10)")
    refuses(lambda: graph.bind([(2, 4, 5), (2, 10, 10)]), "input 'low'", "with {'H': 10")


formulas = st.lists(
    st.one_of(
        st.tuples(st.just("+"), st.integers(-5, 5)), st.tuples(st.sampled_from("*/"),
                                                               st.integers(1, 4))
    ),
    max_size=4,
)  # fmt: skip


def _formula(steps: list[tuple[str, int]]) -> Extent:
    extent = H
    for kind, number in steps:
        extent = extent + number if kind == "+" else (
            extent * number if kind == "*" else extent // number
        )  # fmt: skip
    return extent


@settings(deadline=None, max_examples=150)
@given(st.lists(formulas, min_size=1, max_size=3), st.integers(1, 40))
def test_bind_finds_sizes_whenever_there_are_some(steps: list, size: int) -> None:
    extents = [_formula(step) for step in steps]
    inputs = tuple(Value(f"x{i}", (1, e, 1), PIXEL) for i, e in enumerate(extents))
    graph = Graph("g", inputs, (), ("x0",))
    shapes = [(1, extent.evaluate({"H": size}), 1) for extent in extents]
    if min(shape[1] for shape in shapes) < 1:
        refuses(lambda: graph.bind(shapes), "needs shape")
    else:
        sizes = graph.bind(shapes)
        assert [evaluate_shape(value.shape, sizes) for value in inputs] == shapes


@pytest.mark.parametrize(
    ("ops", "sizes", "words"),
    [
        ((MaxPool(), PixelUnshuffle(2)), (6, 8), ("node 'n1' (pixel_unshuffle)", "size 3 is not")),
        ((MaxPool((5, 5), (1, 1)),), (4, 8), ("node 'n0' (max_pool)", "kernel spanning 5")),
        ((Pad((3, 0, 0, 0), "reflect"),), (3, 9), ("node 'n0' (pad)", "reflect padding by 3")),
        ((Slice("row", 2, -2),), (4, 9), ("node 'n0' (slice)", "leaves nothing of size 4")),
        ((Relu(), Slice("column", 3)), (9, 2), ("node 'n1' (slice)", "leaves nothing of size 2")),
        ((GlobalAveragePool(),), (2**13, 2**14), ("node 'n0'", "67108864 are supported")),
    ],
)
def test_sizes_that_do_not_fit_are_found_at_bind_time(
    ops: tuple[Op, ...], sizes: tuple[int, int], words: tuple[str, str]
) -> None:
    graph = chain(*ops)
    bound = graph.bind([(2, *sizes)])
    message = refuses(lambda: graph.concrete_shapes(bound), "graph 'g'", *words)
    assert f"(at sizes {{'H': {sizes[0]}, 'W': {sizes[1]}}})" in message


def test_fixed_against_free_is_decided_at_bind_time() -> None:
    inputs = (X, Value("z", (2, 5, 6), PIXEL))
    for op in (Add(), Concat()):
        graph = Graph("g", inputs, (node("y", op, "x", "z"),), ("y",))
        assert graph.concrete_shapes({"H": 5, "W": 6})["y"][1:] == (5, 6)
        refuses(lambda graph=graph: graph.concrete_shapes({"H": 5, "W": 7}), "node 'y'", "'W': 7")


def test_empty_sources_are_refused() -> None:
    state = State(Value("s", (2, H // 2, W), PIXEL), "s")
    graph = recurrent(state, nodes=(node("y", Relu(), "x"),))
    refuses(lambda: graph.concrete_shapes({"H": 1, "W": 1}), "value 's' of shape (2, 0, 1)")
    refuses(lambda: graph.concrete_shapes({"H": -2, "W": 1}), "value 'x'")


DOWN_UP = (
    Pad((1, 0, 1, 0)), MaxPool((3, 3), (2, 2), (1, 1, 1, 1)), Nearest(2), BilinearUpsample(),
    AveragePool((2, 3), (2, 1)), Slice("row", 1), PixelUnshuffle(2), PixelShuffle(2),
    Slice("column", 0, None, 2), Clamp(0.0, 1.0), Requantize(),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(DOWN_UP), max_size=5), st.integers(1, 40), st.integers(1, 40))
def test_formulas_agree_with_concrete_shapes(ops: list[Op], height: int, width: int) -> None:
    graph = chain(*ops, x=Value("x", (4**5, H, W), PIXEL))
    sizes = graph.bind([(4**5, height, width)])
    assert sizes == {"H": height, "W": width}
    try:
        shapes = graph.concrete_shapes(sizes)
    except GraphError as error:
        assert re.search(r"graph 'g', node 'n\d' \(\w+\): ", str(error))  # noqa: PT017
        return
    assert set(shapes) == set(graph.values)
    for name, shape in shapes.items():
        assert shape == evaluate_shape(graph.values[name].shape, sizes)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(6, 4, (8, 4, 2)), (7, 5, (8, 4, 3)), (720, 1280, (8, 361, 640))],
)
def test_concrete_shapes(height: int, width: int, expected: tuple[int, ...]) -> None:
    weight = raw("w", (8, 2, 3, 3), Format(4, 0))
    op = Conv2d(stride=(2, 2), padding=(2, 1, 1, 1))
    graph = one(op, "x", "w", constants=(weight,))
    shapes = graph.concrete_shapes({"H": height, "W": width})
    assert shapes == {"x": (2, height, width), "y": expected}
