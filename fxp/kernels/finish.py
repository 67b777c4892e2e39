"""The common requantize step: shift, clamp, store as int16 or int32.

A chain of exact steps ``(+ bias) (± other value) (clamp)`` followed by rounding HALF_UP or FLOOR
and saturation is one expression. Rounding is monotone, so that a clamp before it equals a clamp to
the rounded bounds after it, and half a step joins the bias:

    result = clamp(((accumulator + start) * own + other * factor) >> shift, low, high)

The factors align the binary points of both, channel by channel: they are powers of two, negative
where a value is subtracted. The planner proves that the sum fits int32, or int64 (a *wide* finish);
what it cannot prove goes through `fxp.kernels.requantize`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.tile_store import (
    BYTE_OTHER,
    BYTE_RESULTS,
    COUNTED,
    INT32_OTHER,
    INT32_RESULTS,
    PLUS_OTHER,
    RESULTS,
    SCALED,
    WIDE,
)

INT16: Final = np.dtype(np.int16)
UINT8: Final = np.dtype(np.uint8)
CHANNEL_FIELDS: Final = ("start", "own", "factor", "shift")
"""Fields of a `Finish` with an element per channel."""


@dataclass(frozen=True)
class Finish:
    """How the sums of one stage become raw integers.

    Attributes
    ----------
    start
        Added to every accumulator, per channel: half a step, and in a convolution the bias. int32,
        or int64 if wide; `own`, `factor` and `shift` have the same dtype.
    own
        What the sum is multiplied by, per channel.
    factor
        What the other value is multiplied by, per channel. Wraps, as the sums do.
    shift
        Right shift per channel, 0 to 31 or, if wide, to 62.
    low, high
        Bounds of the result.
    count_low, count_high
        Rounded values outside these overflow.
    other
        Dtype of another value that is added, uint8, int16 or int32; None if there is none.
    result
        Dtype of the result, uint8, int16 or int32.
    """

    start: NDArray[np.signedinteger]
    own: NDArray[np.signedinteger]
    factor: NDArray[np.signedinteger]
    shift: NDArray[np.signedinteger]
    low: int
    high: int
    count_low: int
    count_high: int
    other: np.dtype | None = None
    result: np.dtype = INT16

    @property
    def wide(self) -> bool:
        """Whether sums need int64."""
        return self.start.dtype == np.int64

    @property
    def scaled(self) -> bool:
        """Whether any sum is multiplied."""
        return bool((self.own != 1).any())

    @property
    def arrays(self) -> list[NDArray]:
        """What must stay alive as long as a record made of `fields`."""
        return [getattr(self, name) for name in CHANNEL_FIELDS]

    def taken(self, channels: NDArray[np.int64]) -> Finish:
        """Finish whose channels are these of this one."""
        return replace(self, **{name: getattr(self, name)[channels] for name in CHANNEL_FIELDS})

    def padded(self, channels: int) -> Finish:
        """Finish with channels behind these, up to so many, that leave a sum of 0 as it is."""
        added = channels - len(self.start)
        neutral = {"start": 0, "own": 1, "factor": 0, "shift": 0}
        return replace(
            self,
            **{
                name: np.pad(getattr(self, name), (0, added), constant_values=neutral[name])
                for name in CHANNEL_FIELDS
            },
        )

    def stored(self, counted: bool) -> int:
        """Say what a tile stores, as `fxp.kernels.tile_store` names it."""
        return (
            RESULTS
            + PLUS_OTHER * (self.other is not None)
            + COUNTED * counted
            + INT32_OTHER * (self.other == np.int32)
            + INT32_RESULTS * (self.result == np.int32)
            + SCALED * self.scaled
            + WIDE * self.wide
            + BYTE_OTHER * (self.other == np.uint8)
            + BYTE_RESULTS * (self.result == np.uint8)
        )

    def fields(self) -> dict[str, int]:
        """Return `fxp.kernels.records.FINISH_FIELDS` by name; `arrays` must stay alive."""
        return {
            **{name: getattr(self, name).ctypes.data for name in CHANNEL_FIELDS},
            "low": self.low,
            "high": self.high,
            "count_low": self.count_low,
            "count_high": self.count_high,
        }
