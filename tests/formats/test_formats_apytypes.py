"""The functions of `fxp.formats` against the casts of the APyTypes library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from apytypes import APyFixedArray, OverflowMode, QuantizationMode
from formats_exact import INT64, integers_within, sample_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.formats import Format, IntArray, Overflow, Rounding, quantize, requantize

ROUNDING_NAMES = {
    Rounding.FLOOR: QuantizationMode.TO_NEG,
    Rounding.TO_ZERO: QuantizationMode.TO_ZERO,
    Rounding.HALF_UP: QuantizationMode.TIES_POS,
    Rounding.HALF_DOWN: QuantizationMode.TIES_NEG,
    Rounding.HALF_AWAY: QuantizationMode.TIES_AWAY,
    Rounding.HALF_TO_ZERO: QuantizationMode.TIES_ZERO,
    Rounding.HALF_EVEN: QuantizationMode.TIES_EVEN,
}
OVERFLOW_NAMES = {Overflow.SATURATE: OverflowMode.SAT, Overflow.WRAP: OverflowMode.WRAP}
MODES = list(itertools.product(ROUNDING_NAMES, OVERFLOW_NAMES))

SMALL_SOURCES = [Format(8, 4), Format(8, 4, False), Format(7, -3), Format(8, 12)]
SHIFTS = (-3, -1, 0, 1, 2, 3, 5, 7, 8, 9, 12)
WIDE = [
    (Format(63, 40), Format(63, 20)),
    (Format(63, 40), Format(40, 9)),
    (Format(63, 62), Format(14, 8)),
    (Format(63, 31, False), Format(62, 30)),
    (Format(63, 0), Format(63, -1)),
    (Format(40, 10), Format(63, 33)),
    (Format(33, 16), Format(32, 15)),
    (Format(33, 16), Format(31, 60)),
    (Format(63, 0), Format(1, -62)),
    (Format(63, 0), Format(8, -63)),
    (Format(63, 0), Format(8, -70)),
    (Format(48, 24), Format(8, 130)),
]


def cast(
    raw: IntArray, source_frac: int, target: Format, rounding: Rounding, overflow: Overflow
) -> IntArray:
    """Raw integers of a signed `target` after a cast by APyTypes.

    An exact cast to a wider format comes first. The saturating cast of APyTypes 0.5 alone computes
    in the machine words of the two formats: bits that a left shift moves out of them, and the carry
    of a rounding at their top, are lost before it looks for an overflow.
    """
    assert target.signed
    left = max(target.frac - source_frac, 0)
    array = APyFixedArray(raw.tolist(), bits=64, frac_bits=source_frac)
    array = array.cast(bits=130 + left, frac_bits=source_frac + left)
    bits = array.cast(
        bits=target.width,
        frac_bits=target.frac,
        quantization=ROUNDING_NAMES[rounding],
        overflow=OVERFLOW_NAMES[overflow],
    ).to_bits()
    return np.array([b - (1 << target.width) * (b > target.max_raw) for b in bits], dtype=np.int64)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_every_small_raw(rounding: Rounding, overflow: Overflow) -> None:
    for source, shift, width in itertools.product(SMALL_SOURCES, SHIFTS, (1, 3, 4, 5, 9)):
        target = Format(width, source.frac - shift)
        raw = sample_raw(source, 0, 0)
        result = requantize(raw, source.frac, target, rounding, overflow)
        expected = cast(raw, source.frac, target, rounding, overflow)
        assert np.array_equal(result, expected), (source, target)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_wide_formats(rounding: Rounding, overflow: Overflow) -> None:
    for seed, (source, target) in enumerate(WIDE):
        raw = sample_raw(source, 200, seed)
        result = requantize(raw, source.frac, target, rounding, overflow)
        expected = cast(raw, source.frac, target, rounding, overflow)
        assert np.array_equal(result, expected), (source, target)


@pytest.mark.parametrize("rounding", Rounding)
def test_unsigned_wrap_keeps_the_low_bits(rounding: Rounding) -> None:
    for source, shift, width in itertools.product(SMALL_SOURCES, SHIFTS, (1, 3, 4, 9)):
        frac = source.frac - shift
        raw = sample_raw(source, 0, 0)
        result = requantize(raw, source.frac, Format(width, frac, False), rounding, Overflow.WRAP)
        same_bits = cast(raw, source.frac, Format(width, frac), rounding, Overflow.WRAP)
        assert np.array_equal(result, same_bits & ((1 << width) - 1)), (source, shift, width)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(integers_within(INT64.min, INT64.max), min_size=1, max_size=8),
    st.one_of(st.integers(-4, 70), st.integers(-200, 200)),
    st.builds(Format, st.integers(1, 63), st.integers(-70, 90)),
)
def test_any_int64_and_shift(raws: list[int], shift: int, target: Format) -> None:
    raw = np.array(raws, dtype=np.int64)
    for rounding, overflow in MODES:
        result = requantize(raw, target.frac + shift, target, rounding, overflow)
        expected = cast(raw, target.frac + shift, target, rounding, overflow)
        assert np.array_equal(result, expected), (rounding, overflow)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
@pytest.mark.parametrize("target", [Format(14, 8), Format(5, -2), Format(24, 30), Format(1, 0)])
def test_floats(target: Format, rounding: Rounding, overflow: Overflow) -> None:
    generator = np.random.default_rng(11)
    grid = np.arange(-300, 300) * 2.0 ** -(target.frac + 2)
    scaled = generator.normal(size=300) * 2.0 ** generator.integers(-12, 12, 300)
    values = np.concatenate([grid, scaled, scaled.astype(np.float32)])
    # 140 bits of which 90 are fraction bits hold each of these floats exactly.
    exact = APyFixedArray.from_float(values, bits=140, frac_bits=90)
    assert exact.to_numpy().tolist() == values.tolist()
    bits = exact.cast(
        bits=target.width,
        frac_bits=target.frac,
        quantization=ROUNDING_NAMES[rounding],
        overflow=OVERFLOW_NAMES[overflow],
    ).to_bits()
    expected = [b - (1 << target.width) * (b > target.max_raw) for b in bits]
    assert quantize(values, target, rounding, overflow).tolist() == expected


@pytest.mark.parametrize("asked", Rounding)
def test_comparison_notices_a_wrong_rounding(asked: Rounding) -> None:
    """Every other rounding in place of the asked one makes the comparison fail."""
    raw, target = np.arange(-64, 64), Format(16, 0)
    theirs = cast(raw, 3, target, asked, Overflow.SATURATE)
    agreeing = [
        used for used in Rounding if np.array_equal(requantize(raw, 3, target, used), theirs)
    ]
    assert agreeing == [asked]
