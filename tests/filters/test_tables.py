"""Gamma tables are exact; the table op has its refusals."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxp
from fxp.filters import apply_table, gamma_table, table_graph
from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import StoredTable

BYTE = Format(8, 0, signed=False)


def is_nearest(entry: int, code: int, gamma: Fraction, source: Format, result: Format) -> bool:
    """Whether ``entry - 1/2 <= M * (code/N)**gamma < entry + 1/2``, in integers."""
    top, bottom = gamma.numerator, gamma.denominator
    value = (2 * result.max_raw) ** bottom * code**top
    lower, upper = ((2 * entry + sign) for sign in (-1, 1))
    unit = source.max_raw**top
    return (lower <= 0 or lower**bottom * unit <= value) and value < upper**bottom * unit


@settings(max_examples=80)
@given(
    gamma=st.fractions(Fraction(1, 20), 20, max_denominator=60),
    source=st.integers(1, 9),
    result=st.integers(1, 24),
)
def test_entries_are_rounded_exactly(gamma: Fraction, source: int, result: int) -> None:
    formats = Format(source, 0, False), Format(result, 3, False)
    table = gamma_table(gamma, *formats)
    assert table.shape == (1 << source,)
    assert table[0] == 0
    assert table[-1] == formats[1].max_raw
    assert (np.diff(table) >= 0).all()
    for code, entry in enumerate(table.tolist()):
        assert is_nearest(entry, code, gamma, *formats)


@pytest.mark.parametrize(
    "gamma", [Fraction(11, 5), Fraction(5, 11), Fraction(9, 20), Fraction(12, 5)]
)
def test_sixteen_bits(gamma: Fraction) -> None:
    source, result = Format(16, 0, False), Format(24, 0, False)
    table = gamma_table(gamma, source, result)
    for code in range(0, 1 << 16, 7):
        assert is_nearest(int(table[code]), code, gamma, source, result)


def test_ties_round_up() -> None:
    """Whether a value is a tie float64 cannot tell: no power of codes over 2**n - 1 is one."""
    for gamma in ("1/2", "1/3", 2, "3/2"):
        for source in range(1, 7):
            for result in range(1, 9):
                formats = Format(source, 0, False), Format(result, 0, False)
                for code, entry in enumerate(gamma_table(gamma, *formats).tolist()):
                    assert is_nearest(entry, code, Fraction(gamma), *formats)


def test_known_entries() -> None:
    bit, pair = Format(1, 0, False), Format(2, 0, False)
    assert gamma_table(1, pair, bit).tolist() == [0, 0, 1, 1]
    assert gamma_table("1/2", pair, bit).tolist() == [0, 1, 1, 1]
    assert gamma_table(2)[[0, 16, 128, 255]].tolist() == [0, 1, 64, 255]
    assert gamma_table(2.2)[[1, 64, 128, 192, 254]].tolist() == [0, 12, 56, 137, 253]


def test_floats_are_read_as_decimals() -> None:
    assert np.array_equal(gamma_table(2.2), gamma_table(Fraction(11, 5)))
    assert np.array_equal(gamma_table(np.float32(2.2)), gamma_table("2.2"))
    assert np.array_equal(gamma_table(1), np.arange(256))
    assert np.array_equal(gamma_table(0.4545), gamma_table("4545/10000"))


@pytest.mark.parametrize(("arguments", "message"), [
    ((0,), "gamma must be 0.01 to 100"),
    ((-2.2,), "gamma must be 0.01 to 100"),
    ((101,), "gamma must be 0.01 to 100"),
    ((1 / 2.2,), r"for 1/2.2 give Fraction\(5, 11\) or '5/11'"),
    ((float("nan"),), "gamma must be a number or a fraction, got nan"),
    ((float("inf"),), "gamma must be a number or a fraction, got inf"),
    (("1/0",), "gamma must be a number or a fraction"),
    ((None,), "gamma must be a number or a fraction, got None"),
    ((2.2, Format(8, 0)), "source must be unsigned"),
    ((2.2, Format(17, 0, False)), "source must be unsigned, of 1 to 16 bits"),
    ((2.2, BYTE, Format(8, 0)), "result must be unsigned"),
    ((2.2, BYTE, Format(25, 0, False)), "result must be unsigned, of 1 to 24 bits"),
])  # fmt: skip
def test_refusals_of_gamma(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gamma_table(*arguments)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 10),
    signed=st.booleans(),
    shape=st.sampled_from(((3, 4), (1, 1), (2, 3, 5))),
)
def test_any_table(seed: int, width: int, signed: bool, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(seed)
    source, result = Format(width, 2, signed), Format(13, -1)
    table = generator.integers(result.min_raw, result.max_raw, 1 << width, endpoint=True)
    image = generator.integers(source.min_raw, source.max_raw, shape, endpoint=True)
    mapped = apply_table(image, table, source, result)
    assert mapped.dtype == np.int16
    assert np.array_equal(mapped, table[image - source.min_raw])


def test_gamma_of_an_image() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mapped = apply_table(image, fxp.gamma_table(2.2))
    assert mapped.dtype == np.uint8
    assert np.array_equal(mapped.reshape(-1), gamma_table(2.2))


@pytest.mark.parametrize(("image", "table", "error", "message"), [
    (np.zeros((2, 2), np.uint8), np.arange(255), fxp.GraphError, "needs a table of 256 entries"),
    (np.zeros((2, 2), np.uint8), np.arange(256) - 1, fxp.FormatError, "raw -1 at index"),
    (np.zeros((2, 2), np.uint8), np.arange(256.0), TypeError, "raw values must be integers"),
    (np.zeros((2, 2)), np.arange(256), TypeError, "the image must hold integers"),
    (np.full((2, 2), 256), np.arange(256), fxp.FormatError, "raw 256 at index"),
    (np.zeros((2,), np.uint8), np.arange(256), ValueError, "must be (H, W) or"),
])  # fmt: skip
def test_refusals(image: Any, table: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        apply_table(image, table)


def test_a_float_graph_has_no_tables() -> None:
    with pytest.raises(fxp.GraphError, match=r"'y' \(table\): has no meaning in a float graph"):
        Graph(
            "g", (Value("x", (1, 2, 2)),), (Node("y", StoredTable(), ("x", "t")),), ("y",),
            (Constant("t", np.zeros(256)),),
        )  # fmt: skip


def test_a_table_needs_its_constant() -> None:
    with pytest.raises(fxp.GraphError, match="takes 2 inputs, got 1"):
        Graph(
            "g", (Value("x", (1, 2, 2), BYTE),),
            (Node("y", StoredTable(), ("x",), Quantization(BYTE)),), ("y",),
        )  # fmt: skip
    with pytest.raises(fxp.GraphError, match="at most 16 input bits"):
        table_graph(np.arange(256), Format(17, 0))


def test_the_table_counts_as_no_parameter() -> None:
    assert fxp.FixedModel(table_graph(gamma_table(2.2))).parameters == 0
    assert fxp.FixedModel(table_graph(gamma_table(2.2))).graph.nodes[0].op == StoredTable()
