"""What would add up in states: mean errors of layers, double roundings, growth that is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_graphs import constant, node

import fxp
from fxp.executors.calls import calibration_calls, one_by_one
from fxp.graph.ops import Add, Concat, Conv2d, Multiply, Relu, Sigmoid, Subtract
from fxp.quantization.concatenations import only_concatenated
from fxp.quantization.states import growing, observe_on

SHAPE = (1, 2, 3)
X = fxp.Value("x", SHAPE)


def summed(pole: float, value: str, *nodes: fxp.Node, constants: tuple = ()) -> fxp.Graph:
    """Return y = pole * s + value, whose y becomes s, with the nodes that compute the value."""
    loop = (node("kept", Multiply(), "s", "pole"), node("y", Add(), "kept", value))
    state = fxp.State(fxp.Value("s", SHAPE), "y")
    known = (constant("pole", [[[pole]]]), *constants)
    return fxp.Graph("summed", (X,), (*nodes, *loop), ("y",), known, (state,))


def test_values_grow_on_only_where_growing_states_reach():
    nodes = (
        node("y", Add(), "s", "x"),
        node("gate", Sigmoid(), "y"),
        node("gated", Multiply(), "gate", "x"),
        node("read", Add(), "y", "x"),
    )
    states = (fxp.State(fxp.Value("s", SHAPE), "y"),)
    graph = fxp.Graph("g", (X,), nodes, ("read", "gated"), (), states)
    assert growing(graph, {"y", "gated"}, {"gate"}) == {"s", "y", "read"}
    assert growing(graph, {"gated"}, {"gate"}) == set()
    assert growing(graph, {"y"}, {"y"}) == set()


def test_what_reads_a_settled_state_is_not_carried_on():
    # y is 5 * (1 - 0.8**n), and 4.9764, 4.9938, 4.9984 at the ends of the last rounds of 6 steps:
    # settled. What exceeds 4.97 grows by 0.0174 and 0.0046 meanwhile.
    most = constant("most", [[[4.97]]])
    loop = summed(0.8, "x")
    nodes = (*loop.nodes, node("over", Subtract(), "y", "most"), node("z", Relu(), "over"))
    graph = fxp.Graph("g", (X,), nodes, ("z",), (*loop.constants, most), loop.states)
    calls = one_by_one(calibration_calls(torch.ones(6, *SHAPE), graph))
    assert observe_on(graph, calls)["z"].high == pytest.approx(5 * (1 - 0.8**36) - 4.97, rel=1e-9)


def concatenated(factor: float) -> fxp.Graph:
    """Return a sum over time of the product of x and a factor, and of three times x."""
    nodes = (
        node("small", Multiply(), "x", "factor"),
        node("large", Multiply(), "x", "three"),
        node("both", Concat(), "small", "large"),
        node("z", Conv2d(), "both", "weights"),
    )
    constants = (
        constant("factor", [[[factor]]]),
        constant("three", [[[3.0]]]),
        constant("weights", np.array([[0.5, 0.25]]).reshape(1, 2, 1, 1)),
    )
    return summed(0.5, "z", *nodes, constants=constants)


@pytest.mark.filterwarnings("ignore::fxp.PrecisionWarning")
@pytest.mark.parametrize(("factor", "lost"), [(0.9, 0), (0.01, 8)])
def test_parts_of_concatenations_are_rounded_once(factor: float, lost: int):
    graph = concatenated(factor)
    assert only_concatenated(graph, {"small", "x"}) == {"small": ("both",)}
    assert only_concatenated(graph, {"x"}) == {}
    model = fxp.quantize(graph, torch.linspace(-1, 1, 24).reshape(4, *SHAPE), effort="fast")
    small, both = (model.graph.values[name].format for name in ("small", "both"))
    assert small is not None
    assert both is not None
    # 16 bits for what is below 1 or 2**-6, and below 4. In the one case two of 15 fraction bits
    # would be lost; in the other 8 of 21, so many that halves are rare.
    assert both.frac == 13
    assert small.frac - both.frac == lost
    assert small.max >= factor


def test_clipping_that_does_no_harm_is_no_mean_error():
    # -64 and 32, of which a sigmoid reads -16 and 16.
    weights = constant("weights", np.full((1, 1, 1, 1), 64.0))
    nodes = (node("z", Conv2d(), "x", "weights"), node("y", Sigmoid(), "z"))
    graph = fxp.Graph("g", (X,), nodes, ("y",), (weights,))
    frames = torch.tensor([-1.0, -1.0, -1.0, 0.5, 0.5, 0.0]).reshape(1, *SHAPE)
    model = fxp.quantize(graph, frames, effort="fast", bias_correction=True)
    assert np.abs(np.asarray(model(frames)) - [[[[0, 0, 0], [1, 1, 0.5]]]]).max() < 2**-12


def test_states_do_not_add_up_what_a_layer_is_off_by():
    # 0.3 in 4 + 4 bits is 77/256, which is 0.00078 too much. 40 steps add up 33.1 times that.
    # No other integer is nearer, so that learned rounding changes nothing.
    weights = constant("weights", np.full((1, 1, 1, 1), 0.3))
    graph = summed(0.99, "z", node("z", Conv2d(), "x", "weights"), constants=(weights,))
    frames = torch.ones(40, *SHAPE, dtype=torch.float64)
    wanted = 30 * (1 - 0.99**40)

    def error(**options) -> float:
        bits = {"pole": 20}
        model = fxp.quantize(graph, frames[:6], weight_bits=4, bits=bits, effort="fast", **options)
        return float(np.abs(np.asarray(model(frames))[-1] - wanted).max())

    assert error(bias_correction=False) == pytest.approx(33.1 * (77 / 256 - 0.3), abs=0.002)
    assert error() < 0.002


@pytest.mark.parametrize(
    # In sixteenths, 0.4 is rounded to 0. 0.8, which would take off the error, to 1, which is worse;
    # 0.2 is rounded to 0 as 0.4 is.
    ("bias", "kept"),
    [(0.4, 0.4), (0.2, 0.2), (-0.3, -0.3)],
)
def test_biases_do_not_push_what_never_changes_over_to_the_other_side(bias: float, kept: float):
    one = np.ones((1, 1, 1, 1))
    constants = (constant("w", one), constant("v", one), constant("b", [bias / 16]))
    nodes = (node("h", Conv2d(), "x", "w", "b"), node("z", Conv2d(), "h", "v"))
    graph = fxp.Graph("g", (X,), nodes, ("z",), constants)
    frames = torch.zeros(2, *SHAPE)
    frames[0, 0, 0, 0] = 1
    model = fxp.quantize(
        graph, frames, effort="fast", bias_correction=True, fracs={"h": 4}, bits={"h": 8}
    )
    # The layer behind makes up for it: 11 of 12 pixels are off by the bias, and one as well.
    (found,) = (item.values for item in model.graph.constants if item.name == "b")
    assert float(found[0]) == pytest.approx(kept / 16, abs=1e-3)
    assert np.asarray(model(frames))[1, 0, 1, 2] == pytest.approx(bias / 16, abs=1e-3)


@pytest.mark.filterwarnings("ignore::fxp.PrecisionWarning")
def test_errors_of_weights_cancel_in_what_a_recurrent_layer_gives():
    # Both weights meet the same input. In steps of 1/8 the nearest are 0.25, whose sum is 0.08
    # short; one of them rounded up makes it 0.045 too much.
    weights = constant("weights", np.array([0.3, 0.28]).reshape(1, 2, 1, 1))
    nodes = (node("two", Concat(), "x", "x"), node("z", Conv2d(), "two", "weights"))
    graph = summed(0.5, "z", *nodes, constants=(weights,))
    frames = torch.ones(6, *SHAPE)
    model = fxp.quantize(graph, frames, effort="fast", bits={"weights": 3}, bias_correction=False)
    found = next(item for item in model.graph.constants if item.name == "weights")
    assert sorted(found.values.ravel().tolist()) == [0.25, 0.375]


def test_the_summary_says_what_holds_states():
    graph = summed(0.99, "x")
    frames = torch.ones(6, *SHAPE)
    more = "Bits more than other values, by how errors add up in states: s 7"
    said = f"{more}; weights are rounded by what layers give"
    # log2 of 1 / (1 - 0.99), rounded up.
    text = " ".join(fxp.quantize(graph, frames, effort="fast").summary().split())
    assert f"{said}; biases take off what layers are off by." in text
    refused = fxp.quantize(graph, frames, effort="fast", bias_correction=False)
    assert f"{said}." in " ".join(refused.summary().split())
    refused = fxp.quantize(
        graph, frames, effort="fast", bias_correction=False, weight_rounding="nearest"
    )
    assert f"{more}." in " ".join(refused.summary().split())
    plain = fxp.quantize(graph, frames, effort="fast", hold_states=False)
    assert "Bits more" not in plain.summary()
