"""Boards, and the video modes that they can show."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from fxp.hls.synth.targets import TARGETS
from fxp.support.errors import ArgumentError

BITS_PER_FAST_CLOCK: Final = 2
WORD_BITS: Final = 10
FAST: Final = WORD_BITS // BITS_PER_FAST_CLOCK
"""Fast clocks for each pixel, as a word of TMDS has ten bits and each clock sends two."""
PLACER: Final = "nextpnr-ecp5"
"""What places and routes the designs."""
PORTS: Final = (
    "clk_i", "uart_rx_i", "uart_tx_o", *(f"tmds_o[{number}]" for number in range(4)),
    *(f"led_o[{number}]" for number in range(8)), "keep_o",
)  # fmt: skip
"""Ports of the top of a design."""
_OSCILLATOR: Final = (400.0, 800.0)
"""Range of the oscillator of a PLL of the ECP5, in MHz."""


def check_device(target: str, package: str, speed: int) -> None:
    """Raise ArgumentError unless bitstreams can be made for a device.

    Parameters
    ----------
    target
        Name of the device.
    package, speed
        Its package and speed grade.
    """
    known = [name for name, device in TARGETS.items() if device.placer and device.tool == PLACER]
    if target not in known:
        raise ArgumentError(f"the device of a board is one of {', '.join(known)}, not {target!r}")
    device = TARGETS[target]
    if package not in device.packages:
        raise ArgumentError(
            f"{device.device} has one of the packages {', '.join(device.packages)}, not {package!r}"
        )
    if speed not in device.speeds:
        grades = ", ".join(map(str, device.speeds))
        raise ArgumentError(f"{device.device} has one of the speed grades {grades}, not {speed!r}")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ArgumentError(
            f"{name!r} is no name for a board or a video mode: it may have letters, digits, '-', "
            "'_' and '.'"
        )


def _check_clock(megahertz: float) -> None:
    if not 0 < megahertz < math.inf:
        raise ArgumentError(f"a clock must have more than 0 MHz, not {megahertz!r}")


@dataclass(frozen=True)
class VideoMode:
    """A video mode with its blanking.

    Attributes
    ----------
    name
        Width and height.
    width, height
        Pixels shown.
    h_front, h_sync, h_back
        Pixels of the horizontal blanking: before, in and behind the pulse.
    v_front, v_sync, v_back
        Lines of the vertical blanking.
    megahertz
        Pixel clock.
    positive
        Whether the pulses are high.

    Raises
    ------
    ArgumentError
        If a number is not above zero, or the name has other signs than letters, digits, ``-``,
        ``_`` and ``.``.
    """

    name: str
    width: int
    height: int
    h_front: int
    h_sync: int
    h_back: int
    v_front: int
    v_sync: int
    v_back: int
    megahertz: float
    positive: bool

    def __post_init__(self) -> None:
        _check_name(self.name)
        for name in (
            "width", "height", "h_front", "h_sync", "h_back", "v_front", "v_sync", "v_back"
        ):  # fmt: skip
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                raise ArgumentError(
                    f"{name} of the video mode {self.name} must be an integer above zero, not "
                    f"{count!r}"
                )
        _check_clock(self.megahertz)

    @property
    def columns(self) -> int:
        """Clocks of a line."""
        return self.width + self.h_front + self.h_sync + self.h_back

    @property
    def rows(self) -> int:
        """Lines of a frame."""
        return self.height + self.v_front + self.v_sync + self.v_back

    @property
    def hertz(self) -> float:
        """Frames in a second."""
        return self.megahertz * 1e6 / (self.columns * self.rows)


MODES: Final = {
    mode.name: mode
    for mode in (
        # The clocks are multiples of that of the boards; 640x480 has 25.175 MHz by its standard.
        VideoMode("640x480", 640, 480, 16, 96, 48, 10, 2, 33, 25.0, False),
        VideoMode("800x600", 800, 600, 40, 128, 88, 1, 4, 23, 40.0, True),
    )
}
"""Video modes by name."""


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes
    ----------
    name
        As the command line calls it.
    target
        Device, a name of `fxp.hls.synth.TARGETS` with an ECP5.
    package
        Its package.
    speed
        Its speed grade.
    megahertz
        Clock on the board.
    pins
        For every port of the top: where it is, and its electrical options.

    Raises
    ------
    ArgumentError
        If there is no such device, it has not that package or speed grade, a port has no pin, or
        the name has other signs than letters, digits, ``-``, ``_`` and ``.``.
    """

    name: str
    target: str
    package: str
    speed: int
    megahertz: float
    pins: tuple[tuple[str, str, str], ...]

    def __post_init__(self) -> None:
        _check_name(self.name)
        check_device(self.target, self.package, self.speed)
        _check_clock(self.megahertz)
        named = [port for port, _, _ in self.pins]
        wrong = sorted({*named} ^ {*PORTS}) + [port for port in PORTS if named.count(port) > 1]
        if wrong:
            raise ArgumentError(
                f"the board {self.name} must have one pin for each of {', '.join(PORTS)}; look at "
                f"{', '.join(wrong)}"
            )

    def constraints(self) -> str:
        """Return the pins and the clock as a file of constraints for nextpnr."""
        lines = [f"# Pins of {self.name}."]
        for port, site, options in self.pins:
            lines += [f'LOCATE COMP "{port}" SITE "{site}";', f'IOBUF PORT "{port}" {options};']
        return "\n".join([*lines, f'FREQUENCY PORT "clk_i" {self.megahertz} MHZ;', ""])


def pll_dividers(board_megahertz: float, pixel_megahertz: float) -> tuple[int, int, int]:
    """Return the dividers of a PLL whose first output is the fast clock, fed back.

    Parameters
    ----------
    board_megahertz
        Clock that goes in.
    pixel_megahertz
        Pixel clock; the fast clock has `FAST` times that frequency.

    Returns
    -------
    tuple
        Of the feedback, of the fast clock, and of the pixel clock.

    Raises
    ------
    ValueError
        If the clocks do not suit each other.
    """
    fast = FAST * pixel_megahertz
    feedback = fast / board_megahertz
    divider = int(_OSCILLATOR[1] // fast)
    if feedback != int(feedback) or not _OSCILLATOR[0] <= fast * divider <= _OSCILLATOR[1]:
        raise ArgumentError(
            f"no pixel clock of {pixel_megahertz:g} MHz can be made of {board_megahertz:g} MHz"
        )
    return int(feedback), divider, FAST * divider


_LED = "PULLMODE=NONE IO_TYPE=LVCMOS33 DRIVE=4"
_ULX3S = (
    ("clk_i", "G2", "PULLMODE=NONE IO_TYPE=LVCMOS33"),
    ("uart_rx_i", "M1", "PULLMODE=UP IO_TYPE=LVCMOS33"),
    ("uart_tx_o", "L4", "PULLMODE=UP IO_TYPE=LVCMOS33 DRIVE=4"),
    # The other pin of each pair follows by itself: blue, green, red, clock.
    ("tmds_o[0]", "A16", "IO_TYPE=LVCMOS33D DRIVE=4"),
    ("tmds_o[1]", "A14", "IO_TYPE=LVCMOS33D DRIVE=4"),
    ("tmds_o[2]", "A12", "IO_TYPE=LVCMOS33D DRIVE=4"),
    ("tmds_o[3]", "A17", "IO_TYPE=LVCMOS33D DRIVE=4"),
    *((f"led_o[{number}]", site, _LED)
      for number, site in enumerate(("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"))),
    # High keeps the other processor of the board from taking the FPGA over.
    ("keep_o", "L2", _LED),
)  # fmt: skip

BOARDS: Final = {
    board.name: board
    for board in (
        Board("ulx3s-12f", "ecp5-12k", "CABGA381", 6, 25.0, _ULX3S),
        Board("ulx3s-25f", "ecp5-25k", "CABGA381", 6, 25.0, _ULX3S),
        Board("ulx3s-45f", "ecp5-45k", "CABGA381", 6, 25.0, _ULX3S),
        Board("ulx3s-85f", "ecp5-85k", "CABGA381", 6, 25.0, _ULX3S),
    )
}
"""Boards by name."""
