"""Best-of-several times of calls that take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PAUSE_SECONDS = 0.01
PAUSES = 50
"""A turn begins after a pause in which this process did nothing, or after so many pauses."""
LONG_SECONDS = 0.5
"""A call that takes as long is made once in a turn."""
BUSY = 1.5
"""Processes per processor from which a page calls its times rough."""


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
        Length of a turn, which has two calls at least, unless they are long.
    most_seconds
        A contender that has taken as long has no further turn.
    threads
        Numbers of threads to compare at.
    """

    quick: bool = False
    rounds: int = 5
    turn_seconds: float = 0.2
    most_seconds: float = 6.0
    threads: tuple[int, ...] = (1, 2)


def best_times(calls: Mapping[str, Callable[[], object]], settings: Settings) -> dict[str, float]:
    """Return the fastest time of each call in seconds.

    Every call is made once to warm up. Then they take turns, so that a slow spell of the machine
    meets all of them; within a turn a call repeats, so that its fastest time has warm caches.
    """
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    spent = dict.fromkeys(calls, 0.0)
    for _ in range(settings.rounds):
        for name, call in calls.items():
            if spent[name] >= settings.most_seconds:
                continue
            if not settings.quick:
                wait_until_idle()
            turn = ended = time.perf_counter()
            for number in range(1_000_000):
                started = time.perf_counter()
                call()
                ended = time.perf_counter()
                best[name] = min(best[name], ended - started)
                enough = number or ended - started >= LONG_SECONDS
                if enough and ended - turn >= settings.turn_seconds:
                    break
            spent[name] += ended - turn
    return best


def wait_until_idle() -> None:
    """Sleep until no thread of this process works.

    The threads of a library spin for a while after a call, in the hope of another one, and would
    take time from the next contender.
    """
    for _ in range(PAUSES):
        before = time.process_time()
        time.sleep(PAUSE_SECONDS)
        if time.process_time() - before < PAUSE_SECONDS / 10:
            return


def load_per_processor() -> float:
    """Return how many processes wanted each processor in the last minute, this one included."""
    return os.getloadavg()[0] / processors() if hasattr(os, "getloadavg") else 0.0


def load_text(loads: Sequence[float]) -> str:
    """Say how many processes shared a processor while others were timed.

    Parameters
    ----------
    loads
        What `load_per_processor` gave; may be empty.
    """
    busiest = max(1.0, *loads, 1.0)
    roughly = ", so they are rough" if busiest > BUSY else ""
    return f"Up to {busiest:.0f} processes shared each processor meanwhile{roughly}."


def threads_text(count: int) -> str:
    """Return ``1 thread``, ``2 threads``."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
