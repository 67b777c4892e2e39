"""Ranges that a network's values keep by construction, whatever the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops.base import UNBOUNDED, Op, Range
from fxp.quantization.statistics import Statistics

PICTURES: Final[tuple[Range, ...]] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Ranges of pixels."""
PICTURE_SHARE: Final = 0.5
"""An input that fills at least this share of such a range, and never leaves it, is a picture."""


def known_ranges(
    graph: Graph, statistics: Mapping[str, Statistics], input_formats: Mapping[str, Format]
) -> dict[str, Range]:
    """Return the range that each value is known to keep; infinite where nothing is known.

    Inputs keep the range of the format that is given for them. Another input is bounded where the
    calibration data shows a bound: on a side whose extreme two images reach exactly, as white
    pixels do, and where `picture_range` finds one.

    Parameters
    ----------
    graph
        A float graph.
    statistics
        Of every value.
    input_formats
        Formats by name, those that are given.
    """
    ranges: dict[str, Range] = {}
    for value in graph.inputs:
        form = input_formats.get(value.name)
        ranges[value.name] = (form.min, form.max) if form else _input_range(statistics[value.name])
    ranges.update((state.value.name, UNBOUNDED) for state in graph.states)
    for name, constant in graph.constants_by_name.items():
        ranges[name] = (float(constant.data.min()), float(constant.data.max()))
    for node in graph.nodes:
        ranges[node.name] = node.op.real_range(*(ranges[name] for name in node.inputs))
    return ranges


def is_within_one(op: Op) -> bool:
    """Return whether the op alone says that no result passes ±1, which then decides its format."""
    if op.output_range is None:
        return False
    low, high = op.output_range
    return low >= -1 and high <= 1


def format_within_one(op: Op, bits: int) -> Format:
    """Return the format of such an op's results.

    Parameters
    ----------
    op
        One that `is_within_one`.
    bits
        Width of the format.
    """
    # The range (0, 1) needs no integer bit and (-1, 1) only the sign.
    assert op.output_range is not None
    signed = op.output_range[0] < 0
    return Format(bits, bits - signed, signed)


def picture_range(statistics: Statistics, form: Format | None = None) -> Range | None:
    """Return black and white of an input that is a picture; None if it is something else.

    It is one if the data fills at least `PICTURE_SHARE` of a range of pixels and never leaves it.

    Parameters
    ----------
    statistics
        Of the input.
    form
        Its format, if that is given: then its range is that of pixels.
    """
    low, high = statistics.low, statistics.high
    for black, white in PICTURES if form is None else ((form.min, form.max),):
        if black <= low and high <= white and high - low >= PICTURE_SHARE * (white - black):
            return black, white
    return None


def _input_range(statistics: Statistics) -> Range:
    low, high = statistics.low, statistics.high
    return picture_range(statistics) or (
        low if statistics.lows.count(low) > 1 else UNBOUNDED[0],
        high if statistics.highs.count(high) > 1 else UNBOUNDED[1],
    )
