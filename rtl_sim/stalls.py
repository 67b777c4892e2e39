"""When a source pauses and a sink pushes back: patterns as data."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fxp.support.errors import ArgumentError

LONGEST_BURST = 24
"""Clocks; longer than a short line, so a burst spans line and frame ends."""
_RANDOM = re.compile(r"random([1-9][0-9]?)")


def check_pattern(text: str) -> str:
    """Return the text of a stall pattern; raises ValueError for anything else."""
    if text not in ("none", "bursts") and _RANDOM.fullmatch(text) is None:
        raise ArgumentError(
            f"{text!r} is no stall pattern: write none, bursts, or random25 (1 to 99 per cent)"
        )
    return text


def stall_percent(text: str) -> int:
    """Per cent of the clocks in which a pattern stalls; bursts take half."""
    found = _RANDOM.fullmatch(check_pattern(text))
    return int(found.group(1)) if found else {"none": 0, "bursts": 50}[text]


def stall_clocks(text: str, seed: int | str) -> Iterator[bool]:
    """Yield for every clock whether to stall, without end, the same for the same seed.

    Parameters
    ----------
    text
        ``"none"``, ``"random25"`` (any per cent from 1 to 99) or ``"bursts"``: stretches of 1 to
        `LONGEST_BURST` clocks that alternately stall and go.
    seed
        Anything that tells one stream from another.
    """
    percent = stall_percent(text)
    draw = random.Random(f"{text} {seed}")
    stalling = False
    while text == "bursts":
        for _ in range(draw.randint(1, LONGEST_BURST)):
            yield stalling
        stalling = not stalling
    while True:
        yield draw.random() * 100 < percent


@dataclass(frozen=True)
class Stalls:
    """Stall patterns of both sides.

    Attributes
    ----------
    source
        Clocks in which the source has no pixel: ``"none"``, ``"random25"`` or ``"bursts"``.
    sink
        Clocks in which the sink takes nothing.
    seed
        Of both.
    """

    source: str = "none"
    sink: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        check_pattern(self.source)
        check_pattern(self.sink)

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Stalls:
        """Read ``"SOURCE/SINK"``, or one pattern for both sides."""
        source, _, sink = text.partition("/")
        return cls(source, sink or source, seed)

    @classmethod
    def of(cls, stalls: Stalls | str | None) -> Stalls:
        """Return patterns however they are given: themselves, as a text to `parse`, or none."""
        if isinstance(stalls, str):
            return cls.parse(stalls)
        return cls() if stalls is None else stalls

    @property
    def slowness(self) -> int:
        """How many times longer than without stalls a simulation may take, roughly."""
        rate = min(100 - stall_percent(self.source), 100 - stall_percent(self.sink))
        return -(-100 // rate) * 2

    def __str__(self) -> str:
        return f"{self.source}/{self.sink}"
