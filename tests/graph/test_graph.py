"""The graph: every rule has a test that breaks it and reads the message."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from graph_parts import (
    BIAS,
    CONV,
    PIXEL,
    SAME,
    TO_PIXEL,
    WEIGHT,
    H,
    W,
    X,
    conv_graph,
    node,
    one,
    raw,
    recurrent,
    refuses,
)

from fxp.executors.execution import start
from fxp.formats import Format
from fxp.graph import MAX_CHANNELS, Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Op,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Sigmoid,
    Slice,
    Subtract,
)
from fxp.graph.ops.base import GraphError

# Names


@pytest.mark.parametrize(
    ("nodes", "constants", "name"),
    [
        ((node("x", Relu(), "x"),), (), "x"),
        ((node("a", Relu(), "x"), node("a", Relu(), "x")), (), "a"),
        ((node("w", Add(), "x", "w"),), (raw("w", (2, 1, 1)),), "w"),
        ((node("y", Add(), "x", "x"),), (raw("x", (2, 1, 1)),), "x"),
        ((node("y", Add(), "x", "k"),), (raw("k", (2, 1, 1)), raw("k", (2, 1, 1))), "k"),
    ],
)
def test_a_name_is_used_once(nodes: tuple, constants: tuple, name: str) -> None:
    refuses(
        lambda: Graph("g", (X,), nodes, (nodes[-1].name,), constants),
        "graph 'g'", f"the name '{name}' is used twice",
    )  # fmt: skip


def test_a_state_shares_no_name() -> None:
    refuses(lambda: recurrent(State(Value("x", (2, H, W), PIXEL), "y")), "'x' is used twice")
    refuses(lambda: Graph("g", (X, X), (node("y", Add(), "x", "x"),), ("y",)), "'x' is used twice")


@pytest.mark.parametrize(
    "name", ["", " ", "a b", ".a", "a/b", "a\n", "a-b", "é", "a" * 201, "a\0", "x'", "../a"]
)
def test_bad_names(name: str) -> None:
    rule = "is not a name (letters, digits, _ and .)"
    refuses(lambda: Graph("g", (X,), (node(name, Relu(), "x"),), (name,)), repr(name), rule)
    refuses(lambda: one(Relu(), name, x=Value(name, (2, H, W), PIXEL)), repr(name), rule)
    refuses(lambda: one(Add(), "x", name, constants=(raw(name, (2, 1, 1)),)), repr(name), rule)
    refuses(lambda: recurrent(State(Value(name, (2, H, W), PIXEL), "y")), repr(name), rule)


@pytest.mark.parametrize("name", ["a", "0", "_", "layers.0.weight", "a" * 200])
def test_good_names(name: str) -> None:
    assert Graph("g", (X,), (node(name, Relu(), "x"),), (name,)).node(name).name == name


def test_forward_reference_and_cycle() -> None:
    nodes = (node("a", Relu(), "b"), node("b", Relu(), "x"))
    refuses(
        lambda: Graph("g", (X,), nodes, ("a",)), "node 'a' (relu)", "'b' is only computed later"
    )
    refuses(lambda: one(Add(), "x", "y"), "node 'y' (add)", "'y' is only computed later")
    cycle = (node("a", Relu(), "b"), node("b", Relu(), "a"))
    refuses(lambda: Graph("g", (X,), cycle, ("b",)), "node 'a'", "'b' is only computed later")


def test_unknown_input_names_the_origin() -> None:
    lost = dataclasses.replace(CONV, inputs=("x", "v", "b"))
    refuses(
        lambda: conv_graph(nodes=(lost,)),
        "graph 'g', node 'conv' (conv2d, from net.0): its input 'v' does not exist",
    )


# Inputs of nodes


@pytest.mark.parametrize(
    ("op", "inputs", "rule"),
    [
        (Relu(), ("x", "x"), "takes 1 inputs, got 2"),
        (Relu(), (), "takes 1 inputs, got 0"),
        (Add(), ("x",), "takes 2 inputs, got 1"),
        (SAME, ("x",), "takes 2 to 3 inputs, got 1"),
        (SAME, ("x", "w", "b", "b"), "takes 2 to 3 inputs, got 4"),
        (Concat(), (), "takes 1 to 1024 inputs, got 0"),
        (Concat(), ("x",) * 1025, "takes 1 to 1024 inputs, got 1025"),
        (Prelu(), ("x",), "takes 2 inputs, got 1"),
        (Sigmoid(), ("x",), "needs a stored table in an integer graph"),
        (SAME, ("x", "x"), "input 1 ('x') must be a constant"),
        (SAME, ("w", "w"), "input 0 ('w') must be a value"),
        (SAME, ("x", "w", "x"), "input 2 ('x') must be a constant"),
        (Relu(), ("w",), "input 0 ('w') must be a value"),
        (Concat(), ("x", "w"), "input 1 ('w') must be a value"),
        (Prelu(), ("x", "x"), "input 1 ('x') must be a constant"),
        (Add(), ("w", "w"), "at least one input must be a value, not a constant"),
        (Multiply(), ("b", "b"), "at least one input must be a value, not a constant"),
    ],
)
def test_arity_and_kind_of_inputs(op: Op, inputs: tuple[str, ...], rule: str) -> None:
    refuses(lambda: one(op, *inputs, constants=(WEIGHT, BIAS)), f"node 'y' ({op.name}): {rule}")


@pytest.mark.parametrize("inputs", [("x", "k"), ("k", "x")])
@pytest.mark.parametrize("op", [Add(), Subtract(), Multiply()])
def test_element_wise_ops_take_a_constant_on_either_side(op: Op, inputs: tuple[str, str]) -> None:
    assert one(op, *inputs, constants=(raw("k", (2, 1, 1)),)).values["y"].shape == (2, H, W)


# Float or integer


def test_float_and_integer_do_not_mix() -> None:
    real = Value("x", (2, H, W))
    rule = "graph 'g' mixes float and integer values"
    constant = Constant("k", np.ones((2, 1, 1)))
    refuses(lambda: one(Relu(), "x", x=real), rule)
    refuses(lambda: Graph("g", (X,), (node("y", Relu(), "x", to=None),), ("y",)), rule)
    refuses(lambda: one(Add(), "x", "k", constants=(constant,)), rule)
    refuses(lambda: recurrent(State(Value("s", (2, H, W)), "y")), rule)
    two = (X, Value("z", (2, H, W)))
    refuses(lambda: Graph("g", two, (node("y", Add(), "x", "z"),), ("y",)), rule)
    graph = Graph("g", (real,), (node("y", Add(), "x", "k", to=None),), ("y",), (constant,))
    assert not graph.is_integer
    assert graph.node("y").accumulator is None
    with pytest.raises(GraphError, match="'g' is a float graph; quantize it first"):
        start(graph, [np.zeros((2, 3, 3))])


# Ends


def test_ends() -> None:
    refuses(lambda: conv_graph(outputs=("z",)), "graph 'g': its output 'z' is not a value of it")
    refuses(lambda: conv_graph(outputs=("y", "w")), "its output 'w' is not a value")
    refuses(lambda: conv_graph(outputs=("x",)), "graph 'g': nothing reads 'y'")
    refuses(lambda: conv_graph(outputs=()), "graph 'g' needs at least one input and one output")
    refuses(lambda: conv_graph(inputs=()), "graph 'g' needs at least one input and one output")
    refuses(lambda: conv_graph(outputs=("conv",)), "nothing reads 'y'")
    extra = raw("extra", (1,))
    refuses(lambda: conv_graph(constants=(WEIGHT, BIAS, extra)), "nothing reads 'extra'")


def test_what_an_output_may_be() -> None:
    assert Graph("g", (X,), (), ("x",)).outputs == ("x",)
    assert conv_graph(outputs=("y", "conv", "y", "x")).outputs == ("y", "conv", "y", "x")
    assert conv_graph(inputs=[X, Value("unread", (1,), PIXEL)]).inputs[1].name == "unread"


# Shapes


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        ((), "must be an image"),
        ((2, H), "must be an image"),
        ((1, 2, H, W), "must be an image"),
        ((H, 3, 3), "fixed number of channels or features"),
        ((H,), "fixed number of channels or features"),
        ((0, H, W), "has a size below 1"),
        ((2, -1, W), "has a size below 1"),
        ((MAX_CHANNELS + 1,), "has more than 4194304 channels"),
        ((1, 2**21, 2**21), "or 1099511627776 elements"),
        ((2, "H", "W"), "value 'x': sizes must be int or Extent, got (2, 'H', 'W')"),
        ((2.0, H, W), "sizes must be int or Extent"),
        ((True, H, W), "sizes must be int or Extent"),
        ((None,), "sizes must be int or Extent"),
    ],
)
def test_shapes_of_inputs_and_states(shape: tuple, rule: str) -> None:
    refuses(lambda: one(Relu(), "x", x=Value("x", shape, PIXEL)), rule)
    refuses(lambda: recurrent(State(Value("s", shape, PIXEL), "y")), rule.replace("'x'", "'s'"))


IMAGE = Value("x", (2, 6, 8), PIXEL)
VECTOR = Value("x", (5,), PIXEL)


@pytest.mark.parametrize(
    ("x", "op", "constants", "rule"),
    [
        (X, SAME, (raw("w", (2, 3, 3, 3)),), "takes 3 channels, the image has 2"),
        (X, SAME, (raw("w", (2, 2, 3)),), "the weight must have four axes"),
        (X, Conv2d(groups=2), (raw("w", (3, 1, 1, 1)),), "2 groups do not divide 3"),
        (X, SAME, (WEIGHT, raw("b", (3,), Format(9, 9))), "bias must have shape (2,), got (3,)"),
        (X, SAME, (WEIGHT, Constant("b", np.ones(3, int), (Format(9, 9),) * 3)), "shape (2,)"),
        (VECTOR, SAME, (raw("w", (2, 5, 1, 1)),), "needs an image (C, H, W), got (5,)"),
        (IMAGE, Conv2d(), (raw("w", (2, 2, 7, 1)),), "kernel spanning 7 does not fit"),
        (X, Linear(), (raw("w", (3, 2)),), "needs a vector (F,), got (2, H, W)"),
        (VECTOR, Linear(), (raw("w", (3, 2)),), "the weight (3, 2) does not fit a vector of 5"),
        (VECTOR, Linear(), (raw("w", (3, 5)), raw("b", (5,), Format(9, 8))), "shape (3,)"),
        (X, Add(), (raw("k", (3, 1, 1)),), "(2, H, W) and (3, 1, 1) do not fit"),
        (X, Add(), (raw("k", (2,)),), "(2, H, W) and (2,) do not fit"),
        (X, Prelu(), (raw("k", (5,)),), "one slope or one per channel (2), got (5,)"),
        (X, Sigmoid(), (raw("t", (255,)),), "a table of 256 entries, got (255,)"),
        (X, PixelShuffle(2), (), "4 does not divide the 2 channels"),
        (IMAGE, PixelUnshuffle(4), (), "size 6 is not a multiple of 4"),
        (VECTOR, MaxPool(), (), "needs an image"),
        (VECTOR, GlobalMaxPool(), (), "needs an image"),
        (VECTOR, Slice("row"), (), "(5,) has no row axis"),
        (X, Slice("channel", 2), (), "leaves nothing of size 2"),
        (X, Slice("row", 0, 4), (), "of the free size H must have start >= 0"),
        (X, Flatten(), (), "needs a fixed height and width, got (2, H, W)"),
        (IMAGE, Pad((6, 0, 0, 0), "reflect"), (), "reflect padding by 6 needs a size above 6"),
        (IMAGE, MaxPool((7, 1)), (), "kernel spanning 7 does not fit a padded size of 6"),
        (Value("x", (2, 2**16, 2**16), PIXEL), GlobalAveragePool(), (), "67108864 are supported"),
        (Value("x", (2, 2**16, 2**16), PIXEL), Flatten(), (), "has more than 4194304 channels"),
        (Value("x", (2, 2**19, 2**19), PIXEL), Nearest(64), (), "elements"),
    ],
)
def test_shapes_of_nodes(x: Value, op: Op, constants: tuple[Constant, ...], rule: str) -> None:
    inputs = ("x", *(constant.name for constant in constants))
    message = refuses(lambda: one(op, *inputs, constants=constants, x=x), rule)
    assert f"graph 'g', node 'y' ({op.name})" in message


def test_concat_of_different_sizes() -> None:
    nodes = (node("small", MaxPool(), "x"), node("y", Concat(), "x", "small"))
    refuses(lambda: Graph("g", (X,), nodes, ("y",)), "node 'y' (concat)",
            "(2, H, W) and (2, H//2, W//2) differ")  # fmt: skip


# Types: mistakes that a type checker would find


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: conv_graph(inputs=(WEIGHT,)), "inputs must be Value objects"),
        (lambda: conv_graph(inputs="x"), "inputs must be Value objects"),
        (lambda: conv_graph(nodes=("conv",)), "nodes must be Node objects"),
        (lambda: conv_graph(outputs=(CONV,)), "outputs must be str objects"),
        (lambda: conv_graph(constants=(X,)), "constants must be Constant objects"),
        (lambda: conv_graph(states=(X,)), "states must be State objects"),
        (lambda: Value("x", (1,), "ap_fixed<8,4>"), "value 'x': 'ap_fixed<8,4>' is not a Format"),
        (lambda: Value("x", (1,), TO_PIXEL), "value 'x'"),
        (lambda: Node("y", Relu, ("x",), TO_PIXEL), "node 'y'"),
        (lambda: Node("y", "relu", ("x",), TO_PIXEL), "node 'y': 'relu' is not an op"),
        (lambda: Node("y", Relu(), "x", TO_PIXEL), "node 'y': inputs must be a tuple of names"),
        (lambda: Node("y", Relu(), (X,), TO_PIXEL), "node 'y': inputs must be a tuple of names"),
        (lambda: Node("y", Relu(), ("x",), PIXEL), "node 'y': Format(width=8,"),
        (lambda: one(Relu(), 7), "inputs must be a tuple of names"),
        (lambda: one(Relu(), "x", x=Value(7, (1,), PIXEL)), "7 is not a name"),
        (lambda: Graph("g", (X,), (node(None, Relu(), "x"),), ("y",)), "None is not a name"),
        (lambda: Constant("k", np.ones(3, int), PIXEL), "constant 'k': formats must be a tuple"),
        (lambda: Constant("k", np.ones(3, int), ("ap_fixed<8,4>",)), "constant 'k': formats must"),
        (lambda: Constant("k", np.ones(3, int), None), "constant 'k': formats must be a tuple"),
        (lambda: recurrent(State("s", "y")), "state s: needs a Value and the name"),
        (lambda: recurrent(State(Value("s", (2, H, W), PIXEL), ["y"])), "state s: (2, H, W)"),
    ],
)
def test_types(build: Callable[[], object], words: str) -> None:
    refuses(build, words)


def test_node_inputs_become_a_tuple_and_sizes_become_int() -> None:
    assert Node("y", Relu(), ["x"]).inputs == ("x",)  # type: ignore[arg-type]
    value = Value("x", [np.int64(2), H, np.int32(4)])  # type: ignore[arg-type, list-item]
    assert value == Value("x", (2, H, 4))
    assert [type(size) for size in value.shape] == [int, Extent, int]
