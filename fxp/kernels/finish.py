"""The common requantize step: shift, clamp, store as int16.

A chain of exact steps ``(+ bias) (+ other value) (clamp)`` followed by rounding HALF_UP or FLOOR
and saturation is one expression. Rounding is monotone, so that a clamp before it equals a clamp to
the rounded bounds after it, and half a step joins the bias:

    result = clamp((accumulator + start + (other << other_shift)) >> shift, low, high)

The planner proves that the sum fits int32, or int64 (a *wide* finish); what it cannot prove goes
through `fxp.kernels.requantize`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.pair_mac import COUNTED, PLUS_OTHER, RESULTS


@dataclass(frozen=True)
class Finish:
    """How the sums of one stage become raw integers.

    Attributes
    ----------
    start
        Added to every accumulator, per channel: half a step, and in a convolution the bias. int32,
        or int64 if wide.
    shift
        Right shift per channel, 0 to 31 or, if wide, to 62; same dtype.
    low, high
        Bounds of the result.
    count_low, count_high
        Rounded values outside these overflow.
    adds_other
        Whether another value is added.
    other_shift
        Its left shift.
    """

    start: NDArray[np.signedinteger]
    shift: NDArray[np.signedinteger]
    low: int
    high: int
    count_low: int
    count_high: int
    adds_other: bool = False
    other_shift: int = 0

    @property
    def wide(self) -> bool:
        """Whether sums need int64."""
        return self.start.dtype == np.int64

    def taken(self, channels: NDArray[np.int64]) -> Finish:
        """Finish whose channels are these of this one."""
        return replace(self, start=self.start[channels], shift=self.shift[channels])

    def stored(self, counted: bool) -> int:
        """Say what a tile stores, as `fxp.kernels.pair_mac` names it."""
        return RESULTS + PLUS_OTHER * self.adds_other + COUNTED * counted

    def fields(self) -> dict[str, int]:
        """Return `fxp.kernels.records.FINISH_FIELDS` by name; the arrays must stay alive."""
        return {
            "start": self.start.ctypes.data,
            "shift": self.shift.ctypes.data,
            "low": self.low,
            "high": self.high,
            "count_low": self.count_low,
            "count_high": self.count_high,
            "other_shift": self.other_shift,
        }
