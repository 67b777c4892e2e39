"""The requantize step of the engine: `fxp.formats.requantize`, compiled."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fxp.formats import Overflow, Rounding

ROUNDING_CODES: Final = {mode: code for code, mode in enumerate(Rounding)}
OVERFLOW_CODES: Final = {mode: code for code, mode in enumerate(Overflow)}

# Numba freezes module-level integers into the compiled code.
_FLOOR = ROUNDING_CODES[Rounding.FLOOR]
_TO_ZERO = ROUNDING_CODES[Rounding.TO_ZERO]
_HALF_UP = ROUNDING_CODES[Rounding.HALF_UP]
_HALF_DOWN = ROUNDING_CODES[Rounding.HALF_DOWN]
_HALF_AWAY = ROUNDING_CODES[Rounding.HALF_AWAY]
_HALF_TO_ZERO = ROUNDING_CODES[Rounding.HALF_TO_ZERO]
_SATURATE = OVERFLOW_CODES[Overflow.SATURATE]
_SATURATE_SYMMETRIC = OVERFLOW_CODES[Overflow.SATURATE_SYMMETRIC]
_SATURATE_TO_ZERO = OVERFLOW_CODES[Overflow.SATURATE_TO_ZERO]
_WRAP_SIGN_MAGNITUDE = OVERFLOW_CODES[Overflow.WRAP_SIGN_MAGNITUDE]


@njit(cache=True, nogil=True)
def shift_right(value: np.int64, shift: np.int64, rounding: int) -> np.int64:
    """Divide a 63-bit integer by ``2**shift`` (``shift >= 0``) with the given rounding."""
    if shift == 0:
        return value
    if shift > 63:
        # Less than half a step is left: every mode but FLOOR goes to zero.
        return value >> 63 if rounding == _FLOOR else np.int64(0)
    quotient = value >> shift
    remainder = value & ((np.int64(1) << shift) - 1) if shift < 63 else value & np.int64(2**63 - 1)
    half = np.int64(1) << (shift - 1)
    if rounding == _FLOOR:
        return quotient
    if rounding == _TO_ZERO:
        return quotient + (remainder != 0 and value < 0)
    if remainder != half:
        return quotient + (remainder > half)
    if rounding == _HALF_UP:
        return quotient + 1
    if rounding == _HALF_DOWN:
        return quotient
    if rounding == _HALF_AWAY:
        return quotient + (value >= 0)
    if rounding == _HALF_TO_ZERO:
        return quotient + (value < 0)
    return quotient + (quotient & 1)


@njit(cache=True, nogil=True)
def wrap(low_bits: np.int64, width: int, signed: bool, sign_magnitude: bool) -> np.int64:
    """Keep the low `width` bits of a 64-bit pattern."""
    mask = (np.int64(1) << width) - np.int64(1) if width < 63 else np.int64(2**63 - 1)
    kept = low_bits & mask
    sign = (kept >> (width - 1)) & 1
    if sign_magnitude and ((low_bits >> width) & 1) != sign:
        kept = ~kept & mask
        sign = 1 - sign
    if signed and sign == 1:
        return kept - mask - 1
    return kept


@njit(cache=True, nogil=True)
def requantize_band(
    band: NDArray,
    result: NDArray,
    first_row: int,
    shifts: NDArray[np.int64],
    rounding: int,
    overflow: int,
    low: int,
    high: int,
    width: int,
    signed: bool,
) -> int:
    """Requantize accumulator rows into the result; returns how many elements overflowed.

    Parameters
    ----------
    band
        Accumulators, ``(rows, W, C)``.
    result
        Raw integers of the node's format, ``(H, W, C)``.
    first_row
        Row of `result` that the first row of `band` stands for.
    shifts
        Right shift per channel; negative shifts left.
    rounding, overflow
        Codes of the modes.
    low, high
        Limits outside which a rounded value overflows.
    width, signed
        Of the node's format, for the wrapping modes.
    """
    saturates = overflow in (_SATURATE, _SATURATE_SYMMETRIC)
    clipped = 0
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                shift = shifts[c]
                value = np.int64(band[y, x, c])
                if shift >= 0:
                    value = shift_right(value, shift, rounding)
                    above = value > high
                    below = value < low
                    low_bits = value
                else:
                    left = min(-shift, 63)
                    # value << left > high  <=>  value > high >> left, without the product.
                    above = value > (high >> left)
                    below = value < -((-low) >> left)
                    low_bits = value << left if -shift < 64 else np.int64(0)
                    value = low_bits
                if above or below:
                    clipped += 1
                    if saturates:
                        value = np.int64(high if above else low)
                    elif overflow == _SATURATE_TO_ZERO:
                        value = np.int64(0)
                    else:
                        value = wrap(low_bits, width, signed, overflow == _WRAP_SIGN_MAGNITUDE)
                result[first_row + y, x, c] = value
    return clipped
