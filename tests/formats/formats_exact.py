"""Exact reference for rounding and overflow, in rational arithmetic and one number at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from fxp.formats import Format, IntArray, Overflow, Rounding

ROUNDINGS = tuple(Rounding)
OVERFLOWS = tuple(Overflow)
INT64 = np.iinfo(np.int64)


def overflows_of(target: Format) -> list[Overflow]:
    """Overflow modes that exist for the format."""
    return [mode for mode in Overflow if target.signed or mode is not Overflow.WRAP_SIGN_MAGNITUDE]


def modes_of(target: Format) -> list[tuple[Rounding, Overflow]]:
    """Every pair of modes that exists for the format."""
    return list(itertools.product(ROUNDINGS, overflows_of(target)))


def exact_value(raw: int, frac: int) -> Fraction:
    """Rational value of a raw integer."""
    return Fraction(int(raw)) * Fraction(2) ** -int(frac)


def exact_round(value: Fraction, rounding: Rounding) -> int:
    """Round to an integer, straight from the definition of the mode."""
    if rounding is Rounding.FLOOR:
        return math.floor(value)
    if rounding is Rounding.TO_ZERO:
        return math.trunc(value)
    down, up = math.floor(value), math.ceil(value)
    if value - down != up - value:
        return down if value - down < up - value else up
    choose = {
        Rounding.HALF_UP: max(down, up),
        Rounding.HALF_DOWN: min(down, up),
        Rounding.HALF_AWAY: max(down, up, key=abs),
        Rounding.HALF_TO_ZERO: min(down, up, key=abs),
        Rounding.HALF_EVEN: down if down % 2 == 0 else up,
    }
    return choose[rounding]


def exact_limits(target: Format, overflow: Overflow) -> tuple[int, int]:
    """Smallest and largest raw integer that the mode leaves alone."""
    if not target.signed:
        return 0, 2**target.width - 1
    high = 2 ** (target.width - 1) - 1
    return (-high if overflow is Overflow.SATURATE_SYMMETRIC else -high - 1), high


def exact_overflow(rounded: int, target: Format, overflow: Overflow) -> int:
    """Bring a rounded integer into the format.

    Sign-magnitude wrap is written as what it does to the number line, a triangle wave that mirrors
    at the borders, and not with the bits of its definition.
    """
    low, high = exact_limits(target, overflow)
    if low <= rounded <= high:
        return rounded
    if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return low if rounded < low else high
    if overflow is Overflow.SATURATE_TO_ZERO:
        return 0
    codes = 2**target.width
    if overflow is Overflow.WRAP:
        return (rounded - low) % codes + low
    phase = (rounded - low) % (2 * codes)
    return low + (phase if phase < codes else 2 * codes - 1 - phase)


def exact_quantize(
    value: Fraction, target: Format, rounding: Rounding, overflow: Overflow
) -> tuple[int, bool]:
    """Raw integer of a rational number, and whether overflow changed it."""
    rounded = exact_round(value * Fraction(2) ** target.frac, rounding)
    result = exact_overflow(rounded, target, overflow)
    return result, result != rounded


def exact_array(
    values: Iterable[Fraction], target: Format, rounding: Rounding, overflow: Overflow
) -> tuple[list[int], list[bool]]:
    """Apply `exact_quantize` to each value and return the two columns."""
    pairs = [exact_quantize(value, target, rounding, overflow) for value in values]
    return [raw for raw, _ in pairs], [changed for _, changed in pairs]


def formats(frac: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[Format]:
    """Draw formats of every width, with negative `frac` and with `frac` above the width."""
    fractions = st.integers(-90, 150) if frac is None else frac
    return st.builds(Format, st.integers(1, 63), fractions, st.booleans())


def integers_within(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers of every magnitude, dense at the borders and around powers of two."""

    def clip(value: int) -> int:
        return min(max(value, low), high)

    near_power = st.builds(
        lambda exponent, sign, factor, offset: clip(sign * (factor << exponent) + offset),
        st.integers(0, 63),
        st.sampled_from((-1, 1)),
        st.sampled_from((1, 3, 5)),
        st.integers(-2, 2),
    )
    near_border = st.builds(
        lambda border, offset: clip(border + offset),
        st.sampled_from((low, high, 0)),
        st.integers(-3, 3),
    )
    return st.one_of(near_power, near_border, st.integers(low, high))


def sample_raw(source: Format, count: int, seed: int) -> IntArray:
    """Raw integers of a format: all of them if few, else borders, powers of two and random ones."""
    low, high = source.min_raw, source.max_raw
    if source.width <= 8:
        return np.arange(low, high + 1, dtype=np.int64)
    chosen = {low, high, 0}
    for exponent in range(source.width):
        for base in (0, low, high):
            for factor in (-3, -1, 1, 3):
                for offset in (-1, 0, 1):
                    candidate = base + factor * (1 << exponent) + offset
                    if low <= candidate <= high:
                        chosen.add(candidate)
    generator = np.random.default_rng(seed)
    random = generator.integers(low, high, count, endpoint=True)
    scaled = random >> generator.integers(0, source.width, count)
    return np.unique(np.concatenate([np.array(sorted(chosen), np.int64), random, scaled]))
