"""Widths of single weights, values, states and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_graphs import BYTE, constant, format_of, graph, image, lowered, node, random_image
from torch import nn

import fxp
from fxp.formats import Format, FormatError
from fxp.graph import State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    Conv2d,
    GraphError,
    MaxPool,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
)
from fxp.quantization.settings import LoweringSettings

GENERATOR = np.random.default_rng(5)
WEIGHT = constant("weight", GENERATOR.uniform(-1, 1, size=(2, 1, 3, 3)))
BIAS = constant("bias", [0.5, -0.25])
LAYER = graph(
    image(),
    [node("conv", Conv2d(), "x", "weight", "bias"), node("relu", Relu(), "conv")],
    constants=[WEIGHT, BIAS],
)


def recurrent():
    """Running mean: half of what came in and half of the mean before."""
    halves = [constant("half", [[[0.5]]]), constant("other", [[[0.5]]])]
    nodes = [
        node("new", Multiply(), "x", "half"),
        node("old", Multiply(), "before", "other"),
        node("now", Add(), "new", "old"),
    ]
    state = State(Value("before", (1, Extent("H"), Extent("W"))), "now")
    return graph(image(), nodes, constants=halves, states=[state])


def test_widths_by_name_replace_those_of_all():
    found = lowered(LAYER, random_image(), bits={"weight": 5, "relu": 9, "x": 6})
    assert format_of(found, "x").width == 6
    assert format_of(found, "relu").width == 9
    assert {form.width for form in found.constants_by_name["weight"].formats} == {5}
    others = lowered(LAYER, random_image())
    assert format_of(others, "x").width == 14
    assert format_of(others, "relu").width == 14
    assert {form.width for form in others.constants_by_name["weight"].formats} == {10}


def test_what_prelus_alone_read_is_rounded_behind_them():
    """Rounded to 8 bits before as well, it would have twice the error."""
    nodes = [
        node("conv", Conv2d(), "x", "weight", "bias"),
        node("one", Prelu(), "conv", "slope"),
        node("two", Prelu(), "conv", "slope"),
        node("sum", Add(), "one", "two"),
    ]
    constants = [WEIGHT, BIAS, constant("slope", [0.1])]
    source = graph(image(), nodes, constants=constants)
    found = lowered(source, random_image(), activation_bits=8)
    assert [format_of(found, name).width for name in ("x", "conv", "sum")] == [8, 14, 8]
    assert format_of(lowered(source, random_image(), activation_bits=15), "conv").width == 15
    given = lowered(source, random_image(), activation_bits=8, bits={"conv": 9})
    assert format_of(given, "conv").width == 9
    seen = graph(image(), nodes, ("sum", "conv"), constants)
    assert format_of(lowered(seen, random_image(), activation_bits=8), "conv").width == 8
    pooled = graph(image(), [*nodes, node("pool", MaxPool((2, 2)), "conv")], ("sum", "pool"),
                   constants)  # fmt: skip
    assert format_of(lowered(pooled, random_image(), activation_bits=8), "conv").width == 8


@pytest.mark.parametrize("per_channel", [False, True])
def test_every_channel_of_a_weight_has_the_width(per_channel: bool):
    found = lowered(LAYER, random_image(), bits={"weight": 4}, per_channel=per_channel)
    weight = found.constants_by_name["weight"]
    assert {form.width for form in weight.formats} == {4}
    assert np.abs(weight.data).max() <= 8


def test_a_value_named_is_rounded_where_its_sum_could_flow_on():
    assert format_of(lowered(LAYER, random_image()), "conv").width > 14
    assert format_of(lowered(LAYER, random_image(), bits={"conv": 9}), "conv").width == 9


def test_an_exact_result_is_not_widened():
    small = graph(image(), [node("y", MaxPool((2, 2), (2, 2)), "x")])
    found = lowered(small, random_image(), input_formats={"x": BYTE}, bits={"y": 12})
    assert format_of(found, "y") == BYTE


def test_a_table_has_the_width_of_its_value():
    gate = graph(image(), [node("y", Sigmoid(), "x")])
    assert format_of(lowered(gate, random_image(), bits={"x": 8, "y": 6}), "y") == Format(
        6, 6, signed=False
    )


def test_a_state_has_the_width_of_its_source():
    found = lowered(recurrent(), random_image(), bits={"now": 20})
    assert format_of(found, "before").width == format_of(found, "now").width == 20


def test_a_source_has_the_width_of_its_state():
    found = lowered(recurrent(), random_image(), bits={"before": 18})
    assert format_of(found, "before").width == format_of(found, "now").width == 18
    assert not any(isinstance(item.op, Requantize) for item in found.nodes)


def test_a_state_may_be_narrower_than_the_output_that_is_fed_back():
    found = lowered(recurrent(), random_image(), bits={"before": 9, "now": 16})
    assert (format_of(found, "before").width, format_of(found, "now").width) == (9, 16)
    assert found.outputs == ("now",)
    feeding = found.node(found.states[0].source)
    assert isinstance(feeding.op, Requantize)
    assert feeding.inputs == ("now",)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("conv2", {}, "bits are given for 'conv2'; graph 'small' has"),
        ("bias", {}, "bits are given for 'bias', a bias, whose width follows from its values"),
        ("x", {"input_formats": {"x": BYTE}},
         "bits are given for 'x', whose format is given too"),
        ("relu", {"output_formats": {"relu": BYTE}},
         "bits are given for 'relu', whose format is given too"),
    ],
)  # fmt: skip
def test_names_that_have_no_choice(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(GraphError) as caught:
        lowered(LAYER, random_image(), bits={name: 8}, **settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("width", [1, 33, True, 8.5])
def test_widths_out_of_range_in_settings(width: Any):
    with pytest.raises(FormatError) as caught:
        LoweringSettings(bits={"relu": width})
    assert str(caught.value) == f"bits['relu'] must be an integer from 2 to 32, got {width!r}"


@pytest.mark.parametrize("width", [1, 33, np.int64(64)])
def test_widths_out_of_range_in_options(width: Any):
    with pytest.raises(FormatError) as caught:
        fxp.QuantizeOptions(bits={"relu": width})
    assert str(caught.value) == f"bits['relu'] must be an integer from 2 to 32, got {int(width)}"


@pytest.mark.parametrize("bits", [8, "conv", ["conv"], {3: 8}])
def test_bits_that_are_no_mapping_of_names(bits: Any):
    with pytest.raises(fxp.ArgumentTypeError, match="bits must be a mapping from names of values"):
        fxp.QuantizeOptions(bits=bits)


@pytest.mark.parametrize("width", [8.0, "8", True])
def test_bits_that_are_no_whole_numbers(width: Any):
    with pytest.raises(fxp.ArgumentTypeError) as caught:
        fxp.QuantizeOptions(bits={"relu": width})
    assert str(caught.value) == f"bits['relu'] must be a whole number, got {width!r}"


def test_the_front_door_and_training_take_them():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    images = [torch.rand(1, 1, 8, 8)]
    bits = {"0.weight": np.int64(4), "2.weight": 6, "1": 7}
    model = fxp.quantize(network, images, bits=bits)
    assert model.graph.constants_by_name["0.weight"].formats[0].width == 4
    assert model.graph.constants_by_name["2.weight"].formats[0].width == 6
    assert format_of(model.graph, "1").width == 7
    assert fxp.convert(fxp.prepare_qat(network, images, bits=bits)).graph == model.graph
