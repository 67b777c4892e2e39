"""Rules: how the sums of an op become results, where a shift, a bound and a factor do it."""

from __future__ import annotations

from dataclasses import dataclass

from fxp.engine.chains import INT32_MAX, INT32_MIN, MAX_SHIFT
from fxp.formats import Overflow, Quantization, Rounding, saturation_limits
from fxp.graph.ops import Accumulator
from fxp.kernels.requantize import half_step


@dataclass(frozen=True)
class Conversion:
    """Rule for all channels, and what sums are multiplied by before it.

    Attributes
    ----------
    fields
        `fxp.kernels.records.RULE_FIELDS` by name.
    factor
        Multiplies every sum.
    wide
        Whether the rule needs int64.
    """

    fields: dict[str, int]
    factor: int
    wide: bool


def conversion(accumulator: Accumulator, target: Quantization) -> Conversion | None:
    """Return the rule that makes results of sums; None if the modes need another step.

    Parameters
    ----------
    accumulator
        Range and fraction bits of the sums.
    target
        Format and modes of the results.
    """
    if len(set(accumulator.fracs)) > 1:
        return None
    form, shift = target.format, accumulator.frac - target.format.frac
    up, shift = max(-shift, 0), max(shift, 0)
    half = half_step(shift, target.rounding)
    least, most = min(accumulator.low) << up, (max(accumulator.high) << up) + half
    bounds = saturation_limits(form, target.overflow)
    clips = least >> shift < bounds[0] or most >> shift > bounds[1]
    if (
        max(up, shift) > MAX_SHIFT
        or most >= 1 << MAX_SHIFT
        or least < -(1 << MAX_SHIFT)
        or (shift > 0 and target.rounding not in (Rounding.HALF_UP, Rounding.FLOOR))
        or (clips and target.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC))
    ):
        return None
    wide = (
        most > INT32_MAX
        or least < INT32_MIN
        or max(up, shift) > 31
        or bounds[0] < INT32_MIN
        or bounds[1] > INT32_MAX
    )
    fields = {
        "start": half,
        "shift": shift,
        "low": bounds[0],
        "high": bounds[1],
        "count_low": bounds[0],
        "count_high": bounds[1],
    }
    return Conversion(fields, 1 << up, wide)
