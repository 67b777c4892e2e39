"""The rules on constants, formats, accumulators and states."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from graph_parts import (
    BIAS,
    CONV,
    PIXEL,
    WEIGHT,
    WEIGHT_DATA,
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
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    Concat,
    Conv2d,
    Multiply,
    Op,
    Relu,
    Subtract,
)
from fxp.graph.ops.base import Accumulator

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
