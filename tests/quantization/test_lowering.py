"""What formats a float graph gets, where it rounds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import (
    BYTE,
    constant,
    format_of,
    graph,
    image,
    lowered,
    node,
    pointwise,
    random_image,
    vector,
)

from fxp.executors import oracle
from fxp.formats import Format, FormatError, Overflow, Rounding, dequantize, quantize
from fxp.graph import Graph, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    AveragePool,
    Clamp,
    Concat,
    Conv2d,
    GlobalAveragePool,
    GraphError,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    PixelShuffle,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
    Subtract,
    Tanh,
)
from fxp.quantization.calibrate import observe
from fxp.quantization.constants import GUARD_BITS
from fxp.quantization.lowering import lower, rounded_names
from fxp.quantization.settings import LoweringSettings

SAME = (1, 1, 1, 1)
GENERATOR = np.random.default_rng(3)
MIXED = constant("weight", GENERATOR.normal(size=(4, 1, 3, 3)))
POSITIVE = constant("weight", GENERATOR.uniform(0.1, 1, size=(4, 1, 3, 3)))


def convolution(name: str = "conv", source: str = "x", weight: str = "weight", *bias: str):
    return node(name, Conv2d(padding=SAME), source, weight, *bias)


def real_output(integer_graph: Graph, *arrays: np.ndarray) -> np.ndarray:
    """Real values of the first output by the oracle."""
    raws = [
        quantize(array, value.format)
        for array, value in zip(arrays, integer_graph.inputs, strict=True)
    ]
    name = integer_graph.outputs[0]
    return dequantize(oracle.run(integer_graph, raws).outputs[0], format_of(integer_graph, name))


def test_results_are_unsigned_exactly_where_that_is_proved():
    nodes = [
        convolution(),
        node("relu", Relu(), "conv"),
        node("pool", MaxPool(), "relu"),
        node("mean", AveragePool(), "pool"),
        node("sigmoid", Sigmoid(), "mean"),
        node("tanh", Tanh(), "mean"),
        node("all", Concat(), "sigmoid", "tanh"),
    ]
    integer = lowered(graph(image(), nodes, constants=[MIXED]), random_image())
    signed = {name: format_of(integer, name).signed for name in integer.values}
    assert signed == {
        "x": False, "conv": True, "relu": False, "pool": False, "mean": False, "sigmoid": False,
        "tanh": False, "all": False,
    }  # fmt: skip
    for item in integer.nodes:
        assert item.accumulator is not None
        assert format_of(integer, item.name).signed == (min(item.accumulator.low) < 0)


@pytest.mark.parametrize(("low", "weight", "signed"), [
    (0, POSITIVE, False), (0, MIXED, True), (-1, POSITIVE, True),
])  # fmt: skip
def test_sign_of_a_convolution(low, weight, signed):
    integer = lowered(graph(image(), [convolution()], constants=[weight]), random_image(low=low))
    assert format_of(integer, "conv").signed == signed
    assert format_of(integer, "x").signed == (low < 0)


def test_operands_of_a_residual_addition_are_aligned():
    nodes = [convolution(), node("sum", Add(), "conv", "x")]
    source = graph(image(), nodes, constants=[MIXED])
    data = random_image()
    integer = lowered(source, data, activation_bits=24, weight_bits=16, wide_bits=60)
    assert format_of(integer, "x").frac != format_of(integer, "conv").frac
    accumulator = integer.node("sum").accumulator
    assert accumulator is not None
    assert accumulator.frac == format_of(integer, "conv").frac
    exact = torch.nn.functional.conv2d(data, torch.tensor(MIXED.data), padding=1) + data
    assert np.allclose(real_output(integer, data[0].numpy()), exact[0], atol=1e-3, rtol=0)


FLOWS = {
    "relu": [convolution(), node("relu", Relu(), "conv")],
    "add, relu": [convolution(), node("sum", Add(), "conv", "x"), node("relu", Relu(), "sum")],
    "shuffle, add, clamp": [
        convolution(),
        node("shuffled", PixelShuffle(), "conv"),
        node("enlarged", Nearest(), "x"),
        node("sum", Add(), "shuffled", "enlarged"),
        node("output", Clamp(0.0, 1.0), "sum"),
    ],
}


@pytest.mark.parametrize("nodes", FLOWS.values(), ids=FLOWS.keys())
def test_wide_accumulators_flow_to_the_last_op(nodes):
    source = graph(image(), nodes, constants=[MIXED])
    integer = lowered(source, random_image())
    assert rounded_names(integer, LoweringSettings()) == ("x", nodes[-1].name)
    integer = lowered(source, random_image(), per_channel=False)
    *inner, last = integer.nodes
    assert len(integer.nodes) == len(nodes)
    for item in inner:
        assert item.accumulator is not None
        assert item.quantization is not None
        assert item.quantization.format == item.accumulator.exact_format
    assert any(format_of(integer, item.name).width > 14 for item in inner)
    assert format_of(integer, last.name).width == 14
    assert rounded_names(integer, LoweringSettings(per_channel=False)) == (
        "x", "weight", last.name,
    )  # fmt: skip


@pytest.mark.parametrize("nodes", FLOWS.values(), ids=FLOWS.keys())
def test_without_wide_bits_every_result_is_narrow(nodes):
    integer = lowered(graph(image(), nodes, constants=[MIXED]), random_image(), wide_bits=0)
    assert all(format_of(integer, name).width <= 14 for name in integer.values)


def test_what_two_nodes_read_has_the_width_of_an_activation():
    nodes = [convolution(), node("relu", Relu(), "conv"), node("sum", Add(), "conv", "relu")]
    integer = lowered(graph(image(), nodes, constants=[MIXED]), random_image())
    assert integer.nodes[0].accumulator is not None
    assert integer.nodes[0].accumulator.bits > 14
    assert format_of(integer, "conv").width == 14


def test_wide_bits_is_a_sharp_bound():
    source = graph(image(), FLOWS["relu"], constants=[MIXED])
    width = format_of(lowered(source, random_image(), wide_bits=63), "conv").width
    assert format_of(lowered(source, random_image(), wide_bits=width), "conv").width == width
    assert format_of(lowered(source, random_image(), wide_bits=width - 1), "conv").width == 14


def reader(op, *others: str):
    return [convolution(), node("reader", op, "conv", *others)]


READERS = {
    "conv": reader(Conv2d(), "pointwise"),
    "multiply": reader(Multiply(), "x"),
    "concat": reader(Concat(), "x"),
    "max pool": reader(MaxPool()),
    "mean": reader(GlobalAveragePool()),
    "prelu": reader(Prelu(), "slope"),
    "table": reader(Sigmoid()),
    "relu and conv": [*reader(Relu()), node("other", Conv2d(), "conv", "pointwise"),
                      node("sum", Add(), "reader", "other")],
}  # fmt: skip


@pytest.mark.parametrize("nodes", READERS.values(), ids=READERS.keys())
def test_other_readers_take_rounded_values(nodes):
    constants = [
        MIXED,
        constant("pointwise", pointwise(np.eye(4))),
        constant("slope", [0.25]),
    ]
    used = {name for item in nodes for name in item.inputs}
    source = graph(image(), nodes, constants=[c for c in constants if c.name in used])
    assert format_of(lowered(source, random_image()), "conv").width == 14


def test_outputs_and_states_are_rounded():
    nodes = [convolution(), node("relu", Relu(), "conv")]
    source = graph(image(), nodes, ["conv", "relu"], [MIXED])
    assert format_of(lowered(source, random_image()), "conv").width == 14
    state = State(Value("before", (4, Extent("H"), Extent("W"))), "conv")
    nodes[1:] = [node("sum", Add(), "conv", "before"), node("relu", Relu(), "sum")]
    integer = lowered(graph(image(), nodes, constants=[MIXED], states=[state]), random_image())
    assert format_of(integer, "conv").width == format_of(integer, "before").width == 14


def test_per_channel_weights_have_the_fraction_bits_of_their_rows():
    weight = constant("weight", pointwise([[0.9], [0.1], [0.01], [1e-9], [0]]))
    bias = constant("bias", [0.5, -0.25, 0.1, 0.3, 1.0])
    source = graph(image(), [convolution("conv", "x", "weight", "bias")], constants=[weight, bias])
    integer = lowered(source, random_image(), per_channel=True, method="minmax", headroom=0,
                      input_formats={"x": BYTE})  # fmt: skip
    weights, biases = (integer.constants_by_name[name] for name in ("weight", "bias"))
    assert [form.frac for form in weights.formats] == [9, 12, 15, 12 + GUARD_BITS, 9]
    assert {form.width for form in weights.formats} == {10}
    assert [form.frac for form in biases.formats] == [form.frac + 8 for form in weights.formats]
    assert np.allclose(weights.values, weight.data, rtol=0, atol=2.0**-10)
    assert np.allclose(biases.values, bias.data, rtol=0, atol=2.0**-18)


@given(st.integers(1, 5), st.booleans(), st.integers(0, 1000))
@settings(max_examples=40)
def test_biases_have_the_fraction_bits_of_the_products(channels, per_channel, seed):
    generator = np.random.default_rng(seed)
    scales = 10.0 ** generator.uniform(-3, 2, channels)
    weight = generator.normal(size=(channels, 3)) * scales[:, None]
    bias = generator.normal(size=channels) * 10.0 ** generator.uniform(-3, 3)
    source = graph(
        vector("x", 3),
        [node("linear", Linear(), "x", "weight", "bias")],
        constants=[constant("weight", weight), constant("bias", bias)],
    )
    integer = lowered(source, torch.randn(20, 3, dtype=torch.float64), per_channel=per_channel)
    weights, biases = (integer.constants_by_name[name] for name in ("weight", "bias"))
    frac = format_of(integer, "x").frac
    assert len(weights.formats) == len(biases.formats) == (channels if per_channel else 1)
    for index, form in enumerate(biases.formats):
        assert form.frac == weights.formats[index].frac + frac
        assert form.signed
        assert np.all(np.abs(biases.values - bias)[index] <= form.step / 2)


def test_weights_that_almost_vanish_leave_room_for_the_bias():
    source = graph(
        image(),
        [convolution("conv", "x", "weight", "bias")],
        constants=[constant("weight", pointwise([[1e-25]])), constant("bias", [0.5])],
    )
    for per_channel in (False, True):
        integer = lowered(source, random_image(), per_channel=per_channel)
        values = real_output(integer, random_image()[0].numpy())
        assert np.allclose(values, 0.5, rtol=0, atol=2.0**-14)


def test_shared_weights_are_stored_once_and_biases_fit_each_use():
    nodes = [
        convolution("first", "x", "weight", "bias"),
        convolution("second", "y", "weight", "bias"),
        node("sum", Add(), "first", "second"),
    ]
    constants = [MIXED, constant("bias", [0.1, 0.2, 0.3, 0.4])]
    source = graph([image("x"), image("y")], nodes, constants=constants)
    integer = lowered(source, random_image(), 100 * random_image(seed=1))
    assert {item.name for item in integer.constants} == {"weight", "bias", "bias.second"}
    assert integer.node("second").inputs == ("y", "weight", "bias.second")
    fracs = {item.name: item.formats[0].frac for item in integer.constants}
    for name, bias in (("x", "bias"), ("y", "bias.second")):
        assert fracs[bias] == fracs["weight"] + format_of(integer, name).frac
    same = lowered(source, random_image(), random_image(seed=1))
    assert {item.name for item in same.constants} == {"weight", "bias"}


def test_added_names_never_collide():
    nodes = [
        convolution("first", "x", "weight", "bias"),
        convolution("second", "y", "weight", "bias"),
        node("bias.second", Add(), "first", "second"),
        node("gate", Sigmoid(), "bias.second"),
        node("gate.table", Add(), "gate", "bias.second"),
        node("gate.output", Relu(), "gate"),
    ]
    constants = [MIXED, constant("bias", [0.1, 0.2, 0.3, 0.4])]
    source = graph([image("x"), image("y")], nodes, ["gate", "gate.output", "gate.table"],
                   constants)  # fmt: skip
    integer = lowered(source, random_image(), 100 * random_image(seed=1),
                      output_formats={"gate": BYTE})  # fmt: skip
    assert {item.name for item in integer.constants} == {
        "weight", "bias", "bias.second_", "gate.table_",
    }  # fmt: skip
    assert integer.outputs == ("gate.output_", "gate.output", "gate.table")


@pytest.mark.parametrize(("op", "form"), [
    (Sigmoid(), Format(9, 9, signed=False)), (Tanh(), Format(9, 8)),
])  # fmt: skip
def test_tables(op, form):
    source = graph(image(), [node("table", op, "x")])
    integer = lowered(source, random_image(low=-4, high=4), activation_bits=9)
    table = integer.constants_by_name["table.table"]
    assert table.formats == (form,)
    assert table.data.shape == (512,)
    assert np.array_equal(table.data, op.tabulate(format_of(integer, "x"), form))
    given_form = Format(6, 4)
    integer = lowered(source, random_image(low=-4, high=4), output_formats={"table": given_form})
    assert format_of(integer, "table") == given_form
    assert integer.constants_by_name["table.table"].formats == (given_form,)


def test_equal_tables_are_stored_once():
    nodes = [node("first", Sigmoid(), "x"), node("second", Sigmoid(), "y"), node("t", Tanh(), "x")]
    source = graph([image("x"), image("y")], nodes, ["first", "second", "t"])
    data = random_image(low=-4, high=4)
    integer = lowered(source, data, data)
    assert format_of(integer, "x") == format_of(integer, "y")
    tables = {item.name: item.inputs[1] for item in integer.nodes}
    assert tables == {"first": "first.table", "second": "first.table", "t": "t.table"}
    assert [constant.name for constant in integer.constants] == ["first.table", "t.table"]


def test_a_table_takes_16_bits():
    source = graph(image(), [node("gate", Sigmoid(), "x")])
    assert lowered(source, random_image(), activation_bits=16).constants[0].data.size == 2**16
    with pytest.raises(GraphError, match=r"node 'gate'.*2\*\*17 entries; at most 16"):
        lowered(source, random_image(), activation_bits=17)


def test_input_and_output_formats():
    nodes = [node("sum", Add(), "x", "y"), node("difference", Subtract(), "x", "y")]
    source = graph([image("x"), image("y")], nodes, ["sum", "difference"])
    data = random_image(), random_image(seed=1)
    narrow = Format(5, 3)
    integer = lowered(source, *data, input_formats={"y": BYTE}, output_formats={"sum": narrow})
    assert format_of(integer, "y") == BYTE
    assert format_of(integer, "x").width == 14
    assert format_of(integer, "sum") == narrow
    assert format_of(integer, "difference").width == 14
    assert integer.outputs == ("sum", "difference")


def test_unknown_names_are_refused():
    source = graph(image(), [convolution()], constants=[MIXED])
    for keyword, kind in (("input_formats", "input"), ("output_formats", "output")):
        with pytest.raises(GraphError, match=f"for {kind} 'nothing'.*'small' has"):
            lowered(source, random_image(), **{keyword: {"nothing": BYTE}})
    with pytest.raises(GraphError, match=r"fraction bits are given for 'nothing'.*'weight', 'x'"):
        lowered(source, random_image(), fracs={"nothing": 3})


def test_an_output_that_is_read_inside_gets_a_node_of_its_own():
    nodes = [node("relu", Relu(), "x"), node("double", Add(), "relu", "relu")]
    source = graph(image(), nodes, ["relu", "double", "relu", "x"])
    forms = {"relu": Format(4, 3), "x": Format(3, 1)}
    integer = lowered(source, random_image(low=-1), output_formats=forms)
    assert integer.outputs == ("relu.output", "double", "relu.output", "x.output")
    assert isinstance(integer.node("relu.output").op, Requantize)
    assert format_of(integer, "relu").width > 4
    assert format_of(integer, "relu.output") == forms["relu"]
    assert format_of(integer, "x.output") == forms["x"]
    assert not {"relu.output", "x.output"} & set(rounded_names(integer, LoweringSettings()))


def test_an_output_that_has_the_format_anyway_gets_no_node():
    source = graph(image(), [node("relu", Relu(), "x")], ["relu", "x"])
    integer = lowered(source, random_image(), input_formats={"x": BYTE},
                      output_formats={"x": BYTE})  # fmt: skip
    assert integer.outputs == ("relu", "x")
    assert len(integer.nodes) == 1


def decay(factor: float = 0.5, reset: float = 0.0) -> Graph:
    """``h = factor * h + x``."""
    state = State(Value("before", (1, Extent("H"), Extent("W"))), "now", reset)
    nodes = [node("faded", Multiply(), "before", "factor"), node("now", Add(), "faded", "x")]
    return graph(image(), nodes, constants=[constant("factor", [[[factor]]])], states=[state])


def test_a_state_has_the_format_of_its_source():
    source = decay()
    calls = [[random_image(low=-1, seed=i)] for i in range(6)]
    integer = lower(source, observe(source, calls), LoweringSettings())
    (state,) = integer.states
    assert state.source == "now"
    assert format_of(integer, "now") == state.value.format == format_of(integer, "before")


def test_a_state_of_another_format_is_fed_by_a_node_of_its_own():
    source = decay()
    calls = [[random_image(low=-1, seed=i)] for i in range(6)]
    output = Format(6, 3)
    integer = lower(
        source, observe(source, calls), LoweringSettings(output_formats={"now": output})
    )
    assert integer.outputs == ("now.output",)
    gate = State(Value("before", (1, Extent("H"), Extent("W"))), "x")
    source = graph(image(), [node("sum", Add(), "x", "before")], states=[gate])
    integer = lowered(source, random_image(), input_formats={"x": BYTE}, activation_bits=10)
    assert integer.states[0].source == "before.feed"
    assert format_of(integer, "before.feed").width == 10
    assert "before.feed" not in rounded_names(integer, LoweringSettings())


def test_the_reset_value_becomes_a_raw_integer():
    source = decay(reset=0.25)
    integer = lower(source, observe(source, [[random_image()]] * 3), LoweringSettings())
    form = integer.states[0].value.format
    assert form is not None
    assert integer.states[0].reset * form.step == 0.25
    assert isinstance(integer.states[0].reset, int)


def test_more_than_63_bits_are_refused_with_numbers():
    source = graph([image("x"), image("y")], [node("product", Multiply(), "x", "y")])
    data = random_image(low=-1), random_image(low=-1, seed=1)
    assert lowered(source, *data, activation_bits=31).nodes
    with pytest.raises(GraphError, match=r"'product'.*64 bits.*-\d+ to \d+; at most 63"):
        lowered(source, *data, activation_bits=32)


@pytest.mark.parametrize(("factor", "bits"), [(1000.0, 10), (3e8, 10), (-1e-6, 10), (700.0, 2)])
def test_large_and_small_factors(factor, bits):
    source = graph(
        image(), [node("y", Multiply(), "x", "factor")],
        constants=[constant("factor", [[[factor]]])],
    )  # fmt: skip
    data = random_image()
    integer = lowered(source, data, weight_bits=bits)
    tolerance = abs(factor) * (2.0 ** (1 - bits) + 2.0**-12)
    assert np.allclose(real_output(integer, data[0]), factor * data[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("slope", [5000.0, -2.0, 0.01, 0.0, 1e-20])
def test_slopes(slope):
    source = graph(
        image(), [node("y", Prelu(), "x", "slope")], constants=[constant("slope", [slope])]
    )
    data = random_image(low=-1)
    integer = lowered(source, data)
    expected = torch.nn.functional.prelu(data, torch.tensor([slope], dtype=torch.float64))[0]
    tolerance = max(1.0, abs(slope)) * 2.0**-9
    assert np.allclose(real_output(integer, data[0]), expected, rtol=0, atol=tolerance)


def test_offsets_have_activation_bits():
    nodes = [node("sum", Add(), "x", "offset")]
    source = graph(image(), nodes, constants=[constant("offset", [[[-0.3]]])])
    integer = lowered(source, random_image(), weight_bits=3, activation_bits=12)
    assert integer.constants_by_name["offset"].formats == (Format(12, 12),)


def test_given_fraction_bits_override_the_rule():
    source = graph(image(), FLOWS["relu"], constants=[MIXED])
    given_fracs = {"x": 6, "weight": 5, "conv": 4, "relu": 3}
    integer = lowered(source, random_image(), fracs=given_fracs)
    for name in ("x", "conv", "relu"):
        assert format_of(integer, name) == Format(14, given_fracs[name], name == "conv")
    assert integer.constants_by_name["weight"].formats == (Format(10, 5),)
    for per_channel in (False, True):
        settings = LoweringSettings(fracs=given_fracs, per_channel=per_channel)
        assert rounded_names(integer, settings) == ()


def test_modes_reach_every_node():
    source = graph(image(), FLOWS["add, relu"], constants=[MIXED])
    integer = lowered(source, random_image(), rounding=Rounding.HALF_EVEN,
                      overflow=Overflow.SATURATE_TO_ZERO)  # fmt: skip
    for item in integer.nodes:
        assert item.quantization is not None
        assert item.quantization.rounding is Rounding.HALF_EVEN
        assert item.quantization.overflow is Overflow.SATURATE_TO_ZERO


@pytest.mark.parametrize(("name", "value"), [
    ("weight_bits", 1), ("weight_bits", 33), ("weight_bits", 8.0), ("weight_bits", True),
    ("activation_bits", 1), ("activation_bits", 33), ("activation_bits", "8"),
    ("wide_bits", -1), ("wide_bits", 64), ("wide_bits", 32.0), ("wide_bits", True),
    ("percentile", 50), ("percentile", 100.1), ("percentile", float("nan")),
])  # fmt: skip
def test_bad_settings(name, value):
    with pytest.raises(FormatError, match=name):
        LoweringSettings(**{name: value})


def test_an_integer_graph_is_refused():
    source = graph(image(), [node("relu", Relu(), "x")])
    integer = lowered(source, random_image())
    with pytest.raises(GraphError, match="integer graph already"):
        lower(integer, {}, LoweringSettings())


def test_unknown_methods_and_modes_are_refused():
    source = graph(image(), [node("relu", Relu(), "x")])
    with pytest.raises(ValueError, match="unknown calibration method"):
        lowered(source, random_image(), method="best")
    with pytest.raises(FormatError, match="WRAP_SIGN_MAGNITUDE"):
        lowered(source, random_image(), overflow=Overflow.WRAP_SIGN_MAGNITUDE)
