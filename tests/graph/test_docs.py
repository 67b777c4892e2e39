"""The tables of the documentation say what the code does."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from documents import op_rows, page, table

from fxp.formats import Format, Overflow, Quantization, Rounding, requantize
from fxp.graph import MAX_CHANNELS, MAX_ELEMENTS, Constant, Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import REGISTRY, BicubicUpsample, BilinearUpsample, Conv2d, Op
from fxp.graph.ops.base import Operand
from fxp.graph.ops.pooling import GLOBAL_FRAC, MAX_PIXELS, RECIPROCAL_BITS, reciprocal

SEMANTICS = page("number-semantics.md")


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.strip("*").replace("\N{MINUS SIGN}", "-")) for cell in cells]


OP_ROWS = op_rows()


def test_the_op_table_lists_the_registry_in_order() -> None:
    assert list(OP_ROWS) == list(REGISTRY)


@pytest.mark.parametrize("op_class", REGISTRY.values(), ids=REGISTRY)
def test_the_op_table_names_every_attribute_and_its_default(op_class: type[Op]) -> None:
    attributes = OP_ROWS[op_class.name][2]
    fields = dataclasses.fields(op_class)  # type: ignore[arg-type]
    for field in fields:
        default = f'"{field.default}"' if isinstance(field.default, str) else field.default
        assert f"`{field.name}={default}`" in attributes
    named = re.findall(r"`(\w+)=", attributes)
    assert named == [field.name for field in fields]
    assert (attributes == "none") == (not fields)


def test_the_op_table_gives_the_fraction_bits_that_ops_add() -> None:
    assert f"x.frac + {RECIPROCAL_BITS} + " in OP_ROWS["average_pool"][5]
    assert f"x.frac + {GLOBAL_FRAC}`" in OP_ROWS["global_average_pool"][5]
    assert MAX_PIXELS == 2**26
    operand = Operand((1, 4, 4), (Format(8, 0),))
    for op in (BilinearUpsample(), BicubicUpsample(-0.5), BicubicUpsample(-0.75)):
        frac = op.accumulator(operand).frac
        assert f"x.frac + {frac}`" in OP_ROWS[op.name][5]
        taps = ", ".join(str(tap) for tap in op.taps()[1])
        row = f"({taps}) / {1 << op.taps()[0]} | {frac} |"
        assert row in SEMANTICS.replace("\N{MINUS SIGN}", "-")


def test_rounding_table() -> None:
    heading, *rows = table(SEMANTICS, "Mode")
    raw = [int(4 * number) for number in numbers(heading[3:])]
    assert [row[0].strip("`") for row in rows] == [mode.name for mode in Rounding]
    for row, mode in zip(rows, Rounding, strict=True):
        assert row[1] == f"`{mode.value}`"
        assert numbers(row[3:]) == requantize(raw, 2, Format(8, 0), mode).tolist()


def test_overflow_table() -> None:
    heading, *rows = table(SEMANTICS.split("### Overflow modes")[1], "Mode")
    raw = [int(number) for number in numbers(heading[3:])]
    assert [row[0].strip("`") for row in rows] == [mode.name for mode in Overflow]
    for row, mode in zip(rows, Overflow, strict=True):
        assert row[1] == f"`{mode.value}`"
        result = requantize(raw, 0, Format(4, 0), Rounding.FLOOR, mode)
        assert numbers(row[3:]) == result.tolist()


def test_the_addends_of_the_rounding_modes() -> None:
    raw = np.arange(-300, 301)
    negative = raw < 0
    for shift in range(1, 8):
        half = 1 << (shift - 1)
        addends = {
            Rounding.FLOOR: 0,
            Rounding.TO_ZERO: np.where(negative, 2 * half - 1, 0),
            Rounding.HALF_UP: half,
            Rounding.HALF_DOWN: half - 1,
            Rounding.HALF_AWAY: half - negative,
            Rounding.HALF_TO_ZERO: half - ~negative,
            Rounding.HALF_EVEN: half - 1 + ((raw >> shift) & 1),
        }
        for mode, addend in addends.items():
            expected = requantize(raw, shift, Format(20, 0), mode)
            assert np.array_equal((raw + addend) >> shift, expected), mode


def test_format_names() -> None:
    for row in table(SEMANTICS, "Format")[1:]:
        form = eval(row[0].strip("`"), {"Format": Format})
        assert row[1] == f"`{form}`"
        if row[2] != "none":
            assert row[2] == f"`{form.qonnx_name}`"
        limits = row[3].replace("255/256", "0.99609375").split(" to ")
        assert numbers(limits) == [form.min, form.max]


def test_worked_examples() -> None:
    graph = Graph(
        "g",
        (Value("x", (2, 1, 1), Format(8, 0)),),
        (Node("y", Conv2d(), ("x", "w", "b"), form := Quantization(Format(11, 0))),),
        ("y",),
        (
            Constant("w", np.array([3, -2]).reshape(1, 2, 1, 1), (Format(4, 0),)),
            Constant("b", np.array([10]), (Format(8, 0),)),
        ),
    )
    accumulator = graph.node("y").accumulator
    assert accumulator is not None
    assert (accumulator.low, accumulator.high) == ((-628,), (647,))
    assert accumulator.exact_format == form.format
    assert "= 647" in SEMANTICS
    assert "= -628        11 bits" in SEMANTICS
    assert reciprocal(9, RECIPROCAL_BITS + 4) == 116508
    assert abs(116508 * 9 / 2**20 - 1) < 2**-17
    assert reciprocal(4, RECIPROCAL_BITS + 2) == 65536
    assert (MAX_CHANNELS, MAX_ELEMENTS) == (2**22, 2**40)
    assert (Extent("H") * 2) // 2 == Extent("H")
