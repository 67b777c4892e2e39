"""Windows of events by number, by time and between given times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fxp.models.events.events import Events
from fxp.models.events.windows import Window, between, by_count, by_time
from fxp.support.errors import ArgumentError


def parts(*times: Sequence[int]) -> Iterator[Events]:
    for part in times:
        yield Events.of(part, *(len(part) * [0] for _ in "xyp"))


def shown(windows: Iterator[Window]) -> list[tuple[list[int], int]]:
    return [(window.events.t.tolist(), window.end) for window in windows]


def test_by_count_over_parts():
    found = by_count(parts([1], [2, 3, 4], [], [5, 6, 7]), 2)
    assert shown(found) == [([1, 2], 2), ([3, 4], 4), ([5, 6], 6)]
    assert shown(by_count(parts([1, 2]), 3)) == []


def test_by_time_gives_empty_windows_too():
    found = by_time(parts([], [5, 9, 14], [15, 36, 44], [45]), 10)
    assert shown(found) == [([5, 9, 14], 15), ([15], 25), ([], 35), ([36, 44], 45)]


def test_between_given_times():
    found = between(parts([1, 3, 5], [7, 20], [30, 31]), [4, 7, 19, 21, 40])
    assert shown(found) == [([5], 7), ([7], 19), ([20], 21)]
    assert shown(between(parts([1, 2]), [])) == []
    assert shown(between(parts([1, 2], [3]), [0, 2])) == [([1], 2)]


def test_a_window_comes_as_soon_as_it_is_complete():
    def endless() -> Iterator[Events]:
        time = 0
        while True:
            yield from parts([time, time + 1])
            time += 2

    assert next(by_count(endless(), 5)).events.t.tolist() == [0, 1, 2, 3, 4]
    assert next(by_time(endless(), 3)).events.t.tolist() == [0, 1, 2]


def test_windows_that_cannot_be():
    numbers: list[Any] = [0, -1, 2.5, "2"]
    for number in numbers:
        with pytest.raises(ArgumentError, match="at least 1 event"):
            next(by_count(parts([1]), number))
        with pytest.raises(ArgumentError, match="at least 1 microsecond"):
            by_time(parts([1]), number)
    with pytest.raises(ArgumentError, match="must increase, not go from 5 to 5"):
        list(between(parts([1, 9]), [2, 5, 5]))
