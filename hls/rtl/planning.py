"""The plan of a core: the modules and wires that make its streams, in order.

A plan is pure data. `stages` fill it from a graph, `top` writes it as SystemVerilog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.rounding import FoldedRoundings
from fxp.hls.rtl.streams import (
    Assignment,
    Codes,
    Cost,
    Lag,
    ModuleInstance,
    Path,
    PlannedValue,
    Raster,
    StreamingError,
    ValueBus,
    missing_lag,
    per_field,
)

READ_CLOCKS = 2
"""Clocks from the read of a lag buffer to its data."""
RESET = "core_rst_n"
"""Wire of the reset of all that beats pass through."""
SIZE = ("sequencer_columns", "sequencer_rows")
"""Wires with the size of the input, less one."""


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
        Weights that share a multiplier in the current node.
    multipliers
        Style of the weighted sums of the current node.
    levels_per_register
        Most shared adders on a way between two registers.
    register_shared
        Whether a shared sum is read from a register only.
    """

    name: str
    max_width: int
    fold: int = 1
    multipliers: str = "dsp"
    levels_per_register: int = LEVELS_PER_REGISTER
    register_shared: bool = False
    wires: dict[str, int] = field(default_factory=dict)
    items: list[ModuleInstance | Assignment | str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    values: list[PlannedValue] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    """Texts of modules made for this core, by name."""
    windows: dict[object, ValueBus] = field(default_factory=dict)
    copies: dict[str, tuple[ValueBus, tuple[int, ...]]] = field(default_factory=dict)
    """For buses with copies of fields of another bus: that bus, and its fields."""
    selections: dict[object, Path] = field(default_factory=dict)
    """Paths of chosen beats, by the path they are chosen from and what remains."""
    codes: dict[str, Codes] = field(default_factory=dict)
    """For buses with pixels that a line codec gave: the bus that has their codes too."""
    folded: FoldedRoundings = field(default_factory=FoldedRoundings)
    """Roundings that weighted sums take over."""
    smallest: tuple[int, int] = (1, 1)
    """Rows and columns that a frame must have at least."""
    size: tuple[int, int] | None = None
    """Rows and columns of the frames after reset, if that is known."""
    more: list[PlannedValue] = field(default_factory=list)
    """What leaves the core beside its first output: the other outputs, then the next states."""
    states: list[ValueBus] = field(default_factory=list)
    """Values that the frame before left, at the input."""
    one_size: bool = False
    """Whether the core takes frames of that size alone."""
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

    def module_name(self, suffix: str) -> str:
        """Return a free name for a module made for the current node."""
        name, count = f"{self.name}_{self.scope}_{suffix}", 1
        while name in self.modules:
            count += 1
            name = f"{self.name}_{self.scope}_{suffix}{count}"
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

    def new_path(
        self,
        lags: tuple[Lag, ...],
        latency: int,
        source: str,
        *,
        raster: Raster | None = None,
        size: tuple[str, str] = SIZE,
    ) -> Path:
        """Begin a path.

        Parameters
        ----------
        lags
            How late it is, in beats of the input and of what each step of the raster leads to.
        latency
            Clocks behind the input at which `source` has the tags.
        source
            Wire of the tags at that clock.
        raster
            Positions at which its beats come, by default those of the input.
        size
            Wires with the columns and rows of the raster, less one.
        """
        name = f"path{len(self.paths)}"
        path = Path(name, raster or Raster(), lags, latency, source, size)
        self.paths.append(path)
        return path

    def later(self, path: Path, more: Lag, latency: int, source: str) -> Path:
        """Begin a path of the same raster that is later.

        Parameters
        ----------
        path
            The earlier path.
        more
            Beats that the new path is later.
        latency, source
            As for `new_path`.
        """
        lags = (*path.lags[:-1], path.lag + more)
        return self.new_path(lags, latency, source, raster=path.raster, size=path.size)

    def width(self, raster: Raster) -> int:
        """Beats of the longest line of a raster."""
        return max(raster.size(1, self.max_width)[1], 1)

    def need(self, raster: Raster, rows: int, columns: int) -> None:
        """Say that frames must give a raster some rows and columns at least.

        Parameters
        ----------
        raster
            Positions at which beats come.
        rows, columns
            The smallest size.
        """
        for kept_rows, kept_columns in reversed(raster.steps):
            rows, columns = kept_rows.needed(rows), kept_columns.needed(columns)
        self.smallest = (max(self.smallest[0], rows), max(self.smallest[1], columns))

    def tags(self, path: Path, latency: int) -> str:
        """Text of the tags that go with data of that latency."""
        clocks = latency - path.latency
        assert clocks >= 0
        path.clocks = max(path.clocks, clocks)
        return f"{path.name}_tags[{6 * clocks}+:6]"

    def tag(self, path: Path, latency: int, name: str) -> str:
        """Text of one tag.

        Parameters
        ----------
        path
            Where the tags are.
        latency
            Clocks behind the input of the data that the tag goes with.
        name
            Which tag, as ``fxp_pkg`` calls it.
        """
        clocks = latency - path.latency
        assert clocks >= 0
        path.clocks = max(path.clocks, clocks)
        return f"{path.name}_tags[{6 * clocks} + fxp_pkg::{name}]"

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
        """Bring streams of one raster to the same lag and latency.

        Raises
        ------
        StreamingError
            If they are not of one raster.
        """
        if any(
            stream.path.raster.one_beat != streams[0].path.raster.one_beat for stream in streams
        ):
            raise StreamingError(
                "one of its operands depends on a whole image, for which the other would have to "
                "be stored: leave it to the processor behind the hardware, or train without it"
            )
        if len({stream.path.raster.places for stream in streams}) > 1:
            raise StreamingError(
                "of its operands other rows and columns are left, or they are left out in other "
                "steps: lead both through the same strides, poolings and crops"
            )
        base, more = min(
            ((stream.path, missing_lag(stream.path, streams)) for stream in streams),
            key=lambda pair: (pair[1].lines, pair[1].pixels),
        )
        path = self._later_path(base, more) if more != Lag() else base
        # A lag buffer is read READ_CLOCKS ahead, at the earliest one clock after the write of the
        # same pixel, which came at least the lag's beats earlier.
        clocks = []
        for stream in streams:
            if stream.path.lags == path.lags:
                clocks.append(stream.latency)
            else:
                spare = path.lag - stream.path.lag - stream.path.behind(path)
                clocks.append(stream.latency + READ_CLOCKS + 1 - spare.beats(1))
                clocks.append(path.latency + READ_CLOCKS)
        latency = max(clocks)
        return [self._brought(stream, path, latency) for stream in streams]

    def _brought(self, stream: ValueBus, path: Path, latency: int) -> ValueBus:
        """Return a stream at the lag and latency of a join."""
        if stream.wire in self.copies and (stream.path.lags, stream.latency) != (
            path.lags,
            latency,
        ):
            # Copies are made afterwards, so that a field waits only once.
            origin, indices = self.copies[stream.wire]
            if origin.bits < stream.bits:
                origin = self._brought(origin, path, latency)
                fields = [origin.field(index) for index in indices]
                return self.gathered(origin, fields, stream.channels, stream.scale)
        if stream.path.lags == path.lags:
            return replace(self.delayed(stream, latency), path=path)
        return self._buffered(stream, path, latency)

    def _later_path(self, path: Path, more: Lag) -> Path:
        """Path of a lag that none of the joined streams has."""
        wire = self.wire("tags", 6)
        self.instance(
            "fxp_tag_delay",
            wire,
            {"Lines": more.lines, "Pixels": more.pixels},
            {
                "clk_i": "aclk",
                "rst_ni": RESET,
                "tags_i": self.tags(path, path.latency),
                "tags_o": wire,
            },
            Cost(registers=3 * more.lines + 5 * more.pixels + 6),
        )
        return self.later(path, more, path.latency + 1, wire)

    def _buffered(self, stream: ValueBus, path: Path, latency: int) -> ValueBus:
        depth = (
            self._beats_between(stream.path, path)
            + max(latency - READ_CLOCKS - stream.latency, 0)
            + 3
        )
        write, read = self.wire("write", 1), self.wire("read", 1)
        for wire, (where, clock) in {
            write: (stream.path, stream.latency),
            read: (path, latency - READ_CLOCKS),
        }.items():
            self.assign(
                wire, f"{self.tag(where, clock, 'Valid')} && {self.tag(where, clock, 'Real')}"
            )
        wire = self.wire("waited", stream.bits)
        self.instance(
            "fxp_lag_buffer",
            wire,
            {"Width": stream.bits, "Depth": depth},
            {
                "clk_i": "aclk",
                "rst_ni": RESET,
                "write_i": write,
                "data_i": stream.wire,
                "read_i": read,
                "data_o": wire,
            },
            Cost(registers=2 * stream.bits + 32, memory_bits=stream.bits * depth),
        )
        return replace(stream, wire=wire, path=path, latency=latency)

    def _beats_between(self, early: Path, late: Path) -> int:
        """Real beats of their raster that an early path may be ahead of a late one, at most."""
        beats = (late.lag - early.lag).beats(self.width(late.raster))
        for level, (own, others) in enumerate(zip(late.lags[:-1], early.lags[:-1], strict=True)):
            lines, pixels = own.lines - others.lines, own.pixels - others.pixels
            if lines > 0 or pixels > 0:
                height = 1
                for rows, _ in late.raster.steps[level:]:
                    height *= max(rows.step, 1)
                # Rows that are begun at both ends; a pixel gives a beat at most.
                rows = max(lines, 0) // height + 2
                beats += rows * self.width(late.raster) + max(pixels, 0)
        return beats

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
