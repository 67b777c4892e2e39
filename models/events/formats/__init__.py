"""Readers of event files, one module for each kind; each gives parts that are not checked yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fxp.models.events.events import Events, Size

PART: Final = 1 << 18
"""Events that are read at a time, about."""
NAMES: Final = {
    "t": ("t", "ts", "t_us", "time", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
"""Names of the arrays or columns of a file, and what other programs call them."""


@dataclass(frozen=True)
class Recording:
    """What a reader gives.

    Attributes
    ----------
    size
        Width and height of the sensor; None if the file does not say.
    parts
        The events, part by part, in the order of the file.
    """

    size: Size | None
    parts: Iterator[Events]
