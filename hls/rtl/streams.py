"""Streams of a core: rasters, lags, the paths of tags, buses, and what modules cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fxp.formats import Format
from fxp.support.errors import FxpError


class StreamingError(FxpError, ValueError):
    """A network, or what is asked of its core, cannot be a streaming core."""


class MissingStageError(StreamingError):
    """There is no hardware for an operation."""


class MultiplierWidthError(StreamingError):
    """A product is wider than the multipliers of the devices.

    Parameters
    ----------
    message
        What is wrong.
    advice
        What helps.
    node
        Name of the node, as soon as it is known.
    """

    def __init__(self, message: str, advice: str, node: str = "") -> None:
        super().__init__(f"{message}: {advice}")
        self.message, self.advice, self.node = message, advice, node


@dataclass(frozen=True)
class TakenSizes:
    """Heights, or widths, of frames that a network takes.

    Attributes
    ----------
    period
        What is taken repeats after so many rows or columns.
    remainders
        Of the sizes that are taken, by the period, in order.
    """

    period: int = 1
    remainders: tuple[int, ...] = (0,)

    def __contains__(self, size: int) -> bool:
        return size % self.period in self.remainders

    def __str__(self) -> str:
        if self.period == 1:
            return "any number"
        if self.remainders == (0,):
            return f"a multiple of {self.period}"
        numbers = " or ".join(map(str, self.remainders))
        return f"a number with the remainder {numbers} by {self.period}"

    def at_least(self, size: int) -> int:
        """Return the smallest size from that one on."""
        return next(number for number in range(size, size + self.period) if number in self)

    def at_most(self, size: int) -> int:
        """Return the largest size up to that one, or that one if there is none."""
        sizes = range(size, max(size - self.period, 0), -1)
        return next((number for number in sizes if number in self), size)

    @property
    def checked(self) -> TakenSizes:
        """The part that registers check, a power of two: a few low bits.

        The remainder by another number takes a division, which is larger than all the registers.
        """
        unit = self.period & -self.period
        kept = tuple(sorted({number % unit for number in self.remainders}))
        return TakenSizes() if len(kept) == unit else TakenSizes(unit, kept)

    @property
    def mask(self) -> int:
        """Bit ``r`` is set if sizes of the remainder ``r`` are taken."""
        return sum(1 << number for number in self.remainders)


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
    adder_bits: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.multipliers + other.multipliers,
            self.adders + other.adders,
            self.registers + other.registers,
            self.memory_bits + other.memory_bits,
            self.adder_bits + other.adder_bits,
        )


@dataclass(frozen=True)
class Kept:
    """Positions of a row, or of a column, that remain: ``first``, ``first + step``, and so on.

    Attributes
    ----------
    first
        The first that remains.
    step
        Distance of those that remain.
    tail
        Positions at the end of which none remains.
    """

    first: int = 0
    step: int = 1
    tail: int = 0

    def count(self, size: int) -> int:
        """How many of `size` positions remain."""
        return max(size - 1 - self.tail - self.first, -self.step) // self.step + 1

    def needed(self, count: int) -> int:
        """Return the least size of which so many positions remain."""
        return self.first + max(self.step, 1) * (count - 1) + self.tail + 1

    def then(self, after: Kept) -> Kept:
        """Return what remains after another selection among those that remain.

        One of both leaves out nothing.
        """
        assert Kept() in (self, after)
        return after if self == Kept() else self


WHOLE_FRAME = Kept(step=0)
"""A frame becomes one beat."""


@dataclass(frozen=True)
class Raster:
    """Positions at which beats come: those of the input, or some of those of another raster.

    Rasters that were reached by the same steps are equal.

    Attributes
    ----------
    steps
        Rows and columns that remained at each step from the input on.
    """

    steps: tuple[tuple[Kept, Kept], ...] = ()

    @property
    def one_beat(self) -> bool:
        """Whether a frame gives one beat, whatever its size."""
        return any(WHOLE_FRAME in step for step in self.steps)

    @property
    def places(self) -> tuple[tuple[int, ...], ...]:
        """First row, its step, and the same of columns, of every step.

        Two rasters of the same places differ in where they end at most. If they have equally many
        rows and columns at some size, they are the same beats.
        """
        return tuple(
            (rows.first, rows.step, columns.first, columns.step) for rows, columns in self.steps
        )

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns for a size of the input."""
        for rows, columns in self.steps:
            if WHOLE_FRAME in (rows, columns):
                height, width = 1, 1
            else:
                height, width = rows.count(height), columns.count(width)
        return height, width

    def reached(self, step: tuple[Kept, Kept]) -> Raster:
        """Return the raster that one more step leads to."""
        return Raster((*self.steps, step))


@dataclass
class Path:
    """All values of one lag; they share their tags, which `clocks` registers carry along.

    Attributes
    ----------
    name
        Base name of the wires.
    raster
        Positions at which its beats come.
    lags
        How late it is: in beats of the input, and behind each step of the raster in beats of what
        that step leads to.
    latency
        Clocks behind the input at which `source` has the tags.
    source
        Wire of the tags at that clock.
    size
        Wires with the columns and with the rows of its raster, less one.
    clocks
        Latest clock after `latency` at which somebody reads the tags.
    chosen_from
        The path whose beats it has some of, if nothing lies between.
    """

    name: str
    raster: Raster
    lags: tuple[Lag, ...]
    latency: int
    source: str
    size: tuple[str, str]
    clocks: int = 0
    chosen_from: Path | None = None

    @property
    def lag(self) -> Lag:
        """How late it is in beats of its own raster, since the last step."""
        return self.lags[-1]

    @property
    def input_lag(self) -> Lag:
        """Beats of the input after which its beat has come, at most, whatever the size."""
        lines, pixels = self.lags[0].lines, self.lags[0].pixels
        height = 1
        for (rows, _), lag in zip(self.raster.steps, self.lags[1:], strict=True):
            height *= max(rows.step, 1)
            # A row has one beat at least, so a pixel takes no longer than a row.
            lines += height * (lag.lines + lag.pixels)
        return Lag(lines, pixels)

    def behind(self, other: Path) -> Lag:
        """How much later its raster was entered than that of another path, in beats, at most.

        A row of a raster takes no less than a row of the raster before, and a beat no less than a
        beat, so the sum holds for beats of the last raster too.
        """
        total = Lag()
        for own, others in zip(self.lags[:-1], other.lags[:-1], strict=True):
            total += Lag(max(own.lines - others.lines, 0), max(own.pixels - others.pixels, 0))
        return total


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


def per_field(stream: ValueBus, values: Sequence[int]) -> list[int]:
    """Repeat values given per channel, or one for all, for all pixels of a block."""
    channels = list(values) * (stream.channels if len(values) == 1 else 1)
    assert len(channels) == stream.channels
    return channels * stream.scale**2


def missing_lag(path: Path, streams: Sequence[ValueBus]) -> Lag:
    """Return how much later than a path the latest of some streams is, in beats, at most.

    Parameters
    ----------
    path
        The path.
    streams
        Streams of the same raster.
    """
    ends = [stream.path.lag + stream.path.behind(path) for stream in streams]
    lines, pixels = max(end.lines for end in ends), max(end.pixels for end in ends)
    return Lag(max(lines - path.lag.lines, 0), max(pixels - path.lag.pixels, 0))
