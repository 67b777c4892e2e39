"""Fixed-point number formats: the one definition of rounding and overflow.

A value is a raw integer ``r`` together with a `Format`; it stands for ``r * 2**-frac``.
Every other part of the package (oracle, Numba kernels, torch forward, ONNX, HLS, RTL) is tested
for equality against the functions of this module.

The rounding and overflow modes are those of the ``ap_fixed`` C++ types (AMD UG1399, "Arbitrary
Precision Fixed-Point Data Types"), which follow SystemC (IEEE 1666, section 7.10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_WIDTH: Final = 63
MAX_FRAC_MAGNITUDE: Final = 960

IntArray = NDArray[np.int64]


class FormatError(ValueError):
    """A fixed-point format, or a file that should hold fixed-point data, is not valid."""


class Rounding(Enum):
    """How the bits below the last kept one are dropped; the value is the ``ap_fixed`` name.

    The ``HALF_*`` modes round to nearest, and their name says which way a tie goes.
    """

    FLOOR = "AP_TRN"
    """Toward minus infinity (truncation of two's complement)."""
    TO_ZERO = "AP_TRN_ZERO"
    """Toward zero."""
    HALF_UP = "AP_RND"
    """Nearest, ties toward plus infinity. The default: one adder in hardware."""
    HALF_DOWN = "AP_RND_MIN_INF"
    """Nearest, ties toward minus infinity."""
    HALF_AWAY = "AP_RND_INF"
    """Nearest, ties away from zero."""
    HALF_TO_ZERO = "AP_RND_ZERO"
    """Nearest, ties toward zero."""
    HALF_EVEN = "AP_RND_CONV"
    """Nearest, ties to the even neighbour (convergent)."""


class Overflow(Enum):
    """What happens to a rounded value outside the format; the value is the ``ap_fixed`` name."""

    SATURATE = "AP_SAT"
    """Clip to ``[min_raw, max_raw]``."""
    SATURATE_SYMMETRIC = "AP_SAT_SYM"
    """Clip to ``[-max_raw, max_raw]``; the most negative code is never produced."""
    SATURATE_TO_ZERO = "AP_SAT_ZERO"
    """Replace by zero."""
    WRAP = "AP_WRAP"
    """Keep the low ``width`` bits."""
    WRAP_SIGN_MAGNITUDE = "AP_WRAP_SM"
    """Sign-magnitude wrap with zero saturated bits; signed formats only.

    The sign becomes the first dropped bit; if that changes the sign, the other bits are inverted.
    """


@dataclass(frozen=True)
class Format:
    """A two's-complement fixed-point format with a power-of-two scale.

    Parameters
    ----------
    width
        Total number of bits including the sign bit, 1 to 63 (a signed format needs one bit,
        which then is the sign).
    frac
        Number of fraction bits. May be negative (the last bit is worth ``2**-frac > 1``) or larger
        than `width`.
    signed
        Two's complement if true, non-negative otherwise.

    Examples
    --------
    >>> Format(14, 8)
    Format(width=14, frac=8, signed=True)
    >>> str(Format(14, 8))
    'ap_fixed<14,6>'
    >>> Format.parse("FIXED<14,6>") == Format(14, 8)
    True
    """

    width: int
    frac: int
    signed: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "frac"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise FormatError(f"{name} must be an integer, got {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.signed, bool | np.bool_):
            raise FormatError(f"signed must be a bool, got {self.signed!r}")
        object.__setattr__(self, "signed", bool(self.signed))
        if not 1 <= self.width <= MAX_WIDTH:
            raise FormatError(f"width must be 1 to {MAX_WIDTH} bits, got {self.width}")
        if abs(self.frac) > MAX_FRAC_MAGNITUDE:
            raise FormatError(f"frac must be within ±{MAX_FRAC_MAGNITUDE}, got {self.frac}")

    @property
    def integer(self) -> int:
        """Bits left of the binary point, the ``I`` of ``ap_fixed<W,I>`` (includes the sign)."""
        return self.width - self.frac

    @property
    def min_raw(self) -> int:
        """Smallest raw integer."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max_raw(self) -> int:
        """Largest raw integer."""
        return (1 << (self.width - self.signed)) - 1

    @property
    def step(self) -> float:
        """Value of the last bit, ``2**-frac``."""
        return 2.0**-self.frac

    @property
    def min(self) -> float:
        """Smallest value."""
        return self.min_raw * self.step

    @property
    def max(self) -> float:
        """Largest value."""
        return self.max_raw * self.step

    @property
    def dtype(self) -> np.dtype:
        """Smallest of int16, int32 and int64 that holds every raw integer."""
        for dtype in (np.int16, np.int32):
            if self.max_raw <= np.iinfo(dtype).max:
                return np.dtype(dtype)
        return np.dtype(np.int64)

    @property
    def qonnx_name(self) -> str:
        """The QONNX data type name: ``FIXED<W,I>``, or ``INT8``, ``UINT8``, … for integers.

        Raises
        ------
        FormatError
            For an unsigned format with fraction bits and for a format with negative `frac`, which
            QONNX cannot name (its ``FIXED<W,I>`` demands ``I < W``).
        """
        if self.frac == 0:
            return f"{'INT' if self.signed else 'UINT'}{self.width}"
        if self.signed and self.frac > 0:
            return f"FIXED<{self.width},{self.integer}>"
        raise FormatError(f"QONNX has no name for the format {self}")

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}fixed<{self.width},{self.integer}>"

    @classmethod
    def parse(cls, text: str) -> Format:
        """Read ``ap_fixed<W,I>``, ``ap_ufixed<W,I>``, ``FIXED<W,I>``, ``INT<W>`` or ``UINT<W>``.

        A name with rounding or overflow modes is a `Quantization`; use its ``parse``.

        Raises
        ------
        FormatError
            If the text is none of these.
        """
        kind, arguments = _split_type_name(text)
        if kind in ("INT", "UINT") and len(arguments) == 1:
            return cls(_parse_integer(arguments[0], text), 0, kind == "INT")
        if kind not in ("ap_fixed", "ap_ufixed", "FIXED") or len(arguments) < 2:
            raise FormatError(
                f"cannot read {text!r} as a format; expected ap_fixed<W,I>, ap_ufixed<W,I>, "
                "FIXED<W,I>, INT<W> or UINT<W>"
            )
        if len(arguments) > 2:
            raise FormatError(
                f"{text!r} names rounding or overflow modes; read it with Quantization.parse"
            )
        width, integer = (_parse_integer(argument, text) for argument in arguments)
        return cls(width, width - integer, kind != "ap_ufixed")

    @classmethod
    def for_range(cls, low: int, high: int, frac: int) -> Format:
        """Narrowest format with `frac` fraction bits holding the raw integers `low` to `high`.

        Unsigned if `low` is not negative; raises `FormatError` if `low` exceeds `high`.
        """
        if low > high:
            raise FormatError(f"the range {low} to {high} is empty")
        signed = low < 0
        lowest = -low - 1 if signed else 0
        width = max(max(high, 0).bit_length(), lowest.bit_length(), 1 - signed)
        return cls(width + signed, frac, signed)


@dataclass(frozen=True)
class Quantization:
    """A `Format` with the rounding and overflow that lead into it: a full ``ap_fixed`` type.

    Examples
    --------
    >>> Quantization.parse("ap_fixed<14,6,AP_RND,AP_SAT>")
    Quantization(format=Format(width=14, frac=8, signed=True), rounding=<Rounding.HALF_UP: \
'AP_RND'>, overflow=<Overflow.SATURATE: 'AP_SAT'>)
    """

    format: Format
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE

    def __post_init__(self) -> None:
        check_modes(self.format, self.rounding, self.overflow)

    def __str__(self) -> str:
        return f"{str(self.format)[:-1]},{self.rounding.value},{self.overflow.value}>"

    @classmethod
    def parse(cls, text: str) -> Quantization:
        """Read ``ap_fixed<W,I[,Q[,O[,0]]]>`` or ``ap_ufixed<…>``.

        Modes left out take the ``ap_fixed`` defaults AP_TRN and AP_WRAP, not ours.

        Raises
        ------
        FormatError
            If the text is something else, or asks for saturated wrap bits (``N > 0``).
        """
        kind, arguments = _split_type_name(text)
        if kind not in ("ap_fixed", "ap_ufixed") or not 2 <= len(arguments) <= 5:
            raise FormatError(f"cannot read {text!r}; expected ap_fixed<W,I[,Q[,O[,0]]]>")
        head = Format.parse(f"{kind}<{arguments[0]},{arguments[1]}>")
        try:
            rounding = Rounding(arguments[2]) if len(arguments) > 2 else Rounding.FLOOR
            overflow = Overflow(arguments[3]) if len(arguments) > 3 else Overflow.WRAP
        except ValueError as error:
            raise FormatError(f"unknown mode in {text!r}: {error}") from None
        if len(arguments) == 5 and _parse_integer(arguments[4], text) != 0:
            raise FormatError(f"{text!r} asks for saturated wrap bits, which are not supported")
        return cls(head, rounding, overflow)


def check_modes(target: Format, rounding: Rounding, overflow: Overflow) -> None:
    """Raise `FormatError` for arguments of wrong types, or a mode the format does not have."""
    if not isinstance(target, Format):
        raise FormatError(f"format must be a fxp.Format, got {target!r}")
    if not isinstance(rounding, Rounding):
        raise FormatError(f"rounding must be a fxp.Rounding, got {rounding!r}")
    if not isinstance(overflow, Overflow):
        raise FormatError(f"overflow must be a fxp.Overflow, got {overflow!r}")
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE and not target.signed:
        raise FormatError(f"WRAP_SIGN_MAGNITUDE needs a signed format, got {target}")


def saturation_limits(target: Format, overflow: Overflow) -> tuple[int, int]:
    """Raw limits outside which a rounded value counts as overflow under `overflow`."""
    symmetric = overflow is Overflow.SATURATE_SYMMETRIC and target.signed
    return (-target.max_raw if symmetric else target.min_raw), target.max_raw


def quantize(
    values: ArrayLike,
    target: Format,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> IntArray:
    """Round real numbers into raw integers of `target`.

    Exact for every finite float16/32/64 and every integer of up to 64 bits: the number is taken
    apart into mantissa and exponent, so nothing is lost before the one rounding.

    Parameters
    ----------
    values
        Floats or integers of any shape.
    target
        Format of the result.
    rounding, overflow
        Modes of the one rounding.

    Returns
    -------
    numpy.ndarray
        Raw integers, int64, same shape.

    Raises
    ------
    FormatError
        For NaN or infinity; the message names the first index.
    TypeError
        For complex, object or other non-real input.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        return requantize(array, 0, target, rounding, overflow)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(f"cannot quantize an array of dtype {array.dtype}; give real numbers")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise FormatError(f"cannot quantize {array[where]} at index {where}")
    mantissa, exponent = np.frexp(array)
    raw = np.ldexp(mantissa, 53).astype(np.int64)
    return requantize(raw, 53 - exponent.astype(np.int64), target, rounding, overflow)


def dequantize(raw: ArrayLike, source: Format) -> NDArray[np.float64]:
    """Return the real values of raw integers.

    Raises
    ------
    FormatError
        If a raw integer lies outside `source`, or if its value is not a float64 (more than 53
        significant bits); the message names the first index. Nothing is rounded silently.
    """
    integers = check_raw(raw, source)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(np.ldexp(integers.astype(np.float64), -source.frac))
        back = np.ldexp(values, source.frac)
        exact = np.isfinite(back) & (np.abs(back) < 2.0**63)
        exact &= np.where(exact, back, 0).astype(np.int64) == integers
    if not exact.all():
        where = tuple(int(i) for i in np.argwhere(~exact)[0])
        raise FormatError(
            f"raw {integers[where]} of {source} at index {where} has no exact float64 value"
        )
    return values


def requantize(
    raw: ArrayLike,
    source_frac: int | IntArray,
    target: Format,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> IntArray:
    """Move raw integers to another format: shift, round once, then handle overflow.

    Parameters
    ----------
    raw
        Integers of up to 64 bits, any shape.
    source_frac
        Fraction bits of `raw`; an array broadcasts against it.
    target, rounding, overflow
        Format and modes of the result.

    Returns
    -------
    numpy.ndarray
        Raw integers of `target`, int64.

    Raises
    ------
    TypeError
        If `raw` or `source_frac` is not an integer array.
    FormatError
        If a uint64 lies above ``2**63 - 1``.
    """
    check_modes(target, rounding, overflow)
    shifted, above, below, low_bits = _shift(raw, source_frac, target, rounding, overflow)
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        low, high = saturation_limits(target, overflow)
        return np.where(above, high, np.where(below, low, shifted))
    if overflow is Overflow.SATURATE_TO_ZERO:
        return np.where(above | below, 0, shifted)
    return np.asarray(_wrap(low_bits, target, overflow))


def overflow_mask(
    raw: ArrayLike,
    source_frac: int | IntArray,
    target: Format,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> NDArray[np.bool_]:
    """Tell which elements `requantize` with the same arguments changes by overflow."""
    check_modes(target, rounding, overflow)
    _, above, below, _ = _shift(raw, source_frac, target, rounding, overflow)
    return np.asarray(above | below)


def check_raw(raw: ArrayLike, source: Format, *, narrow: bool = False) -> NDArray:
    """Return `raw` as int64 after checking that every integer fits `source`.

    Parameters
    ----------
    raw
        Integers of any shape.
    source
        Their format.
    narrow
        Return the format's own dtype instead, without a copy where possible.

    Raises
    ------
    TypeError
        If `raw` is not an integer array.
    FormatError
        If an integer does not fit; the message names the first index.
    """
    integers = _integers(raw)
    if integers.size and (integers.min() < source.min_raw or integers.max() > source.max_raw):
        outside = (integers < source.min_raw) | (integers > source.max_raw)
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise FormatError(
            f"raw {integers[where]} at index {where} does not fit {source}, "
            f"which holds {source.min_raw} to {source.max_raw}"
        )
    return integers.astype(source.dtype, copy=False) if narrow else integers.astype(np.int64)


def _integers(raw: ArrayLike) -> NDArray:
    """Array of integers that fit int64."""
    array = np.asarray(raw)
    if array.dtype.kind not in "iub":
        raise TypeError(f"raw values must be integers, got dtype {array.dtype}")
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise FormatError("raw values above 2**63 - 1 are not supported")
    return array


def _as_int64(raw: ArrayLike) -> IntArray:
    return _integers(raw).astype(np.int64)


def _shift(
    raw: ArrayLike,
    source_frac: int | IntArray,
    target: Format,
    rounding: Rounding,
    overflow: Overflow,
) -> tuple[IntArray, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.uint64]]:
    """Shift to the target's binary point and round.

    Returns the shifted integers (valid where neither flag is set), flags for above and below the
    limits, and the low 64 bits of the exact shifted integer.
    """
    fraction_bits = np.asarray(source_frac)
    if fraction_bits.dtype.kind not in "iu":
        raise TypeError(f"source_frac must be integers, got dtype {fraction_bits.dtype}")
    integers, shift = np.broadcast_arrays(
        _as_int64(raw), fraction_bits.astype(np.int64) - target.frac
    )
    low, high = saturation_limits(target, overflow)
    rounded = _round_right(integers, np.maximum(shift, 0), rounding)
    left = np.minimum(np.maximum(-shift, 0), 63)
    # r * 2**left > high  <=>  r > floor(high / 2**left), without ever forming the product.
    above = rounded > (high >> left)
    below = rounded < -((-low) >> left)
    lost = -shift >= 64
    low_bits = np.where(lost, np.uint64(0), rounded.view(np.uint64) << left.astype(np.uint64))
    return low_bits.view(np.int64), above, below, low_bits


def _round_right(integers: IntArray, shift: IntArray, rounding: Rounding) -> IntArray:
    """Divide by ``2**shift`` (``shift >= 0``) and round to an integer."""
    # A shift of 64 or more leaves less than half a step, whatever the integer, except that
    # -2**63 >> 64 is an exact tie; 63 and below fit the 64-bit mask arithmetic.
    near = np.minimum(shift, 63)
    quotient = integers >> near
    mask = (np.uint64(1) << near.astype(np.uint64)) - np.uint64(1)
    remainder = integers.view(np.uint64) & mask
    half = (mask >> np.uint64(1)) + np.uint64(1)
    above_half = remainder > half
    tie = remainder == half
    inexact = remainder != 0
    far = shift >= 64
    if far.any():
        negative = integers < 0
        smallest = integers == np.iinfo(np.int64).min
        far_tie = (shift == 64) & smallest
        above_half = np.where(far, negative & ~far_tie, above_half)
        tie = np.where(far, far_tie, tie)
        inexact = np.where(far, integers != 0, inexact)
    match rounding:
        case Rounding.FLOOR:
            up = np.zeros_like(tie)
        case Rounding.TO_ZERO:
            up = inexact & (integers < 0)
        case Rounding.HALF_UP:
            up = above_half | tie
        case Rounding.HALF_DOWN:
            up = above_half
        case Rounding.HALF_AWAY:
            up = above_half | (tie & (integers >= 0))
        case Rounding.HALF_TO_ZERO:
            up = above_half | (tie & (integers < 0))
        case Rounding.HALF_EVEN:
            up = above_half | (tie & (quotient & 1 == 1))
    return quotient + up


def _wrap(low_bits: NDArray[np.uint64], target: Format, overflow: Overflow) -> IntArray:
    """Keep the low ``width`` bits and read them as `target`."""
    mask = np.uint64((1 << target.width) - 1)
    kept = low_bits & mask
    sign_bit = np.uint64(1 << (target.width - 1))
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE:
        dropped = (low_bits >> np.uint64(target.width)) & np.uint64(1)
        sign = (kept & sign_bit) != 0
        kept = np.where((dropped == 1) != sign, ~kept & mask, kept)
    if not target.signed:
        return kept.view(np.int64)
    return (kept ^ sign_bit).view(np.int64) - np.int64(sign_bit)


def _split_type_name(text: str) -> tuple[str, list[str]]:
    match = re.fullmatch(r"\s*(\w+?)\s*(?:<([^<>]*)>|(?<=INT)(\d+))\s*", text)
    if match is None:
        raise FormatError(f"cannot read {text!r} as a fixed-point type name")
    arguments = match[2] if match[2] is not None else match[3]
    return match[1], [argument.strip() for argument in arguments.split(",")]


def _parse_integer(argument: str, text: str) -> int:
    if re.fullmatch(r"[+-]?\d{1,9}", argument) is None:
        raise FormatError(f"{argument!r} in {text!r} is not an integer")
    return int(argument)
