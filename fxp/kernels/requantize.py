"""Rounding and overflow in the engine: `fxp.formats.requantize`, compiled.

All of the engine's rounding is defined here, in four forms for four kinds of sums:

* `requantize_band`: int64 sums, every mode (the portable kernels);
* `round_sum`, `clamp`, `overflows`: int32 or int64 sums of a row, one rule for all channels;
* `finish_one`: an int32 sum with a shift of its channel. `fxp.kernels.tile_store.Store` is the same
  over vectors, in the code of the register tiles;
* `quantize_half_up`: real values.

The fast forms only shift right and clamp; rounding half up is `half_step` added before the shift.

The other executors define theirs in `fxp/formats/conversion.py` (the oracle, and what all are
tested against), `fxp/executors/torch_forward.py` (PyTorch) and `fxp/graph/onnx_emitter.py` (ONNX).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fxp.formats import Overflow, Rounding
from fxp.kernels.compiler import code_generator, njit
from fxp.kernels.routines import routine

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
    """Divide a 63-bit integer by ``2**shift`` (``shift >= 0``) with the given rounding.

    Parameters
    ----------
    value
        The integer.
    shift
        How many bits.
    rounding
        A value of `ROUNDING_CODES`.
    """
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
    """Keep the low `width` bits of a 64-bit pattern.

    Parameters
    ----------
    low_bits
        The pattern.
    width
        Bits to keep.
    signed
        Whether the result is read as two's complement.
    sign_magnitude
        Whether the next bit is the sign, as in AP_WRAP_SM.
    """
    mask = (np.int64(1) << width) - np.int64(1) if width < 63 else np.int64(2**63 - 1)
    kept = low_bits & mask
    sign = (kept >> (width - 1)) & 1
    if sign_magnitude and ((low_bits >> width) & 1) != sign:
        kept = ~kept & mask
        sign = 1 - sign
    if signed and sign == 1:
        return kept - mask - 1
    return kept


@routine
def requantize_band(
    result: NDArray,
    band: NDArray,
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
    result
        Raw integers of the node's format, ``(rows, W, C)``; written.
    band
        Accumulators, ``(rows, W, C)``.
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
    clipped = np.int64(0)
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
                result[y, x, c] = value
    return clipped


def half_step(shift: int, rounding: Rounding) -> int:
    """Return what is added before a right shift, which rounds down, to round half up instead.

    `rounding` is HALF_UP or FLOOR.
    """
    return 1 << (shift - 1) if shift > 0 and rounding is Rounding.HALF_UP else 0


Rule = tuple[np.signedinteger, ...]


def _operation(name: str) -> Any:
    @code_generator
    def operation(typingctx, left, right):  # type: ignore[no-untyped-def]
        kind = types.int64 if left == types.int64 else types.int32

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return kind(kind, kind), codegen

    return operation


# Numba's own operators widen to 64 bits, which halves the lanes of a vector and more. These widen
# only if the first operand is an int64.
add = _operation("add")
subtract = _operation("sub")
multiply = _operation("mul")
_shift = _operation("ashr")


@njit(cache=True, nogil=True, inline="always")
def read_rule(block: Any, kind: Any) -> Rule:
    """Return the fields of a record that begins with `fxp.kernels.records.RULE_FIELDS`.

    Parameters
    ----------
    block
        The record.
    kind
        np.int32 or np.int64, the type of sums.
    """
    return (
        kind(block.start),
        kind(block.shift),
        kind(block.low),
        kind(block.high),
        kind(block.count_low),
        kind(block.count_high),
    )


@njit(cache=True, nogil=True, inline="always")
def round_sum(total: np.signedinteger, rule: Rule) -> np.signedinteger:
    """Return a sum, int32 or int64, shifted to the binary point of the result."""
    return _shift(add(total, rule[0]), rule[1])


@njit(cache=True, nogil=True, inline="always")
def clamp(value: np.signedinteger, rule: Rule) -> np.int32:
    """Return the result of a rounded sum; where it is stored, it is narrowed."""
    return min(max(value, rule[2]), rule[3])


@njit(cache=True, nogil=True, inline="always")
def overflows(value: np.signedinteger, rule: Rule) -> np.int32:
    """Return 1 if a rounded sum overflows, else 0."""
    return np.int32((value < rule[4]) | (value > rule[5]))


@njit(cache=True, nogil=True, inline="always")
def finish_one(total: np.int32, shift: np.int32, low: np.int32, high: np.int32) -> np.int32:
    """Shift and clamp one sum.

    Parameters
    ----------
    total
        The sum, half a step added.
    shift
        Right shift.
    low, high
        Smallest and largest result.
    """
    return np.int32(min(max(total >> shift, low), high))


@njit(cache=True, nogil=True)
def quantize_half_up(
    values: NDArray, frac: int, low: int, high: int, result: NDArray[np.int16]
) -> bool:
    """Round half up and saturate; returns whether every value was finite.

    Scaling by a power of two is exact in float64, and so is the distance to the integer below.

    Parameters
    ----------
    values
        Flat float32 or float64 values.
    frac
        Fraction bits, within what float64's exponent holds.
    low, high
        Smallest and largest raw integer.
    result
        As many raw integers.
    """
    scale = math.ldexp(1.0, frac)
    below, above = float(low) - 1.0, float(high) + 1.0
    finite = True
    for i in range(values.size):
        value = np.float64(values[i])
        finite &= abs(value) < np.inf
        scaled = min(max(value * scale, below), above)
        floor = math.floor(scaled)
        rounded = np.int32(floor) + np.int32(scaled - floor >= 0.5)
        result[i] = min(max(rounded, np.int32(low)), np.int32(high))
    return bool(finite)
