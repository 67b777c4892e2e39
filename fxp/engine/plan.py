"""Plans: everything about running a graph at one size that can be worked out beforehand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.program import Options, Program
from fxp.engine.schedule import ALIGNMENT, Schedule, Segment, Span, schedules
from fxp.engine.stages import BandStage, CommandStage, Stage
from fxp.graph import Graph
from fxp.graph.extents import Shape
from fxp.graph.ops import ConvTranspose2d

MIN_COLUMNS: Final = 128
PIECES_PER_THREAD: Final = 4
"""Pieces are taken one by one by the threads, so that a slow one does not hold up the others."""


@dataclass(frozen=True)
class Pieces:
    """A segment cut into pieces that threads compute independently."""

    stages: tuple[CommandStage, ...]
    schedules: tuple[Schedule, ...]
    shape: tuple[int, int]
    """Rows and columns of a piece of the result."""
    band: int

    @property
    def workspace(self) -> int:
        """Bytes that a thread needs."""
        return max(item.workspace for item in self.schedules)


Step = Pieces | BandStage


@dataclass
class Memory:
    """What one run of a plan writes to."""

    slots: list[NDArray[np.uint8]]
    workspaces: list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Plan:
    """A graph compiled for one size of its inputs.

    Attributes
    ----------
    program
        The stages.
    shapes
        ``(H, W, C)`` of every value.
    steps
        What to run, in order.
    slots
        Slot of every value that lives in memory as a whole.
    slot_bytes
        Size of every slot.
    threads
        How many threads it is made for.
    counted
        Whether clipped elements are counted.
    """

    program: Program
    shapes: Mapping[str, tuple[int, int, int]]
    steps: tuple[Step, ...]
    bases: Mapping[str, int]
    slots: Mapping[str, int]
    slot_bytes: tuple[int, ...]
    threads: int
    counted: bool
    _idle: deque[Memory] = field(default_factory=deque, compare=False, repr=False)

    @property
    def workspace_base(self) -> int:
        """Base of the threads' own memory."""
        return len(self.bases)

    @property
    def workspace_bytes(self) -> int:
        """Bytes of buffers per thread."""
        return max((step.workspace for step in self.steps if isinstance(step, Pieces)), default=0)

    def take_memory(self) -> Memory:
        """Memory for a run: that of an earlier one, if it is free."""
        try:
            return self._idle.pop()
        except IndexError:
            return Memory(
                [aligned_bytes(size) for size in self.slot_bytes],
                [aligned_bytes(self.workspace_bytes) for _ in range(self.threads)],
            )

    def give_back(self, memory: Memory) -> None:
        """Keep memory for the next run; that of one run at most."""
        if not self._idle:
            self._idle.append(memory)

    def array(self, memory: Memory, name: str) -> NDArray:
        """Return the array ``(H, W, C)`` of a value in memory."""
        shape, dtype = self.shapes[name], self.program.dtypes[name]
        size = prod(shape) * dtype.itemsize
        return memory.slots[self.slots[name]][:size].view(dtype).reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        # Kernels are machine code; a copy is planned anew, for the same size.
        program = self.program
        inputs = []
        for value in program.graph.inputs:
            height, width, channels = self.shapes[value.name]
            inputs.append((channels, height, width)[: len(value.shape)])
        arguments = (program.graph, program.options, program.kept, inputs)
        return _planned_again, (*arguments, self.threads, self.counted)

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{value.name} {'x'.join(map(str, self.shapes[value.name]))}"
            for value in self.program.graph.inputs
        )
        return (
            f"<Plan of {self.program.graph.name!r} for {inputs}: {len(self.steps)} steps, "
            f"{self.threads} threads>"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.describe())}</pre>"

    def describe(self) -> str:
        """Table of what runs where: kernel, piece, accumulator, memory, multiply-accumulates."""
        header = ("step", "value", "nodes", "kernel", "piece", "accumulator", "memory", "MACs")
        rows: list[tuple[str, ...]] = []
        for number, step in enumerate(self.steps):
            for stage in step.stages if isinstance(step, Pieces) else (step,):
                height, width, _ = self.shapes[stage.result]
                if isinstance(step, Pieces):
                    piece = f"{step.shape[0]}x{step.shape[1]} by {step.band}"
                else:
                    piece = f"{height}x{width}"
                size = prod(self.shapes[stage.result]) * stage.dtype.itemsize
                held = "rows" if stage.result not in self.slots else f"{size / 2**20:.2f} MiB"
                macs = stage_macs(stage, height, width)
                rows.append(
                    (
                        str(number),
                        stage.result,
                        " ".join(node.op.name for node in stage.chain.nodes),
                        kernel_text(stage),
                        piece,
                        f"{stage.accumulator_bits} bit in {stage.accumulator_dtype}",
                        held,
                        f"{macs:,}" if macs else "",
                    )
                )
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, tuple("-" * width for width in widths), *rows)
        ]
        slow = (
            f"; {len(self.portable)} of {len(self.program.stages)} stages portable, which is slow"
        )
        lines.append(
            f"{self.threads} threads; {sum(self.slot_bytes) / 2**20:.2f} MiB of values in "
            f"{len(self.slot_bytes)} slots, {self.workspace_bytes / 2**20:.2f} MiB of rows per "
            f"thread; {self.macs:,} multiply-accumulates" + (slow if self.portable else "")
        )
        return "\n".join(lines)

    @property
    def portable(self) -> tuple[str, ...]:
        """Values that no fast kernel computes; `describe` says why."""
        return tuple(stage.result for stage in self.program.stages if isinstance(stage, BandStage))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, as the graph defines them."""
        return sum(
            stage_macs(stage, *self.shapes[stage.result][:2]) for stage in self.program.stages
        )


def kernel_text(stage: Stage) -> str:
    """Return the kernel of a stage, and of a portable one the reason."""
    return f"PORTABLE: {stage.reason}" if isinstance(stage, BandStage) else stage.kernel


def stage_macs(stage: Stage, height: int, width: int) -> int:
    """Multiply-accumulates of a stage, as the graph defines them.

    Parameters
    ----------
    stage
        The stage.
    height, width
        Size of its result.
    """
    op = stage.chain.head.op
    weights = [
        operand.constant.size
        for position, operand in enumerate(stage.operands)
        if operand.constant is not None and op.constant_roles.get(position) == "weight"
    ]
    factor = stage.chain.factor
    rows, columns = op.stride if isinstance(op, ConvTranspose2d) else (factor, factor)
    return sum(weights) * (height // rows) * (width // columns)


def aligned_bytes(size: int) -> NDArray[np.uint8]:
    """Uninitialised memory that begins at a cache line, with a margin behind it."""
    memory = np.empty(size + 2 * ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size]


def make_plan(
    program: Program, shapes: Mapping[str, Shape], *, threads: int, counted: bool
) -> Plan:
    """Plan a program for one size.

    Parameters
    ----------
    program
        The stages of a graph.
    shapes
        Concrete shape of every value.
    threads
        How many threads will run it.
    counted
        Whether overflows are counted.
    """
    sizes = {name: _image_size(shape) for name, shape in shapes.items()}
    for stage in program.stages:
        if stage.result not in sizes:
            sizes[stage.result] = stage.own_size(sizes)
    # Segments compute some values twice, where pieces overlap, and leave out what nobody reads.
    groups = _group(program, fuse=program.options.fuse and not counted)
    outside = [value.name for value in program.graph.inputs]
    outside += [state.value.name for state in program.graph.states]
    outside += [group[-1].result for group in groups]
    bases = {name: index for index, name in enumerate(outside)}
    counters = {stage.result: index for index, stage in enumerate(program.stages)}
    steps: list[Step] = []
    for group in groups:
        if isinstance(group[0], BandStage):
            steps.append(group[0])
            continue
        segment = Segment(
            tuple(stage for stage in group if isinstance(stage, CommandStage)),
            bases,
            sizes,
            {name: dtype.itemsize for name, dtype in program.dtypes.items()},
            len(bases),
            counters,
            counted,
        )
        steps.append(_pieces(segment, threads, program.options))
    slots, slot_bytes = _slots(program, groups, outside, sizes)
    return Plan(program, sizes, tuple(steps), bases, slots, slot_bytes, threads, counted)


def _planned_again(
    graph: Graph,
    options: Options,
    kept: frozenset[str],
    inputs: list[tuple[int, ...]],
    threads: int,
    counted: bool,
) -> Plan:
    """Return a copy of a plan that was pickled or deep-copied."""
    shapes = graph.concrete_shapes(graph.bind(inputs))
    return make_plan(Program(graph, options, kept), shapes, threads=threads, counted=counted)


def _image_size(shape: Shape) -> tuple[int, int, int]:
    sizes = [int(size) for size in shape]  # type: ignore[arg-type]
    return (1, 1, sizes[0]) if len(sizes) == 1 else (sizes[1], sizes[2], sizes[0])


def _group(program: Program, *, fuse: bool) -> list[tuple[Stage, ...]]:
    """Cut the stages into segments whose values in between nobody else reads."""
    stages = program.stages
    last_reader: dict[str, int] = {}
    for index, stage in enumerate(stages):
        last_reader.update(dict.fromkeys(stage.inputs, index))
    groups: list[tuple[Stage, ...]] = []
    first = 0
    while first < len(stages):
        best = first + 1
        for last in range(first + 1, len(stages) + 1):
            group = stages[first:last]
            if not all(isinstance(stage, CommandStage) for stage in group):
                break
            if last - first > 1 and any(_runs_alone(stage) for stage in group):
                break
            inner = [stage.result for stage in group[:-1]]
            if all(
                last_reader.get(name, len(stages)) < last and name not in program.kept
                for name in inner
            ):
                best = last
            if not fuse:
                break
        groups.append(tuple(stages[first:best]))
        first = best
    return groups


HEAVY: Final = 300
"""Multiply-accumulates per result above which a stage runs alone: it is not bound by memory."""


def _runs_alone(stage: Stage) -> bool:
    """Whether a stage is bound by its multiplications, or reads far more than it computes."""
    if isinstance(stage, CommandStage) and not stage.is_local:
        return True
    return stage_macs(stage, 1, 1) > HEAVY * max(1, _channels(stage))


def _channels(stage: Stage) -> int:
    return stage.operands[1].channels if len(stage.operands) > 1 else 1


def _pieces(segment: Segment, threads: int, options: Options) -> Pieces:
    height, width, _ = segment.sizes[segment.result]
    factor = segment.stages[-1].multiple
    # Bytes of all values per pixel of the result, columns and rows alike.
    per_pixel = sum(
        prod(segment.sizes[stage.result]) * segment.items[stage.result] for stage in segment.stages
    ) / (height * width)
    band = options.band_rows * factor
    columns = int(options.workspace_bytes / (per_pixel * (band + 2 * factor)))
    strips = max(1, -(-width // max(columns, MIN_COLUMNS * factor)))
    strip_spans = _cut(width, strips, factor)
    wanted = PIECES_PER_THREAD * threads if threads > 1 else 1
    parts = max(1, min(-(-wanted // strips), height // (4 * band) or 1))
    if threads > 1 and strips * parts < threads:
        parts = max(parts, min(threads, height // factor))
    row_spans = _cut(height, parts, factor)
    shape = (row_spans[0][1] - row_spans[0][0], strip_spans[0][1] - strip_spans[0][0])
    return Pieces(
        segment.stages, tuple(schedules(segment, row_spans, strip_spans, band)), shape, band
    )


def _cut(size: int, parts: int, multiple: int) -> list[Span]:
    """Cut an axis into parts that begin at multiples and are as wide, but for the last."""
    step = -(-size // (parts * multiple)) * multiple
    return [(first, min(first + step, size)) for first in range(0, size, step)]


def _slots(
    program: Program,
    groups: Sequence[tuple[Stage, ...]],
    outside: Iterable[str],
    sizes: Mapping[str, tuple[int, int, int]],
) -> tuple[dict[str, int], tuple[int, ...]]:
    """Give every value in memory a slot that no other value uses during its life."""
    last_use = {name: len(groups) for name in program.kept}
    first_use = {group[-1].result: index for index, group in enumerate(groups)}
    for index, group in enumerate(groups):
        for stage in group:
            for name in stage.inputs:
                if last_use.get(name, -1) < index:
                    last_use[name] = index
    slots: dict[str, int] = {}
    free_from: list[int] = []
    slot_bytes: list[int] = []
    for name in outside:
        born = first_use.get(name, -1)
        size = prod(sizes[name]) * program.dtypes[name].itemsize
        candidates = [slot for slot, end in enumerate(free_from) if end < born]
        # The slot whose size fits best; a new one if none is free.
        slot = min(candidates, key=lambda slot: abs(slot_bytes[slot] - size), default=None)
        if slot is None:
            slot = len(free_from)
            free_from.append(-1)
            slot_bytes.append(0)
        slots[name] = slot
        slot_bytes[slot] = max(slot_bytes[slot], size)
        free_from[slot] = max(last_use.get(name, born), born)
    return slots, tuple(slot_bytes)
