"""Soft threshold: the formula in exact fractions, its proved range, its refusals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.formats import Format
from fxp.graph.ops import GraphError, SoftThreshold
from fxp.graph.ops.base import Operand


def operands(source: Format, threshold: Format, raws: list[int]) -> tuple[Operand, Operand]:
    """Image of one channel per threshold."""
    constant = np.array(raws, np.int64)
    return Operand((len(raws), 1, 1), (source,)), Operand(constant.shape, (threshold,), constant)


@settings(max_examples=300)
@given(
    source=st.builds(Format, st.integers(1, 20), st.integers(-20, 20), st.booleans()),
    threshold=st.builds(Format, st.integers(1, 20), st.integers(-20, 20), st.booleans()),
    seed=st.integers(0, 1 << 32),
)
def test_formula_and_range(source: Format, threshold: Format, seed: int) -> None:
    draw = np.random.default_rng(seed)
    raws = draw.integers(threshold.min_raw, threshold.max_raw, 6, endpoint=True).tolist()
    pair = operands(source, threshold, raws)
    op = SoftThreshold()
    accumulator = op.accumulator(*pair)
    assert set(accumulator.fracs) == {max(source.frac, threshold.frac)}
    values = [source.min_raw, source.max_raw, 0, *draw.integers(source.min_raw, source.max_raw, 9)]
    found = []
    for raw in values:
        result = op.oracle(pair, np.full((6, 1, 1), raw, np.int64)).reshape(-1).tolist()
        x = raw * Fraction(2) ** -source.frac
        for item, t_raw in zip(result, raws, strict=True):
            t = t_raw * Fraction(2) ** -threshold.frac
            wanted = max(x - t, Fraction(0)) - max(-x - t, Fraction(0))
            assert item * Fraction(2) ** -accumulator.frac == wanted
        found.append(result)
    # It never falls, so that the ends of the format give the ends of the range.
    assert tuple(np.min(found, axis=0).tolist()) == accumulator.low == tuple(found[0])
    assert tuple(np.max(found, axis=0).tolist()) == accumulator.high == tuple(found[1])


def test_a_threshold_far_away_needs_no_bits() -> None:
    pair = operands(Format(8, 80), Format(8, -80), [127, -128, 0, 1])
    accumulator = SoftThreshold().accumulator(*pair)
    assert accumulator.high == (0, 2 * 127, 127, 0)
    assert accumulator.low == (0, -2 * 128, -128, 0)


def test_a_wide_difference_is_refused() -> None:
    SoftThreshold().accumulator(*operands(Format(8, 0), Format(8, 52), [0]))
    with pytest.raises(GraphError, match="needs 63 bits; at most 62 are supported"):
        SoftThreshold().accumulator(*operands(Format(8, 0), Format(8, 53), [0]))


@pytest.mark.parametrize("shape", [(2,), (3, 1, 1)])
def test_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GraphError, match=r"needs one threshold or one per channel \(3\)"):
        SoftThreshold().shape((3, 4, 4), shape)
