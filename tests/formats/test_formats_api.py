"""Names, errors and properties of the classes of `fxp.formats`."""

from __future__ import annotations

import dataclasses
import math
import string

import numpy as np
import pytest
from formats_exact import formats, modes_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fxp.formats import (
    MAX_FRAC_MAGNITUDE,
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    check_modes,
    check_raw,
    dequantize,
    overflow_mask,
    quantize,
    requantize,
)

light = settings(deadline=None, max_examples=150)
any_format = formats(st.integers(-MAX_FRAC_MAGNITUDE, MAX_FRAC_MAGNITUDE))


def outcome(parse: object, text: str) -> object:
    """Return what a parser makes of a text, or None if it refuses with FormatError."""
    try:
        return parse(text)  # type: ignore[operator]
    except FormatError:
        return None


@light
@given(any_format)
def test_format_name_round_trip(format_: Format) -> None:
    assert Format.parse(str(format_)) == format_
    spaced = str(format_).replace("<", " < ").replace(",", " , ").replace(">", " > ")
    assert Format.parse(f"  {spaced}") == format_
    if format_.signed:
        assert Format.parse(f"FIXED<{format_.width},{format_.integer}>") == format_
    assert eval(repr(format_), {"Format": Format}) == format_


@light
@given(st.data(), any_format)
def test_quantization_name_round_trip(data: st.DataObject, format_: Format) -> None:
    rounding, overflow = data.draw(st.sampled_from(modes_of(format_)))
    kind = Quantization(format_, rounding, overflow)
    name = str(kind)
    assert Quantization.parse(name) == kind
    assert Quantization.parse(name[:-1] + ", 0>") == kind
    assert rounding.value in name
    assert overflow.value in name
    with pytest.raises(FormatError, match=r"Quantization\.parse"):
        Format.parse(name)


def test_parse_examples() -> None:
    assert Format.parse("ap_fixed<14,6>") == Format(14, 8)
    assert Format.parse("ap_ufixed<8,0>") == Format(8, 8, False)
    assert Format.parse("ap_fixed<8,-3>") == Format(8, 11)
    assert Format.parse("ap_fixed<8,+12>") == Format(8, -4)
    assert Format.parse("INT8") == Format.parse("INT<8>") == Format(8, 0)
    assert Format.parse("UINT8") == Format.parse("UINT<8>") == Format(8, 0, False)
    # The defaults of the C++ type, which are not those of our functions.
    assert Quantization.parse("ap_fixed<8,3>") == Quantization(
        Format(8, 5), Rounding.FLOOR, Overflow.WRAP
    )
    assert Quantization.parse("ap_ufixed<8,3,AP_RND_CONV>") == Quantization(
        Format(8, 5, False), Rounding.HALF_EVEN, Overflow.WRAP
    )
    assert Quantization(Format(8, 5)) == Quantization.parse("ap_fixed<8,3,AP_RND,AP_SAT>")


BAD_FORMATS = [
    "",
    "ap_fixed",
    "ap_fixed<>",
    "ap_fixed<8>",
    "ap_fixed<8,>",
    "ap_fixed<8,3",
    "ap_fixed<8,3>>",
    "ap_fixed<0,0>",
    "ap_fixed<64,8>",
    "ap_fixed<-8,3>",
    "ap_fixed<8.0,3>",
    "ap_fixed<8,3;>",
    "ap_fixed<1e1,3>",
    "ap_fixed<8,999999999>",
    "ap_fixed<8,99999999999999999999>",
    "ap_fixed<8,3>;",
    "ap_fixed<8,3> x",
    "ap_fixed<8,3,AP_RND>",
    "AP_FIXED<8,3>",
    "sc_fixed<8,3>",
    "fixed<8,3>",
    "UFIXED<8,3>",
    "FIXED<8>",
    "FIXED8",
    "INT",
    "INT0",
    "INT64",
    "INT<8,3>",
    "INT 8",
    "INT-8",
    "uint8",
    "FLOAT32",
    "ap_int<8>",
]
BAD_QUANTIZATIONS = [
    "ap_fixed<8>",
    "ap_fixed<8,3,RND>",
    "ap_fixed<8,3,ap_rnd>",
    "ap_fixed<8,3,AP_SAT>",
    "ap_fixed<8,3,AP_RND,AP_RND>",
    "ap_fixed<8,3,AP_RND,AP_SAT,1>",
    "ap_fixed<8,3,AP_RND,AP_SAT,x>",
    "ap_fixed<8,3,AP_RND,AP_SAT,0,0>",
    "ap_fixed<8,3,,>",
    "ap_fixed<99,3,AP_RND,AP_SAT>",
    "ap_ufixed<8,3,AP_RND,AP_WRAP_SM>",
    "FIXED<8,3>",
    "INT8",
]


@pytest.mark.parametrize("text", BAD_FORMATS)
def test_format_parse_errors(text: str) -> None:
    with pytest.raises(FormatError):
        Format.parse(text)


@pytest.mark.parametrize("text", ["ap_fixed<8,3,AP_RND>", "ap_ufixed<8,3,AP_RND,AP_SAT>"])
def test_a_format_with_modes_is_refused_with_advice(text: str) -> None:
    with pytest.raises(FormatError, match=r"read it with Quantization\.parse"):
        Format.parse(text)


@pytest.mark.parametrize("text", BAD_QUANTIZATIONS + BAD_FORMATS[:17])
def test_quantization_parse_errors(text: str) -> None:
    with pytest.raises(FormatError):
        Quantization.parse(text)


pieces = st.sampled_from(
    ["ap_fixed", "ap_ufixed", "FIXED", "INT", "UINT", "<", ">", ",", " ", "-", "+", "8", "3", "64"]
    + [mode.value for mode in (*Rounding, *Overflow)]
    + ["\n", "\0", "\u0661", "\u00b2", "9" * 30, "1e3", "0x8", "_"]
)


@settings(deadline=None, max_examples=500)
@given(st.one_of(st.text(), st.text(string.printable), st.lists(pieces).map("".join)))
@example("INT<" + "9" * 5000 + ">")
@example("ap_fixed<8," + "-" * 50 + "3>")
def test_no_text_raises_anything_but_format_error(text: str) -> None:
    parsed = outcome(Format.parse, text)
    assert parsed is None or Format.parse(str(parsed)) == parsed
    parsed = outcome(Quantization.parse, text)
    assert parsed is None or Quantization.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0),
        (64, 0),
        (-1, 0),
        (10**30, 0),
        (True, 0),
        (np.True_, 0),
        (8.0, 0),
        (np.float64(8), 0),
        (math.nan, 0),
        ("8", 0),
        (None, 0),
        (8, False),
        (8, 4.0),
        (8, MAX_FRAC_MAGNITUDE + 1),
        (8, -MAX_FRAC_MAGNITUDE - 1),
        (8, 0, 1),
        (8, 0, "yes"),
        (8, 0, None),
    ],
)
def test_format_refuses(arguments: tuple) -> None:
    with pytest.raises(FormatError):
        Format(*arguments)


def test_numpy_integers_become_int() -> None:
    format_ = Format(np.int64(14), np.int8(8), np.bool_(False))
    assert format_ == Format(14, 8, False)
    assert [type(value) for value in dataclasses.astuple(format_)] == [int, int, bool]


@given(any_format)
def test_frozen_and_hashable(format_: Format) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        format_.width = 3  # type: ignore[misc]
    copy = Format(format_.width, format_.frac, format_.signed)
    assert hash(copy) == hash(format_)
    assert len({format_, copy, Quantization(format_), Quantization(copy)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Quantization(format_).overflow = Overflow.WRAP  # type: ignore[misc]


@given(formats())
def test_dtype_is_the_smallest(format_: Format) -> None:
    candidates = (np.int16, np.int32, np.int64)
    holding = [kind for kind in candidates if format_.max_raw <= np.iinfo(kind).max]
    assert format_.dtype == holding[0]
    assert np.iinfo(format_.dtype).min <= format_.min_raw


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        (Format(1, 0), np.int16),
        (Format(16, 0), np.int16),
        (Format(15, 3, False), np.int16),
        (Format(16, 3, False), np.int32),
        (Format(17, 0), np.int32),
        (Format(32, 40), np.int32),
        (Format(32, 0, False), np.int64),
        (Format(33, 0), np.int64),
        (Format(63, 0, False), np.int64),
    ],
)
def test_dtype_borders(format_: Format, expected: type) -> None:
    assert format_.dtype == np.dtype(expected)


def test_real_limits() -> None:
    format_ = Format(14, 8)
    assert (format_.step, format_.min, format_.max) == (1 / 256, -32.0, 32.0 - 1 / 256)
    unsigned = Format(4, -2, False)
    assert (unsigned.step, unsigned.min, unsigned.max) == (4.0, 0.0, 60.0)


integers = st.one_of(
    st.integers(-(2**62), 2**62 - 1),
    st.integers(-40, 40),
    st.builds(lambda k, sign: sign * 2**k, st.integers(0, 61), st.sampled_from((-1, 1))),
)


@light
@given(integers, integers, st.integers(-20, 20))
@example(-8, -8, 0)
@example(-1, -1, 0)
@example(0, 0, 0)
def test_for_range_is_the_narrowest(first: int, second: int, frac: int) -> None:
    low, high = sorted((first, second))
    found = Format.for_range(low, high, frac)
    assert found.signed == (low < 0)
    assert found.frac == frac
    assert found.min_raw <= low
    assert high <= found.max_raw
    if found.width > 1:
        narrower = Format(found.width - 1, frac, found.signed)
        assert not (narrower.min_raw <= low and high <= narrower.max_raw)


def test_for_range_borders() -> None:
    assert Format.for_range(0, 2**63 - 1, 0) == Format(63, 0, False)
    assert Format.for_range(-(2**62), 2**62 - 1, 5) == Format(63, 5)
    for low, high in ((0, 2**63), (-1, 2**62), (-(2**62) - 1, 0)):
        with pytest.raises(FormatError, match="width"):
            Format.for_range(low, high, 0)


# Names that qonnx resolves: its FIXED<W,I> asserts I < W, integers are INT<W> without brackets.
@pytest.mark.parametrize(
    ("format_", "name"),
    [
        (Format(14, 8), "FIXED<14,6>"),
        (Format(8, 8), "FIXED<8,0>"),
        (Format(8, 10), "FIXED<8,-2>"),
        (Format(8, 1), "FIXED<8,7>"),
        (Format(8, 0), "INT8"),
        (Format(32, 0), "INT32"),
        (Format(2, 0), "INT2"),
        (Format(8, 0, False), "UINT8"),
        (Format(16, 0, False), "UINT16"),
    ],
)
def test_qonnx_name(format_: Format, name: str) -> None:
    assert format_.qonnx_name == name
    assert Format.parse(name) == format_


@pytest.mark.parametrize("format_", [Format(8, 3, False), Format(8, -1), Format(8, -1, False)])
def test_qonnx_has_no_name(format_: Format) -> None:
    with pytest.raises(FormatError, match="QONNX has no name"):
        _ = format_.qonnx_name


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_is_named_with_its_index(bad: float) -> None:
    target = Format(8, 4)
    with pytest.raises(FormatError, match=rf"cannot quantize {bad} at index \(1, 2\)"):
        quantize([[0.0, 1.0, 2.0], [3.0, 4.0, bad]], target)
    with pytest.raises(FormatError, match=rf"cannot quantize {bad} at index \(\)"):
        quantize(np.float32(bad), target)
    with pytest.raises(FormatError, match=r"at index \(1,\)"):
        quantize(np.array([0, bad, bad], dtype=np.float16), target)


@pytest.mark.parametrize(
    "values",
    [[1j], np.array([1.0], dtype=object), [2**70], ["1"], [None], np.array(["2020"], "M8[Y]")],
)
def test_values_that_are_not_real(values: object) -> None:
    for function in (
        lambda: quantize(values, Format(8, 4)),  # type: ignore[arg-type]
        lambda: requantize(values, 0, Format(8, 4)),  # type: ignore[arg-type]
        lambda: check_raw(values, Format(8, 4)),  # type: ignore[arg-type]
        lambda: dequantize(values, Format(8, 4)),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            function()


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 here")
def test_long_double_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot quantize an array of dtype"):
        quantize(np.array([1.0], dtype=np.longdouble), Format(8, 4))


def test_raw_integers_must_be_integers() -> None:
    for function in (
        lambda: requantize([1.0], 0, Format(8, 4)),
        lambda: overflow_mask([1.0], 0, Format(8, 4)),
        lambda: check_raw([1.0], Format(8, 4)),
        lambda: dequantize([1.0], Format(8, 4)),
    ):
        with pytest.raises(TypeError, match="raw values must be integers, got dtype float64"):
            function()


@pytest.mark.parametrize("source_frac", [2.7, 2.0, [1.5], True, "2", None])
def test_source_frac_must_be_integers(source_frac: object) -> None:
    with pytest.raises(TypeError, match="source_frac must be integers"):
        requantize([5], source_frac, Format(8, 0))  # type: ignore[arg-type]


def test_check_raw() -> None:
    format_ = Format(4, 1)
    for raw in (-9, 8, 2**62, -(2**63)):
        message = rf"raw {raw} at index \(0, 1\) does not fit ap_fixed<4,3>, which holds -8 to 7"
        with pytest.raises(FormatError, match=message):
            check_raw([[7, raw]], format_)
        with pytest.raises(FormatError, match=rf"raw {raw} at index \(\) does not fit"):
            check_raw(raw, format_)
        with pytest.raises(FormatError, match="does not fit"):
            dequantize([raw], format_)
    result = check_raw(np.array([-8, 7], dtype=np.int8), format_)
    assert result.dtype == np.int64
    assert result.tolist() == [-8, 7]
    with pytest.raises(FormatError, match="which holds 0 to 15"):
        check_raw([-1], Format(4, 0, False))


def test_check_modes() -> None:
    signed, unsigned = Format(4, 0), Format(4, 0, False)
    for overflow in Overflow:
        check_modes(signed, Rounding.FLOOR, overflow)
    with pytest.raises(FormatError, match="needs a signed format, got ap_ufixed<4,4>"):
        check_modes(unsigned, Rounding.FLOOR, Overflow.WRAP_SIGN_MAGNITUDE)
    for function in (quantize, lambda v, *rest: requantize(v, 0, *rest)):
        with pytest.raises(FormatError, match="rounding must be"):
            function([1], signed, "AP_RND", Overflow.WRAP)
        with pytest.raises(FormatError, match="overflow must be"):
            function([1], signed, Rounding.FLOOR, "AP_SAT")
        with pytest.raises(FormatError, match="needs a signed format"):
            function([1], unsigned, Rounding.FLOOR, Overflow.WRAP_SIGN_MAGNITUDE)
    with pytest.raises(FormatError, match="needs a signed format"):
        overflow_mask([1], 0, unsigned, Rounding.FLOOR, Overflow.WRAP_SIGN_MAGNITUDE)


def test_defaults_round_half_up_and_saturate() -> None:
    target = Format(4, 0)
    assert quantize([0.5, -0.5, 1.5, 99, -99], target).tolist() == [1, 0, 2, 7, -8]
    assert requantize([1, -1, 3, 99, -99], 1, target).tolist() == [1, 0, 2, 7, -8]


def test_empty_range_and_wrong_types_are_refused() -> None:
    with pytest.raises(FormatError, match="the range 1 to 0 is empty"):
        Format.for_range(1, 0, 0)
    with pytest.raises(FormatError, match="format must be"):
        Quantization("ap_fixed<8,4>")  # type: ignore[arg-type]
