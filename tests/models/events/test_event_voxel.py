"""Voxel grids by their definition, evaluated with Python's own integers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from fxp.formats import Format
from fxp.models.events.events import Events
from fxp.models.events.voxel import fixed_grid, float_grid, voxel_sums
from fxp.support.errors import ArgumentError

FORM = Format(16, 8)


def random_events(seed: int, count: int, size: tuple[int, int], span: int = 10_000) -> Events:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, span, count)) + 5
    x, y = (random.integers(0, side, count) for side in size)
    return Events.of(times, x, y, random.integers(0, 2, count))


def test_sums_by_hand():
    # tau = 4 * (t - 100) / 80 bins: 0, 1.25, 4; and 3/4 of bin 1 with 1/4 of bin 2.
    events = Events.of([100, 125, 180], [0, 1, 2], [0, 0, 1], [1, 0, 1])
    sums = voxel_sums(events, (3, 2))
    expected = np.zeros((5, 2, 3), int)
    expected[0, 0, 0] = 4096
    expected[1, 0, 1], expected[2, 0, 1] = -3072, -1024
    expected[4, 1, 2] = 4096
    assert np.array_equal(sums, expected)


def test_a_place_in_time_is_rounded_down():
    # 4 * 1 * 4096 / 3 = 5461.33: 1365 / 4096 behind the beginning of bin 1.
    sums = voxel_sums(Events.of([0, 1, 3], [0, 1, 2], [0] * 3, [1] * 3), (3, 1))
    assert sums[:, 0, 1].tolist() == [0, 4096 - 1365, 1365, 0, 0]


def test_events_of_one_time_lie_in_the_first_bin():
    sums = voxel_sums(Events.of([7, 7], [0, 0], [0, 0], [1, 1]), (1, 1))
    assert sums.ravel().tolist() == [8192, 0, 0, 0, 0]


def defined(sums: np.ndarray, form: Format, hot: int | None, bins: int) -> np.ndarray:
    """Evaluate steps 3 and 4 of the definition with Python's fractions."""
    values = [int(value) for value in sums.ravel()]
    if hot is not None:
        values = [0 if abs(value) > 4096 * hot // bins else value for value in values]
    used = [value for value in values if value]
    n, total, squares = len(used), sum(used), sum(value * value for value in used)
    root = math.isqrt(n * squares - total * total)
    grid = []
    for value in values:
        if not value or not root:
            grid.append(0)
            continue
        exact = Fraction((n * value - total) << form.frac, root) + Fraction(1, 2)
        grid.append(min(max(math.floor(exact), form.min_raw), form.max_raw))
    return np.array(grid).reshape(sums.shape)


@pytest.mark.parametrize("hot", [None, 3])
@pytest.mark.parametrize(
    ("count", "size", "form", "bins"),
    [
        (0, (4, 3), FORM, 5),
        (1, (4, 3), FORM, 5),
        (50, (4, 3), FORM, 5),
        (3000, (17, 9), Format(14, 9), 5),
        (3000, (17, 9), Format(6, 2), 1),
        (20_000, (31, 20), Format(24, 16), 7),
    ],
)
def test_grids_follow_the_definition(
    count: int, size: tuple[int, int], form: Format, bins: int, hot: int | None
):
    events = random_events(count, count, size)
    grid = fixed_grid(events, size, form, bins=bins, hot=hot)
    assert grid.dtype == form.dtype
    assert np.array_equal(grid, defined(voxel_sums(events, size, bins), form, hot, bins))


def test_so_many_events_that_sums_saturate():
    count = 600_000
    times = np.zeros(count, np.int64)
    places = np.zeros(count, np.int32)
    events = Events.of(times, places, places, np.ones(count, np.int8))
    sums = voxel_sums(events, (2, 1))
    assert sums.ravel().tolist() == [2**23 - 1] + 9 * [0]
    assert not fixed_grid(events, (2, 1), FORM).any()


def test_float_grid():
    events = random_events(3, 500, (20, 10))
    grid = float_grid(events, (20, 10))
    assert grid[grid != 0].mean() == pytest.approx(0, abs=1e-6)
    assert grid[grid != 0].std() == pytest.approx(1, abs=1e-6)
    fixed = fixed_grid(events, (20, 10), Format(20, 14)) / 2**14
    # Each event is off by 1/4096 of a bin at most; a pixel has some ten of them.
    assert np.abs(grid - fixed).max() < 10 / 4096 / 0.5
    assert not float_grid(events[:0], (20, 10)).any()
    # A hot pixel of 10 events beside single ones; 5 events over 5 bins are the limit.
    busy = Events.of([0] * 10 + [4, 8], [3] * 10 + [0, 1], [0] * 12, [1] * 11 + [0])
    everything, cool = [True, True, False, True], [True, True, False, False]
    for make in (float_grid, lambda *given, **options: fixed_grid(*given, FORM, **options)):
        assert make(busy, (4, 1)).any(axis=0)[0].tolist() == everything
        assert make(busy, (4, 1), hot=5).any(axis=0)[0].tolist() == cool


def test_what_cannot_be_a_grid():
    events = Events.of([1], [4], [0], [1])
    with pytest.raises(ArgumentError, match="outside the sensor of 4x3"):
        voxel_sums(events, (4, 3))
    with pytest.raises(ArgumentError, match="at least 1, not 0"):
        float_grid(events, (9, 9), bins=0)
    with pytest.raises(ArgumentError, match="0 to 16 fraction bits"):
        fixed_grid(events, (9, 9), Format(24, 17))
