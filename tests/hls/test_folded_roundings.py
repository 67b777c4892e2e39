"""Roundings that weighted sums take over, and ReLUs that a saturation makes unnecessary."""

from __future__ import annotations

import pytest
from streaming_graphs import ACTIVATION, GraphBuilder, residual

from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Graph, ops
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import ModuleInstance
from fxp.hls.rtl.rounding import folded_roundings

# The input has 8 fraction bits, the weights 7, so sums have 15.


def modules(graph: Graph, multipliers: str = "shift_add") -> list[str]:
    plan, _ = plan_graph(graph, max_width=16, multipliers=multipliers)
    return [item.module for item in plan.items if isinstance(item, ModuleInstance)]


def test_a_rounding_right_behind_a_sum():
    b = GraphBuilder("alone")
    b.conv(2, name="conv", target=Format(10, 9))
    found = folded_roundings(b.graph())
    # 15 fraction bits become 9: half of the 6 that are dropped is 32.
    assert found.addends["conv"].tolist() == [32, 32]
    assert found.rounded == {"conv"}
    plan, output = plan_graph(b.graph(), max_width=16, multipliers="shift_add")
    assert output.exact
    (requantize,) = (
        i for i in plan.items if isinstance(i, ModuleInstance) and i.module == "fxp_requantize"
    )
    assert requantize.parameters["Rounding"] == "fxp_pkg::Floor"
    assert requantize.cost.adders == 0
    assert requantize.cost.registers == 2 * 10


def test_a_rounding_behind_a_shortcut():
    graph = residual()
    found = folded_roundings(graph)
    # The head rounds 15 to 8 bits by itself. Its 8 and 7 of the weights are 15, of which 6 stay.
    assert {name: row.tolist() for name, row in found.addends.items()} == {
        "head": [64, 64],
        "wide": [256, 256],
        "sum": [256, 256],
    }
    assert found.rounded == {"head", "relu"}
    plan, _ = plan_graph(graph, max_width=16, multipliers="shift_add")
    assert {value.value: value.exact for value in plan.values} == {
        "image": True, "head": True, "wide": False, "sum": False, "relu": True,
    }  # fmt: skip
    assert "fxp_clamp" not in modules(graph)
    # A tree of multipliers has no place for it; the saturation still does what the ReLU does.
    plan, _ = plan_graph(graph, max_width=16, multipliers="dsp")
    assert all(value.exact for value in plan.values)
    assert "fxp_clamp" not in modules(graph, "dsp")


@pytest.mark.parametrize(
    "target",
    [
        Quantization(Format(8, 6, signed=False), Rounding.HALF_EVEN),
        Quantization(Format(8, 6, signed=False), Rounding.FLOOR),
        Quantization(Format(8, 6, signed=False), Rounding.HALF_UP, Overflow.WRAP),
        Quantization(Format(9, 6), Rounding.HALF_UP),
    ],
    ids=["half even", "floor", "wrap", "signed"],
)
def test_what_cannot_be_taken_over(target: Quantization):
    assert folded_roundings(residual(target)).rounded == {"head"}
    plan, _ = plan_graph(residual(target), max_width=16, multipliers="shift_add")
    assert plan.values[2].exact


def test_other_readers_need_the_value_itself():
    b = GraphBuilder("two")
    b.conv(2, name="conv")
    b.add(ops.Relu(), name="relu", target=ACTIVATION)
    b.add(ops.Add(), "conv", "relu", name="sum")
    assert not folded_roundings(b.graph()).rounded


def test_only_one_operand_of_a_sum_takes_the_rounding():
    b = GraphBuilder("both")
    b.conv(2, source="image", name="left")
    b.conv(2, source="image", name="right")
    b.add(ops.Add(), "left", "right", name="sum")
    b.add(ops.Relu(), name="relu", target=ACTIVATION)
    found = folded_roundings(b.graph())
    assert set(found.addends) == {"left", "sum"}


def test_a_channel_that_is_always_zero():
    b = GraphBuilder("zero")
    b.conv(2, name="conv", target=Format(10, 9))
    constants = list(b.constants)
    data = constants[0].data.copy()
    data[1] = 0
    b.constants = [type(constants[0])(constants[0].name, data, constants[0].formats)]
    assert folded_roundings(b.graph()).addends["conv"].tolist() == [32, 0]
