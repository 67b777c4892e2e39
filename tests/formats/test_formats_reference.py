"""The functions of `fxp.formats` against exact rational arithmetic."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from formats_exact import (
    INT64,
    ROUNDINGS,
    exact_array,
    exact_limits,
    exact_quantize,
    exact_value,
    formats,
    integers_within,
    modes_of,
    overflows_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.formats import (
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    check_raw,
    conversion,
    dequantize,
    overflow_mask,
    quantize,
    requantize,
    saturation_limits,
)

light = settings(deadline=None, max_examples=60)
int64s = integers_within(INT64.min, INT64.max)
shifts = st.one_of(st.integers(-200, 200), st.integers(-4, 12), st.integers(60, 66))


@st.composite
def raw_near_ties(draw: st.DrawFn, shift: int) -> int:
    """Raw integer that is a tie, or next to one, when shifted right."""
    if not 1 <= shift <= 62:
        return draw(int64s)
    half_steps = draw(st.integers(-(1 << 8), 1 << 8)) * 2 + 1
    candidate = half_steps * (1 << (shift - 1)) + draw(st.integers(-1, 1))
    return candidate if INT64.min <= candidate <= INT64.max else draw(int64s)


@st.composite
def shifted(draw: st.DrawFn) -> tuple[list[int], int, Format]:
    """Raw integers, their fraction bits and a target format."""
    target = draw(formats())
    shift = draw(shifts)
    raws = draw(st.lists(st.one_of(int64s, raw_near_ties(shift)), min_size=1, max_size=6))
    return raws, target.frac + shift, target


@light
@given(shifted())
def test_requantize_equals_exact(case: tuple[list[int], int, Format]) -> None:
    raws, source_frac, target = case
    array = np.array(raws, dtype=np.int64)
    values = [exact_value(raw, source_frac) for raw in raws]
    for rounding, overflow in modes_of(target):
        expected, changed = exact_array(values, target, rounding, overflow)
        result = requantize(array, source_frac, target, rounding, overflow)
        assert result.dtype == np.int64
        assert result.tolist() == expected, (rounding, overflow)
        mask = overflow_mask(array, source_frac, target, rounding, overflow)
        assert mask.dtype == np.bool_
        assert mask.tolist() == changed, (rounding, overflow)
        check_raw(result, target)


@light
@given(formats(), st.lists(st.tuples(int64s, shifts), min_size=1, max_size=6))
def test_source_frac_per_element(target: Format, pairs: list[tuple[int, int]]) -> None:
    raws = np.array([raw for raw, _ in pairs], dtype=np.int64)
    source_frac = np.array([target.frac + shift for _, shift in pairs], dtype=np.int64)
    values = [exact_value(*pair) for pair in zip(raws, source_frac, strict=True)]
    for rounding, overflow in modes_of(target):
        expected, changed = exact_array(values, target, rounding, overflow)
        arguments = (raws, source_frac, target, rounding, overflow)
        assert requantize(*arguments).tolist() == expected, (rounding, overflow)
        assert overflow_mask(*arguments).tolist() == changed, (rounding, overflow)


@light
@given(formats(), st.lists(int64s, min_size=2, max_size=2), st.lists(shifts, min_size=3))
def test_source_frac_broadcasts(target: Format, raws: list[int], offsets: list[int]) -> None:
    column = np.array(raws, dtype=np.int64)[:, None]
    row = np.array(offsets, dtype=np.int16) + np.int16(target.frac)
    result = requantize(column, row, target)
    assert result.shape == (2, len(offsets))
    for (i, j), raw in np.ndenumerate(result):
        value = exact_value(raws[i], int(row[j]))
        assert raw == exact_quantize(value, target, Rounding.HALF_UP, Overflow.SATURATE)[0]


@pytest.mark.parametrize("shift", [-200, -64, -63, -1, 0, 1, 62, 63, 64, 65, 200])
@pytest.mark.parametrize("width", [1, 5, 63])
@pytest.mark.parametrize("signed", [True, False])
def test_border_shifts(shift: int, width: int, signed: bool) -> None:
    target = Format(width, 3, signed)
    powers = [sign * 2**k for sign in (-1, 1) for k in (0, 1, 31, 61, 62)]
    borders = [INT64.min, INT64.min + 1, INT64.max - 1, INT64.max, -3, 0, 3, 3 << 61, -(3 << 61)]
    raws = [raw for raw in powers + borders if INT64.min <= raw <= INT64.max]
    values = [exact_value(raw, 3 + shift) for raw in raws]
    for rounding, overflow in modes_of(target):
        expected, changed = exact_array(values, target, rounding, overflow)
        assert requantize(raws, 3 + shift, target, rounding, overflow).tolist() == expected
        assert overflow_mask(raws, 3 + shift, target, rounding, overflow).tolist() == changed


def small_float_formats() -> st.SearchStrategy[Format]:
    """Draw formats whose last bit lies anywhere in the float64 range, most of them near one."""
    return formats(st.one_of(st.integers(-70, 70), st.integers(-1100, 1200)))


@st.composite
def floats_and_format(draw: st.DrawFn) -> tuple[list[float], Format]:
    target = draw(small_float_formats())
    near_grid = st.builds(
        lambda raw, shift: math.ldexp(raw, -max(target.frac + shift, -950)),
        st.integers(-(1 << 53) + 1, (1 << 53) - 1),
        st.integers(0, 60),
    )
    ties = st.builds(
        lambda raw: math.ldexp(2 * raw + 1, -max(target.frac + 1, -950)), st.integers(-9, 9)
    )
    special = st.sampled_from(
        [-0.0, 5e-324, 1e308, sys.float_info.max, sys.float_info.min, 2.0**62, 2.0**63, 2.0**64]
    )
    special = st.builds(math.copysign, special, st.sampled_from((-1.0, 1.0)))
    everything = st.floats(allow_nan=False, allow_infinity=False)
    values = st.lists(st.one_of(everything, near_grid, ties, special), min_size=1, max_size=6)
    return draw(values), target


@light
@given(floats_and_format())
def test_quantize_float64_equals_exact(case: tuple[list[float], Format]) -> None:
    values, target = case
    exact = [Fraction(value) for value in values]
    for rounding, overflow in modes_of(target):
        result = quantize(np.array(values), target, rounding, overflow)
        assert result.dtype == np.int64
        expected, _ = exact_array(exact, target, rounding, overflow)
        assert result.tolist() == expected, (rounding, overflow)


@light
@given(st.data(), formats(st.integers(-40, 170)), st.sampled_from((16, 32)))
def test_quantize_narrow_floats_equals_exact(
    data: st.DataObject, target: Format, bits: int
) -> None:
    finite = st.floats(allow_nan=False, allow_infinity=False, width=bits)
    values = np.array(data.draw(st.lists(finite, min_size=1, max_size=6)), dtype=f"float{bits}")
    exact = [Fraction(float(value)) for value in values]
    for rounding, overflow in modes_of(target):
        expected, _ = exact_array(exact, target, rounding, overflow)
        assert quantize(values, target, rounding, overflow).tolist() == expected


INTEGER_TYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">i8", ">u4", ">u8"]


@light
@given(st.data(), formats(), st.sampled_from(INTEGER_TYPES))
def test_quantize_integers_equals_exact(data: st.DataObject, target: Format, kind: str) -> None:
    limits = np.iinfo(np.dtype(kind))
    inside = integers_within(int(limits.min), min(int(limits.max), INT64.max))
    raws = data.draw(st.lists(inside, min_size=1, max_size=6))
    array = np.array(raws, dtype=kind)
    for rounding, overflow in modes_of(target):
        expected, _ = exact_array([Fraction(raw) for raw in raws], target, rounding, overflow)
        assert quantize(array, target, rounding, overflow).tolist() == expected


def test_quantize_bool() -> None:
    assert quantize([True, False], Format(8, 4)).tolist() == [16, 0]
    assert quantize(np.bool_(True), Format(1, 0, False)) == 1


@pytest.mark.parametrize("kind", ["u8", ">u8"])
def test_uint64_above_int64_is_refused(kind: str) -> None:
    for raw in (2**63, 2**64 - 1):
        array = np.array([1, raw], dtype=kind)
        for function in (
            lambda a: quantize(a, Format(8, 0)),
            lambda a: requantize(a, 0, Format(8, 0)),
            lambda a: overflow_mask(a, 0, Format(8, 0)),
            lambda a: check_raw(a, Format(63, 0, False)),
        ):
            with pytest.raises(FormatError, match="above 2"):
                function(array)


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_zero_dimensional_and_empty(rounding: Rounding, overflow: Overflow) -> None:
    target = Format(5, 2)
    for value in (3.3, -100, np.float32(0.6), np.int16(7), np.array(-3.125)):
        result = quantize(value, target, rounding, overflow)
        expected, changed = exact_quantize(Fraction(float(value)), target, rounding, overflow)
        assert isinstance(result, np.ndarray)
        assert result.shape == ()
        assert result.dtype == np.int64
        assert result == expected
        if np.asarray(value).dtype.kind == "i":
            mask = overflow_mask(value, 0, target, rounding, overflow)
            assert isinstance(mask, np.ndarray)
            assert mask.shape == ()
            assert mask == changed
        assert isinstance(dequantize(result, target), np.ndarray)
    for shape in ((0,), (3, 0), (0, 2, 1)):
        assert quantize(np.empty(shape), target, rounding, overflow).shape == shape
        empty = np.empty(shape, dtype=np.int64)
        assert requantize(empty, 3, target, rounding, overflow).shape == shape
        assert overflow_mask(empty, 3, target, rounding, overflow).shape == shape
        assert dequantize(empty, target).shape == shape


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_memory_layout_does_not_matter(rounding: Rounding, overflow: Overflow) -> None:
    target = Format(6, 1)
    block = np.random.default_rng(3).integers(-2000, 2000, (3, 4, 3))
    read_only = block.copy()
    read_only.setflags(write=False)
    views = [block[::2, ::-1], block.transpose(2, 0, 1), np.asfortranarray(block), read_only]
    views += [block[1], block[:, 2], np.broadcast_to(block[0, 0], (2, 3)), block.astype(">i2")]
    for view in views:
        before = view.copy()
        compact = np.ascontiguousarray(view)
        for frac in (-2, 1, 4):
            arguments = (target, rounding, overflow)
            expected, changed = exact_array(
                [exact_value(raw, frac) for raw in compact.ravel()], *arguments
            )
            result = requantize(view, frac, *arguments)
            assert result.shape == view.shape
            assert result.ravel().tolist() == expected
            assert overflow_mask(view, frac, *arguments).ravel().tolist() == changed
            floats = quantize(view.astype(np.float32) / np.float32(2.0**frac), *arguments)
            assert np.array_equal(floats, result)
        assert np.array_equal(view, before)


@light
@given(st.data(), small_float_formats())
def test_quantize_reverses_dequantize(data: st.DataObject, source: Format) -> None:
    exact = integers_within(max(source.min_raw, -(2**53)), min(source.max_raw, 2**53))
    raws = data.draw(st.lists(exact, min_size=1, max_size=6))
    try:
        values = dequantize(raws, source)
    except FormatError:
        assert not -900 < source.frac < 1000
        return
    for rounding, overflow in modes_of(source):
        inside = overflow is not Overflow.SATURATE_SYMMETRIC or source.min_raw not in raws
        if inside or not source.signed:
            assert quantize(values, source, rounding, overflow).tolist() == raws
            assert requantize(raws, source.frac, source, rounding, overflow).tolist() == raws


def float64_or_none(value: Fraction) -> float | None:
    """Return the float64 equal to a rational number, or None if there is none."""
    try:
        nearest = float(value)
    except OverflowError:
        return None
    return nearest if Fraction(nearest) == value else None


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=300)
@given(st.data(), formats(st.one_of(st.integers(-70, 70), st.integers(-960, 960))))
def test_dequantize_is_exact_or_refuses(data: st.DataObject, source: Format) -> None:
    inside = integers_within(source.min_raw, source.max_raw)
    raws = data.draw(st.lists(inside, min_size=1, max_size=4))
    expected = [float64_or_none(exact_value(raw, source.frac)) for raw in raws]
    if None in expected:
        index = expected.index(None)
        with pytest.raises(FormatError) as caught:
            dequantize(raws, source)
        assert f"raw {raws[index]} of {source} at index ({index},)" in str(caught.value)
    else:
        values = dequantize(raws, source)
        assert values.dtype == np.float64
        assert values.tolist() == expected


@pytest.mark.parametrize("source", [Format(63, 0), Format(63, 40), Format(63, -1, False)])
def test_dequantize_refuses_more_than_53_bits(source: Format) -> None:
    assert dequantize([2**53, 2**53 + 2, 2**61], source).tolist() == [
        math.ldexp(raw, -source.frac) for raw in (2**53, 2**53 + 2, 2**61)
    ]
    for raw in (2**53 + 1, 2**60 + 1, source.max_raw):
        with pytest.raises(FormatError, match=r"raw \d+ of .* at index \(1, 0\) has no exact"):
            dequantize([[0], [raw]], source)


@light
@given(st.data(), formats(st.integers(-70, 70)))
def test_saturating_modes_are_monotone(data: st.DataObject, target: Format) -> None:
    finite = st.floats(allow_nan=False, allow_infinity=False)
    near = st.floats(-(2.0**64), 2.0**64).map(lambda value: math.ldexp(value, -target.frac))
    values = np.sort(data.draw(st.lists(st.one_of(finite, near), min_size=2, max_size=12)))
    raws = np.sort(np.array(data.draw(st.lists(int64s, min_size=2, max_size=12)), dtype=np.int64))
    source_frac = target.frac + data.draw(shifts)
    for rounding in ROUNDINGS:
        for overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
            assert (np.diff(quantize(values, target, rounding, overflow)) >= 0).all()
            moved = requantize(raws, source_frac, target, rounding, overflow)
            assert all(a <= b for a, b in zip(moved.tolist(), moved.tolist()[1:], strict=False))


@given(formats())
def test_limits(target: Format) -> None:
    assert (target.min_raw, target.max_raw) == exact_limits(target, Overflow.WRAP)
    for overflow in overflows_of(target):
        assert saturation_limits(target, overflow) == exact_limits(target, overflow)
    assert target.integer + target.frac == target.width


@pytest.mark.parametrize("patched", Rounding)
def test_reference_notices_a_wrong_rounding(
    patched: Rounding, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = conversion._round_right
    raws = list(range(-64, 64))
    values = [exact_value(raw, 3) for raw in raws]
    target = Format(16, 0)
    expected, _ = exact_array(values, target, patched, Overflow.SATURATE)
    assert requantize(raws, 3, target, patched).tolist() == expected
    for wrong in set(Rounding) - {patched}:
        monkeypatch.setattr(
            conversion,
            "_round_right",
            lambda r, s, _, wrong=wrong: original(r, s, wrong),
        )
        assert requantize(raws, 3, target, patched).tolist() != expected


# The examples of AMD UG1399, "Quantization Modes" and "Overflow Modes": value in, value out.
DOCUMENTED = [
    ("ap_fixed<3,2,AP_RND,AP_SAT>", 1.25, 1.5),
    ("ap_fixed<3,2,AP_RND,AP_SAT>", -1.25, -1.0),
    ("ap_fixed<3,2,AP_RND_ZERO,AP_SAT>", 1.25, 1.0),
    ("ap_fixed<3,2,AP_RND_ZERO,AP_SAT>", -1.25, -1.0),
    ("ap_fixed<3,2,AP_RND_MIN_INF,AP_SAT>", 1.25, 1.0),
    ("ap_fixed<3,2,AP_RND_MIN_INF,AP_SAT>", -1.25, -1.5),
    ("ap_fixed<3,2,AP_RND_INF,AP_SAT>", 1.25, 1.5),
    ("ap_fixed<3,2,AP_RND_INF,AP_SAT>", -1.25, -1.5),
    ("ap_fixed<3,2,AP_RND_CONV,AP_SAT>", 0.75, 1.0),
    ("ap_fixed<3,2,AP_RND_CONV,AP_SAT>", -1.25, -1.0),
    ("ap_fixed<3,2,AP_TRN,AP_SAT>", 1.25, 1.0),
    ("ap_fixed<3,2,AP_TRN,AP_SAT>", -1.25, -1.5),
    ("ap_fixed<3,2,AP_TRN_ZERO,AP_SAT>", 1.25, 1.0),
    ("ap_fixed<3,2,AP_TRN_ZERO,AP_SAT>", -1.25, -1.0),
    ("ap_fixed<4,4,AP_RND,AP_SAT>", 19.0, 7.0),
    ("ap_fixed<4,4,AP_RND,AP_SAT>", -19.0, -8.0),
    ("ap_ufixed<4,4,AP_RND,AP_SAT>", 19.0, 15.0),
    ("ap_ufixed<4,4,AP_RND,AP_SAT>", -19.0, 0.0),
    ("ap_fixed<4,4,AP_RND,AP_SAT_ZERO>", 19.0, 0.0),
    ("ap_fixed<4,4,AP_RND,AP_SAT_ZERO>", -19.0, 0.0),
    ("ap_ufixed<4,4,AP_RND,AP_SAT_ZERO>", 19.0, 0.0),
    ("ap_ufixed<4,4,AP_RND,AP_SAT_ZERO>", -19.0, 0.0),
    ("ap_fixed<4,4,AP_RND,AP_SAT_SYM>", 19.0, 7.0),
    ("ap_fixed<4,4,AP_RND,AP_SAT_SYM>", -19.0, -7.0),
    ("ap_ufixed<4,4,AP_RND,AP_SAT_SYM>", 19.0, 15.0),
    ("ap_ufixed<4,4,AP_RND,AP_SAT_SYM>", -19.0, 0.0),
    ("ap_fixed<4,4,AP_RND,AP_WRAP>", 31.0, -1.0),
    ("ap_fixed<4,4,AP_RND,AP_WRAP>", -19.0, -3.0),
    ("ap_ufixed<4,4,AP_RND,AP_WRAP>", 19.0, 3.0),
    ("ap_ufixed<4,4,AP_RND,AP_WRAP>", -19.0, 13.0),
    ("ap_fixed<4,4,AP_RND,AP_WRAP_SM>", 19.0, -4.0),
    ("ap_fixed<4,4,AP_RND,AP_WRAP_SM>", -19.0, 2.0),
]


@pytest.mark.parametrize(("name", "value", "expected"), DOCUMENTED)
def test_documented_examples(name: str, value: float, expected: float) -> None:
    kind = Quantization.parse(name)
    raw = quantize(value, kind.format, kind.rounding, kind.overflow)
    assert dequantize(raw, kind.format) == expected
