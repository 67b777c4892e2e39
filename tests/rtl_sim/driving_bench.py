"""A cocotb bench that lets the driver of a core drive a simulated one.

An outside authority, cocotbext-axi, carries every access and every pixel. The current folder takes
``seen.json``, what each of `SCENARIOS` saw.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from fxp.hls.driver import CoreDriver, DriverError

PERIOD = 10


class Registers:
    """What a driver needs, from a thread beside the simulation."""

    def __init__(self, master: AxiLiteMaster) -> None:
        self.responses: list[int] = []

        @resume
        async def read(address: int) -> int:
            answer = await master.read(address, 4)
            self.responses.append(int(answer.resp))
            return int.from_bytes(answer.data, "little")

        @resume
        async def write(address: int, value: int) -> None:
            answer = await master.write(address, value.to_bytes(4, "little"))
            self.responses.append(int(answer.resp))

        self.read: Callable[[int], int] = read
        self.write: Callable[[int, int], None] = write


class Board:
    """The core in the simulator, with a source and a sink of the outside authority."""

    def __init__(self, design: Any) -> None:
        self.design = design
        given = {"reset": design.aresetn, "reset_active_level": False}
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(design, "s_axis"), design.aclk,
                                      **given)  # fmt: skip
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(design, "m_axis"), design.aclk, **given)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(design, "s_axil"), design.aclk, **given)
        self.registers = Registers(self.master)

        @resume
        async def send(lines: list[tuple[list[int], bool]]) -> None:
            for pixels, first in lines:
                user = [int(first)] + [0] * (len(pixels) - 1)
                await self.source.send(AxiStreamFrame(pixels, tuser=user))

        @resume
        async def wait(clocks: int) -> None:
            await ClockCycles(design.aclk, clocks)

        @resume
        async def irq() -> int:
            return int(design.irq.value)

        self.send, self.wait, self.irq = send, wait, irq

    def send_frame(self, value: int, width: int, height: int) -> None:
        """Queue a frame whose pixels all have one value."""
        self.send([([value] * width, row == 0) for row in range(height)])

    def lines(self) -> list[tuple[int, int]]:
        """Lines that came out since the last call: bytes of beats with tuser, and of all."""
        found = []
        while not self.sink.empty():
            frame = self.sink.recv_nowait()
            user = frame.tuser if isinstance(frame.tuser, list) else [frame.tuser]
            found.append((sum(map(int, user)), len(frame.tdata)))
        return found


def settings(board: Board) -> dict[str, Any]:
    """Everything that needs no pixel."""
    core = CoreDriver(board.registers)
    seen: dict[str, Any] = {
        "version": core.version, "largest": core.largest, "scale": core.scale,
        "size": core.size, "enabled": core.enabled, "bypass": core.has_bypass,
    }  # fmt: skip
    core.size = 5, 3
    seen["new size"] = core.size
    board.registers.write(0x24, 3 << 16 | 0)  # a width of 0
    seen["kept size"] = core.size
    seen["errors"] = core.status.errors
    core.clear_errors()
    seen["cleared"] = core.status.errors
    board.registers.responses.clear()
    for address in (0x00, 0x04, 0x14, 0x18, 0x1C, 0x30, 0x34, 0xFC):
        board.registers.write(address, 1)
    board.registers.read(0x34)
    seen["responses"] = list(board.registers.responses)
    return seen


def stopping(board: Board) -> dict[str, Any]:
    """Stop at a frame's end, change the size, go on; then an interrupt for every frame."""
    core = CoreDriver(board.registers)
    core.size = 4, 3
    for value in (10, 20, 30):
        board.send_frame(value, 4, 3)
    board.wait(14)
    core.stop()
    frames_before = core.frames
    board.wait(200)
    seen: dict[str, Any] = {"before": frames_before, "after a while": core.frames}
    seen["lines"] = len(board.lines())
    core.enable_interrupts(frame_done=True)
    seen["quiet"] = board.irq()
    core.enable()
    core.wait_for_frames(3 - frames_before, timeout_s=20)
    board.wait(20)
    seen["raised"] = board.irq()
    seen["events"] = core.take_interrupts()
    board.wait(4)
    seen["lowered"] = board.irq()
    seen["errors"] = core.status.errors
    return seen


def resetting(board: Board) -> dict[str, Any]:
    """Reset in the middle of a frame, with a receiver that does not take anything for a while."""
    core = CoreDriver(board.registers)
    core.size = 6, 4
    core.enable_interrupts(error=True)
    board.sink.pause = True
    board.send_frame(100, 6, 4)
    board.send([([1] * 6, False)])  # a line too many
    board.wait(150)
    seen: dict[str, Any] = {"errors": core.status.errors, "irq": board.irq()}
    try:
        core.reset(timeout_s=0.2)
    except DriverError as error:
        seen["waits"] = str(error)
    board.sink.pause = False
    board.wait(20)
    core.reset()
    board.lines()
    board.sink.clear()
    after = core.status
    seen["after"] = [core.frames, core.malformed_frames, after.errors, after.busy, board.irq()]
    seen["size"] = core.size
    board.send_frame(7, 6, 4)
    core.wait_for_frames(1, timeout_s=20)
    board.wait(10)
    lines = board.lines()
    seen["lines"] = lines
    return seen


def resizing(board: Board) -> dict[str, Any]:
    """New sizes while frames pass: every frame that comes out has one of them, whole."""
    core = CoreDriver(board.registers)
    core.size = 8, 2
    draw = random.Random(3)
    board.source.set_pause_generator(iter(itertools.cycle([0, 0, 1, 0, 1])))
    sizes = []
    for number in range(12):
        size = (8, 2) if number % 2 == 0 else (5, 4)
        core.size = size
        sizes.append(size)
        # The source knows nothing of the registers: it may send the other size just now.
        board.send_frame(number + 1, *size)
        board.wait(draw.randrange(60))
    core.wait_for_frames(1, timeout_s=20)
    board.wait(1500)
    seen: dict[str, Any] = {"lines": board.lines()}
    return seen


SCENARIOS = (settings, stopping, resetting, resizing)


@cocotb.test()
async def drive(design: Any) -> None:
    """Run every scenario, each after a reset."""
    Clock(design.aclk, PERIOD, unit="step").start()
    design.aresetn.value = 0
    board = Board(design)
    seen = {}
    for scenario in SCENARIOS:
        design.aresetn.value = 0
        await ClockCycles(design.aclk, 4)
        design.aresetn.value = 1
        await ClockCycles(design.aclk, 4)
        board.sink.clear()
        seen[scenario.__name__] = await bridge(scenario)(board)
    Path("seen.json").write_text(json.dumps(seen), encoding="utf-8")
