"""Ways to the registers of a core, and what the driver does when they are not those of a core."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fxp.hls.driver import CoreDriver, DriverError, MappedRegisters, SerialRegisters
from fxp.support.errors import ArgumentError


class Port:
    """A serial port that plays a board with four bytes of memory for each address."""

    def __init__(self, refuse: bool = False) -> None:
        self.words = {0x00: 0x66787031, 0x1C: 9 << 16 | 16}
        self.refuse = refuse
        self.waiting = b""

    def write(self, data: bytes) -> None:
        kind, address = data[:1], data[1]
        if kind == b"R":
            assert len(data) == 2
            self.waiting += self.words.get(address, 0).to_bytes(4, "little")
        else:
            assert (kind, len(data)) == (b"W", 6)
            self.words[address] = int.from_bytes(data[2:], "little")
            self.waiting += b"E" if self.refuse else b"K"

    def read(self, size: int) -> bytes:
        # A byte at a time, as ports may do.
        part, self.waiting = self.waiting[:1], self.waiting[1:]
        return part


def test_registers_behind_a_serial_port():
    port = Port()
    core = CoreDriver(SerialRegisters(port))
    core.size = 12, 7
    assert port.words[0x24] == 7 << 16 | 12
    assert core.size == (12, 7)
    for size in ((16, 9), (1, 1)):
        core.size = size
        assert core.size == size
    port.refuse = True
    with pytest.raises(DriverError, match="refuses 0x80003 at address 0x24"):
        core.size = 3, 8
    port.read = lambda size: b""
    with pytest.raises(DriverError, match="does not answer"):
        core.read("STATUS")


def test_a_size_that_the_core_refuses_is_an_error():
    class Picky(Port):
        """A core whose smallest frame is 3x2: it keeps its size and says so in STATUS."""

        def write(self, data: bytes) -> None:
            before = self.words[0x24]
            super().write(data)
            if self.words[0x24] & 0xFFFF < 3 or self.words[0x24] >> 16 < 2:
                self.words |= {0x24: before, 0x10: 0x10}

    port = Picky()
    port.words[0x24] = 9 << 16 | 16
    core = CoreDriver(SerialRegisters(port))
    for size in ((1, 1), (2, 2), (3, 1)):
        with pytest.raises(ArgumentError, match=r"smaller than its network takes.* stay 16x9"):
            core.size = size
        assert core.size == (16, 9)
    assert core.status.errors == ("SIZE_REFUSED",)
    # What was refused before says nothing about this size.
    core.size = 3, 2
    assert core.size == (3, 2)


def test_registers_in_memory(tmp_path: Path):
    path = tmp_path / "memory"
    words = [0] * 1024
    words[0], words[7], words[12] = 0x66787031, 1080 << 16 | 1920, 3 << 8
    path.write_bytes(struct.pack("<1024I", *words))
    with MappedRegisters(path) as registers:
        core = CoreDriver(registers)
        assert (core.largest, core.scale, core.has_bypass) == ((1920, 1080), 3, False)
        core.size = 1280, 720
        core.enable_interrupts(error=True)
        with pytest.raises(ArgumentError, match="1x1 to 1920x1080 pixels, not 1921x5"):
            core.size = 1921, 5
        with pytest.raises(DriverError, match="emit it with bypass=True"):
            core.bypass = True
    written = struct.unpack("<1024I", path.read_bytes())
    assert (written[9], written[10]) == (720 << 16 | 1280, 2)
    with pytest.raises(ArgumentError, match="begin at a page"):
        MappedRegisters(path, address=4)


def test_waiting_ends_and_names_what_did_not_happen(tmp_path: Path):
    port = Port()
    port.words[0x10] = 0x102  # busy, and a long line
    core = CoreDriver(SerialRegisters(port))
    assert core.status.errors == ("LONG_LINE",)
    assert core.status.busy
    with pytest.raises(DriverError, match=r"does not leave within 0\.01 seconds"):
        core.stop(timeout_s=0.01)
    with pytest.raises(DriverError, match=r"2 frames were not sent within 0\.01 seconds"):
        core.wait_for_frames(2, timeout_s=0.01)


def test_something_else_at_the_address_is_no_core():
    port = Port()
    port.words[0x00] = 0xDEADBEEF
    with pytest.raises(DriverError, match="register ID is 0xdeadbeef"):
        CoreDriver(SerialRegisters(port))


def test_every_property_reads_its_own_register():
    port = Port()
    core = CoreDriver(SerialRegisters(port))
    port.words |= {0x04: 0xFEDCBA98, 0x14: 17, 0x18: 5, 0x20: 0b011, 0x30: 4 << 8 | 1}
    assert (core.version, core.frames, core.malformed_frames) == (0xFEDCBA98, 17, 5)
    assert (core.scale, core.has_bypass, core.enabled, core.bypass) == (4, True, True, True)
    port.words[0x20] = 0b000
    assert (core.enabled, core.bypass) == (False, False)
    core.bypass = True
    core.enable()
    assert port.words[0x20] == 0b011
    core.bypass = False
    assert port.words[0x20] == 0b001
    core.clear_errors()
    assert port.words[0x10] == 0x1F
    port.words[0x2C] = 0b10
    assert core.take_interrupts() == ("ERROR",)
    assert port.words[0x2C] == 0b10
    core.enable_interrupts(frame_done=True)
    assert (port.words[0x28], port.words[0x2C]) == (0b01, 0b11)


def test_a_reset_is_asked_for_and_waited_for():
    port = Port()
    port.words[0x20] = 0b011
    core = CoreDriver(SerialRegisters(port))
    written = []
    registers = core._registers

    class Watched:
        def read(self, address: int) -> int:
            return registers.read(address) & (~4 if len(written) > 1 else ~0)

        def write(self, address: int, value: int) -> None:
            written.append((address, value))
            registers.write(address, value)

    core._registers = Watched()
    with pytest.raises(DriverError, match="waits for the receiver"):
        core.reset(timeout_s=0.01)
    assert written == [(0x20, 0b111)]
    # Now the bit falls at once; the settings are those of before.
    core.reset()
    assert written[1] == (0x20, 0b111)


def test_frames_are_counted_across_the_end_of_the_register():
    port = Port()
    port.words[0x14] = (1 << 32) - 1
    core = CoreDriver(SerialRegisters(port))
    read = core._registers.read
    counts = iter([(1 << 32) - 1, 0, 1, 2])
    core._registers.read = lambda address: next(counts) if address == 0x14 else read(address)
    core.wait_for_frames(2)
    assert next(counts) == 2
