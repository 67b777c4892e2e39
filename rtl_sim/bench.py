"""The cocotb bench: runs in the simulator's process and plays a script.

The current folder holds the script, and takes the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from fxp.rtl_sim.axi_lite import AxiLiteMaster
from fxp.rtl_sim.axi_stream import (
    PERIOD,
    AxiStreamMonitor,
    AxiStreamSink,
    AxiStreamSource,
    Beat,
    StreamWires,
    clock_number,
)
from fxp.rtl_sim.script import LAST, PROGRESS, USER, Bytes, Log, Script, StreamLog
from fxp.rtl_sim.stalls import Stalls, stall_clocks

POLL = 16
"""Clocks between two looks at how far the core is."""
REPORT = 0.5
"""Seconds between two reports of progress."""


class Player:
    """Plays a script on a design."""

    def __init__(self, design: Any, script: Script, data: Bytes, flags: Bytes) -> None:
        self.design = design
        self.script = script
        self.data, self.flags = data, flags
        names = ("m_axis", *script.more)
        source, *sinks = _patterns(script.stalls, len(names))
        self.source = AxiStreamSource(StreamWires(design, "s_axis"), source)
        wires = [StreamWires(design, name) for name in names]
        self.sinks = [AxiStreamSink(*each) for each in zip(wires, sinks, strict=True)]
        self.monitors = [AxiStreamMonitor(each) for each in wires]
        self.monitor = self.monitors[0]
        self.loops = [
            StateLoop(
                StreamWires(design, into),
                stall_clocks(script.stalls.source, f"{script.stalls.seed} {into}"),
                self.monitors[names.index(out)],
            )
            for into, out in script.loops.items()
        ]
        self.registers = AxiLiteMaster(
            design, "s_axil", stall_clocks("random25", f"{script.stalls.seed} registers")
        )
        self.first_outputs = [0] * len(names)
        self.steps: list[dict[str, Any]] = []

    async def play(self) -> None:
        """Play every step, to the end or to the first that does not complete."""
        for sink, monitor in zip(self.sinks, self.monitors, strict=True):
            cocotb.start_soon(sink.run())
            monitor.start()
        for loop in self.loops:
            cocotb.start_soon(loop.run())
        for step in self.script.steps:
            kind, given = step["do"], {k: v for k, v in step.items() if k != "do"}
            seen = await getattr(self, f"_{kind}")(**given)
            outputs = len(self.monitor.beats)
            self.steps.append(
                {"outputs": outputs, "clock": clock_number(), "completed": True} | (seen or {})
            )
            if not self.steps[-1]["completed"]:
                break

    async def _reset(self, clocks: int) -> None:
        design = self.design
        design.aresetn.value = 0
        self.source.stop()
        self.registers.stop()
        await ClockCycles(design.aclk, clocks)
        design.aresetn.value = 1
        self.first_outputs = [len(monitor.beats) for monitor in self.monitors]

    async def _write(self, address: int, value: int) -> dict[str, Any]:
        return {"response": await self.registers.write(address, value)}

    async def _read(self, address: int) -> dict[str, Any]:
        value, response = await self.registers.read(address)
        return {"value": value, "response": response, "irq": int(self.design.irq.value)}

    async def _stall(self, **given: Any) -> None:
        self.source.stalls, *sinks = _patterns(Stalls(**given), len(self.sinks))
        for sink, stalls in zip(self.sinks, sinks, strict=True):
            sink.stalls = stalls

    async def _wait(self, clocks: int) -> None:
        await ClockCycles(self.design.aclk, clocks)

    async def _send(self, first: int, count: int) -> dict[str, Any]:
        beats = (
            Beat(int.from_bytes(row.tobytes(), "little"), bool(flag & USER), bool(flag & LAST))
            for row, flag in zip(
                self.data[first : first + count], self.flags[first : first + count], strict=True
            )
        )
        return {"completed": await self.source.send(beats, self.script.patience)}

    async def _drain(self, counts: list[int]) -> dict[str, Any]:
        wanted = [first + count for first, count in zip(self.first_outputs, counts, strict=False)]
        streams = list(zip(self.monitors, wanted, strict=False))
        while any(len(monitor.beats) < count for monitor, count in streams):
            await ClockCycles(self.design.aclk, POLL)
            last = (clock for monitor in self.monitors for clock in monitor.clocks[-1:])
            moved = max([0, *last, *self.source.taken[-1:]])
            if self.steps:
                moved = max(moved, self.steps[-1]["clock"])
            if clock_number() - moved > self.script.patience:
                return {"completed": False}
        return {}

    async def report(self) -> None:
        """Write how many beats came out, now and then."""
        reported = 0.0
        while True:
            await ClockCycles(self.design.aclk, POLL)
            if time.monotonic() - reported > REPORT:
                reported = time.monotonic()
                Path(PROGRESS).write_text(str(len(self.monitor.beats)), encoding="utf-8")

    def log(self) -> Log:
        """Return what was seen."""
        violations = [text for monitor in self.monitors for text in monitor.violations]
        return Log(
            tuple(_seen(monitor) for monitor in self.monitors),
            np.array(self.source.taken, np.int64),
            tuple(self.steps),
            (*violations, *self.registers.violations),
        )


class StateLoop:
    """A memory that brings back what a stream of results gave, beat by beat.

    Parameters
    ----------
    wires
        The stream into the core.
    stalls
        For every clock whether to offer nothing.
    monitor
        Of the stream of results.
    """

    def __init__(
        self, wires: StreamWires, stalls: Iterator[bool], monitor: AxiStreamMonitor
    ) -> None:
        self._wires, self._stalls, self._monitor = wires, stalls, monitor
        self._given = 0
        wires.valid.value = 0

    async def run(self) -> None:
        """Bring beats without end; a reset of the core empties the memory."""
        wires, beats = self._wires, self._monitor.beats
        edge = RisingEdge(wires.clock)
        offered = False
        while True:
            if wires.reset.value != 1:
                self._given, offered = len(beats), False
            elif not offered and self._given < len(beats):
                offered = not next(self._stalls)
                wires.data.value = beats[self._given].data
            wires.valid.value = int(offered)
            await edge
            if offered and wires.ready.value == 1:
                self._given += 1
                offered = False


def _seen(monitor: AxiStreamMonitor) -> StreamLog:
    """Return what came out of a stream."""
    beats, wires = monitor.beats, monitor.wires
    width = len(wires.data) // 8
    keep = None
    if wires.keep is not None:
        masks = [beat.keep.to_bytes(-(-width // 8), "little") for beat in beats]
        bits = np.frombuffer(b"".join(masks), np.uint8).reshape(len(beats), -1)
        keep = np.unpackbits(bits, axis=1, count=width, bitorder="little")
    data = b"".join(beat.data.to_bytes(width, "little") for beat in beats)
    return StreamLog(
        np.frombuffer(data, np.uint8).reshape(-1, width),
        keep,
        np.array([beat.user * USER + beat.last * LAST for beat in beats], np.uint8),
        np.array(monitor.clocks, np.int64),
    )


def _patterns(stalls: Stalls, results: int = 1) -> list[Iterator[bool]]:
    """Return when the source stalls, and the receiver of each stream of results."""
    ends = ["", *(f" {number}" for number in range(1, results))]
    return [
        stall_clocks(stalls.source, f"{stalls.seed} source"),
        *(stall_clocks(stalls.sink, f"{stalls.seed} sink{end}") for end in ends),
    ]


@cocotb.test()
async def play(design: Any) -> None:
    """Play the script of the current folder and write the log."""
    folder = Path.cwd()
    player = Player(design, *Script.load(folder))
    design.aresetn.value = 0
    Clock(design.aclk, PERIOD, unit="step").start()
    await FallingEdge(design.aclk)
    cocotb.start_soon(player.report())
    await player.play()
    # What the core sends without being asked is seen too.
    await ClockCycles(design.aclk, POLL)
    player.log().save(folder)
