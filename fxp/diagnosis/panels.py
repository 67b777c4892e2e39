"""Small charts of single values, as the shapes that the page draws; there are many of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.diagnosis.findings import ValueReport, WeightsReport

WIDTH: Final = 300.0
HEIGHT: Final = 96.0
"""Size of the area in which a panel draws."""
MOST_CHANNELS: Final = 150
"""Points of a panel; more channels are joined, the worst of neighbours is shown."""
CEILING: Final = 120.0
"""Level in dB at which charts show what is exact or better."""
BARS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Panel:
    """One small chart, in units of an area of `WIDTH` × `HEIGHT`, the origin at the top left.

    Attributes
    ----------
    title
        What it shows.
    bars
        Rectangles: left, top, width, height, and a text that explains each.
    band
        Outline of what the format holds, a path; empty if there is none.
    dots
        Points, a path.
    bottom, side
        Ticks: position and text.
    """

    title: str
    bars: tuple[tuple[float, float, float, float, str], ...] = ()
    band: str = ""
    dots: str = ""
    bottom: tuple[tuple[float, str], ...] = ()
    side: tuple[tuple[float, str], ...] = ()


def panels(item: ValueReport) -> list[Panel]:
    """Return a value's histogram, the SQNR of its channels, and its layer's weights."""
    found = [_histogram(item)]
    if len(item.channel_sqnr_db) > 1:
        found.append(_channels(item))
    if item.weights is not None:
        found.append(_weights(item.weights))
    return found


def _histogram(item: ValueReport) -> Panel:
    """Magnitudes by power of two, with what the format holds behind them."""
    first, last = math.log2(item.step), math.log2(max(item.format_high, item.step))
    exponents = list(item.histogram) or [0]
    begin = max(min(min(exponents) - 1, first), first - 8) - 1
    end = max(max(exponents), last) + 1
    across = _scale(begin, end, 0, WIDTH)
    shown = {power: count for power, count in item.histogram.items() if power - 1 >= begin}
    top = math.log1p(max(shown.values(), default=1))
    bars = []
    for exponent, count in shown.items():
        height = HEIGHT * math.log1p(count) / top
        left, right = across(exponent - 0.95), across(exponent - 0.05)
        text = f"2^{exponent - 1} to 2^{exponent}: {count:,} values"
        bars.append(
            (left, round(HEIGHT - height, 1), round(right - left, 1), round(height, 1), text)
        )
    band = _box(across(first), 0, across(last), HEIGHT)
    ticks = _ticks(begin, end, across)
    return Panel("magnitudes, 2^n; shaded: what the format holds", tuple(bars), band, bottom=ticks)


def _channels(item: ValueReport) -> Panel:
    """SQNR of every channel."""
    levels = [CEILING if each is None else min(each, CEILING) for each in item.channel_sqnr_db]
    channels, worst = _thinned(levels, np.min)
    low, high = min(float(worst.min()), 0.0), max(float(worst.max()), 40.0)
    across = _scale(0, max(len(levels) - 1, 1), 0, WIDTH)
    up = _scale(low, high, HEIGHT, 0)
    side = tuple((up(level), f"{level:g}") for level in (0, 40, 80, 120) if low <= level <= high)
    ends = ((0.0, "0"), (WIDTH, str(len(levels) - 1)))
    points = [(across(place), up(level)) for place, level in zip(channels, worst, strict=True)]
    return Panel("SQNR of channels, dB", dots=_dots(points), bottom=ends, side=side)


def _weights(weights: WeightsReport) -> Panel:
    """Largest weight of every output channel, within what its format holds."""
    sizes = np.maximum(np.abs(weights.low), np.abs(weights.high))
    channels, largest = _thinned(np.log2(np.where(sizes > 0, sizes, np.nan)), np.nanmax)
    _, limit = _thinned(np.log2(weights.limit), np.max)
    _, step = _thinned(np.log2(weights.step), np.min)
    seen = np.concatenate([largest[np.isfinite(largest)], limit, step])
    low, high = math.floor(seen.min()), math.ceil(seen.max()) + 1
    across, up = _scale(0, max(len(sizes) - 1, 1), 0, WIDTH), _scale(low, high, HEIGHT, 0)
    columns = [across(channel) for channel in channels]
    there = zip(columns, map(up, limit), strict=True)
    back = zip(columns[::-1], map(up, step[::-1]), strict=True)
    outline = "L".join(f"{x} {y}" for x, y in (*there, *back))
    points = [(x, up(y)) for x, y in zip(columns, largest, strict=True) if math.isfinite(y)]
    ends = ((0.0, "0"), (WIDTH, str(len(sizes) - 1)))
    side = tuple((y, text) for y, text in _ticks(low, high, up))
    title = "largest weight of output channels, 2^n; shaded: what the format holds"
    return Panel(title, band=f"M{outline}Z", dots=_dots(points), bottom=ends, side=side)


def _scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    """Return the map of a range to positions."""
    return lambda value: round(first + (value - low) / (high - low) * (last - first), 1)


def _ticks(
    low: float, high: float, place: Callable[[float], float]
) -> tuple[tuple[float, str], ...]:
    gap = max(1, math.ceil((high - low) / 7))
    whole = range(math.ceil(low / gap) * gap, math.floor(high) + 1, gap)
    return tuple((place(value), str(value)) for value in whole)


def _box(left: float, top: float, right: float, bottom: float) -> str:
    return f"M{left} {top}H{right}V{bottom}H{left}Z"


def _dots(points: Sequence[tuple[float, float]]) -> str:
    """Return points as lines of no length, which round ends make visible."""
    return "".join(f"M{x} {y}h0" for x, y in points)


def _thinned(values: Any, join: Callable[[NDArray], Any]) -> tuple[NDArray, NDArray]:
    """Join neighbours where there are more channels than a panel can show."""
    array = np.asarray(values, np.float64)
    parts = np.array_split(np.arange(len(array)), min(len(array), MOST_CHANNELS))
    joined = [math.nan if np.isnan(array[part]).all() else join(array[part]) for part in parts]
    return np.array([part[0] for part in parts]), np.array(joined)


def sparkline(item: ValueReport) -> str:
    """Return the histogram as text, and where in it the format begins and ends, in brackets."""
    first = round(math.log2(item.step)) + 1
    last = max(round(math.log2(max(item.format_high, item.step))), first)
    below = sum(count for exponent, count in item.histogram.items() if exponent < first)
    above = sum(count for exponent, count in item.histogram.items() if exponent > last)
    width = last - first + 1
    group = max(1, -(-width // 16))
    inside = [
        sum(
            item.histogram.get(exponent, 0)
            for exponent in range(start, min(start + group, last + 1))
        )
        for start in range(first, last + 1, group)
    ]
    top = math.log1p(max([below, above, *inside, 1]))

    def bar(count: int) -> str:
        return BARS[math.ceil(math.log1p(count) / top * (len(BARS) - 1))]

    return f"{bar(below)}[{''.join(map(bar, inside))}]{bar(above)}"
