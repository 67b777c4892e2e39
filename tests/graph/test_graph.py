"""The graph: every rule has a test that breaks it and reads the message."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.executors.execution import start
from fxp.formats import Format, FormatError, Overflow, Quantization, Rounding
from fxp.graph import MAX_CHANNELS, Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent, evaluate_shape
from fxp.graph.ops import (
    Add,
    AveragePool,
    BilinearUpsample,
    Clamp,
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
    Requantize,
    Sigmoid,
    Slice,
    Subtract,
)
from fxp.graph.ops.base import Accumulator, GraphError

H, W = Extent("H"), Extent("W")
PIXEL = Format(8, 4)
TO_PIXEL = Quantization(PIXEL)
X = Value("x", (2, H, W), PIXEL)
WEIGHT_DATA = np.arange(-18, 18, dtype=np.int64).reshape(2, 2, 3, 3)
WEIGHT = Constant("w", WEIGHT_DATA, (Format(6, 5),))
BIAS = Constant("b", np.array([100, -200]), (Format(16, 9),))
SAME = Conv2d(padding=(1, 1, 1, 1))
CONV = Node("conv", SAME, ("x", "w", "b"), TO_PIXEL, origin="net.0")


def node(name: str, op: Op, *inputs: str, to: Quantization | None = TO_PIXEL) -> Node:
    return Node(name, op, inputs, to)


def raw(name: str, shape: tuple[int, ...], form: Format = PIXEL, fill: int = 1) -> Constant:
    return Constant(name, np.full(shape, fill, np.int64), (form,))


def one(op: Op, *inputs: str, constants: tuple[Constant, ...] = (), x: Value = X) -> Graph:
    """Build a graph of one node ``y``."""
    return Graph("g", (x,), (node("y", op, *inputs),), ("y",), constants)


def conv_graph(**changes: Any) -> Graph:
    """Build a small valid graph, with some parts exchanged."""
    parts: dict[str, Any] = {
        "name": "g",
        "inputs": (X,),
        "nodes": (CONV, node("y", Relu(), "conv")),
        "outputs": ("y",),
        "constants": (WEIGHT, BIAS),
    }
    return Graph(**{**parts, **changes})


def recurrent(state: State | None = None, **changes: Any) -> Graph:
    parts: dict[str, Any] = {
        "name": "g",
        "inputs": (X,),
        "nodes": (node("y", Add(), "x", "s"),),
        "outputs": ("y",),
        "states": (state or State(Value("s", (2, H, W), PIXEL), "y", 3),),
    }
    return Graph(**{**parts, **changes})


def refuses(build: Callable[[], object], *words: str) -> str:
    """Check that `build` raises GraphError with these words in order; returns the message."""
    with pytest.raises(GraphError) as caught:
        build()
    message = str(caught.value)
    assert re.search(".*".join(re.escape(word) for word in words), message, re.DOTALL), message
    return message


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


# Constants


@pytest.mark.parametrize(
    ("data", "formats", "rule"),
    [
        (np.ones(3, np.float32), (), "needs dtype float64, got float32"),
        (np.ones(3, np.int64), (), "needs dtype float64, got int64"),
        (np.ones(3, np.float64), (PIXEL,), "needs dtype int64, got float64"),
        (np.ones(3, np.int32), (PIXEL,), "needs dtype int64, got int32"),
        (np.ones(3, np.uint64), (PIXEL,), "needs dtype int64, got uint64"),
        (np.ones(3, bool), (PIXEL,), "needs dtype int64, got bool"),
        (np.array([None]), (PIXEL,), "needs dtype int64, got object"),
        (np.array(5), (PIXEL,), "shape () holds no axis or element"),
        (np.zeros((2, 0), np.int64), (PIXEL,), "shape (2, 0) holds no axis or element"),
        (np.zeros(0), (), "shape (0,) holds no axis or element"),
        (np.array([1.0, np.nan]), (), "holds NaN or infinity"),
        (np.array([1.0, -np.inf]), (), "holds NaN or infinity"),
        (np.array([1, 128]), (PIXEL,), "raw 128 at index (1,) does not fit ap_fixed<8,4>"),
        (np.array([-129]), (PIXEL,), "raw -129 at index (0,) does not fit ap_fixed<8,4>"),
        (np.array([-1]), (Format(8, 4, False),), "raw -1 at index (0,) does not fit ap_ufixed"),
        (np.array([[1, 7], [8, 7]]), (PIXEL, Format(4, 0)), "raw 8 at index (0,) does not fit"),
        (np.ones((3, 2), int), (PIXEL,) * 2, "2 formats for 3 channels; give one, or one per"),
        (np.ones((3, 2), int), (PIXEL,) * 4, "4 formats for 3 channels"),
    ],
)
def test_constants(data: np.ndarray, formats: tuple[Format, ...], rule: str) -> None:
    refuses(lambda: Constant("layer.w", data, formats), f"constant 'layer.w': {rule}")


def test_constant_data_is_a_read_only_copy() -> None:
    mine = np.array([1, 2, 3])
    constant = Constant("k", mine, (PIXEL,))
    mine[0] = 99
    assert constant.data.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        constant.data[0] = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        constant.data = mine  # type: ignore[misc]
    assert mine.flags.writeable


def test_constant_values() -> None:
    data = np.array([[4, -2], [4, -2], [4, -2]])
    per_channel = Constant("k", data, (Format(8, 0), Format(8, 1), Format(8, -3)))
    assert per_channel.values.tolist() == [[4, -2], [2, -1], [32, -16]]
    assert Constant("k", data, (Format(8, 2),)).values[0].tolist() == [1, -0.5]
    assert Constant("k", np.array([0.3])).values.tolist() == [0.3]
    assert str(per_channel) == "k: (3, 2) 8 bit, frac -3 to 1 per channel"
    assert str(Constant("k", data, (PIXEL,) * 3)) == "k: (3, 2) ap_fixed<8,4>"
    assert str(Constant("k", np.array([0.3]))) == "k: (1,)"


def test_constant_equality() -> None:
    same = Constant("w", WEIGHT_DATA.copy(), (Format(6, 5),))
    assert same == WEIGHT
    assert hash(same) == hash(WEIGHT)
    assert Constant("v", WEIGHT_DATA, (Format(6, 5),)) != WEIGHT
    assert Constant("w", WEIGHT_DATA, (Format(7, 5),)) != WEIGHT
    assert Constant("w", WEIGHT_DATA[:1], (Format(6, 5),)) != WEIGHT
    assert Constant("w", WEIGHT_DATA - (WEIGHT_DATA > 16), (Format(6, 5),)) != WEIGHT
    assert WEIGHT != "w"


# Formats and accumulators


def test_bias_fraction_bits() -> None:
    rule = "the bias has [8] fraction bits, the products [9]; they must agree channel by channel"
    wrong = Constant("b", np.array([1, 2]), (Format(16, 8),))
    refuses(lambda: conv_graph(constants=(WEIGHT, wrong)), "node 'conv'", rule)
    weight = Constant("w", WEIGHT_DATA, (Format(6, 5), Format(6, 3)))
    refuses(lambda: conv_graph(constants=(weight, BIAS)), "has [9]", "products [7, 9]")
    swapped = Constant("b", np.array([1, 2]), (Format(16, 7), Format(16, 9)))
    refuses(lambda: conv_graph(constants=(weight, swapped)), "node 'conv'", "channel by channel")
    bias = Constant("b", np.array([1, 2]), (Format(16, 9), Format(16, 7)))
    graph = conv_graph(constants=(weight, bias))
    assert graph.node("conv").accumulator.fracs == (9, 7)


@pytest.mark.parametrize("op", [Add(), Subtract(), Multiply()])
def test_operands_need_one_format(op: Op) -> None:
    constant = Constant("k", np.ones((2, 1, 1), int), (Format(8, 4), Format(8, 5)))
    refuses(lambda: one(op, "x", "k", constants=(constant,)), f"node 'y' ({op.name})",
            "needs one format for the whole tensor, not one per channel")  # fmt: skip


def test_conv_accumulator_by_hand() -> None:
    weight = Constant("w", np.array([[[[3]], [[-2]]], [[[0]], [[7]]]]), (Format(4, 2),))
    bias = Constant("b", np.array([10, -5]), (Format(8, 6),))
    graph = Graph("g", (X,), (node("y", Conv2d(), "x", "w", "b"),), ("y",), (weight, bias))
    accumulator = graph.node("y").accumulator
    # x in [-128, 127]: 3·127 + 2·128 + 10 and -(3·128 + 2·127) + 10; 7·127 - 5 and -7·128 - 5.
    assert accumulator == Accumulator((-628, -901), (647, 884), (6, 6))
    assert accumulator.bits == 11
    assert accumulator.exact_format == Format(11, 6)


def test_accumulator_set_by_hand_is_replaced() -> None:
    lie = Accumulator((0,), (0,), (0,))
    lying = dataclasses.replace(CONV, accumulator=lie)
    graph = conv_graph(nodes=(lying, node("y", Relu(), "conv")))
    assert graph == conv_graph()
    assert graph.node("conv").accumulator == conv_graph().node("conv").accumulator != lie
    real = Node("y", Relu(), ("x",), None, lie)
    assert Graph("g", (Value("x", (1,)),), (real,), ("y",)).node("y").accumulator is None


def test_accumulators_above_63_bits_are_refused_with_the_numbers() -> None:
    wide = Value("x", (2, H, W), Format(40, 0))
    widest = Format(63, 0)
    for op, other, bits, high in [
        (Multiply(), Format(24, 0), 64, 2**62),
        (Add(), Format(8, 24), 65, (2**39 - 1) * 2**24 + 127),
        (Add(), Format(8, 900), 941, (2**39 - 1) * 2**900 + 127),
    ]:
        inputs = (wide, Value("z", (2, H, W), other))
        message = refuses(
            lambda op=op, inputs=inputs: Graph("g", inputs, (node("y", op, "x", "z"),), ("y",)),
            f"node 'y' ({op.name})",
            f"the accumulator needs {bits} bits for the range",
            "at most 63 are supported",
        )
        assert f"to {high};" in message
    kernel = Constant("w", np.full((1, 2, 1, 1), 2**23 - 1), (Format(24, 0),))
    refuses(lambda: one(Conv2d(), "x", "w", constants=(kernel,), x=wide), "needs 64 bits")
    assert one(Relu(), "x", x=Value("x", (1,), widest)).node("y").accumulator.bits == 63
    refuses(lambda: one(Relu(), "x", x=Value("x", (1,), Format(63, 0, False))), "needs 64 bits")
    edge = Constant("w", np.full((1, 2, 1, 1), 2**22), (Format(24, 0),))
    assert one(Conv2d(), "x", "w", constants=(edge,), x=wide).node("y").accumulator.bits == 63


# States


def test_states() -> None:
    refuses(lambda: recurrent(State(Value("s", (2, H, W), PIXEL), "z")),
            "state 's': no value 'z' feeds it")  # fmt: skip
    refuses(lambda: recurrent(State(Value("s", (2, H, W), PIXEL), "k"),
                              nodes=(node("a", Add(), "x", "s"), node("y", Add(), "a", "k")),
                              constants=(raw("k", (2, 1, 1)),)), "no value 'k' feeds")  # fmt: skip
    refuses(lambda: recurrent(State(Value("s", (2, H, W), Format(8, 3)), "y")),
            "state s: (2, H, W) ap_fixed<8,5> is fed by y: (2, H, W) ap_fixed<8,4>")  # fmt: skip
    refuses(lambda: recurrent(State(Value("s", (2, H, 1), PIXEL), "y")),
            "state s: (2, H, 1)", "fed by y: (2, H, W)", "must be equal")  # fmt: skip
    refuses(lambda: recurrent(State(Value("s", (1, H, W), PIXEL), "y")), "they must be equal")
    foreign = State(Value("s", (2, Extent("K"), W), PIXEL), "s")
    refuses(lambda: recurrent(foreign, nodes=(node("y", Relu(), "x"),)),
            "state s: (2, K, W)", "no input has the free size K")  # fmt: skip


@pytest.mark.parametrize(
    "reset",
    [128, -129, 0.5, 2**70, -(2**2000), 1e300, float("nan"), float("inf"), -float("inf"), True,
     "0", None, 1j, np.array([1, 2])],
)  # fmt: skip
def test_resets_that_do_not_fit(reset: Any) -> None:
    refuses(lambda: recurrent(State(Value("s", (2, H, W), PIXEL), "y", reset)),
            "state 's': reset", "is no raw integer of ap_fixed<8,4>")  # fmt: skip


@pytest.mark.parametrize("reset", [0, 127, -128, 5.0, np.int64(-7), np.float64(3)])
def test_resets_that_fit(reset: Any) -> None:
    graph = recurrent(State(Value("s", (2, H, W), PIXEL), "y", reset))
    values, _ = start(graph, [np.zeros((2, 3, 4), int)])
    assert np.array_equal(values["s"], np.full((2, 3, 4), int(reset)))


def test_resets_of_a_float_graph() -> None:
    def build(reset: Any) -> Graph:
        return Graph("g", (Value("x", (2,)),), (node("y", Add(), "x", "s", to=None),), ("y",),
                     states=(State(Value("s", (2,)), "y", reset),))  # fmt: skip

    assert build(0.5).states[0].reset == 0.5
    for reset in (float("nan"), float("inf"), 2**2000, "0"):
        refuses(lambda reset=reset: build(reset), "state 's': reset", "is no number")


def test_a_state_may_come_from_an_input_or_another_state() -> None:
    states = (
        State(Value("s", (2, H, W), PIXEL), "x"),
        State(Value("older", (2, H, W), PIXEL), "s"),
    )
    graph = recurrent(nodes=(node("y", Concat(), "x", "s", "older"),), states=states)
    assert graph.values["y"].shape == (6, H, W)


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


# What a graph offers


def test_start_checks_inputs_and_states() -> None:
    graph = recurrent()
    image = np.zeros((2, 3, 4), np.int16)
    values, shapes = start(graph, [image], {"s": image + 1})
    assert values["x"].dtype == values["s"].dtype == np.int64
    assert shapes == {"x": (2, 3, 4), "s": (2, 3, 4), "y": (2, 3, 4)}
    refuses(lambda: start(graph, [image], {"t": image}), "graph 'g' has no state ['t']")
    refuses(lambda: start(graph, [image], {"s": image[:1]}), "state 's' needs shape (2, 3, 4)")
    with pytest.raises(FormatError, match=r"'x': raw 128 at index \(0, 0, 0\) does not fit"):
        start(graph, [image + 128])
    with pytest.raises(FormatError, match="'s': raw -129"):
        start(graph, [image], {"s": image - 129})
    with pytest.raises(TypeError, match="must be integers"):
        start(graph, [image + 0.5])


def golden() -> Graph:
    weight = Constant("conv.weight", WEIGHT_DATA, (Format(6, 5), Format(6, 4)))
    bias = Constant("conv.bias", np.array([100, -200]), (Format(16, 9), Format(16, 8)))
    gain = Constant("gain", np.array([[[3]]]), (Format(4, 2, False),))
    even = Quantization(Format(12, 6), Rounding.HALF_EVEN, Overflow.SATURATE_SYMMETRIC)
    return Graph(
        "golden",
        (X,),
        (
            Node("conv", Conv2d(stride=(2, 2), padding=(1, 1, 1, 1)),
                 ("x", "conv.weight", "conv.bias"), TO_PIXEL),
            Node("sum", Add(), ("conv", "memory"), Quantization(Format(14, 8))),
            Node("scaled", Multiply(), ("sum", "gain"), even),
            Node("up", BilinearUpsample(), ("scaled",), even),
        ),
        ("up", "sum"),
        (weight, bias, gain),
        (State(Value("memory", (2, (H + 1) // 2, (W + 1) // 2), Format(14, 8)), "sum", -6173),),
    )  # fmt: skip


GOLDEN = """\
graph golden (integer)
  input  x: (2, H, W) ap_fixed<8,4>
  state  memory: (2, (H+1)//2, (W+1)//2) ap_fixed<14,6> <- sum, reset -6173
  const  conv.weight: (2, 2, 3, 3) 6 bit, frac 4 to 5 per channel
  const  conv.bias: (2,) 16 bit, frac 8 to 9 per channel
  const  gain: (1, 1, 1) ap_ufixed<4,2>
  conv = conv2d(x, conv.weight, conv.bias; stride=(2, 2), padding=(1, 1, 1, 1)) \
-> (2, (H+1)//2, (W+1)//2) ap_fixed<8,4,AP_RND,AP_SAT>  [16 bit accumulator]
  sum = add(conv, memory) \
-> (2, (H+1)//2, (W+1)//2) ap_fixed<14,6,AP_RND,AP_SAT>  [15 bit accumulator]
  scaled = multiply(sum, gain) \
-> (2, (H+1)//2, (W+1)//2) ap_fixed<12,6,AP_RND_CONV,AP_SAT_SYM>  [16 bit accumulator]
  up = bilinear_upsample(scaled) \
-> (2, 2*((H+1)//2), 2*((W+1)//2)) ap_fixed<12,6,AP_RND_CONV,AP_SAT_SYM>  [16 bit accumulator]
  output up, sum"""


def test_print() -> None:
    assert str(golden()) == GOLDEN
    real = Graph("f", (Value("x", (3,)),), (node("y", Add(), "x", "k", to=None),), ("y",),
                 (Constant("k", np.array([0.5])),))  # fmt: skip
    assert str(real) == (
        "graph f (float)\n  input  x: (3,)\n  const  k: (1,)\n  y = add(x, k) -> (3,)\n  output y"
    )


def test_a_large_reset_is_printed_in_full() -> None:
    form = Format(40, 0)
    state = State(Value("s", (2, H, W), form), "y", 123456789)
    graph = recurrent(state, nodes=(node("y", Add(), "x", "s", to=Quantization(form)),))
    assert "reset 123456789" in str(graph)


def test_lookups() -> None:
    graph = conv_graph()
    assert graph.is_integer
    assert graph.node("conv") == CONV
    with pytest.raises(KeyError, match="graph 'g' has no node 'nothing'"):
        graph.node("nothing")
    with pytest.raises(KeyError):
        graph.operand("nothing")
    assert list(graph.values) == ["x", "conv", "y"]
    assert graph.values["conv"] == Value("conv", (2, H, W), PIXEL)
    assert graph.constants_by_name == {"w": WEIGHT, "b": BIAS}
    assert [reader.name for reader in graph.consumers["x"]] == ["conv"]
    twice = Graph("g", (X,), (node("y", Add(), "x", "x"),), ("y",))
    assert [reader.name for reader in twice.consumers["x"]] == ["y"]
    operand = graph.operand("w")
    assert operand.constant is WEIGHT.data
    assert operand.formats == (Format(6, 5),)
    assert graph.operands["conv"][0].limits == (-128, 127)
    assert graph.operands["conv"][1].limits == (-18, 17)


def test_frozen() -> None:
    graph = recurrent()
    for item in (graph, graph.nodes[0], graph.inputs[0], graph.states[0], graph.nodes[0].op):
        for field in dataclasses.fields(item):  # type: ignore[arg-type]
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, field.name, None)
    graph.values.clear()  # type: ignore[attr-defined]
    assert list(graph.values) == ["x", "s", "y"]
    nodes = [node("y", Relu(), "x")]
    built = Graph("g", [X], nodes, ["y"])  # type: ignore[arg-type]
    nodes.clear()
    assert [item.name for item in built.nodes] == ["y"]
    assert built.outputs == ("y",)


def test_equality_and_hash() -> None:
    assert conv_graph() == conv_graph()
    assert hash(conv_graph()) == hash(conv_graph())
    assert golden() == golden()
    different = [
        conv_graph(name="h"),
        conv_graph(outputs=("y", "conv")),
        conv_graph(inputs=(Value("x", (2, H, 8), PIXEL),)),
        conv_graph(constants=(BIAS, WEIGHT)),
        conv_graph(constants=(WEIGHT, Constant("b", np.array([100, -201]), BIAS.formats))),
        conv_graph(nodes=(CONV, node("y", Clamp(0.0, 1.0), "conv"))),
        conv_graph(nodes=(dataclasses.replace(CONV, op=Conv2d()), node("y", Relu(), "conv"))),
        conv_graph(nodes=(CONV, node("y", Relu(), "conv", to=Quantization(Format(8, 5))))),
    ]
    assert len({conv_graph(), *different}) == len(different) + 1
    assert all(graph != conv_graph() for graph in different)
    assert recurrent() != recurrent(State(Value("s", (2, H, W), PIXEL), "y", 4))
    elsewhere = dataclasses.replace(CONV, origin="elsewhere")
    assert conv_graph(nodes=(elsewhere, node("y", Relu(), "conv"))) == conv_graph()


def test_copies_are_equal() -> None:
    graph = golden()
    graph.operands  # noqa: B018 - fill the cache
    for other in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), copy.copy(graph)):
        assert other == graph
        assert str(other) == GOLDEN
    renamed = dataclasses.replace(graph, name="other")
    assert renamed.node("conv").accumulator == graph.node("conv").accumulator


def test_with_nodes_drops_unread_constants() -> None:
    graph = conv_graph()
    plain = dataclasses.replace(CONV, inputs=("x", "w"))
    changed = graph.with_nodes([plain, graph.node("y")], graph.constants)
    assert changed.constants == (WEIGHT,)
    assert changed.inputs == graph.inputs
    assert changed.outputs == ("y",)
    assert len(graph.constants) == 2
    assert graph.with_nodes(graph.nodes, graph.constants) == graph
    refuses(lambda: graph.with_nodes(graph.nodes, (WEIGHT,)), "its input 'b' does not exist")
    stateful = recurrent().with_nodes((node("y", Subtract(), "x", "s"),), ())
    assert stateful.states == recurrent().states


# Random graphs: each is either refused with GraphError or consistent.

names = st.sampled_from(["x", "z", "s", "v", "w", "b", "k", "a", "c", "d", "y", "?"])
shapes = st.one_of(
    st.tuples(st.integers(0, 4), st.sampled_from([H, W, 1, 4]), st.sampled_from([H, W, 1, H * 2])),
    st.tuples(st.integers(1, 4)),
    st.lists(st.sampled_from([0, 1, 2, H]), max_size=4).map(tuple),
)
some_formats = st.builds(Format, st.integers(1, 63), st.integers(-70, 70), st.booleans())
ops = st.sampled_from(
    [Add(), Subtract(), Multiply(), Relu(), Clamp(-1.0, 3.0), Prelu(), Sigmoid(), Requantize(),
     Concat(), Slice("channel", 1), Slice("row", 1, -1), Pad((1, 1, 1, 1), "reflect"), Flatten(),
     PixelShuffle(2), PixelUnshuffle(2), Nearest(2), BilinearUpsample(), MaxPool(), AveragePool(),
     GlobalAveragePool(), GlobalMaxPool(), Conv2d(), SAME, Conv2d(groups=2), Linear()]
)  # fmt: skip


@st.composite
def constants(draw: st.DrawFn, name: str) -> Constant:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    forms = [draw(some_formats) for _ in range(draw(st.sampled_from([1, 1, shape[0]])))]
    low = max(form.min_raw for form in forms)
    high = min(form.max_raw for form in forms)
    return Constant(name, np.full(shape, draw(st.integers(low, high))), tuple(forms))


@st.composite
def random_parts(draw: st.DrawFn) -> dict[str, Any]:
    inputs = [Value(name, draw(shapes), draw(some_formats)) for name in draw(
        st.sampled_from([("x",), ("x", "z"), ("x", "x")]))]  # fmt: skip
    kept = [draw(constants(name)) for name in draw(st.sets(st.sampled_from("wbk")))]
    nodes = []
    for name in "acdy"[: draw(st.integers(1, 4))]:
        op = draw(ops)
        count = draw(st.integers(max(op.arity[0] - 1, 0), min(op.arity[1], 3)))
        known = st.sampled_from(["x", *(n.name for n in nodes), *(c.name for c in kept)])
        picked = tuple(draw(st.one_of(known, known, known, names)) for _ in range(count))
        nodes.append(node(name, op, *picked, to=Quantization(draw(some_formats))))
    states = [
        State(Value("s", draw(shapes), draw(some_formats)), draw(names), draw(st.integers(-9, 9)))
        for _ in range(draw(st.sampled_from([0, 0, 1])))
    ]
    outputs = tuple(n.name for n in nodes)
    return {"name": "g", "inputs": inputs, "nodes": nodes, "outputs": outputs,
            "constants": kept, "states": states}  # fmt: skip


@settings(deadline=None, max_examples=250)
@given(random_parts())
def test_random_graphs_are_refused_or_consistent(parts: dict[str, Any]) -> None:
    try:
        graph = Graph(**parts)
    except GraphError as caught:
        rule = str(caught)
        assert re.match("graph 'g'|state '?s", rule)
        return
    assert str(graph).startswith("graph g (integer)")
    assert hash(graph) == hash(Graph(**parts))
    for item in graph.nodes:
        shape = graph.values[item.name].shape
        assert len(shape) in (1, 3)
        accumulator = item.accumulator
        assert accumulator is not None
        assert len(accumulator.low) == shape[0]
        assert all(low <= high for low, high in zip(accumulator.low, accumulator.high, strict=True))
        assert 1 <= accumulator.bits <= 63
    try:
        found = graph.concrete_shapes({"H": 6, "W": 8})
    except GraphError:
        return
    assert all(min(shape) >= 1 for shape in found.values())
    assert graph.bind([found[value.name] for value in graph.inputs]) is not None


def test_list_attributes_are_refused():
    with pytest.raises(GraphError, match=r"\['stride'\] must be tuples"):
        Node("c", Conv2d(stride=[1, 1]), ("x", "w"))  # type: ignore[arg-type]
