"""Driving a core from a program: its registers by name, over whatever reaches them.

`CoreDriver` needs an object with ``read(address)`` and ``write(address, value)``, which an
``MMIO`` of PYNQ is. `MappedRegisters` reaches registers in the memory of a Linux board,
`SerialRegisters` those behind the serial port of a board of `fxp.hls.boards`. Nothing but Python is
needed: `fxp.hls.rtl.register_map` and this module may be copied to a board.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import Protocol, Self

from fxp.hls.rtl.register_map import BY_NAME, IDENTITY, Field
from fxp.support.errors import ArgumentError, FxpError

REGISTER_BYTES = 0x1000
"""What is mapped by default: a page."""


class DriverError(FxpError, RuntimeError):
    """A core does not answer as it should, or refuses what was asked."""


class Registers(Protocol):
    """Access to registers of 32 bits by their byte address."""

    def read(self, address: int) -> int:
        """Return the content of a register."""
        ...

    def write(self, address: int, value: int) -> object:
        """Write a register."""
        ...


class ByteStream(Protocol):
    """A serial port: an unbuffered file, or a port of pyserial."""

    def read(self, size: int) -> bytes | None:
        """Return at most that many bytes; none if none came in time."""
        ...

    def write(self, data: bytes) -> object:
        """Send bytes."""
        ...


@dataclass(frozen=True)
class CoreStatus:
    """What the register ``STATUS`` says.

    Attributes
    ----------
    errors
        Names of the errors since they were last cleared, as in the table of registers.
    busy
        Whether a frame is in the core.
    """

    errors: tuple[str, ...]
    busy: bool


class CoreDriver:
    """A core, by its registers.

    Parameters
    ----------
    registers
        Access to them.

    Raises
    ------
    DriverError
        If there is no core at that address.

    Examples
    --------
    On a PYNQ board, with the core at an address of the block design::

        core = CoreDriver(pynq.MMIO(0xA000_0000, 0x1000))
        core.size = 1280, 720
        core.enable()
    """

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        found = self.read("ID")
        if found != IDENTITY:
            raise DriverError(
                f"there is no core here: register ID is 0x{found:08x}, not 0x{IDENTITY:08x}"
            )

    def read(self, name: str) -> int:
        """Return the content of the register of that name."""
        return self._registers.read(BY_NAME[name].address) & 0xFFFFFFFF

    def write(self, name: str, value: int) -> None:
        """Write the register of that name."""
        self._registers.write(BY_NAME[name].address, value)

    @property
    def version(self) -> int:
        """First 32 bits of the SHA-256 of the integer graph."""
        return self.read("VERSION")

    @property
    def largest(self) -> tuple[int, int]:
        """Width and height of the largest frame."""
        limits = self.read("LIMITS")
        return limits & 0xFFFF, limits >> 16

    @property
    def scale(self) -> int:
        """By how much the core enlarges an image."""
        return self.read("FEATURES") >> 8 & 0xFF

    @property
    def has_bypass(self) -> bool:
        """Whether `bypass` can be set."""
        return bool(self.read("FEATURES") & BY_NAME["FEATURES"].field("BYPASS").mask)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the next frame; both take effect together.

        Setting a size that the core does not take raises `ArgumentError`, and the earlier one stays
        in force. A core with bus errors answers such a size with one, which
        `SerialRegisters` raises as `DriverError`.
        """
        size = self.read("SIZE")
        return size & 0xFFFF, size >> 16

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        width, height = size
        most = self.largest
        if not (1 <= width <= most[0] and 1 <= height <= most[1]):
            raise ArgumentError(
                f"the core takes frames of 1x1 to {most[0]}x{most[1]} pixels, not {width}x{height}"
            )
        self.write("SIZE", height << 16 | width)
        # Reading it back rather than STATUS, where an earlier size may have been refused.
        kept = self.size
        if kept != (width, height):
            raise ArgumentError(
                f"the core refuses frames of {width}x{height} pixels, which are smaller than its "
                "network takes, or no multiple that it needs; "
                f"its frames stay {kept[0]}x{kept[1]} pixels"
            )

    @property
    def enabled(self) -> bool:
        """Whether the core takes frames."""
        return bool(self.read("CONTROL") & _control("ENABLE").mask)

    def enable(self) -> None:
        """Let the core take frames."""
        self._set_control("ENABLE", True)

    def stop(self, timeout_s: float = 1.0) -> None:
        """Let the core complete its frame and take no other; returns when the frame has left.

        Raises
        ------
        DriverError
            If the frame does not leave in time, because its pixels do not come or its results are
            not taken.
        """
        self._set_control("ENABLE", False)
        self._wait(lambda: not self.status.busy, timeout_s, "the frame in the core does not leave")

    @property
    def bypass(self) -> bool:
        """Whether frames are enlarged by nearest neighbour instead of by the network."""
        return bool(self.read("CONTROL") & _control("BYPASS").mask)

    @bypass.setter
    def bypass(self, wanted: bool) -> None:
        if wanted and not self.has_bypass:
            raise DriverError("this core was made without a bypass: emit it with bypass=True")
        self._set_control("BYPASS", wanted)

    def reset(self, timeout_s: float = 1.0) -> None:
        """Forget all pixels, counters, errors and interrupts; sizes and settings stay.

        Raises
        ------
        DriverError
            If the reset does not come to its end, because an offered beat is not taken.
        """
        mask = _control("RESET").mask
        self.write("CONTROL", self.read("CONTROL") | mask)
        self._wait(
            lambda: not self.read("CONTROL") & mask, timeout_s,
            "the reset waits for the receiver to take a beat",
        )  # fmt: skip

    @property
    def status(self) -> CoreStatus:
        """What went wrong since errors were cleared, and whether a frame is in the core."""
        content = self.read("STATUS")
        fields = {f.name: bool(content & f.mask) for f in BY_NAME["STATUS"].fields}
        busy = fields.pop("BUSY")
        return CoreStatus(tuple(name for name, there in fields.items() if there), busy)

    def clear_errors(self) -> None:
        """Forget the errors of `status`."""
        self.write("STATUS", 0x1F)

    @property
    def frames(self) -> int:
        """Frames sent since reset, modulo 2**32."""
        return self.read("FRAMES")

    @property
    def malformed_frames(self) -> int:
        """Malformed frames since reset, modulo 2**32."""
        return self.read("ERRORS")

    def enable_interrupts(self, *, frame_done: bool = False, error: bool = False) -> None:
        """Choose the events that raise the wire ``irq``, and forget those that have happened.

        Parameters
        ----------
        frame_done
            The last beat of a frame was sent.
        error
            A frame was malformed, or a size refused.
        """
        register = BY_NAME["INTERRUPT_ENABLE"]
        self.write("INTERRUPT_STATUS", 0x3)
        wanted = {"FRAME_DONE": frame_done, "ERROR": error}
        self.write(
            "INTERRUPT_ENABLE", sum(register.field(name).mask for name in wanted if wanted[name])
        )

    def take_interrupts(self) -> tuple[str, ...]:
        """Return the events since the last call, and acknowledge them."""
        content = self.read("INTERRUPT_STATUS")
        self.write("INTERRUPT_STATUS", content)
        fields = BY_NAME["INTERRUPT_STATUS"].fields
        return tuple(field.name for field in fields if content & field.mask)

    def wait_for_frames(self, count: int, timeout_s: float = 1.0) -> None:
        """Wait until that many further frames were sent.

        Parameters
        ----------
        count
            Frames from now on.
        timeout_s
            Seconds to wait at most.

        Raises
        ------
        DriverError
            If they are not sent in time.
        """
        first = self.frames
        self._wait(
            lambda: (self.frames - first) % (1 << 32) >= count, timeout_s,
            f"{count} frames were not sent",
        )  # fmt: skip

    def _set_control(self, name: str, value: bool) -> None:
        content = self.read("CONTROL") & ~_control("RESET").mask
        mask = _control(name).mask
        self.write("CONTROL", content | mask if value else content & ~mask)

    def _wait(self, done: object, timeout_s: float, what: str) -> None:
        assert callable(done)
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                raise DriverError(f"{what} within {timeout_s:g} seconds")


def _control(name: str) -> Field:
    return BY_NAME["CONTROL"].field(name)


class MappedRegisters:
    """Registers in the memory of a Linux board, through ``/dev/mem`` or a device of UIO.

    Use it in a ``with`` statement, or call `close`.

    Parameters
    ----------
    path
        ``/dev/mem``, or ``/dev/uio0`` and so on.
    address
        Where the registers are in that file: the physical address for ``/dev/mem``, 0 for UIO.
    size
        Bytes to map.

    Raises
    ------
    OSError
        If the file cannot be mapped.
    """

    def __init__(
        self, path: str | PathLike[str], address: int = 0, size: int = REGISTER_BYTES
    ) -> None:
        if address % mmap.ALLOCATIONGRANULARITY:
            raise ArgumentError(
                f"registers begin at a page of {mmap.ALLOCATIONGRANULARITY} bytes, not at "
                f"{address:#x}"
            )
        file = os.open(path, os.O_RDWR | getattr(os, "O_SYNC", 0))
        try:
            self._map = mmap.mmap(file, size, offset=address)
        finally:
            os.close(file)
        # One access of 32 bits for each register, never four of a byte.
        self._words = memoryview(self._map).cast("I")

    def read(self, address: int) -> int:
        """Return the content of a register."""
        return self._words[address // 4]

    def write(self, address: int, value: int) -> None:
        """Write a register."""
        self._words[address // 4] = value

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._map.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the memory back."""
        self.close()


class SerialRegisters:
    """Registers behind the serial port of a board.

    A read is the byte ``R`` and the address, answered by four bytes, the low one first; a write is
    ``W``, the address and four bytes, answered by ``K``, or ``E`` if the core refuses it.

    Parameters
    ----------
    port
        The serial port: 115200 baud, eight bits, no parity; of pyserial with a timeout, say.
    """

    def __init__(self, port: ByteStream) -> None:
        self._port = port

    def read(self, address: int) -> int:
        """Return the content of a register."""
        self._port.write(bytes([ord("R"), address]))
        return int.from_bytes(self._answer(4), "little")

    def write(self, address: int, value: int) -> None:
        """Write a register; raises DriverError if the core refuses it."""
        self._port.write(bytes([ord("W"), address]) + value.to_bytes(4, "little"))
        answer = self._answer(1)
        if answer != b"K":
            raise DriverError(f"the core refuses {value:#x} at address {address:#x}")

    def _answer(self, count: int) -> bytes:
        answer = b""
        while len(answer) < count:
            part = self._port.read(count - len(answer))
            if not part:
                raise DriverError("the board does not answer on its serial port")
            answer += part
        return answer
