"""When every adder of a pipeline adds, so that few registers are needed."""

from __future__ import annotations

from collections.abc import Sequence

from fxp.hls.rtl.adder_graph_search import Sum


def adder_times(
    sums: Sequence[Sum],
    outputs: Sequence[int],
    widths: Sequence[int],
    latency: int,
    levels: int = 1,
    *,
    near: bool = False,
) -> list[int]:
    """Return the clock in which every adder adds: after it, a register may hold its sum.

    Sums may wait for their operands' other readers, or be computed early and wait themselves. Each
    is moved to where the fewest register bits are needed, until no move of a single one helps; of
    the results of starting with all sums early and all late the better one is taken.

    Parameters
    ----------
    sums
        In order; their operands are sources, or earlier sums.
    outputs
        Values that are read at the end.
    widths
        Bits of every value; a value of zero bits needs no registers.
    latency
        Clock in which the outputs are read; at least `shortest_latency`.
    levels
        Adders that may follow each other within one clock.
    near
        Whether only a sum's single reader may be in its clock, as for `shortest_latency`.
    """
    pipeline = _Pipeline(sums, outputs, widths, latency, levels, near=near)
    results = []
    for start in (pipeline.early(), pipeline.late()):
        times = pipeline.improve(start)
        results.append((pipeline.bits(times), times))
    return [pipeline.clock(slot) for slot in min(results)[1][pipeline.sources :]]


def shortest_latency(
    sums: Sequence[Sum],
    outputs: Sequence[int],
    sources: int,
    levels: int = 1,
    *,
    near: bool = False,
) -> int:
    """Return the fewest clocks from the sources to all outputs, at least one.

    Parameters
    ----------
    sums
        In order; their operands are sources, or earlier sums.
    outputs
        Values that are read at the end.
    sources
        How many values are no sums.
    levels
        Adders that may follow each other within one clock.
    near
        Whether only a sum's single reader may be in its clock. It can be placed beside the sum,
        while the readers of a shared sum lie far from each other.
    """
    pipeline = _Pipeline(sums, outputs, [0] * (sources + len(sums)), 0, levels, near=near)
    times = pipeline.early()
    return max(1, *(pipeline.clock(times[output]) for output in outputs))


class _Pipeline:
    """Adders in slots, `levels` slots in a clock; an adder comes later than its operands."""

    def __init__(
        self,
        sums: Sequence[Sum],
        outputs: Sequence[int],
        widths: Sequence[int],
        latency: int,
        levels: int,
        *,
        near: bool,
    ) -> None:
        self.levels = levels
        self.sources = len(widths) - len(sums)
        self.operands = [(item.left, item.right) for item in sums]
        self.widths = widths
        self.latency = latency
        self.outputs = set(outputs)
        self.readers: list[list[int]] = [[] for _ in widths]
        for number, operands in enumerate(self.operands, self.sources):
            for operand in set(operands):
                self.readers[operand].append(number)
        # Sums that are read from a register only.
        self.far = [
            near and value >= self.sources and len(readers) + (value in self.outputs) > 1
            for value, readers in enumerate(self.readers)
        ]

    def clock(self, slot: int) -> int:
        """Return the clock of a slot; sources are there from the beginning."""
        return -(-slot // self.levels)

    def early(self) -> list[int]:
        times = [0] * self.sources
        for operands in self.operands:
            times.append(self._start(operands, times))
        return times

    def late(self) -> list[int]:
        times = [0] * self.sources + [self.latency * self.levels] * len(self.operands)
        for number in reversed(range(self.sources, len(times))):
            times[number] = self._end(number, times)
        return times

    def _start(self, operands: tuple[int, int], times: list[int]) -> int:
        """Return the first slot behind the operands."""
        return 1 + max(
            self.clock(times[operand]) * self.levels if self.far[operand] else times[operand]
            for operand in operands
        )

    def _end(self, value: int, times: list[int]) -> int:
        """Return the latest slot in which the value could appear."""
        last = self.latency * self.levels
        readers = (times[reader] for reader in self.readers[value])
        if self.far[value]:
            return min(((self.clock(slot) - 1) * self.levels for slot in readers), default=last)
        return min((slot - 1 for slot in readers), default=last)

    def _delay(self, value: int, times: list[int]) -> int:
        """Return the register bits that hold a value until its last reader."""
        first = self.clock(times[value]) if value >= self.sources else 1
        last = max((self.clock(times[reader]) for reader in self.readers[value]), default=first)
        if value in self.outputs:
            last = self.latency + 1
        return self.widths[value] * (last - first)

    def bits(self, times: list[int]) -> int:
        return sum(self._delay(value, times) for value in range(len(times)))

    def improve(self, times: list[int]) -> list[int]:
        changed = True
        while changed:
            changed = False
            for number, operands in enumerate(self.operands, self.sources):
                start = self._start(operands, times)
                best = times[number]
                costs = {}
                for time in range(start, self._end(number, times) + 1):
                    times[number] = time
                    costs[time] = sum(self._delay(v, times) for v in {number, *operands})
                times[number] = min(costs, key=lambda time: (costs[time], time != best, time))
                changed |= costs[times[number]] < costs[best]
        return times
