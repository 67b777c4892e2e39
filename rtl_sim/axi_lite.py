"""AXI4-Lite for cocotb: a master that reads and writes registers and checks the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cocotb.triggers import RisingEdge

PATIENCE = 1000
"""Clocks within which the core must answer."""
_CHANNELS = {"aw": ("addr",), "w": ("data", "strb"), "ar": ("addr",)}


class AxiLiteMaster:
    """Reads and writes 32-bit registers, one access at a time.

    Parameters
    ----------
    design
        What has the wires.
    prefix
        What their names begin with.
    stalls
        For every clock whether to wait with an offer or an answer.
    """

    def __init__(self, design: Any, prefix: str, stalls: Iterator[bool]) -> None:
        self._design = design
        self._prefix = prefix
        self._stalls = stalls
        self._edge = RisingEdge(design.aclk)
        self.violations: list[str] = []
        self.stop()

    def stop(self) -> None:
        """Offer nothing, as reset demands."""
        for name in ("awvalid", "wvalid", "arvalid", "bready", "rready"):
            self._wire(name).value = 0

    def _wire(self, name: str) -> Any:
        return getattr(self._design, f"{self._prefix}_{name}")

    async def write(self, address: int, value: int, strobe: int = 0xF) -> int:
        """Write a register; returns the response.

        Address and data are offered at the same time or one after the other, as the stalls fall.

        Parameters
        ----------
        address
            Byte address of the register.
        value
            32 bits.
        strobe
            A bit for each byte that is written.
        """
        pending = {"aw": (address,), "w": (value, strobe)}
        offered: set[str] = set()
        for _ in range(PATIENCE):
            for channel in pending.keys() - offered:
                if not next(self._stalls):
                    self._offer(channel, pending[channel])
                    offered.add(channel)
            await self._edge
            for channel in sorted(offered):
                if self._wire(f"{channel}ready").value == 1:
                    self._wire(f"{channel}valid").value = 0
                    offered.discard(channel)
                    del pending[channel]
            if not pending:
                return (await self._answer("b", ("resp",)))[0]
        return self._no_answer(f"write of {address:#x} is not taken")

    async def read(self, address: int) -> tuple[int, int]:
        """Read a register; returns its content and the response."""
        while next(self._stalls):
            await self._edge
        self._offer("ar", (address,))
        for _ in range(PATIENCE):
            await self._edge
            if self._wire("arready").value == 1:
                self._wire("arvalid").value = 0
                data, response = await self._answer("r", ("data", "resp"))
                return data, response
        return self._no_answer(f"read of {address:#x} is not taken"), 2

    def _offer(self, channel: str, values: tuple[int, ...]) -> None:
        for name, value in zip(_CHANNELS[channel], values, strict=True):
            self._wire(f"{channel}{name}").value = value
        self._wire(f"{channel}valid").value = 1

    async def _answer(self, channel: str, names: tuple[str, ...]) -> list[int]:
        ready = self._wire(f"{channel}ready")
        held: list[int] | None = None
        for _ in range(PATIENCE):
            taking = not next(self._stalls)
            ready.value = int(taking)
            await self._edge
            if self._wire(f"{channel}valid").value != 1:
                if held is not None:
                    self.violations.append(f"{channel}valid fell before {channel}ready rose")
                    held = None
                continue
            try:
                values = [int(self._wire(f"{channel}{name}").value) for name in names]
            except ValueError:
                self.violations.append(f"the answer on {channel} has unknown bits")
                values = [0] * len(names)
            if held is not None and values != held:
                self.violations.append(f"the answer on {channel} changed while it waited")
            held = values
            if taking:
                ready.value = 0
                return values
        ready.value = 0
        self._no_answer(f"no answer on {channel}")
        return [0] * len(names)

    def _no_answer(self, text: str) -> int:
        self.violations.append(f"{self._prefix}: {text} within {PATIENCE} clocks")
        self.stop()
        return 2
