"""Cells of the tables."""

from __future__ import annotations

from benchmarks.speed.records import Record

DASH = "—"


def title(item: Record) -> str:
    """Return the name of a network with its sizes."""
    shapes = (item["input"], item.get("output"))
    sizes = [f"{shape[2]}×{shape[1]}" for shape in shapes if shape and len(shape) == 3]
    return f"{item['title']}, {' → '.join(dict.fromkeys(sizes))}"


def times_text(ratio: float | None) -> str:
    """Return how many times as fast something is, a dash if it is not known."""
    if ratio is None:
        return DASH
    return f"{ratio:.2f}×" if not ratio >= 99.5 else f"{ratio:,.0f}×"


def figure(number: float | None, unit: float = 1.0) -> str:
    """Return a number in some unit: three significant digits, more of a large number.

    Parameters
    ----------
    number
        The number; a dash stands for None.
    unit
        What it is divided by.
    """
    if number is None:
        return DASH
    number /= unit
    if not number < 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".")


def faster(item: Record, threads: int, peer: str, ours: str = "fxp") -> float | None:
    """Return how many times as fast as a peer the engine ran a network, if both were timed.

    Parameters
    ----------
    item
        Record of a network.
    threads
        Number of threads.
    peer, ours
        Names of the contenders.
    """
    seconds = item.get("seconds", {}).get(str(threads), {})
    if peer not in seconds or ours not in seconds:
        return None
    return seconds[peer] / seconds[ours]
