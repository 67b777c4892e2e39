"""Softmax and local response normalization: definition, tables, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.formats import Format, quantize
from fxp.graph.ops import GraphError, LocalResponseNorm, Softmax
from fxp.graph.ops.base import Operand

TABLE = Format(16, 16, signed=False)


def stored(op: Softmax | LocalResponseNorm, source: Operand, form: Format = TABLE) -> Operand:
    """Table of an op, quantized."""
    table = quantize(op.table_values(source, form.width), form)
    return Operand(table.shape, (form,), table)


def given_table(entries: list[int]) -> Operand:
    table = np.array(entries, np.int64)
    return Operand(table.shape, (Format(17, 0),), table)


@settings(max_examples=100)
@given(
    source=st.builds(Format, st.integers(1, 12), st.integers(-2, 12), st.booleans()),
    seed=st.integers(0, 1 << 32),
)
def test_softmax_by_the_definition(source: Format, seed: int) -> None:
    draw = np.random.default_rng(seed)
    operand = Operand((5, 2, 3), (source,))
    table = stored(Softmax(), operand)
    assert table.constant is not None
    entries = table.constant.tolist()
    raws = draw.integers(source.min_raw, source.max_raw, (5, 2, 3), np.int64, endpoint=True)
    accumulator = Softmax().accumulator(operand, table)
    result = Softmax().oracle((operand, table), raws, table.constant)
    frac = accumulator.frac
    assert frac == 16 + (5 * max(entries)).bit_length()
    for row, column in np.ndindex(2, 3):
        pixel = raws[:, row, column].tolist()
        picked = [entries[min(max(pixel) - raw, len(entries) - 1)] for raw in pixel]
        wanted = [entry * (2**frac // sum(picked)) for entry in picked]
        assert result[:, row, column].tolist() == wanted
    real = np.exp(raws * source.step - (raws * source.step).max(axis=0))
    assert np.abs(result * 2.0**-frac - real / real.sum(axis=0)).max() < 2**-14
    assert (result.sum(axis=0) <= 1 << frac).all()


def test_softmax_table_ends_where_it_vanishes() -> None:
    operand = Operand((2,), (Format(14, 8),))
    table = stored(Softmax(), operand).constant
    assert table is not None
    assert len(table) == math.ceil(17 * math.log(2) * 2**8) + 1
    assert (table[-1], table[-2]) == (0, 1)
    short = stored(Softmax(), Operand((2,), (Format(3, 8),))).constant
    assert short is not None
    assert len(short) == 8
    assert short.min() > 60000
    assert len(Softmax().table_values(Operand((2,), (Format(14, 900),)), 16)) == 1 << 14
    assert Softmax().table_values(Operand((2,), (Format(14, -900),)), 16).tolist() == [1, 0]


@settings(max_examples=100)
@given(
    source=st.builds(Format, st.integers(1, 12), st.integers(-2, 12), st.booleans()),
    size=st.integers(1, 9),
    seed=st.integers(0, 1 << 32),
)
def test_local_response_norm_by_the_definition(source: Format, size: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    op = LocalResponseNorm(size, alpha=0.5, beta=0.75, k=1.5)
    operand = Operand((4, 2, 3), (source,))
    table = stored(op, operand)
    assert table.constant is not None
    op.accumulator(operand, table)
    entries = table.constant.tolist()
    largest = min(size, 4) * max(source.min_raw**2, source.max_raw**2)
    shift = 0
    while largest >> shift >= len(entries):
        shift += 1
    raws = draw.integers(source.min_raw, source.max_raw, (4, 2, 3), np.int64, endpoint=True)
    result = op.oracle((operand, table), raws, table.constant)
    for c, row, column in np.ndindex(4, 2, 3):
        near = range(max(c - size // 2, 0), min(c + (size - 1) // 2, 3) + 1)
        squares = sum(int(raws[n, row, column]) ** 2 for n in near)
        assert result[c, row, column] == raws[c, row, column] * entries[squares >> shift]
        real = (1.5 + 0.5 / size * squares * source.step**2) ** -0.75
        # Half a step of the index moves the power by this much at most.
        step = 0.5 / size * 2.0 ** (shift - 2 * source.frac)
        assert abs(entries[squares >> shift] * 2.0**-16 - real) < 0.3 * step * (shift > 0) + 2**-16


def test_local_response_norm_has_a_bounded_table() -> None:
    op = LocalResponseNorm(5)
    for width, frac in ((14, 4), (16, 0), (24, 12), (30, 20)):
        table = stored(op, Operand((96, 55, 55), (Format(width, frac),)))
        assert 1 << 15 < table.shape[0] <= 1 << 16  # type: ignore[operator]
        op.accumulator(Operand((96, 55, 55), (Format(width, frac),)), table)


SOURCE = Operand((3, 2, 2), (Format(4, 0),))


@pytest.mark.parametrize(
    ("op", "operands", "message"),
    [
        (Softmax(), (SOURCE,), "needs a stored table in an integer graph"),
        (LocalResponseNorm(), (SOURCE,), "needs a stored table in an integer graph"),
        (Softmax(), (SOURCE, given_table([3, -1])), "must not be negative"),
        (LocalResponseNorm(), (SOURCE, given_table([-1])), "must not be negative"),
        (Softmax(), (SOURCE, given_table([0, 1])), r"exp\(0\), must be positive"),
        (Softmax(), (SOURCE, given_table([1] * 17)), "17 entries exceeds 16 codes"),
        (
            Softmax(),
            (Operand((3, 2, 2), (Format(17, 0),)), given_table([1])),
            "needs an operand of at most 16 bits",
        ),
        (
            Softmax(),
            (SOURCE, Operand((2, 1), (Format(3, 0),), np.ones((2, 1), np.int64))),
            "needs a table with one axis",
        ),
        (
            LocalResponseNorm(),
            (SOURCE, given_table([1] * 100)),
            "a table of 100 entries does not fit sums up to 192: .* by 1 bits they need 97",
        ),
        (
            LocalResponseNorm(),
            (Operand((3, 2, 2), (Format(32, 0),)), given_table([1])),
            "the sum of squares needs 64 bits; at most 62",
        ),
    ],
)  # fmt: skip
def test_operands_are_refused(op, operands, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        op.accumulator(*operands)


@pytest.mark.parametrize(
    "attributes",
    [{"size": 0}, {"size": 1 << 21}, {"k": 0.0}, {"alpha": -0.1}, {"beta": math.inf},
     {"k": math.nan}],
)  # fmt: skip
def test_attributes_are_refused(attributes: dict) -> None:
    with pytest.raises(GraphError, match=r"size must be 1 to|needs k above 0"):
        LocalResponseNorm(**attributes)


def test_local_response_norm_needs_an_image() -> None:
    with pytest.raises(GraphError, match=r"needs an image \(C, H, W\)"):
        LocalResponseNorm().shape((5,))


def test_a_wide_source_has_no_softmax_table() -> None:
    with pytest.raises(GraphError, match="at most 16 bits"):
        Softmax().table_values(Operand((2,), (Format(17, 3),)), 16)
