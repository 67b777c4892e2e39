"""Windows of events: by their number, by time, and between given times such as those of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from numbers import Integral

import numpy as np

from fxp.models.events.events import Events
from fxp.support.errors import ArgumentError


@dataclass(frozen=True)
class Window:
    """Events from one time to another.

    Attributes
    ----------
    events
        The events, none if nothing has happened.
    end
        Time at which the window ends, in microseconds.
    """

    events: Events
    end: int


def by_count(parts: Iterable[Events], count: int) -> Iterator[Window]:
    """Split events into windows of a number of events each; what is left at the end is left out.

    Parameters
    ----------
    parts
        Events in the order of time, as `fxp.models.events.reading.EventReader` gives them.
    count
        Events in every window, at least 1.

    Yields
    ------
    Window
        As soon as its last event is there.
    """
    if not isinstance(count, Integral) or count < 1:
        raise ArgumentError(f"a window must have at least 1 event, and whole ones, not {count!r}")
    waiting: list[Events] = []
    number = 0
    for part in parts:
        waiting.append(part)
        number += len(part)
        if number < count:
            continue
        joined = Events.joined(waiting)
        whole = number // count * count
        for start in range(0, whole, count):
            window = joined[start : start + count]
            yield Window(window, int(window.t[-1]))
        waiting, number = [joined[whole:]], number - whole


def by_time(parts: Iterable[Events], duration: int) -> Iterator[Window]:
    """Split events into windows of equal time, beginning with the first event.

    A window without events is given as well, so that frames come at a steady rate; the last one,
    whose end the recording does not reach, is left out.

    Parameters
    ----------
    parts
        Events in the order of time.
    duration
        Length in microseconds, at least 1.

    Yields
    ------
    Window
        As soon as an event behind it is there.
    """
    if not isinstance(duration, Integral) or duration < 1:
        raise ArgumentError(
            f"a window must last at least 1 microsecond, and whole ones, not {duration!r}"
        )

    def ends(first: int) -> Iterator[int]:
        while True:
            first += duration
            yield first

    return _until(parts, None, ends)


def between(parts: Iterable[Events], times: Iterable[int]) -> Iterator[Window]:
    """Split events at given times, such as those of the frames of a camera.

    Events before the first time, and those from the last on, are left out.

    Parameters
    ----------
    parts
        Events in the order of time.
    times
        Times in microseconds that increase. A window has the events from one time on until before
        the next.

    Yields
    ------
    Window
        As soon as an event behind it is there. A window whose end the recording does not reach
        is left out.
    """
    limits = iter(times)
    first = next(limits, None)
    if first is None:
        return iter(())
    return _until(parts, first, lambda _: limits)


def _until(
    parts: Iterable[Events], begin: int | None, ends: Callable[[int], Iterator[int]]
) -> Iterator[Window]:
    """Give the window before each of `ends`, which begin at `begin`, or at the first event."""
    present = (part for part in parts if len(part))
    head = next(present, None)
    if head is None:
        return
    last = int(head.t[0]) if begin is None else begin
    limits = ends(last)
    end = _later(last, limits)
    waiting: list[Events] = []
    for part in chain([head], present):
        start = int(np.searchsorted(part.t, last))
        while end is not None and int(part.t[-1]) >= end:
            stop = int(np.searchsorted(part.t, end))
            yield Window(Events.joined([*waiting, part[start:stop]]), end)
            waiting, start, last = [], stop, end
            end = _later(last, limits)
        if end is None:
            return
        waiting.append(part[start:])


def _later(time: int, limits: Iterator[int]) -> int | None:
    end = next(limits, None)
    if end is not None and end <= time:
        raise ArgumentError(f"the times of windows must increase, not go from {time} to {end}")
    return end
