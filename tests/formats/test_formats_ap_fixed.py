"""The functions of `fxp.formats` against the C++ templates of AMD, integer by integer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ap_fixed_program import ApFixedProgram, double_cases, header_folder, raw_cases
from numpy.typing import NDArray

from fxp.formats import (
    Format,
    FormatError,
    IntArray,
    Overflow,
    Quantization,
    Rounding,
    conversion,
    quantize,
    requantize,
)

MODES = list(itertools.product(Rounding, Overflow))


@pytest.fixture(scope="module")
def program(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> ApFixedProgram:
    """Compile once; later runs reuse the program while text, headers and compiler are the same."""
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir("ap_fixed") if cache else tmp_path_factory.mktemp("ap_fixed")
    return ApFixedProgram(folder, raw_cases(), double_cases())


def header_results(
    ours: IntArray, floor: IntArray, rounded: IntArray, target: Format, overflow: Overflow
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Return what the header should give where `fxp` gives `ours`, and where the two differ.

    `floor` and `rounded` are the numbers on the grid of the target, before overflow. The header
    departs from SystemC (IEEE 1666) in two corners, in which we follow SystemC:

    * AP_WRAP_SM. The new sign is the first dropped bit. SystemC rounds first and then wraps the
      rounded number. ``ap_fixed_base.h`` reads that bit (``lD``) from the number before rounding,
      so it fails to invert, or inverts, where the rounding carries into this bit. UG1399 does not
      say which is meant; its examples need no rounding.
    * AP_SAT_SYM in a signed format of one bit. The limits are -max and max, both zero here. The
      header sets the sign bit and the last bit for -max, which are the same bit here, and gives -1.
    """
    outside = (rounded < target.min_raw) | (rounded > target.max_raw)
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE:
        departs = outside & (((floor ^ rounded) >> target.width) & 1 == 1)
        return np.where(departs, ~ours, ours), departs
    departs = np.zeros(ours.shape, dtype=bool)
    if overflow is Overflow.SATURATE_SYMMETRIC and target.signed and target.width == 1:
        departs = rounded < 0
    return np.where(departs, -1, ours), departs


def assert_same(ours: IntArray, theirs: IntArray, inputs: np.ndarray, label: str) -> None:
    different = np.flatnonzero(ours != theirs)
    if different.size:
        at = different[0]
        pytest.fail(
            f"{label}: {different.size} of {ours.size} differ, the first for {inputs[at]}: "
            f"expected {ours[at]}, header {theirs[at]}"
        )


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_raw_integers(program: ApFixedProgram, rounding: Rounding, overflow: Overflow) -> None:
    compared = differing = 0
    for case, results in zip(program.raw_cases, program.raw_results, strict=True):
        arguments = (case.raw, case.source.frac, case.target, rounding, overflow)
        if (rounding, overflow) not in results:
            assert not case.target.signed
            with pytest.raises(FormatError, match="needs a signed format"):
                requantize(*arguments)
            continue
        # Beyond 63 bits these two wrap, which only happens on left shifts: no carry there.
        wide = Format(63, case.target.frac)
        floor = requantize(case.raw, case.source.frac, wide, Rounding.FLOOR, Overflow.WRAP)
        rounded = requantize(case.raw, case.source.frac, wide, rounding, Overflow.WRAP)
        ours = requantize(*arguments)
        expected, departs = header_results(ours, floor, rounded, case.target, overflow)
        label = f"{case.source} to {Quantization(*arguments[2:])}"
        assert_same(expected, results[rounding, overflow], case.raw, label)
        compared += departs.size
        differing += np.count_nonzero(departs)
    assert compared > 10_000
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE:
        assert (differing > 0) == (rounding is not Rounding.FLOOR)
    elif overflow is not Overflow.SATURATE_SYMMETRIC:
        assert differing == 0


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_doubles(program: ApFixedProgram, rounding: Rounding, overflow: Overflow) -> None:
    for case, results in zip(program.double_cases, program.double_results, strict=True):
        if (rounding, overflow) not in results:
            assert not case.target.signed
            continue
        # A float too large for these 63 bits is an integer: no carry there.
        wide = Format(63, case.target.frac)
        floor = quantize(case.values, wide, Rounding.FLOOR, Overflow.SATURATE)
        rounded = quantize(case.values, wide, rounding, Overflow.SATURATE)
        ours = quantize(case.values, case.target, rounding, overflow)
        expected, _ = header_results(ours, floor, rounded, case.target, overflow)
        label = str(Quantization(case.target, rounding, overflow))
        assert_same(expected, results[rounding, overflow], case.values, label)


def test_wrap_sign_magnitude_departure_by_hand(program: ApFixedProgram) -> None:
    """15.5 in four bits: rounded 16 is 1'0000, so the sign turns 1 and 0000 inverts to 1111."""
    modes = (Rounding.HALF_UP, Overflow.WRAP_SIGN_MAGNITUDE)
    assert quantize(15.5, Format(4, 0), *modes) == -1
    index = next(i for i, c in enumerate(program.double_cases) if c.target == Format(4, 0))
    at = np.flatnonzero(program.double_cases[index].values == 15.5)[0]
    assert program.double_results[index][modes][at] == 0


def test_header_refuses_unsigned_wrap_sign_magnitude(program: ApFixedProgram) -> None:
    done = program.run_refused()
    assert done.returncode == 1
    assert "cannot support AP_WRAP_SM" in done.stderr
    with pytest.raises(FormatError, match="needs a signed format"):
        Quantization(Format(4, 0, False), overflow=Overflow.WRAP_SIGN_MAGNITUDE)


def test_headers_are_those_of_hls4ml() -> None:
    folder = header_folder()
    assert folder.parts[-4:] == ("hls4ml", "templates", "vivado", "ap_types")
    assert "Xilinx" in (folder / "ap_fixed_base.h").read_text()


@pytest.mark.parametrize("asked", Rounding)
def test_comparison_notices_a_wrong_rounding(
    program: ApFixedProgram, asked: Rounding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rounding of any other mode patched in, the header disagrees."""
    original = conversion._round_right
    case, results = next(
        (case, results)
        for case, results in zip(program.raw_cases, program.raw_results, strict=True)
        if case.source == Format(8, 4) and case.target == Format(4, 1)
    )
    theirs = results[asked, Overflow.SATURATE]
    agreeing = []
    for used in Rounding:
        monkeypatch.setattr(
            conversion,
            "_round_right",
            lambda r, s, _, used=used: original(r, s, used),
        )
        ours = requantize(case.raw, case.source.frac, case.target, asked, Overflow.SATURATE)
        if np.array_equal(ours, theirs):
            agreeing.append(used)
    assert agreeing == [asked]


@pytest.mark.parametrize("asked", Overflow)
def test_comparison_notices_a_wrong_overflow(program: ApFixedProgram, asked: Overflow) -> None:
    case, results = program.raw_cases[0], program.raw_results[0]
    theirs = results[Rounding.FLOOR, asked]
    agreeing = [
        used
        for used in Overflow
        if np.array_equal(
            requantize(case.raw, case.source.frac, case.target, Rounding.FLOOR, used), theirs
        )
    ]
    assert agreeing == [asked]
