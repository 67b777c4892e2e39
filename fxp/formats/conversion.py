"""Conversion between real values and raw integers: the one definition of rounding and overflow.

Every other part of the package (oracle, Numba kernels, torch forward, ONNX, HLS, RTL) is tested
for equality against the functions of this module.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.formats.format import (
    Format,
    FormatError,
    IntArray,
    Overflow,
    Rounding,
    check_modes,
    saturation_limits,
)
from fxp.support.errors import ArgumentTypeError

BLOCK = 1 << 15
"""Numbers that are converted at once, so that what lies between stays in the cache."""
DOUBLE_BITS = 53
"""Bits of integers that float64 has all of."""
EXACT_FLOAT32: Final = 1 << 24
EXACT_FLOAT64: Final = 1 << DOUBLE_BITS
"""Whole numbers up to these are exact in float32 and float64."""


def quantize(
    values: ArrayLike,
    target: Format | str,
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
        Format of the result, or its name such as ``ap_fixed<14,6>``.
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
    target = Format.of(target)
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        return requantize(array, 0, target, rounding, overflow)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ArgumentTypeError(
            f"cannot quantize an array of dtype {array.dtype}; give real numbers"
        )
    check_modes(target, rounding, overflow)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise FormatError(f"cannot quantize {array[where]} at index {where}")
    result = np.empty(array.shape, np.int64)
    given, rounded = array.reshape(-1), result.reshape(-1)
    usual = rounding is Rounding.HALF_UP and overflow is Overflow.SATURATE
    for first in range(0, array.size, BLOCK):
        some = slice(first, first + BLOCK)
        if usual and target.width <= DOUBLE_BITS:
            rounded[some] = _half_up(given[some].astype(np.float64), target)
            continue
        mantissa, exponent = np.frexp(given[some].astype(np.float64))
        raw = np.ldexp(mantissa, 53).astype(np.int64)
        source_frac = 53 - exponent.astype(np.int64)
        rounded[some] = requantize(raw, source_frac, target, rounding, overflow)
    return result


def _half_up(values: NDArray[np.float64], target: Format) -> NDArray[np.float64]:
    """Round half up and saturate, in few steps: exact where the limits are float64 numbers."""
    low, high = saturation_limits(target, Overflow.SATURATE)
    with np.errstate(over="ignore", under="ignore"):
        # Beyond the float64 numbers, values saturate or are rounded to zero all the same.
        scaled = np.clip(np.ldexp(values, target.frac), low, high)
    whole = np.floor(scaled)
    # Their difference is rounded only next to 1.
    return whole + (scaled - whole >= 0.5)


def dequantize(raw: ArrayLike, source: Format | str) -> NDArray[np.float64]:
    """Return the real values of raw integers of a format, or of its name.

    Raises
    ------
    FormatError
        If a raw integer lies outside `source`, or if its value is not a float64 (more than 53
        significant bits); the message names the first index. Nothing is rounded silently.
    """
    source = Format.of(source)
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
    target: Format | str,
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
        Format, or its name, and modes of the result.

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
    target = Format.of(target)
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
    """Tell which elements `requantize` with the same arguments changes by overflow.

    Parameters
    ----------
    raw, source_frac, target, rounding, overflow
        As for `requantize`.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of `raw`.
    """
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
    held = np.iinfo(integers.dtype)
    if source.min_raw <= held.min and held.max <= source.max_raw:
        pass  # Nothing of this dtype can be outside.
    elif integers.size and (integers.min() < source.min_raw or integers.max() > source.max_raw):
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
        raise ArgumentTypeError(f"raw values must be integers, got dtype {array.dtype}")
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
        raise ArgumentTypeError(f"source_frac must be integers, got dtype {fraction_bits.dtype}")
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
    # Rounding of the other executors, tested against this: fxp/kernels/requantize.py (engine),
    # fxp/executors/torch_forward.py (PyTorch), fxp/graph/onnx_emitter.py (ONNX).
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
