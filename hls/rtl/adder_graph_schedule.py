"""When every adder of a pipeline adds, so that few registers are needed."""

from __future__ import annotations

from collections.abc import Sequence

from fxp.hls.rtl.adder_graph_search import Sum


def adder_times(
    sums: Sequence[Sum], outputs: Sequence[int], widths: Sequence[int], latency: int
) -> list[int]:
    """Return the clock after which the register of every adder holds its sum.

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
        Clock in which the outputs are read.
    """
    pipeline = _Pipeline(sums, outputs, widths, latency)
    results = []
    for start in (pipeline.early(), pipeline.late()):
        times = pipeline.improve(start)
        results.append((pipeline.bits(times), times))
    return min(results)[1][pipeline.sources :]


class _Pipeline:
    def __init__(
        self, sums: Sequence[Sum], outputs: Sequence[int], widths: Sequence[int], latency: int
    ) -> None:
        self.sources = len(widths) - len(sums)
        self.operands = [(item.left, item.right) for item in sums]
        self.widths = widths
        self.latency = latency
        self.outputs = set(outputs)
        self.readers: list[list[int]] = [[] for _ in widths]
        for number, operands in enumerate(self.operands, self.sources):
            for operand in set(operands):
                self.readers[operand].append(number)

    def early(self) -> list[int]:
        times = [0] * self.sources
        for operands in self.operands:
            times.append(1 + max(times[operand] for operand in operands))
        return times

    def late(self) -> list[int]:
        times = [0] * self.sources + [self.latency] * len(self.operands)
        for number in reversed(range(self.sources, len(times))):
            times[number] = self._end(number, times)
        return times

    def _end(self, value: int, times: list[int]) -> int:
        """Return the latest clock in which the value could appear."""
        return min((times[reader] - 1 for reader in self.readers[value]), default=self.latency)

    def _delay(self, value: int, times: list[int]) -> int:
        """Return the register bits that delay a value."""
        last = max((times[reader] - 1 for reader in self.readers[value]), default=0)
        if value in self.outputs:
            last = self.latency
        return self.widths[value] * (last - times[value])

    def bits(self, times: list[int]) -> int:
        return sum(self._delay(value, times) for value in range(len(times)))

    def improve(self, times: list[int]) -> list[int]:
        changed = True
        while changed:
            changed = False
            for number, operands in enumerate(self.operands, self.sources):
                start = 1 + max(times[operand] for operand in operands)
                best = times[number]
                costs = {}
                for time in range(start, self._end(number, times) + 1):
                    times[number] = time
                    costs[time] = sum(self._delay(v, times) for v in {number, *operands})
                times[number] = min(costs, key=lambda time: (costs[time], time != best, time))
                changed |= costs[times[number]] < costs[best]
        return times
