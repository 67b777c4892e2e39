"""Events of a camera as arrays, and what is checked of those that come from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.kernels.compiler import njit
from fxp.support.errors import ArgumentError, FxpError

SECOND: Final = 1_000_000
"""Microseconds."""
DISORDER: Final = 1000
"""A time stamp that is smaller than an earlier one by so many microseconds is taken as that one."""
LONGEST_GAP: Final = 1 << 26
"""A counter that wraps is told from unsorted events if no more microseconds than this have passed.

About 67 seconds.
"""
COUNTERS: Final = (1 << 31, 1 << 32)
"""Numbers at which counters of microseconds begin anew."""

LONGEST_TIME: Final = 1 << 62
"""Microseconds that a time may have, before or after zero, so that their sums have 64 bits."""

Size = tuple[int, int]
"""Width and height of a sensor, in pixels."""


class EventsError(FxpError, ValueError):
    """Events cannot be used; the message is one line."""


@dataclass(frozen=True)
class Events:
    """Events in the order of time.

    Attributes
    ----------
    t
        Times in microseconds, int64.
    x, y
        Column and row of the pixel, int32, counted from zero.
    p
        Polarity, int8: 1 where the pixel became brighter, -1 where it became darker.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    p: NDArray[np.int8]

    @classmethod
    def of(cls, t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> Events:
        """Make events from arrays of any integer type.

        Parameters
        ----------
        t
            Times in microseconds.
        x, y
            Columns and rows.
        p
            Polarities: 1 for brighter; 0, -1 or False for darker.

        Raises
        ------
        EventsError
            If the arrays have no common length or are no integers, a time is too large, or a
            polarity is another number.
        """
        arrays = [np.asarray(array) for array in (t, x, y, p)]
        if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise EventsError(f"t, x, y and p must be of one length, not of the shapes {shapes}")
        for name, array in zip("txyp", arrays, strict=True):
            if len(array) and array.dtype.kind not in "iub":
                raise EventsError(f"{name} must be integers, not {array.dtype}")
        time, column, row, sign = arrays
        if len(time) and max(-int(time.min()), int(time.max())) > LONGEST_TIME:
            raise EventsError("t holds values that are too large")
        if len(sign) and (int(sign.min()) < -1 or int(sign.max()) > 1):
            wrong = int(np.argmax((sign.astype(np.int64) < -1) | (sign.astype(np.int64) > 1)))
            raise EventsError(
                f"event {wrong} has the polarity {int(sign[wrong])}; it must be 1 for brighter, "
                "and 0 or -1 for darker"
            )
        return cls(
            time.astype(np.int64),
            _coordinates(column),
            _coordinates(row),
            np.where(sign > 0, 1, -1).astype(np.int8),
        )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice | NDArray) -> Events:
        """Return some of the events, by a slice, a mask or indices."""
        return Events(self.t[part], self.x[part], self.y[part], self.p[part])

    def sorted(self) -> Events:
        """Return the same events in the order of their times; equal times keep their order."""
        return self[np.argsort(self.t, kind="stable")]

    @classmethod
    def joined(cls, parts: Sequence[Events]) -> Events:
        """Return the events of several parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        empty = cls.of(*np.zeros((4, 0), np.int64))
        names = ("t", "x", "y", "p")
        parts = [empty, *parts]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def checked(parts: Iterable[Events], size: Size, *, outside: str = "refuse") -> Iterator[Events]:
    """Check events as they come.

    A time that is smaller than the largest before it is taken as that one if it lags behind by
    `DISORDER` at most. If the counter has wrapped at one of `COUNTERS`, times go on from there.

    Parameters
    ----------
    parts
        Events, in the order of time.
    size
        Width and height of the sensor.
    outside
        What becomes of events outside the sensor: ``"refuse"`` or ``"drop"``.

    Yields
    ------
    Events
        Times never decrease, and pixels are on the sensor.

    Raises
    ------
    EventsError
        At the first event whose time goes back, or whose pixel is not on the sensor; what is
        before it in its part is given first.
    """
    if outside not in ("refuse", "drop"):
        raise ArgumentError(f"outside must be 'refuse' or 'drop', not {outside!r}")
    width, height = size
    number, state = 0, np.array([np.iinfo(np.int64).min // 2, 0], np.int64)
    for part in parts:
        times = part.t.copy()
        keep = np.ones(len(part), np.bool_)
        fault = _settle(times, part.x, part.y, width, height, outside == "drop", keep, state)
        good = len(part) if fault < 0 else fault
        whole = Events(times, part.x, part.y, part.p)[:good]
        yield whole if keep[:good].all() else whole[keep[:good]]
        if fault >= 0:
            x, y = int(part.x[fault]), int(part.y[fault])
            place = f"event {number + fault}"
            if not (0 <= x < width and 0 <= y < height):
                raise EventsError(
                    f"{place} is at column {x}, row {y}, outside the sensor of {width}x{height}"
                )
            raise EventsError(
                f"the time goes back from {int(state[0])} to {int(times[fault])} microseconds at "
                f"{place}; sort the events by time"
            )
        number += len(part)


@njit(cache=True, nogil=True)
def _settle(
    times: NDArray,
    x: NDArray,
    y: NDArray,
    width: int,
    height: int,
    drop: bool,
    keep: NDArray,
    state: NDArray,
) -> int:
    """Make times never decrease; return the first event that cannot be used, or -1.

    `state` is the largest time so far, and what is added to times since the counter has wrapped.
    """
    last, added = state[0], state[1]
    for index in range(len(times)):
        if x[index] < 0 or x[index] >= width or y[index] < 0 or y[index] >= height:
            if not drop:
                return index
            keep[index] = False
        time = times[index] + added
        if time < last - DISORDER:
            for counter in COUNTERS:
                gap = time + counter - last
                if -DISORDER <= gap <= LONGEST_GAP:
                    added += counter
                    time += counter
                    break
        times[index] = time
        if time < last - DISORDER:
            state[0] = last
            return index
        last = max(last, time)
        times[index] = last
    state[0], state[1] = last, added
    return -1


def _coordinates(values: NDArray) -> NDArray[np.int32]:
    limits = np.iinfo(np.int32)
    return np.clip(values.astype(np.int64), limits.min, limits.max).astype(np.int32)
