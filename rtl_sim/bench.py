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
from cocotb.triggers import ClockCycles, FallingEdge

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
from fxp.rtl_sim.script import LAST, PROGRESS, USER, Bytes, Log, Script
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
        into, out = StreamWires(design, "s_axis"), StreamWires(design, "m_axis")
        source, sink = _patterns(script.stalls)
        self.source, self.sink = AxiStreamSource(into, source), AxiStreamSink(out, sink)
        self.monitor = AxiStreamMonitor(out)
        self.registers = AxiLiteMaster(
            design, "s_axil", stall_clocks("random25", f"{script.stalls.seed} registers")
        )
        self.first_output = 0
        self.steps: list[dict[str, Any]] = []

    async def play(self) -> None:
        """Play every step, to the end or to the first that does not complete."""
        cocotb.start_soon(self.sink.run())
        self.monitor.start()
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
        self.first_output = len(self.monitor.beats)

    async def _write(self, address: int, value: int) -> dict[str, Any]:
        return {"response": await self.registers.write(address, value)}

    async def _read(self, address: int) -> dict[str, Any]:
        value, response = await self.registers.read(address)
        return {"value": value, "response": response, "irq": int(self.design.irq.value)}

    async def _stall(self, **given: Any) -> None:
        self.source.stalls, self.sink.stalls = _patterns(Stalls(**given))

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

    async def _drain(self, count: int) -> dict[str, Any]:
        monitor = self.monitor
        while len(monitor.beats) - self.first_output < count:
            await ClockCycles(self.design.aclk, POLL)
            moved = max([0, *monitor.clocks[-1:], *self.source.taken[-1:]])
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
        beats = self.monitor.beats
        width = len(self.design.m_axis_tdata) // 8
        wires = self.monitor.wires
        keep = None
        if wires.keep is not None:
            masks = [beat.keep.to_bytes(-(-width // 8), "little") for beat in beats]
            bits = np.frombuffer(b"".join(masks), np.uint8).reshape(len(beats), -1)
            keep = np.unpackbits(bits, axis=1, count=width, bitorder="little")
        data = b"".join(beat.data.to_bytes(width, "little") for beat in beats)
        return Log(
            np.frombuffer(data, np.uint8).reshape(-1, width),
            keep,
            np.array([beat.user * USER + beat.last * LAST for beat in beats], np.uint8),
            np.array(self.monitor.clocks, np.int64),
            np.array(self.source.taken, np.int64),
            tuple(self.steps),
            (*self.monitor.violations, *self.registers.violations),
        )


def _patterns(stalls: Stalls) -> tuple[Iterator[bool], Iterator[bool]]:
    """Return when source and sink stall."""
    return (
        stall_clocks(stalls.source, f"{stalls.seed} source"),
        stall_clocks(stalls.sink, f"{stalls.seed} sink"),
    )


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
