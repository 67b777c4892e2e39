"""What an emitted core is, for test benches and tools that did not make it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from fxp.hls.rtl.streams import Kept, Raster, TakenSizes
from fxp.support.errors import ArgumentError

Multipliers = Literal["dsp", "shift_add"]
"""A multiplier per weight, or shared adders."""
Packing = Literal["bytes", "ug934"]
"""Channels in whole bytes, or side by side."""


@dataclass(frozen=True)
class StreamPort:
    """Values on a stream of the core.

    Attributes
    ----------
    name
        The value of the graph.
    channels
        Channels of one pixel.
    width, frac, signed
        Format of a channel.
    bytes
        Whole bytes that a channel takes on the stream, from its low bits up; unused high bits
        repeat the sign on outputs (zero if unsigned) and are ignored on inputs.
    packed
        Whether fields lie side by side instead, without padding, with zeros at the top of a beat
        alone, as Xilinx's UG934 has it for video.
    subsampled
        Whether pixels of YCbCr have two channels, Y and in even columns Cb, in odd ones Cr.
    """

    name: str
    channels: int
    width: int
    frac: int
    signed: bool
    bytes: int
    packed: bool = False
    subsampled: bool = False

    @property
    def order(self) -> tuple[int, ...]:
        """Channels from the low bits up; packed RGB is G, B, R."""
        return (1, 2, 0) if self.packed and self.channels == 3 else tuple(range(self.channels))

    def beat_bytes(self, pixels: int = 1) -> int:
        """Bytes of a beat of so many pixels."""
        fields = pixels * self.channels
        return -(-fields * self.width // 8) if self.packed else fields * self.bytes


@dataclass(frozen=True)
class Tap:
    """A graph value that exists as wires ``<wire>_valid``, ``<wire>_real``, ``<wire>_data``.

    The beats with ``_real`` are the value's pixels in raster order.

    Attributes
    ----------
    value
        Name of the value in the graph.
    wire
        Base name of the wires in the top.
    channels
        Fields of a beat, ``scale**2`` times the channels of the value: pixel by pixel of the
        block, the channels of a pixel together, the first in the low bits.
    width, frac, signed
        Format of a field.
    scale
        Side of the block of the enlarged image that a beat holds.
    """

    value: str
    wire: str
    channels: int
    width: int
    frac: int
    signed: bool
    scale: int


@dataclass(frozen=True)
class ResultStream:
    """A stream of results beside ``m_axis``: of another output, or of what becomes a state.

    Attributes
    ----------
    stream
        What the names of its wires begin with, ``m_axis_NAME``.
    port
        Its values.
    scale, steps, raster, pixels_per_beat
        As those of a `Core`.
    """

    stream: str
    port: StreamPort
    scale: int
    steps: tuple[tuple[Kept, Kept], ...]
    raster: bool
    pixels_per_beat: int


@dataclass(frozen=True)
class StateStream:
    """A stream that brings back what the frame before left; the first frame after reset takes none.

    Attributes
    ----------
    stream
        What the names of its wires begin with, ``s_axis_NAME``; a beat is laid out like one of
        `result`.
    result
        The stream of results that its beats come from, ``m_axis_NAME``.
    port
        Its values.
    scale
        Side of the block of values for each input pixel.
    reset
        Raw integer of every value in the first frame.
    """

    stream: str
    result: str
    port: StreamPort
    scale: int
    reset: int


@dataclass(frozen=True)
class Core:
    """An emitted core.

    Attributes
    ----------
    name
        Name of the core; the folder's ``<name>.core`` and data sheet carry it.
    top
        Module name of the top.
    sources
        SystemVerilog files in compile order, relative to the folder.
    input, output
        The streams ``s_axis`` and ``m_axis``.
    scale
        Side of the output block per input pixel.
    max_width, max_height
        Largest frame.
    initial_width, initial_height
        Frame size after reset.
    fold
        Clocks per beat: a pixel is taken at most every `fold` clocks.
    multipliers
        ``"dsp"`` or ``"shift_add"``.
    raster
        Whether the output is raster lines instead of blocks.
    version
        Content of the register ``VERSION``.
    latency_clocks
        Pipeline registers from the input pixel to the output FIFO, apart from the lag.
    lag_lines, lag_pixels
        Beats that must follow a pixel before its output is complete:
        ``lag_lines * width + lag_pixels``.
    taps
        Every graph value that exists as wires, in graph order, the input first.
    steps
        Rows and columns of input pixels that have a block of the output, step by step.
    smallest
        Rows and columns that a frame must have at least.
    taken
        Which numbers of rows, and of columns, a frame may have from there on.
    pixels_per_beat
        Pixels in a beat of raster lines; 0 for as many as a block has.
    bypass
        Whether a register can put copies of the input in place of the network's result.
    bus_errors
        Whether accesses to registers without effect are answered with SLVERR.
    levels_per_register
        Most shared adders on a way between two registers.
    register_shared
        Whether a shared sum is read from a register only.
    more
        Further streams of results: the other outputs, then one for each of `states`.
    states
        Streams of values that are kept from frame to frame.
    """

    name: str
    top: str
    sources: tuple[str, ...]
    input: StreamPort
    output: StreamPort
    scale: int
    max_width: int
    max_height: int
    initial_width: int
    initial_height: int
    fold: int
    multipliers: str
    raster: bool
    version: int
    latency_clocks: int
    lag_lines: int
    lag_pixels: int
    taps: tuple[Tap, ...]
    steps: tuple[tuple[Kept, Kept], ...] = ()
    smallest: tuple[int, int] = (1, 1)
    taken: tuple[TakenSizes, TakenSizes] = (TakenSizes(), TakenSizes())
    levels_per_register: int = 1
    register_shared: bool = False
    pixels_per_beat: int = 0
    bypass: bool = False
    bus_errors: bool = False
    more: tuple[ResultStream, ...] = ()
    states: tuple[StateStream, ...] = ()

    @property
    def results(self) -> dict[str, Core]:
        """Every stream of results, with the core as if it were the only one, ``m_axis`` first."""
        further = {
            result.stream: replace(
                self, output=result.port, scale=result.scale, steps=result.steps,
                raster=result.raster, pixels_per_beat=result.pixels_per_beat,
            )
            for result in self.more
        }  # fmt: skip
        return {"m_axis": self, **further}

    def beats(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of blocks of the output, for a size of the input.

        Parameters
        ----------
        height, width
            Size of the input, in pixels.
        """
        return Raster(self.steps).size(height, width)

    @property
    def beat_pixels(self) -> int:
        """Pixels of the enlarged image in a beat."""
        return self.pixels_per_beat or self.scale**2

    @property
    def serialized(self) -> bool:
        """Whether a beat has fewer pixels than a block."""
        return self.beat_pixels < self.scale**2

    @property
    def has_keep(self) -> bool:
        """Whether the output has ``m_axis_tkeep``."""
        return self.raster and not self.output.packed and self.pixels_per_beat != 1

    def to_json(self) -> str:
        """Return the content of ``core.json``."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Core:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not the description of a core.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            for port in ("input", "output"):
                content[port] = StreamPort(**content[port])
            content["taps"] = tuple(Tap(**tap) for tap in content["taps"])
            content["sources"] = tuple(content["sources"])
            content["smallest"] = tuple(content["smallest"])
            content["taken"] = tuple(
                TakenSizes(each["period"], tuple(each["remainders"]))
                for each in content.get("taken", (asdict(TakenSizes()),) * 2)
            )
            content["steps"] = _steps(content["steps"])
            content["more"] = tuple(
                ResultStream(
                    **{**each, "port": StreamPort(**each["port"]), "steps": _steps(each["steps"])}
                )
                for each in content.get("more", ())
            )
            content["states"] = tuple(
                StateStream(**{**each, "port": StreamPort(**each["port"])})
                for each in content.get("states", ())
            )
            return cls(**content)
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(f"not the description of a core: {error}") from None

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> Core:
        """Read ``core.json`` of an emitted folder.

        Raises
        ------
        ValueError
            If the folder holds no emitted core.
        """
        path = Path(folder) / "core.json"
        if not path.is_file():
            raise ArgumentError(f"{folder} holds no emitted core: there is no core.json")
        return cls.from_json(path.read_text(encoding="utf-8"))


def _steps(content: Any) -> tuple[tuple[Kept, Kept], ...]:
    return tuple((Kept(**rows), Kept(**columns)) for rows, columns in content)
