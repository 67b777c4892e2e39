"""AXI4-Stream for cocotb: a source and a sink with stalls, and a monitor that checks the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

PERIOD = 10
"""Steps of simulation time of one clock."""
MAX_VIOLATIONS = 20


def clock_number() -> int:
    """Clocks since the simulation began."""
    return int(get_sim_time("step")) // PERIOD


@dataclass(frozen=True)
class Beat:
    """One transfer of a stream."""

    data: int
    user: bool
    last: bool
    keep: int = -1


class StreamWires:
    """The wires of one stream of a design.

    Parameters
    ----------
    design
        What has the wires.
    prefix
        What their names begin with, ``"s_axis"`` say.
    """

    def __init__(self, design: Any, prefix: str) -> None:
        self.prefix = prefix
        self.clock = design.aclk
        self.reset = design.aresetn
        self.valid, self.ready, self.data = (
            getattr(design, f"{prefix}_t{name}") for name in ("valid", "ready", "data")
        )
        # A stream of states into the core has none of them.
        self.user: Any
        self.last: Any
        self.user, self.last, self.keep = (
            getattr(design, f"{prefix}_t{name}", None) for name in ("user", "last", "keep")
        )

    def sample(self) -> Beat:
        """Return what stands on the wires; raises ValueError for unknown bits."""
        return Beat(
            int(self.data.value),
            bool(int(self.user.value)),
            bool(int(self.last.value)),
            -1 if self.keep is None else int(self.keep.value),
        )


class AxiStreamSource:
    """Drives a stream; holds every beat until it is taken.

    Parameters
    ----------
    wires
        The stream.
    stalls
        For every clock whether to offer nothing.
    """

    def __init__(self, wires: StreamWires, stalls: Iterator[bool]) -> None:
        self._wires = wires
        self.stalls = stalls
        self.taken: list[int] = []
        """Number of the clock at whose end each beat was taken."""
        wires.valid.value = 0

    async def send(self, beats: Iterable[Beat], patience: int) -> bool:
        """Send beats; returns whether all were taken, each within `patience` clocks."""
        wires = self._wires
        edge = RisingEdge(wires.clock)
        for beat in beats:
            while next(self.stalls):
                wires.valid.value = 0
                await edge
            wires.data.value = beat.data
            wires.user.value = int(beat.user)
            wires.last.value = int(beat.last)
            wires.valid.value = 1
            waited = 0
            await edge
            while wires.ready.value != 1:
                waited += 1
                if waited > patience:
                    wires.valid.value = 0
                    return False
                await edge
            self.taken.append(clock_number())
        wires.valid.value = 0
        return True

    def stop(self) -> None:
        """Offer nothing any more, as reset demands."""
        self._wires.valid.value = 0


class AxiStreamSink:
    """Drives ``tready``.

    Parameters
    ----------
    wires
        The stream.
    stalls
        For every clock whether to take nothing.
    """

    def __init__(self, wires: StreamWires, stalls: Iterator[bool]) -> None:
        self._wires = wires
        self.stalls = stalls

    async def run(self) -> None:
        """Take beats without end."""
        ready = self._wires.ready
        edge = RisingEdge(self._wires.clock)
        previous: bool | None = None
        while True:
            stall = next(self.stalls)
            if stall is not previous:
                ready.value = int(not stall)
                previous = stall
            await edge


@dataclass
class AxiStreamMonitor:
    """Records what passes, and every breach of the rules of AXI4-Stream.

    The rules (ARM IHI 0051B): an offered beat stays, unchanged, until it is taken; nothing is
    offered in reset; no bit that matters is unknown.

    Attributes
    ----------
    wires
        The stream.
    beats, clocks
        Beats taken, and the number of the clock at whose end each was.
    violations
        What was broken, in words, the first `MAX_VIOLATIONS`.
    """

    wires: StreamWires
    beats: list[Beat] = field(default_factory=list)
    clocks: list[int] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def _report(self, text: str) -> None:
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(f"clock {clock_number()}: {self.wires.prefix} {text}")

    async def run(self) -> None:
        """Watch without end."""
        wires = self.wires
        edge = RisingEdge(wires.clock)
        offered: Beat | None = None
        in_reset = 0
        while True:
            await edge
            if wires.reset.value != 1:
                # The first edge in reset is the one that clears the registers.
                in_reset += 1
                offered = None
                if in_reset > 1 and wires.valid.value != 0:
                    self._report("tvalid is not low in reset")
                continue
            in_reset = 0
            valid, ready = wires.valid.value, wires.ready.value
            if valid not in (0, 1) or ready not in (0, 1):
                self._report("tvalid or tready is unknown")
                continue
            if valid == 0:
                if offered is not None:
                    self._report("tvalid fell before tready rose")
                    offered = None
                continue
            try:
                beat = wires.sample()
            except ValueError:
                self._report("offers unknown bits")
                continue
            if offered is not None and beat != offered:
                self._report("changed while it waited for tready")
            if ready == 1:
                self.beats.append(beat)
                self.clocks.append(clock_number())
                offered = None
            else:
                offered = beat

    def start(self) -> None:
        """Watch in the background."""
        cocotb.start_soon(self.run())
