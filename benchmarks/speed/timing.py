"""Best-of-several times of calls that take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SETTLE_SECONDS = 0.02
"""Pause before each turn, in which idle worker threads of the one before stop spinning."""


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes
    ----------
    quick
        Tiny sizes, to try the script.
    rounds
        How often every contender has its turn.
    turn_seconds
        Length of a turn, which has two calls at least.
    threads
        Numbers of threads to compare at.
    """

    quick: bool = False
    rounds: int = 5
    turn_seconds: float = 0.3
    threads: tuple[int, ...] = (1, 2)


def best_times(calls: Mapping[str, Callable[[], object]], settings: Settings) -> dict[str, float]:
    """Return the fastest time of each call in seconds.

    Every call is made once to warm up. Then they take turns, so that a slow spell of the machine
    meets all of them; within a turn a call repeats, so that its fastest time has warm caches.
    """
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(settings.rounds):
        for name, call in calls.items():
            time.sleep(SETTLE_SECONDS)
            turn = time.perf_counter()
            for number in range(1_000_000):
                started = time.perf_counter()
                call()
                ended = time.perf_counter()
                best[name] = min(best[name], ended - started)
                if number and ended - turn >= settings.turn_seconds:
                    break
    return best


def threads_text(count: int) -> str:
    """Return ``1 thread``, ``2 threads``."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
