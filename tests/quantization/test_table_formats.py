"""Formats of tables: by the bounds of the function where these are ±1, else by the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_graphs import BYTE, constant, format_of, graph, image, lowered, node, pointwise
from torch import nn

import fxp
from fxp.engine import Engine
from fxp.executors import oracle
from fxp.formats import Format, Overflow, dequantize, quantize
from fxp.graph import Graph
from fxp.graph.ops import (
    Add,
    Conv2d,
    Elu,
    Gelu,
    GraphError,
    HardSigmoid,
    HardSwish,
    Silu,
    Softplus,
)
from fxp.quantization.calibrate import observe
from fxp.quantization.lowering import rounded_names
from fxp.quantization.settings import LoweringSettings


def ramp(low: float, high: float) -> torch.Tensor:
    """Image of all values from `low` to `high`."""
    return torch.linspace(low, high, 1024, dtype=torch.float64).reshape(1, 1, 32, 32)


def output(integer: Graph, data: torch.Tensor) -> tuple[np.ndarray, int]:
    """Real values of the output, and how many of them were clipped."""
    form = integer.inputs[0].format
    assert form is not None
    result = oracle.run(integer, [quantize(data[0].numpy(), form)])
    name = integer.outputs[0]
    return dequantize(result.outputs[0], format_of(integer, name)), result.clipped[name]


def test_results_above_one_are_not_clipped() -> None:
    """SiLU of 4.9171 is 4.8814: a format for ±1 would be wrong by almost 4."""
    data = ramp(-5, 4.9171)
    integer = lowered(graph(image(), [node("gate", Silu(), "x")]), data, headroom=0)
    assert format_of(integer, "gate") == Format(14, 10)
    found, clipped = output(integer, data)
    wanted = torch.nn.functional.silu(data[0]).numpy()
    assert wanted.max() == pytest.approx(4.8814, abs=1e-4)
    # Half a step of the input, which SiLU stretches by at most 1.1, and half a step of the result.
    assert np.abs(found - wanted).max() < 1.1 * 2**-11 + 2**-11
    assert clipped == 0


def test_what_calibration_did_not_reach_is_clipped_and_counted() -> None:
    """Inputs reach -7.9, so that 7.9 fits; results were seen up to 3.86 alone."""
    integer = lowered(graph(image(), [node("gate", Silu(), "x")]), ramp(-7.9, 3.94), headroom=0)
    assert format_of(integer, "x") == Format(14, 10)
    assert format_of(integer, "gate") == Format(14, 11)
    data = ramp(-7.9, 7.9)
    found, clipped = output(integer, data)
    assert found.max() == 4 - 2**-11
    # SiLU passes 4 - 2**-12, from where on it is rounded up beyond the format, at 4.0682.
    assert clipped == int((data > 4.0682).sum())
    engine = Engine(integer)
    form = format_of(integer, "x")
    assert engine.run([quantize(data[0].numpy(), form)]).clipped["gate"] == clipped


def test_headroom_of_a_result_ends_where_the_table_ends() -> None:
    """Inputs reach from -4 to 4, where SiLU is 3.93: twice 3.2 cannot come, whatever is asked."""
    source = graph(image(), [node("gate", Silu(), "x")])
    integer = lowered(source, ramp(-3.3, 3.3), headroom=2, input_formats={"x": Format(14, 11)})
    assert format_of(integer, "gate") == Format(14, 11)


@pytest.mark.parametrize(
    ("op", "low", "high", "form"),
    [
        (HardSigmoid(), -4, 4, Format(14, 14, signed=False)),
        (Softplus(), -4, 6.5, Format(14, 11, signed=False)),
        (Silu(), 0, 3.5, Format(14, 12, signed=False)),
        (HardSwish(), -4, 3.5, Format(14, 11)),
        (Elu(), -4, 0.9, Format(14, 13)),
        (Gelu(), -4, 100, Format(14, 6)),
    ],
    ids=str,
)
def test_formats(op, low: float, high: float, form: Format) -> None:
    integer = lowered(
        graph(image(), [node("y", op, "x")]), ramp(low, high), method="minmax", headroom=0
    )
    assert format_of(integer, "y") == form


def test_a_given_format_holds() -> None:
    source = graph(image(), [node("y", Silu(), "x")])
    integer = lowered(source, ramp(-4, 4), output_formats={"y": Format(6, 4)})
    assert format_of(integer, "y") == Format(6, 4)
    found, clipped = output(integer, ramp(-4, 4))
    assert found.max() == 31 / 16
    # SiLU passes 31.5 / 16, from where on it would be rounded to 32 / 16, at 2.1893.
    assert clipped == int((ramp(-4, 4) > 2.1893).sum())


def test_overflow_of_a_table_has_the_mode_that_was_asked_for() -> None:
    """Code 32 of a 6-bit format wraps to -32."""
    source = graph(image(), [node("y", Silu(), "x")])
    integer = lowered(
        source, ramp(-4, 4), output_formats={"y": Format(6, 4)}, overflow=Overflow.WRAP
    )
    assert output(integer, torch.full((1, 1, 2, 2), 2.22))[0].max() == -2


def test_the_search_may_change_the_bits_of_an_unbounded_table() -> None:
    nodes = [node("a", Silu(), "x"), node("b", HardSigmoid(), "a")]
    source = graph(image(), nodes)
    data = ramp(-4, 4)
    assert rounded_names(lowered(source, data), LoweringSettings()) == ("x", "a")
    integer = lowered(source, data, fracs={"a": 9})
    assert format_of(integer, "a") == Format(14, 9)
    assert format_of(integer, "b") == Format(14, 14, signed=False)


def test_wide_entries_flow_into_a_sum() -> None:
    """As every exact result does that one addition reads."""
    nodes = [node("gate", Silu(), "x"), node("sum", Add(), "gate", "x")]
    integer = lowered(graph(image(), nodes), ramp(-7.9, 3.94), headroom=0)
    assert format_of(integer, "gate") == Format(15, 11)
    assert output(integer, ramp(-7.9, 7.9))[0].shape == (1, 32, 32)


def test_an_infinite_result_is_refused() -> None:
    nodes = [node("y", Elu(scale=1e300), "x")]
    source = graph(image(), nodes)
    data = torch.full((1, 1, 2, 2), 1e7, dtype=torch.float64)
    with pytest.raises(GraphError, match=r"node 'y' \(elu\): a result is infinite"):
        lowered(source, data, input_formats={"x": Format(14, -200)})


def test_unused_statistics_do_not_matter_for_bounded_functions() -> None:
    source = graph(image(), [node("y", HardSigmoid(), "x")])
    for data in (ramp(-0.1, 0.1), ramp(-9, 9)):
        assert format_of(lowered(source, data), "y") == Format(14, 14, signed=False)


@pytest.mark.parametrize(
    "activation",
    [nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.ELU(), nn.SELU(), nn.CELU(0.5), nn.Mish(),
     nn.GELU(), nn.GELU("tanh"), nn.Softplus(), nn.LogSigmoid()],
    ids=str,
)  # fmt: skip
def test_a_network_is_as_good_as_with_relu(activation: nn.Module) -> None:
    def quality(function: nn.Module) -> float:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), function, nn.Conv2d(6, 2, 3)).eval()
        data = 4 * torch.randn(2, 1, 16, 16)
        fixed = fxp.quantize(model, [data])
        with torch.no_grad():
            error = fixed(data.numpy()) - model(data).numpy()
            return float(10 * np.log10((model(data).numpy() ** 2).mean() / (error**2).mean()))

    assert quality(activation) > quality(nn.ReLU()) - 6


def test_a_table_feeds_a_state() -> None:
    """The state has the format that statistics give it, whatever the table's entries need."""
    from fxp.graph import State, Value

    nodes = [node("sum", Add(), "x", "before"), node("now", Silu(), "sum")]
    state = State(Value("before", image().shape), "now")
    source = graph(image(), nodes, ["now"], states=[state])
    statistics = observe(source, [[ramp(-2, 3)], [ramp(-2, 3)]])
    integer = fxp.quantization.lowering.lower(source, statistics, LoweringSettings())
    (fed,) = integer.states
    assert fed.value.format == format_of(integer, fed.source)
    assert fed.value.format.max > 2.8


def test_weights_after_a_table_are_exact() -> None:
    nodes = [node("gate", Silu(), "x"), node("y", Conv2d(), "gate", "w")]
    source = graph(image(), nodes, constants=[constant("w", pointwise([[0.5]]))])
    found, _ = output(lowered(source, ramp(0, 1), input_formats={"x": BYTE}), ramp(0, 1))
    wanted = 0.5 * torch.nn.functional.silu(ramp(0, 1)[0]).numpy()
    assert np.abs(found - wanted).max() < 2**-8
