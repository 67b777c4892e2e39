"""Greedy descent: take off the bits that save most for the quality they cost."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Final

from fxp.quantization.mixed.trials import LimitReachedError, Point, Trials

LEAST_LOSS: Final = 1e-9
"""So much quality counts as lost where none is."""


@dataclass(frozen=True)
class _Step:
    """A narrower width, what its model saves for each unit of quality lost, and its model."""

    gain: float
    point: Point


def descend(trials: Trials, start: Point, floor: float) -> Point:
    """Narrow one weight or value after the other while the quality stays at the floor or above.

    The step with the most cost saved for the quality lost is taken each time. Gains measured before
    another step was taken are kept until they come first, and only then measured again; that is
    exact where gains shrink as the widths do (M. Minoux, "Accelerated greedy algorithms for
    maximizing submodular set functions", 1978), and close to it otherwise. The descent ends early,
    with the best so far, when the trials are used up.

    Parameters
    ----------
    trials
        Measures the models.
    start
        Where to begin, at the floor or above.
    floor
        Least quality.
    """
    current = start
    measured: dict[int, _Step] = {}
    # Gain, negative; place in the network, which decides between equal gains; steps taken when it
    # was measured. What was never measured comes first.
    heap = [(-math.inf, position, -1) for position in range(len(trials.choices))]
    taken = 0
    try:
        while heap:
            _, position, age = heapq.heappop(heap)
            if age == taken:
                current = measured[position].point
                taken += 1
                heapq.heappush(heap, (-math.inf, position, -1))
                continue
            step = _step(trials, current, position, floor)
            if step is not None:
                measured[position] = step
                heapq.heappush(heap, (-step.gain, position, taken))
    except LimitReachedError:
        pass
    return current


def _step(trials: Trials, current: Point, position: int, floor: float) -> _Step | None:
    """Return the next narrower width that saves anything, or None if quality forbids it."""
    choice = trials.choices[position]
    for width in reversed(choice.widths):
        if width >= current.bits[choice.name]:
            continue
        bits = {**current.bits, choice.name: width}
        saved = current.cost - trials.total(bits)
        if saved > 0:
            point = trials.point(bits)
            if point.quality < floor:
                return None
            return _Step(saved / _loss(current.quality, point.quality), point)
    return None


def _loss(before: float, after: float) -> float:
    """Quality lost, at least a little; infinite qualities are those of exact models."""
    return LEAST_LOSS if before == after else max(before - after, LEAST_LOSS)
