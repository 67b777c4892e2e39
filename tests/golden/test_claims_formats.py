"""Claims of docs/number-semantics.md on values, formats, rounding and overflow."""

from __future__ import annotations

import numpy as np
import pytest
from claims import claim
from golden_runs import EXECUTORS

from fxp.formats import (
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    dequantize,
    overflow_mask,
    quantize,
    requantize,
)
from fxp.graph import Graph, Node, Value
from fxp.graph.ops import Requantize
from fxp.model import FixedModel

EIGHT = Format(8, 0)


def one(raw: int, frac: int, target: Format, *modes: Rounding | Overflow) -> int:
    """Requantize one integer."""
    rounding = next((mode for mode in modes if isinstance(mode, Rounding)), Rounding.HALF_UP)
    overflow = next((mode for mode in modes if isinstance(mode, Overflow)), Overflow.SATURATE)
    return int(requantize(raw, frac, target, rounding, overflow))


def requantized(executor: str, raw: list[int], source: Format, to: Quantization) -> list[int]:
    """Requantize a vector by a graph of one node."""
    node = Node("y", Requantize(), ("x",), to)
    graph = Graph("claims", (Value("x", (len(raw),), source),), (node,), ("y",))
    (result,) = EXECUTORS[executor](graph, [np.array(raw, np.int64)])
    return result.tolist()


@claim("Values", "It stands for the real number r · 2^-frac.")
def test_a_raw_integer_stands_for_r_times_two_to_the_minus_frac() -> None:
    assert dequantize(23, Format(8, 4)) == 1.4375
    assert dequantize(-5, Format(4, 0)) == -5.0
    assert dequantize(-3, Format(8, -2)) == -12.0


@claim("Values", "`width` is the number of bits, 1 to 63.")
def test_width_is_1_to_63() -> None:
    assert Format(1, 0).width == 1
    assert Format(63, 0).width == 63
    for width in (0, 64):
        with pytest.raises(FormatError, match=f"width must be 1 to 63 bits, got {width}"):
            Format(width, 0)


@claim("Values", "`frac` is -960 to 960; it may be negative or larger than `width`.")
def test_frac_is_within_960() -> None:
    assert Format(8, -960).step == 2.0**960
    assert Format(8, 960).step == 2.0**-960
    for frac in (-961, 961):
        with pytest.raises(FormatError, match=f"frac must be within ±960, got {frac}"):
            Format(8, frac)


@claim("Values", "Signed is -2^(width-1) to 2^(width-1) - 1, unsigned 0 to 2^width - 1.")
def test_ranges_of_signed_and_unsigned_formats() -> None:
    assert (Format(4, 0).min_raw, Format(4, 0).max_raw) == (-8, 7)
    assert (Format(1, 0).min_raw, Format(1, 0).max_raw) == (-1, 0)
    assert (Format(4, 0, signed=False).min_raw, Format(4, 0, signed=False).max_raw) == (0, 15)
    assert (Format(1, 0, signed=False).min_raw, Format(1, 0, signed=False).max_raw) == (0, 1)
    assert Format(63, 0).min_raw == -4611686018427387904
    assert Format(63, 0).max_raw == 4611686018427387903
    assert Format(63, 0, signed=False).max_raw == 9223372036854775807


@claim("Values", "The table of names, ranges and steps.")
@pytest.mark.parametrize(
    ("form", "name", "qonnx", "low", "high", "step"),
    [
        (Format(14, 8), "ap_fixed<14,6>", "FIXED<14,6>", -32.0, 31.99609375, 1 / 256),
        (Format(8, 8, signed=False), "ap_ufixed<8,0>", None, 0.0, 255 / 256, 1 / 256),
        (Format(8, 0), "ap_fixed<8,8>", "INT8", -128.0, 127.0, 1.0),
        (Format(8, -2), "ap_fixed<8,10>", None, -512.0, 508.0, 4.0),
    ],
)
def test_names_ranges_and_steps(
    form: Format, name: str, qonnx: str | None, low: float, high: float, step: float
) -> None:
    assert (str(form), form.min, form.max, form.step) == (name, low, high, step)
    assert Format.parse(name) == form
    if qonnx is None:
        with pytest.raises(FormatError, match="QONNX has no name"):
            _ = form.qonnx_name
    else:
        assert form.qonnx_name == qonnx
        assert Format.parse(qonnx) == form


@claim("Values", "A name that leaves the modes out means AP_TRN and AP_WRAP; fxp's own differ.")
def test_modes_of_a_quantization_and_of_a_name_without_them() -> None:
    ours = Quantization(Format(14, 8))
    assert (ours.rounding, ours.overflow) == (Rounding.HALF_UP, Overflow.SATURATE)
    assert str(ours) == "ap_fixed<14,6,AP_RND,AP_SAT>"
    theirs = Quantization.parse("ap_fixed<14,6>")
    assert (theirs.rounding, theirs.overflow) == (Rounding.FLOOR, Overflow.WRAP)


@claim("Requantize", "The value is rounded once, from all its bits.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_rounded_once_from_all_bits(executor: str) -> None:
    # 7/16 is less than a half; by way of eighths and quarters it would be one.
    assert one(7, 4, EIGHT) == 0
    assert requantized(executor, [7, 8, -8, -9], Format(8, 4), Quantization(EIGHT)) == [0, 1, 0, -1]


@claim("Requantize", "Overflow looks at the rounded value.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_overflow_looks_at_the_rounded_value(executor: str) -> None:
    # 7.75 rounds to 8, which is outside; rounded down it is 7, inside.
    four = Format(4, 0)
    up = Quantization(four, Rounding.HALF_UP, Overflow.SATURATE_TO_ZERO)
    down = Quantization(four, Rounding.FLOOR, Overflow.SATURATE_TO_ZERO)
    assert requantized(executor, [31, -33], Format(8, 2), up) == [0, -8]  # -8.25
    assert requantized(executor, [31, -33], Format(8, 2), down) == [7, 0]
    assert overflow_mask([31, 30, 29], 2, four).tolist() == [True, True, False]
    assert overflow_mask([31, 32], 2, four, Rounding.FLOOR).tolist() == [False, True]


@claim("Requantize", "A shift to the left that leaves 64 bits is an overflow like any other.")
def test_a_shift_to_the_left_beyond_64_bits_overflows() -> None:
    wide = Format(63, 60)
    assert one(1 << 40, 0, wide) == 4611686018427387903
    assert one(-(1 << 40), 0, wide) == -4611686018427387904
    assert one(1 << 40, 0, wide, Overflow.WRAP) == 0
    assert one(1, 0, Format(8, 900), Overflow.WRAP) == 0
    assert one(-1, 0, Format(8, 900)) == -128
    assert one(0, 0, Format(8, 900)) == 0
    # 2^62 + 1 shifted by one bit: its low 63 bits are 2.
    assert one((1 << 62) + 1, 0, Format(63, 1), Overflow.WRAP) == 2


ROUNDED = {
    # Quarters         -10 -7  -6  -5 -2 2  5  6  7 10
    Rounding.FLOOR: [-3, -2, -2, -2, -1, 0, 1, 1, 1, 2],
    Rounding.TO_ZERO: [-2, -1, -1, -1, 0, 0, 1, 1, 1, 2],
    Rounding.HALF_UP: [-2, -2, -1, -1, 0, 1, 1, 2, 2, 3],
    Rounding.HALF_DOWN: [-3, -2, -2, -1, -1, 0, 1, 1, 2, 2],
    Rounding.HALF_AWAY: [-3, -2, -2, -1, -1, 1, 1, 2, 2, 3],
    Rounding.HALF_TO_ZERO: [-2, -2, -1, -1, 0, 0, 1, 1, 2, 2],
    Rounding.HALF_EVEN: [-2, -2, -2, -1, 0, 0, 1, 2, 2, 2],
}


@claim("Rounding modes", "The table: each column is the exact quotient, each cell the integer.")
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_rounding_mode(rounding: Rounding, executor: str) -> None:
    quarters = [-10, -7, -6, -5, -2, 2, 5, 6, 7, 10]
    to = Quantization(EIGHT, rounding)
    assert requantized(executor, quarters, Format(8, 2), to) == ROUNDED[rounding]


@claim("Rounding modes", "In hardware every mode is one addition before a shift to the right.")
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_every_rounding_mode_is_one_addition_and_a_shift(rounding: Rounding, shift: int) -> None:
    half = 2 ** (shift - 1)
    for raw in range(-40, 41):
        addend = {
            Rounding.FLOOR: 0,
            Rounding.TO_ZERO: 2**shift - 1 if raw < 0 else 0,
            Rounding.HALF_UP: half,
            Rounding.HALF_DOWN: half - 1,
            Rounding.HALF_AWAY: half - (raw < 0),
            Rounding.HALF_TO_ZERO: half - (raw >= 0),
            Rounding.HALF_EVEN: half - 1 + (raw >> shift & 1),
        }[rounding]
        assert one(raw, shift, EIGHT, rounding) == (raw + addend) >> shift, raw


OVERFLOWN = {
    # Values              -20 -9 -8 7  8  12 20
    Overflow.SATURATE: [-8, -8, -8, 7, 7, 7, 7],
    Overflow.SATURATE_SYMMETRIC: [-7, -7, -7, 7, 7, 7, 7],
    Overflow.SATURATE_TO_ZERO: [0, 0, -8, 7, 0, 0, 0],
    Overflow.WRAP: [-4, 7, -8, 7, -8, -4, 4],
    Overflow.WRAP_SIGN_MAGNITUDE: [3, -8, -8, 7, 7, 3, -5],
}


@claim("Overflow modes", "The table, in a signed format of four bits.")
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("overflow", Overflow)
def test_every_overflow_mode(overflow: Overflow, executor: str) -> None:
    to = Quantization(Format(4, 0), overflow=overflow)
    values = [-20, -9, -8, 7, 8, 12, 20]
    assert requantized(executor, values, Format(8, 0), to) == OVERFLOWN[overflow]


@claim("Overflow modes", "On an unsigned format SATURATE_SYMMETRIC equals SATURATE.")
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
def test_symmetric_saturation_of_an_unsigned_format(overflow: Overflow, executor: str) -> None:
    to = Quantization(Format(4, 0, signed=False), overflow=overflow)
    assert requantized(executor, [-3, 0, 15, 16], EIGHT, to) == [0, 0, 15, 15]


@claim("Overflow modes", "WRAP gives q mod 2^width on an unsigned format.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_wrap_of_an_unsigned_format(executor: str) -> None:
    to = Quantization(Format(4, 0, signed=False), overflow=Overflow.WRAP)
    assert requantized(executor, [-1, -16, 15, 16, 33], EIGHT, to) == [15, 0, 15, 0, 1]


@claim("Overflow modes", "WRAP_SIGN_MAGNITUDE exists for signed formats only.")
def test_sign_magnitude_is_for_signed_formats() -> None:
    with pytest.raises(FormatError, match="signed"):
        Quantization(Format(4, 0, signed=False), overflow=Overflow.WRAP_SIGN_MAGNITUDE)


@claim("What counts as clipped", "A value that rounding brings back into the range is not clipped.")
def test_clipped_is_what_the_overflow_mode_changes() -> None:
    four = Format(4, 0)
    # In quarters: 7.25 rounds to 7, 7.5 to 8; -8.5 rounds up to -8, -8.75 to -9.
    assert overflow_mask([29, 30, -34, -35], 2, four).tolist() == [False, True, False, True]
    codes = [-8, -7, 7, 8]
    symmetric = overflow_mask(codes, 0, four, overflow=Overflow.SATURATE_SYMMETRIC)
    assert symmetric.tolist() == [True, False, False, True]
    assert overflow_mask(codes, 0, four, overflow=Overflow.WRAP).tolist() == [False] * 3 + [True]


@claim("What counts as clipped", "1.0 in `ap_ufixed<8,0>` becomes 255/256: clipped by one step.")
def test_clipped_by_one_step() -> None:
    pixel = Format.parse("ap_ufixed<8,0>")
    node = Node("y", Requantize(), ("x",), Quantization(pixel))
    model = FixedModel(Graph("claims", (Value("x", (4,), pixel),), (node,), ("y",)))
    values = np.array([0.5, 255 / 256, 1.0, 257 / 256])
    assert model(values).tolist() == [0.5, 255 / 256, 255 / 256, 255 / 256]
    assert model.clipped(values) == {"x": 0.5, "y": 0.0}
    assert model.clipped_by_one_step(values) == {"x": 0.25, "y": 0.0}


@claim("From real numbers", "`quantize` rounds once and exactly.")
def test_a_float_is_rounded_once_and_exactly() -> None:
    # The largest float below a half: adding a half in float64 gives one.
    assert quantize([0.49999999999999994, 0.5, -0.5], EIGHT).tolist() == [0, 1, 0]
    # The sum of 2^52 + 1 and a half is no float.
    assert quantize(4503599627370497.0, Format(63, 0)) == 4503599627370497
    assert quantize(5e-324, Format(8, 0), Rounding.FLOOR) == 0
    assert quantize(-5e-324, Format(8, 0), Rounding.FLOOR) == -1
    # The float 0.1 is 3602879701896397 * 2^-55; times 2^60 that is 32 times the mantissa.
    assert quantize(0.1, Format(63, 60)) == 115292150460684704


@claim("From real numbers", "NaN and infinity are refused.")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(FormatError, match=r"cannot quantize (nan|-?inf) at index \(1,\)"):
        quantize([0.0, value], EIGHT)


@claim("From real numbers", "`dequantize` refuses an integer whose value no float64 holds.")
def test_dequantize_refuses_what_no_float_holds() -> None:
    assert dequantize(9007199254740992, Format(63, 0)) == 9007199254740992.0
    with pytest.raises(FormatError, match="raw 9007199254740993 of"):
        dequantize(9007199254740993, Format(63, 0))
