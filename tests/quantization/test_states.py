"""States over many steps: how errors and extremes grow, and the bits that hold them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from small_graphs import constant, node
from test_recurrent import NETWORKS, fixed, floats

import fxp
from fxp.executors.calls import calibration_calls, one_by_one
from fxp.formats import Format
from fxp.graph.ops import Add, Conv2d, HardSigmoid, Multiply, Sigmoid, Subtract, Tanh
from fxp.model.clipping import harmless_clipping
from fxp.quantization.error_growth import ErrorGrowth, error_growth
from fxp.quantization.quantize import choose_settings
from fxp.quantization.saturation import saturation_exponents
from fxp.quantization.states import _carried_on, error_gains, extra_bits, feeding, observe_on
from fxp.quantization.widths import Widths

SHAPE = (1, 2, 3)


def leaky(pole: float, *more: fxp.Node, constants: tuple = ()) -> fxp.Graph:
    """Return y = pole * s + x, whose y becomes s, and nodes that read it."""
    nodes = (node("kept", Multiply(), "s", "pole"), node("y", Add(), "kept", "x"), *more)
    return fxp.Graph(
        "leaky", (fxp.Value("x", SHAPE),), nodes, (nodes[-1].name,),
        (constant("pole", [[[pole]]]), *constants), (fxp.State(fxp.Value("s", SHAPE), "y"),),
    )  # fmt: skip


def ones(steps: int, level: float = 1.0) -> list:
    """Return calls with flat pictures."""
    return one_by_one(calibration_calls(torch.full((steps, *SHAPE), level), leaky(0.5)))


def formats(model: fxp.FixedModel) -> dict[str, Format]:
    """Return the format of every value."""
    found = {name: value.format for name, value in model.graph.values.items()}
    return {name: form for name, form in found.items() if form is not None}


def widths(model: fxp.FixedModel) -> dict[str, int]:
    """Return the width of every value."""
    return {name: form.width for name, form in formats(model).items()}


@pytest.mark.parametrize(
    ("pole", "gain"),
    # The sum of 1000 powers of the pole: of 1/(1 - pole) all, if they have died away by then.
    [(0.0, 1), (0.5, 2), (-0.5, 2 / 3), (0.9, 10), (0.99, 100), (0.999, 632.3), (1.0, 1000)],
)
def test_equal_errors_in_every_step_add_up_to_a_geometric_sum(pole: float, gain: float):
    (found,) = error_gains(leaky(pole), ones(6)).values()
    assert found == pytest.approx(max(gain, 1), rel=0.05)


def test_few_elements_with_a_long_memory_are_not_lost_among_the_others():
    poles = np.full(SHAPE, 0.8)
    poles[0, 0, 0] = 0.999
    graph = dataclasses.replace(leaky(0.5), constants=(constant("pole", poles),))
    (found,) = error_gains(graph, ones(6)).values()
    # Errors grow to 5, and to 632.3 in one of six: the root of the mean of the squares.
    assert found == pytest.approx(((5 * 5**2 + 632.3**2) / 6) ** 0.5, rel=0.05)


def test_states_get_the_bits_of_their_gain():
    # 2 bits for what feeds a state, 4 for its weights; log2 of 100 is 6.6.
    assert extra_bits(leaky(0.5), ones(6)) == {"kept": 2, "y": 2, "x": 2, "s": 2, "pole": 4}
    assert extra_bits(leaky(0.99), ones(6))["y"] == 7
    # 2 bits for weights of what reads a state, and none for its value.
    read = leaky(
        0.5, node("z", Conv2d(), "y", "w"), constants=(constant("w", np.ones((1, 1, 1, 1))),)
    )
    assert extra_bits(read, ones(6)).items() - extra_bits(leaky(0.5), ones(6)).items() == {("w", 2)}
    model = fxp.quantize(leaky(0.99), ones(6), wide_bits=0)
    assert widths(model) == {"x": 16, "s": 21, "kept": 21, "y": 21}
    plain = fxp.quantize(leaky(0.99), ones(6), wide_bits=0, hold_states=False)
    assert set(widths(plain).values()) == {14}


@pytest.mark.parametrize(("bits", "copied"), [(14, 16), (18, 18)])
def test_layers_read_a_copy_without_the_extra_bits(bits: int, copied: int):
    weights = constant("weights", np.ones((1, 1, 1, 1)))
    graph = leaky(0.99, node("z", Conv2d(), "y", "weights"), constants=(weights,))
    options = {"wide_bits": 0, "activation_bits": bits, "bits": {"pole": 20}, "effort": "fast"}
    model = fxp.quantize(graph, ones(6), **options)
    state, copy = formats(model)["y"], formats(model)["y.narrow"]
    # 7 bits more for the state, 24 at most; both hold the 100 that it reaches.
    assert (state.width, copy.width) == (min(bits + 7, 24), copied)
    assert copy.width - copy.frac == state.width - state.frac
    assert model.graph.node("z").inputs[0] == "y.narrow"
    assert model.graph.states[0].source == "y"
    # What only reads the state is no part of the loop.
    assert widths(model)["z"] == bits
    assert feeding(graph) == {"x", "s", "pole", "kept", "y"}
    # 1, 1.99, ...; the coarsest steps, of 14 bits, are 2**-6.
    found = [model.step(np.ones(SHAPE)) for _ in range(40)][-1]
    assert np.abs(found - 100 * (1 - 0.99**40)).max() < 0.1


def test_layers_behind_copies_are_refined():
    """The float network has no copies: what they read is kept for the layer."""
    weights = constant("weights", np.full((1, 1, 1, 1), 0.3))
    graph = leaky(0.99, node("z", Conv2d(), "y", "weights"), constants=(weights,))
    model = fxp.quantize(graph, ones(6), weight_rounding="learned", bias_correction=True)
    assert "y.narrow" in model.graph.values
    assert model.calibration_sqnr["z"] > 40


def test_tables_read_a_narrow_copy():
    """Of a state that goes up to 100, tanh needs what is below 8."""
    graph = leaky(0.99, node("z", Tanh(), "y"))
    model = fxp.quantize(graph, ones(6))
    state, copy = formats(model)["y"], formats(model)["y.narrow"]
    assert state.width == 21
    assert copy.width == 16
    assert copy.max == pytest.approx(8, abs=2 * copy.step)
    assert model.graph.node("z").inputs[0] == "y.narrow"
    assert "y.narrow" in harmless_clipping(model.graph)
    frames = torch.full((40, *SHAPE), 0.5, dtype=torch.float64)
    # 0.5, 0.995, ...; the table's step is 2**-14.
    wanted = np.tanh(50 * (1 - 0.99 ** np.arange(1, 41)))
    assert np.abs(np.asarray(model(frames))[:, 0, 0, 0] - wanted).max() < 2**-11
    wide = fxp.quantize(graph, ones(6), bits={"y": 16})
    assert "y.narrow" not in wide.graph.values


def test_widths_that_are_given_stay():
    model = fxp.quantize(leaky(0.99), ones(6), bits={"s": 12, "kept": 11}, wide_bits=0)
    assert widths(model) == {"x": 16, "s": 12, "kept": 11, "y": 12}


@pytest.mark.parametrize(
    ("pole", "level"),
    # 1 / (1 - pole) in the end; and for an integrator what 1000 steps add up to.
    [(0.5, 2), (0.9, 10), (0.99, 100), (1.0, 1000)],
)
def test_extremes_are_carried_on_to_a_thousand_steps(pole: float, level: float):
    graph = leaky(pole)
    statistics = observe_on(graph, ones(6))
    assert statistics["y"].high == pytest.approx(level, rel=0.05)
    assert statistics["x"].high == 1
    assert len(statistics["y"].highs) == 1
    model = fxp.quantize(graph, ones(6))
    for _ in range(950):
        model.step(np.ones(SHAPE))
    assert model.running_clipped.counts["y"] == 0


@pytest.mark.parametrize(
    ("sizes", "remaining", "wanted"),
    [
        ((1.0, 2.0, 2.5), 2, 2.875),  # 1/4 and 1/8 more
        ((1.0, 2.0, 3.0), 4, 7.0),
        ((1.0, 2.0, 4.0), 3, 10.0),  # growth itself is not taken to grow
        ((1.0, 1.5, 1.51), 9, 1.51),  # settled
        ((2.0, 2.0, 3.0), 5, 3.0),  # once is no trend
        ((1.0, 2.0, 1.5), 5, 1.5),
        ((1.0, 2.0, 3.0), 0, 3.0),
    ],
)
def test_growth_is_carried_on(sizes: tuple, remaining: float, wanted: float):
    assert _carried_on(*sizes, remaining) == wanted


def test_a_long_sequence_is_taken_as_it_is():
    graph = leaky(0.5)
    assert observe_on(graph, ones(100))["y"].count == 100 * math.prod(SHAPE)
    # 6 rounds of 6 steps, of 40 at most.
    assert observe_on(graph, ones(6))["y"].count == 36 * math.prod(SHAPE)


def test_each_sequence_is_played_on_by_itself():
    data = fxp.Sequences(torch.ones(4, *SHAPE), -2 * torch.ones(5, *SHAPE))
    calls = one_by_one(calibration_calls(data, leaky(0.5)))
    statistics = observe_on(leaky(0.5), calls)["y"]
    assert statistics.highs == pytest.approx([2, -2])
    assert statistics.lows == pytest.approx([1, -4])


def test_each_of_several_growing_sequences_is_carried_on():
    # Running sums of 1 and of -1/2, carried on to 1000 steps.
    data = fxp.Sequences(torch.ones(4, *SHAPE), -0.5 * torch.ones(5, *SHAPE))
    calls = one_by_one(calibration_calls(data, leaky(1.0)))
    statistics = observe_on(leaky(1.0), calls)["y"]
    assert (statistics.low, statistics.high) == (-500, 1000)


def test_saturating_functions_read_no_more_than_they_tell_apart():
    x = fxp.Value("x", (1, 4, 4))
    two = constant("two", [[[2.0]]])

    def exponents(*ops) -> dict[str, int]:
        nodes = (
            node("wide", Multiply(), "x", "two"),
            *(node(f"y{number}", op, "wide") for number, op in enumerate(ops)),
        )
        outputs = tuple(item.name for item in nodes[1:])
        graph = fxp.Graph("g", (x,), nodes, outputs, (two,))
        return saturation_exponents(graph, Widths(graph, 10, 14, {}))

    # 1 - sigmoid(8) = 3.4e-4 is more than half a step, 2**-15; 1 - sigmoid(16) = 1.1e-7 is not.
    assert exponents(Sigmoid()) == {"wide": 4}
    # 1 - tanh(4) = 6.7e-4, 1 - tanh(8) = 2.3e-7.
    assert exponents(Tanh()) == {"wide": 3}
    assert exponents(HardSigmoid()) == {"wide": 2}
    assert exponents(Tanh(), Sigmoid()) == {"wide": 4}
    graph = fxp.Graph(
        "g",
        (x,),
        (node("wide", Multiply(), "x", "two"), node("y", Sigmoid(), "wide")),
        ("y",),
        (two,),
    )
    frames = torch.linspace(-256, 256, 16).reshape(1, 1, 4, 4)
    model = fxp.quantize(graph, frames, input_format="ap_fixed<14,10>")
    assert formats(model)["wide"] == Format(14, 9)
    assert "wide" in harmless_clipping(model.graph)
    with torch.no_grad():
        wanted = torch.sigmoid(2 * frames)
    assert float((model(frames) - wanted).abs().max()) <= 2**-15 + 2**-12


def test_growth_by_hand():
    """0.3 in steps of 1/4 is 0.25: one sixth less, in every step."""
    graph = leaky(0.5)
    model = fxp.quantize(graph, ones(2, 0.3), input_format="ap_fixed<8,6>")
    growth = error_growth(model, graph, torch.full((3, *SHAPE), 0.3, dtype=torch.float64))
    assert growth.steps == 3
    assert growth.outputs == ("y",)
    assert set(growth.fixed) == {"y", "s"}
    assert growth.fixed["y"] == pytest.approx([20 * math.log10(6)] * 3)
    assert growth.fixed["s"] == growth.fixed["y"]
    # float32 has 0.300000011920929.
    assert growth.float32["y"][0] == pytest.approx(20 * math.log10(0.3 / 1.1920929e-8), abs=0.01)
    lost, lost_in_float32 = growth.losses("y")
    assert lost == pytest.approx(0, abs=1e-9)
    assert abs(lost_in_float32) < 6
    assert growth.holds


def test_growth_as_text_and_data():
    growth = ErrorGrowth({"y": (60.0, 50.0)}, {"y": (math.inf, 140.0)}, ("y",))
    assert str(growth).splitlines() == [
        "SQNR in dB    step 1    step 2    lost",
        "y  fixed        60.0      50.0    10.0",
        "y  float32       inf     140.0     inf",
    ]
    assert growth.to_json() == {
        "outputs": ["y"],
        "fixed": {"y": [60.0, 50.0]},
        "float32": {"y": [None, 140.0]},
    }


@pytest.mark.parametrize(("first", "last", "holds"), [(60, 54, True), (60, 53.9, False)])
def test_fixed_point_may_lose_six_decibels_more(first: float, last: float, holds: bool):
    same = ErrorGrowth({"y": (first, last)}, {"y": (140.0, 141.0)}, ("y",))
    assert same.holds == holds
    # As much more as float32 loses.
    both = ErrorGrowth({"y": (first, last - 10)}, {"y": (140.0, 130.0)}, ("y",))
    assert both.holds == holds


def test_growth_needs_states_and_one_sequence():
    graph = leaky(0.5)
    model = fxp.quantize(graph, ones(2))
    with pytest.raises(fxp.GraphError, match="they must be the same, one at least"):
        error_growth(model, fxp.Graph("g", graph.inputs, (node("y", Add(), "x", "x"),), ("y",)), [])
    data = fxp.Sequences(torch.ones(2, *SHAPE), torch.ones(2, *SHAPE))
    with pytest.raises(fxp.ArgumentError, match="takes one sequence"):
        error_growth(model, graph, data)
    growth = error_growth(model.graph, graph, torch.ones(2, *SHAPE))
    with pytest.raises(fxp.ArgumentError, match="'z', only"):
        growth.losses("z")


def test_a_filter_close_to_instability():
    """Poles at 0.995 and an angle of 0.1: y = 2 r cos(a) y1 - r² y2 + x."""
    radius, angle = 0.995, 0.1
    nodes = (
        node("first", Multiply(), "y1", "a"),
        node("second", Multiply(), "y2", "b"),
        node("both", Subtract(), "first", "second"),
        node("y", Add(), "both", "x"),
    )
    graph = fxp.Graph(
        "resonator", (fxp.Value("x", SHAPE),), nodes, ("y",),
        (constant("a", [[[2 * radius * math.cos(angle)]]]), constant("b", [[[radius**2]]])),
        (fxp.State(fxp.Value("y1", SHAPE), "y"), fxp.State(fxp.Value("y2", SHAPE), "y1")),
    )  # fmt: skip
    frames = torch.from_numpy(np.random.default_rng(1).normal(size=(200, *SHAPE)))
    # 20 bits of the coefficients: here it is about the states.
    options = {"bits": {"a": 20, "b": 20}, "activation_bits": 14}
    held = fxp.quantize(graph, frames[:30], **options)
    plain = fxp.quantize(graph, frames[:30], hold_states=False, **options)
    # Equal errors add up to 1 / (1 - 2 r cos(a) + r²) = 100 times as much: 7 bits more.
    assert [widths(held)[name] for name in ("y1", "y2")] == [21, 21]
    growth, before = (error_growth(model, graph, frames) for model in (held, plain))
    assert growth.fixed["y"][-1] > before.fixed["y"][-1] + 12
    assert growth.holds


@pytest.mark.parametrize("name", NETWORKS)
def test_published_cells_hold_what_six_steps_showed(name: str):
    torch.manual_seed(7)
    network = NETWORKS[name]().eval()
    frames = torch.randn(60, 2, 10, 12, generator=torch.Generator().manual_seed(5))
    model = fixed(network, frames[:6])
    wanted = floats(network, frames)
    found = torch.cat([model.step(frame[None]) for frame in frames])
    clipped = model.running_clipped.counts
    harmless = harmless_clipping(model.graph)
    assert {key for key, count in clipped.items() if count and key not in harmless} <= {
        "x",
        "events",
    }
    noise = ((found - wanted) ** 2).flatten(1).mean(1)
    power = (wanted**2).flatten(1).mean(1)
    levels = (10 * torch.log10(power / noise)).tolist()
    assert levels[0] - min(levels[-10:]) < 6


@pytest.mark.parametrize(
    ("method", "given", "used"),
    [("mse", None, 1.0), ("minmax", None, 1.0), ("mse", 0.5, 0.5), ("percentile", None, None)],
)
def test_sequences_have_room_for_values_twice_as_large(method, given, used):
    options = fxp.QuantizeOptions(method=method, headroom=given)
    _, settings = choose_settings(leaky(0.5), ones(3), options)
    assert settings.headroom == used
