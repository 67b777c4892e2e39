"""What a core consists of: streams with their lag and latency, and the modules that make them.

A plan is pure data. `layers` fills it from a graph, `top` writes it as SystemVerilog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fxp.formats import Format
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.rounding import FoldedRoundings
from fxp.support.errors import FxpError

READ_CLOCKS = 2
"""Clocks from the read of a lag buffer to its data."""


class StreamingError(FxpError, ValueError):
    """A network, or what is asked of its core, cannot be a streaming core."""


@dataclass(frozen=True)
class Lag:
    """How many beats a value is late: ``lines * width + pixels``."""

    lines: int = 0
    pixels: int = 0

    def __add__(self, other: Lag) -> Lag:
        return Lag(self.lines + other.lines, self.pixels + other.pixels)

    def __sub__(self, other: Lag) -> Lag:
        return Lag(self.lines - other.lines, self.pixels - other.pixels)

    def beats(self, width: int) -> int:
        """Beats at one width of the image."""
        return self.lines * width + self.pixels


@dataclass(frozen=True)
class Cost:
    """Hardware of one module, as far as it is known without synthesis."""

    multipliers: int = 0
    adders: int = 0
    registers: int = 0
    memory_bits: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.multipliers + other.multipliers,
            self.adders + other.adders,
            self.registers + other.registers,
            self.memory_bits + other.memory_bits,
        )


@dataclass
class Path:
    """All values of one lag; they share their tags, which `clocks` registers carry along.

    Attributes
    ----------
    name
        Base name of the wires.
    lag
        Beats behind the input.
    latency
        Clocks behind the input at which `source` has the tags.
    source
        Wire of the tags at that clock.
    clocks
        Latest clock after `latency` at which somebody reads the tags.
    """

    name: str
    lag: Lag
    latency: int
    source: str
    clocks: int = 0


@dataclass(frozen=True)
class ValueBus:
    """A bus with a beat of a value.

    Attributes
    ----------
    wire
        Name of the bus.
    channels
        Channels of a pixel; a beat has ``scale**2`` pixels.
    width, signed
        Bits of a field.
    scale
        Side of the block of the enlarged image.
    path
        Where its tags are.
    latency
        Clocks behind the input.
    """

    wire: str
    channels: int
    width: int
    signed: bool
    scale: int
    path: Path
    latency: int

    @property
    def fields(self) -> int:
        """Fields of a beat."""
        return self.channels * self.scale**2

    @property
    def bits(self) -> int:
        """Width of the bus."""
        return self.fields * self.width

    def field(self, index: int) -> str:
        """Text of one field."""
        if self.fields == 1:
            return self.wire
        return f"{self.wire}[{(index + 1) * self.width - 1}:{index * self.width}]"


@dataclass(frozen=True)
class Accumulated:
    """Exact results of an op before they are requantized; ranges and fractions per channel."""

    stream: ValueBus
    fracs: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True)
class ModuleInstance:
    """A module of the library, or of the folder, with its connections."""

    module: str
    name: str
    parameters: Mapping[str, str]
    ports: Mapping[str, str]
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Assignment:
    """Wires only."""

    wire: str
    value: str


@dataclass(frozen=True)
class Codes:
    """What a line memory may store instead of pixels.

    Attributes
    ----------
    wire
        Bus with the pixels in its low bits, then their deltas, then the headers of their groups.
    delta_bits, header_bits
        Bits of one channel.
    group
        Pixels that share a header.
    """

    wire: str
    delta_bits: int
    header_bits: int
    group: int


@dataclass(frozen=True)
class PlannedValue:
    """A value of the graph in the plan."""

    value: str
    stream: ValueBus
    format: Format
    exact: bool = True
    """Whether the bus holds the value itself, without a part of a rounding behind it."""


@dataclass
class CorePlan:
    """Modules and wires of a core, in order.

    Attributes
    ----------
    name
        Name of the core.
    max_width
        Pixels of the longest line.
    fold
        Clocks per beat.
    multipliers
        Style of the weighted sums.
    levels_per_register
        Most shared adders on a way between two registers.
    """

    name: str
    max_width: int
    fold: int
    multipliers: str
    levels_per_register: int = LEVELS_PER_REGISTER
    wires: dict[str, int] = field(default_factory=dict)
    items: list[ModuleInstance | Assignment | str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    values: list[PlannedValue] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    """Texts of modules made for this core, by name."""
    windows: dict[object, ValueBus] = field(default_factory=dict)
    copies: dict[str, tuple[ValueBus, tuple[int, ...]]] = field(default_factory=dict)
    """For buses with copies of fields of another bus: that bus, and its fields."""
    codes: dict[str, Codes] = field(default_factory=dict)
    """For buses with pixels that a line codec gave: the bus that has their codes too."""
    folded: FoldedRoundings = field(default_factory=FoldedRoundings)
    """Roundings that weighted sums take over."""
    scope: str = ""
    """Prefix of the wires made for the current node."""

    def wire(self, suffix: str, bits: int) -> str:
        """Declare a bus; its name begins with that of the current node."""
        name, count = f"{self.scope}_{suffix}", 1
        while name in self.wires:
            count += 1
            name = f"{self.scope}_{suffix}{count}"
        self.wires[name] = bits
        return name

    def instance(
        self,
        module: str,
        wire: str,
        parameters: Mapping[str, int | str],
        ports: Mapping[str, str],
        cost: Cost | None = None,
    ) -> None:
        """Add a module that drives `wire`.

        Parameters
        ----------
        module
            Name of the module.
        wire
            The bus that it drives, from which the name of the instance is made.
        parameters
            Its parameters, as numbers or as SystemVerilog.
        ports
            What each port is connected to.
        cost
            What it needs, by default nothing.
        """
        texts = {name: str(value) for name, value in parameters.items()}
        self.items.append(ModuleInstance(module, f"u_{wire}", texts, ports, cost or Cost()))

    def assign(self, wire: str, value: str) -> None:
        """Add wires."""
        self.items.append(Assignment(wire, value))

    def new_path(self, lag: Lag, latency: int, source: str) -> Path:
        """Begin a path.

        Parameters
        ----------
        lag
            Beats behind the input.
        latency
            Clocks behind the input at which `source` has the tags.
        source
            Wire of the tags at that clock.
        """
        path = Path(f"path{len(self.paths)}", lag, latency, source)
        self.paths.append(path)
        return path

    def tags(self, path: Path, latency: int) -> str:
        """Text of the tags that go with data of that latency."""
        clocks = latency - path.latency
        assert clocks >= 0
        path.clocks = max(path.clocks, clocks)
        return f"{path.name}_tags[{6 * clocks}+:6]"

    def tag(self, path: Path, latency: int, bit: int) -> str:
        """Text of one tag.

        Parameters
        ----------
        path
            Where the tags are.
        latency
            Clocks behind the input of the data that the tag goes with.
        bit
            Which tag: 0 is ``valid``, 1 is ``real``, and so on.
        """
        clocks = latency - path.latency
        assert clocks >= 0
        path.clocks = max(path.clocks, clocks)
        return f"{path.name}_tags[{6 * clocks + bit}]"

    def delayed(self, stream: ValueBus, latency: int) -> ValueBus:
        """Return the stream at a later clock."""
        clocks = latency - stream.latency
        if clocks == 0:
            return stream
        wire = self.wire("delayed", stream.bits)
        self.instance(
            "fxp_delay",
            wire,
            {"Width": stream.bits, "Clocks": clocks},
            {"clk_i": "aclk", "data_i": stream.wire, "data_o": wire},
            Cost(registers=stream.bits * clocks),
        )
        return replace(stream, wire=wire, latency=latency)

    def joined(self, streams: Sequence[ValueBus]) -> list[ValueBus]:
        """Bring streams to the same lag and latency."""
        lag = Lag(
            max(stream.path.lag.lines for stream in streams),
            max(stream.path.lag.pixels for stream in streams),
        )
        latest = [stream for stream in streams if stream.path.lag == lag]
        path = latest[0].path if latest else self._later_path(streams[0].path, lag)
        waiting = [stream for stream in streams if stream.path.lag != lag]
        # A lag buffer is read READ_CLOCKS ahead, at the earliest one clock after the write of the
        # same pixel, which came at least the lag's beats earlier.
        clocks = [stream.latency for stream in latest]
        clocks += [path.latency + READ_CLOCKS for _ in waiting]
        for stream in waiting:
            ahead = (lag - stream.path.lag).beats(1)
            clocks.append(stream.latency + READ_CLOCKS + 1 - ahead)
        latency = max(clocks)
        return [self._brought(stream, path, latency) for stream in streams]

    def _brought(self, stream: ValueBus, path: Path, latency: int) -> ValueBus:
        """Return a stream at the lag and latency of a join."""
        if stream.wire in self.copies and (stream.path.lag, stream.latency) != (path.lag, latency):
            # Copies are made afterwards, so that a field waits only once.
            origin, indices = self.copies[stream.wire]
            if origin.bits < stream.bits:
                origin = self._brought(origin, path, latency)
                fields = [origin.field(index) for index in indices]
                return self.gathered(origin, fields, stream.channels, stream.scale)
        if stream.path.lag == path.lag:
            return replace(self.delayed(stream, latency), path=path)
        return self._buffered(stream, path, latency)

    def _later_path(self, path: Path, lag: Lag) -> Path:
        """Path of a lag that none of the joined streams has."""
        more = lag - path.lag
        wire = self.wire("tags", 6)
        self.instance(
            "fxp_tag_delay",
            wire,
            {"Lines": more.lines, "Pixels": more.pixels},
            {
                "clk_i": "aclk",
                "rst_ni": "core_rst_n",
                "tags_i": self.tags(path, path.latency),
                "tags_o": wire,
            },
            Cost(registers=3 * more.lines + 5 * more.pixels + 6),
        )
        return self.new_path(lag, path.latency + 1, wire)

    def _buffered(self, stream: ValueBus, path: Path, latency: int) -> ValueBus:
        more = (path.lag - stream.path.lag).beats(self.max_width)
        depth = more + max(latency - READ_CLOCKS - stream.latency, 0) + 3
        write, read = self.wire("write", 1), self.wire("read", 1)
        for wire, (where, clock) in {
            write: (stream.path, stream.latency),
            read: (path, latency - READ_CLOCKS),
        }.items():
            self.assign(wire, f"{self.tag(where, clock, 0)} && {self.tag(where, clock, 1)}")
        wire = self.wire("waited", stream.bits)
        self.instance(
            "fxp_lag_buffer",
            wire,
            {"Width": stream.bits, "Depth": depth},
            {
                "clk_i": "aclk",
                "rst_ni": "core_rst_n",
                "write_i": write,
                "data_i": stream.wire,
                "read_i": read,
                "data_o": wire,
            },
            Cost(registers=2 * stream.bits + 32, memory_bits=stream.bits * depth),
        )
        return replace(stream, wire=wire, path=path, latency=latency)

    def gathered(
        self, stream: ValueBus, fields: Sequence[str], channels: int, scale: int
    ) -> ValueBus:
        """Return a stream of fields of others, which are of equal format, path and latency.

        Parameters
        ----------
        stream
            A bus with the format, path and latency of all of them.
        fields
            Text of each field, the first for the low bits.
        channels
            Channels of a pixel of the result.
        scale
            Side of its block of pixels.
        """
        assert len(fields) == channels * scale**2
        wire = self.wire("fields", len(fields) * stream.width)
        self.assign(wire, "{" + ", ".join(reversed(fields)) + "}" if len(fields) > 1 else fields[0])
        return replace(stream, wire=wire, channels=channels, scale=scale)

    def picked(
        self, stream: ValueBus, indices: Sequence[int], channels: int, scale: int
    ) -> ValueBus:
        """Return a stream of fields of one other.

        Parameters
        ----------
        stream
            The other bus.
        indices
            Which of its fields, the first for the low bits.
        channels
            Channels of a pixel of the result.
        scale
            Side of its block of pixels.
        """
        fields = [stream.field(int(index)) for index in indices]
        result = self.gathered(stream, fields, channels, scale)
        self.copies[result.wire] = (stream, tuple(int(index) for index in indices))
        return result

    def aligned(
        self, stream: ValueBus, width: int, shifts: Sequence[int], *, signed: bool
    ) -> ValueBus:
        """Append zeros and extend the sign; `shifts` is per channel, or one for all.

        Parameters
        ----------
        stream
            The bus.
        width
            Bits of a field of the result.
        shifts
            Zeros to append, per channel, or one number for all.
        signed
            Whether the result is signed.
        """
        if stream.width == width and not any(shifts):
            return replace(stream, signed=signed)
        wire = self.wire("aligned", stream.fields * width)
        self.instance(
            "fxp_align",
            wire,
            {
                "Fields": stream.fields,
                "InWidth": stream.width,
                "InSigned": verilog_bit(stream.signed),
                "OutWidth": width,
                "Shifts": packed(per_field(stream, shifts), 8),
            },
            {"data_i": stream.wire, "data_o": wire},
        )
        return replace(stream, wire=wire, width=width, signed=signed)

    def as_signed(self, stream: ValueBus) -> ValueBus:
        """Return the stream with signed fields."""
        if stream.signed:
            return stream
        return self.aligned(stream, stream.width + 1, (0,), signed=True)


def per_field(stream: ValueBus, values: Sequence[int]) -> list[int]:
    """Repeat values given per channel, or one for all, for all pixels of a block."""
    channels = list(values) * (stream.channels if len(values) == 1 else 1)
    assert len(channels) == stream.channels
    return channels * stream.scale**2
