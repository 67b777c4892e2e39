"""Plans: everything about running a graph at one size that can be worked out beforehand."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from html import escape
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.engine.cutting import Pieces, cut_segment, segment_stages, stage_macs
from fxp.engine.program import Options, Program
from fxp.engine.schedule import ALIGNMENT, Segment
from fxp.engine.stages import BandStage, CommandStage, Stage
from fxp.graph import Graph, Limits
from fxp.graph.extents import Shape

Step = Pieces | BandStage


@dataclass(frozen=True)
class CompiledSteps:
    """Steps that run one after the other in compiled code; see `run_pieces`.

    Attributes
    ----------
    pieces
        ``(n, 2)``: address and number of the commands of every piece. The steps keep them alive.
    firsts
        First piece of every step, and the number of pieces.
    most
        Most pieces of a step.
    """

    pieces: NDArray[np.int64]
    firsts: NDArray[np.int64]
    most: int

    @classmethod
    def of(cls, steps: Sequence[Pieces]) -> CompiledSteps:
        """Collect the pieces of some steps."""
        commands = [piece.commands for step in steps for piece in step.schedules]
        assert all(rows.flags.c_contiguous for rows in commands)
        pieces = np.array([(rows.ctypes.data, len(rows)) for rows in commands], np.int64)
        counts = [len(step.schedules) for step in steps]
        return cls(pieces, np.cumsum([0, *counts]), max(counts))


@dataclass
class Memory:
    """What one run of a plan writes to."""

    slots: list[NDArray[np.uint8]]
    workspaces: list[NDArray[np.uint8]]

    images: dict[str, NDArray] = field(default_factory=dict)
    """Values in memory, ``(H, W, C)``, that `Plan.array` was asked for."""
    bases: NDArray[np.int64] | None = None
    """What `Plan.addresses` found."""


@dataclass(frozen=True)
class Plan:
    """A graph compiled for one size of its inputs.

    Attributes
    ----------
    program
        The stages.
    planes
        ``(C, H, W)`` or ``(F,)`` of every value, as in the graph.
    shapes
        ``(H, W, C)`` of every value, as in memory.
    steps
        What to run, in order.
    bases
        Number of every value that lives in memory as a whole, for the commands.
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
    planes: Mapping[str, tuple[int, ...]]
    shapes: Mapping[str, tuple[int, int, int]]
    steps: tuple[Step, ...]
    bases: Mapping[str, int]
    slots: Mapping[str, int]
    slot_bytes: tuple[int, ...]
    threads: int
    counted: bool
    _idle: deque[Memory] = field(default_factory=deque, compare=False, repr=False)

    @cached_property
    def parts(self) -> tuple[CompiledSteps | BandStage, ...]:
        """The steps, of which those that compiled code runs without a break are taken together."""
        parts: list[CompiledSteps | BandStage] = []
        for compiled, steps in groupby(self.steps, lambda step: isinstance(step, Pieces)):
            if compiled:
                parts.append(CompiledSteps.of([step for step in steps if isinstance(step, Pieces)]))
            else:
                parts += [step for step in steps if isinstance(step, BandStage)]
        return tuple(parts)

    @cached_property
    def counters(self) -> dict[str, int]:
        """Which counter of overflows is that of a stage's result."""
        return {stage.result: index for index, stage in enumerate(self.program.stages)}

    @cached_property
    def node_sizes(self) -> dict[str, int]:
        """Number of elements of every node's value."""
        return {name: prod(self.planes[name]) for name in self.program.nodes}

    @property
    def workspace_base(self) -> int:
        """Base of the threads' own memory."""
        return len(self.bases)

    @property
    def workspace_bytes(self) -> int:
        """Bytes of buffers per thread."""
        return max((step.workspace for step in self.steps if isinstance(step, Pieces)), default=0)

    @cached_property
    def held_bytes(self) -> int:
        """Bytes of the commands, and of the memory that is kept for the next run."""
        commands = {
            id(item): item.commands.nbytes
            for step in self.steps
            if isinstance(step, Pieces)
            for item in step.schedules
        }
        memory = sum(self.slot_bytes) + self.threads * self.workspace_bytes
        return sum(commands.values()) + memory

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
        found = memory.images.get(name)
        if found is None:
            shape, dtype = self.shapes[name], self.program.dtypes[name]
            size = prod(shape) * dtype.itemsize
            found = memory.slots[self.slots[name]][:size].view(dtype).reshape(shape)
            memory.images[name] = found
        return found

    def addresses(self, memory: Memory) -> NDArray[np.int64]:
        """Address of every base of the commands, a row per thread."""
        if memory.bases is None:
            slots = [slot.ctypes.data for slot in memory.slots]
            shared = [slots[self.slots[name]] for name in self.bases]
            own = [workspace.ctypes.data for workspace in memory.workspaces]
            memory.bases = np.array([[*shared, address] for address in own], np.int64)
        return memory.bases

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
            f"{name} {'x'.join(map(str, self.shapes[name]))}" for name in self.program.inputs
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
    groups = segment_stages(program, sizes, threads, fuse=program.options.fuse and not counted)
    outside = list(program.inputs)
    outside += [state.value.name for state in program.graph.states]
    outside += [group[-1].result for group in groups]
    bases = {name: index for index, name in enumerate(outside)}
    counters = {stage.result: index for index, stage in enumerate(program.stages)}
    items = {name: dtype.itemsize for name, dtype in program.dtypes.items()}
    steps: list[Step] = []
    for group in groups:
        if isinstance(group[0], BandStage):
            steps.append(group[0])
            continue
        segment = Segment(
            tuple(stage for stage in group if isinstance(stage, CommandStage)),
            bases,
            sizes,
            items,
            len(bases),
            counters,
            counted,
        )
        steps.append(cut_segment(segment, threads, program.options))
    slots, slot_bytes = _slots(program, groups, outside, sizes)
    planes = {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}  # type: ignore[arg-type]
    return Plan(program, planes, sizes, tuple(steps), bases, slots, slot_bytes, threads, counted)


def _planned_again(
    graph: Graph,
    options: Options,
    kept: frozenset[str],
    inputs: list[tuple[int, ...]],
    threads: int,
    counted: bool,
) -> Plan:
    """Return a copy of a plan that was pickled or deep-copied."""
    shapes = graph.concrete_shapes(graph.bind(inputs), Limits.none())
    return make_plan(Program(graph, options, kept), shapes, threads=threads, counted=counted)


def _image_size(shape: Shape) -> tuple[int, int, int]:
    sizes = [int(size) for size in shape]  # type: ignore[arg-type]
    return (1, 1, sizes[0]) if len(sizes) == 1 else (sizes[1], sizes[2], sizes[0])


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
    slot_bytes: list[int] = []
    free: list[tuple[int, int]] = []
    """Size and slot, in order."""
    taken: list[tuple[int, int]] = []
    """The last group that uses a slot, and the slot; a heap."""
    for name in outside:
        born = first_use.get(name, -1)
        while taken and taken[0][0] < born:
            _, slot = heappop(taken)
            insort(free, (slot_bytes[slot], slot))
        size = prod(sizes[name]) * program.dtypes[name].itemsize
        if free:
            # The slot whose size fits best.
            place = bisect_left(free, (size, 0))
            nearest = (free[index] for index in (place, place - 1) if 0 <= index < len(free))
            best = min(nearest, key=lambda entry: abs(entry[0] - size))
            free.remove(best)
            slot = best[1]
            slot_bytes[slot] = max(slot_bytes[slot], size)
        else:
            slot = len(slot_bytes)
            slot_bytes.append(size)
        slots[name] = slot
        heappush(taken, (max(last_use.get(name, born), born), slot))
    return slots, tuple(slot_bytes)
