"""Schedules: the commands that compute one piece of a segment's result, band by band.

A segment is a sequence of command stages of which only the last result is seen from outside. A
piece of it is computed as hardware would: every value between the stages lives in a buffer of a few
rows, as wide as the piece and what its neighbours read of it; each step computes the rows of every
value that the next few rows of the result need, and then moves on. Zero padding is nothing but
buffer around the image that stays zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxp.engine.stages import NOWHERE, CommandStage, Place, Region
from fxp.kernels.commands import (
    FIELDS,
    FIRST_COLUMN,
    INPUT,
    KERNEL,
    OTHER,
    RESULT,
    SLOT,
    copy_rows,
    zero_rows,
)
from fxp.kernels.routines import Kept

ALIGNMENT = 64
"""Buffers and their rows begin at cache lines."""

Span = tuple[int, int]
"""First and last-plus-one row or column."""


@dataclass(frozen=True)
class Segment:
    """Stages that run together.

    Attributes
    ----------
    stages
        In order.
    bases
        Base of every value that lives outside: the inputs and the result.
    sizes
        ``(H, W, C)`` of every value read or computed.
    items
        Bytes of an element of every value.
    workspace_base
        Base of the memory for buffers.
    slots
        Counter of overflows of every stage's result.
    counted
        Whether overflows are counted.
    """

    stages: tuple[CommandStage, ...]
    bases: Mapping[str, int]
    sizes: Mapping[str, tuple[int, int, int]]
    items: Mapping[str, int]
    workspace_base: int
    slots: Mapping[str, int]
    counted: bool

    @property
    def result(self) -> str:
        """Value that is computed."""
        return self.stages[-1].result

    def pixel_bytes(self, name: str) -> int:
        """Bytes of all channels of a pixel of a value."""
        return self.sizes[name][2] * self.items[name]


@dataclass(frozen=True)
class Schedule:
    """Commands for one piece, and the bytes of workspace they use."""

    commands: NDArray[np.int64]
    workspace: int
    kept: Kept
    """Arrays whose addresses are in the commands' records."""


@dataclass
class _Buffer:
    """Some rows of a value, columns `columns` of the image, from row `base` on."""

    columns: Span
    pitch: int
    pixel_bytes: int
    rows: int = 0
    offset: int = 0
    base: int = 0

    def place(self, workspace_base: int, row: int, column: int) -> Place:
        """Place of an element."""
        offset = (row - self.base) * self.pitch + (column - self.columns[0]) * self.pixel_bytes
        return Place(workspace_base, self.offset + offset, self.pitch)


def _clip(span: Span, size: int) -> Span:
    return max(span[0], 0), min(span[1], size)


def _whole(span: Span, factor: int) -> Span:
    """Smallest span around another whose ends are multiples of a factor."""
    return span[0] // factor * factor, -(-span[1] // factor) * factor


class _Walk:
    """Works out which rows and columns of every value a piece needs, step by step."""

    def __init__(self, segment: Segment, rows: Span, columns: Span) -> None:
        self.segment = segment
        self.rows, self.columns = (
            self._spans(axis, span) for axis, span in enumerate((rows, columns))
        )
        # Stages of which the piece sees nothing but padding have nothing to compute.
        self.stages = [stage for stage in segment.stages if self._is_seen(stage.result)]

    def _spans(self, axis: int, span: Span) -> dict[str, Span]:
        """Rows or columns of every value that the whole piece needs."""
        spans = {self.segment.result: span}
        for stage in reversed(self.segment.stages):
            if stage.result not in spans:
                continue
            spans[stage.result] = _whole(spans[stage.result], stage.multiple)
            needed = _clip(spans[stage.result], self.segment.sizes[stage.result][axis])
            if needed[0] < needed[1]:
                for position, name in enumerate(stage.inputs):
                    self._widen(spans, name, self._reach(stage, axis, position, needed))
        return spans

    def _is_seen(self, name: str) -> bool:
        """Whether the piece needs pixels of a value, and not only padding."""
        for axis, spans in enumerate((self.rows, self.columns)):
            first, last = _clip(spans.get(name, (0, 0)), self.segment.sizes[name][axis])
            if first >= last:
                return False
        return True

    def form(self) -> tuple | None:
        """Return what two strips must share for the same commands; None for one at a border."""
        if not all(stage.relocatable for stage in self.stages):
            return None
        left = self.columns[self.segment.result][0]
        form = []
        for name, (first, last) in self.columns.items():
            width, whole = self.segment.sizes[name][1], self.segment.sizes[self.segment.result][1]
            if first < 0 or last > width:
                return None
            # Where the strip begins, relative to the result, in units that both sizes divide.
            form.append((last - first, first * whole - left * width))
        return tuple(form)

    def _reach(self, stage: CommandStage, axis: int, position: int, span: Span) -> Span:
        size = self.segment.sizes[stage.inputs[position]][axis]
        return stage.reach(axis, position, *span, size)

    @staticmethod
    def _widen(spans: dict[str, Span], name: str, span: Span) -> None:
        old = spans.get(name, span)
        spans[name] = min(old[0], span[0]), max(old[1], span[1])

    def steps(self, band: int) -> list[dict[str, tuple[int, int, int]]]:
        """For every step and value ``(keep, first, last)``: new rows, and the lowest row kept."""
        segment = self.segment
        # From the first row on that any step needs: the first step may need later ones.
        done = {name: span[0] for name, span in self.rows.items()}
        begin, end = self.rows[segment.result]
        steps = []
        for first in range(begin, end, band):
            kept = self._kept(done)
            needed: dict[str, Span] = {segment.result: (first, min(first + band, end))}
            step: dict[str, tuple[int, int, int]] = {}
            for stage in reversed(self.stages):
                if stage.result in needed:
                    needed[stage.result] = _whole(needed[stage.result], stage.multiple)
                self._take(stage.result, needed, done, kept, step)
                if stage.result not in step:
                    continue
                _, low, high = step[stage.result]
                fresh = _clip((low, high), segment.sizes[stage.result][0])
                if fresh[0] < fresh[1]:
                    for position, name in enumerate(stage.inputs):
                        self._widen(needed, name, self._reach(stage, 0, position, fresh))
            for name in self.columns:
                if name not in step and name in needed and name != segment.result:
                    # Read from outside, or nothing but padding.
                    self._take(name, needed, done, kept, step)
            steps.append(step)
        return steps

    @staticmethod
    def _take(
        name: str,
        needed: Mapping[str, Span],
        done: dict[str, int],
        kept: Mapping[str, int],
        step: dict[str, tuple[int, int, int]],
    ) -> None:
        if name not in needed:
            return
        first, high = done[name], needed[name][1]
        if high > first:
            step[name] = (min(kept.get(name, first), first), first, high)
            done[name] = high

    def _kept(self, done: Mapping[str, int]) -> dict[str, int]:
        """Lowest row of every value that some stage still reads."""
        kept: dict[str, int] = {}
        for stage in self.stages:
            height = self.segment.sizes[stage.result][0]
            following = _clip((done[stage.result], self.rows[stage.result][1]), height)
            if following[0] >= following[1]:
                continue
            for position, name in enumerate(stage.inputs):
                # Of all rows that follow: where borders are mirrored, later ones read lower rows.
                low = self._reach(stage, 0, position, following)[0]
                kept[name] = min(kept.get(name, low), low)
        return kept


def rows_needed(
    stages: Sequence[CommandStage], sizes: Mapping[str, tuple[int, int, int]], rows: Span
) -> dict[str, int]:
    """Count the rows of every value of a segment that some rows of its result need.

    Parameters
    ----------
    stages
        The segment.
    sizes
        ``(H, W, C)`` of every value.
    rows
        Rows of the result.
    """
    segment = Segment(tuple(stages), {}, sizes, {}, 0, {}, False)
    spans = _Walk(segment, rows, (0, sizes[segment.result][1])).rows
    clipped = {name: _clip(span, sizes[name][0]) for name, span in spans.items()}
    return {name: max(last - first, 0) for name, (first, last) in clipped.items()}


def schedule(
    segment: Segment, rows: Span, columns: Span, band: int, kept: Kept | None = None
) -> Schedule:
    """Write down the commands for a piece of a segment's result.

    Parameters
    ----------
    segment
        The stages, and where their values live.
    rows, columns
        The piece.
    band
        Rows of the result per step.
    kept
        Arrays that commands share with those of other pieces; it takes in new ones.
    """
    return _write(segment, _Walk(segment, rows, columns), band, {} if kept is None else kept)


def schedules(
    segment: Segment, row_spans: Sequence[Span], column_spans: Sequence[Span], band: int
) -> list[Schedule]:
    """Return the `schedule` of every piece of a grid.

    Strips away from the borders differ only in where their columns begin: one is written down, and
    moved for the others.

    Parameters
    ----------
    segment
        The stages, and where their values live.
    row_spans, column_spans
        The grid: first and last row, and first and last column, of its pieces.
    band
        Rows of the result per step.
    """
    found = []
    kept: Kept = {}
    for rows in row_spans:
        written: dict[tuple, tuple[_Walk, Schedule]] = {}
        for columns in column_spans:
            walk = _Walk(segment, rows, columns)
            key = walk.form()
            if key is None:
                found.append(_write(segment, walk, band, kept))
            elif key not in written:
                written[key] = walk, _write(segment, walk, band, kept)
                found.append(written[key][1])
            else:
                model, like = written[key]
                found.append(_moved(segment, like, model.columns, walk.columns))
    return found


def _write(segment: Segment, walk: _Walk, band: int, kept: Kept) -> Schedule:
    steps = walk.steps(band)
    buffers, scratch, workspace = _allocate(segment, walk, steps)
    writer = _Writer(walk, buffers, scratch, kept)
    writer.clear()
    for step in steps:
        writer.step(step)
    return Schedule(np.array(writer.commands, np.int64).reshape(-1, FIELDS), workspace, kept)


def _moved(
    segment: Segment,
    model: Schedule,
    before: Mapping[str, Span],
    after: Mapping[str, Span],
) -> Schedule:
    """Commands of a strip, from those of another one of the same form."""
    commands = model.commands.copy()
    by_base = {segment.bases[name]: name for name in before if name in segment.bases}
    for field in (RESULT, INPUT, OTHER):
        for base, name in by_base.items():
            distance = (after[name][0] - before[name][0]) * segment.pixel_bytes(name)
            commands[commands[:, field] == base, field + 1] += distance
    results = {segment.slots[name]: name for name in before if name in segment.slots}
    plain = np.isin(commands[:, KERNEL], np.array([copy_rows.address, zero_rows.address]))
    for slot, name in results.items():
        computed = (commands[:, SLOT] == slot) & ~plain
        commands[computed, FIRST_COLUMN] += after[name][0] - before[name][0]
    return Schedule(commands, model.workspace, model.kept)


def _allocate(
    segment: Segment, walk: _Walk, steps: Sequence[Mapping[str, tuple[int, int, int]]]
) -> tuple[dict[str, _Buffer], int, int]:
    """Buffers of all values that need one; also the scratch memory's offset, and the total."""
    buffers: dict[str, _Buffer] = {}
    offset = 0
    for name, columns in walk.columns.items():
        height, width, _ = segment.sizes[name]
        spans = [step[name] for step in steps if name in step]
        if not spans:
            continue
        inside = (
            columns[0] >= 0
            and columns[1] <= width
            and min(span[0] for span in spans) >= 0
            and max(span[2] for span in spans) <= height
        )
        if name == segment.result or (name in segment.bases and inside):
            continue
        pitch = _aligned((columns[1] - columns[0]) * segment.pixel_bytes(name))
        buffer = _Buffer(columns, pitch, segment.pixel_bytes(name))
        buffer.rows = max(high - keep for keep, _, high in spans)
        buffer.base = spans[0][0]
        buffer.offset = offset
        # A tile may load a little beyond the last element.
        offset += _aligned(buffer.rows * pitch + ALIGNMENT)
        buffers[name] = buffer
    scratch = 0
    for stage in walk.stages:
        span = walk.columns[stage.result]
        most = max((step[stage.result][2] - step[stage.result][1]
                    for step in steps if stage.result in step), default=0)  # fmt: skip
        scratch = max(scratch, stage.scratch_bytes(most, span[1] - span[0]))
    return buffers, offset, offset + _aligned(scratch)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Writer:
    """Collects commands."""

    def __init__(self, walk: _Walk, buffers: dict[str, _Buffer], scratch: int, kept: Kept) -> None:
        segment = walk.segment
        self.kept = kept
        self.segment, self.stages, self.buffers = segment, walk.stages, buffers
        self.result_columns = walk.columns[segment.result]
        self.scratch = (segment.workspace_base, scratch)
        self.commands: list[list[int]] = []

    def clear(self) -> None:
        """Zero the columns of buffers that lie beside the image."""
        for name, buffer in self.buffers.items():
            left, right = buffer.columns
            width = self.segment.sizes[name][1]
            for first, last in ((left, min(right, 0)), (max(left, width), right)):
                if last > first:
                    place = buffer.place(self.segment.workspace_base, buffer.base, first)
                    size = (last - first) * buffer.pixel_bytes
                    self._rows(zero_rows, place, NOWHERE, buffer.rows, size)

    def step(self, step: Mapping[str, tuple[int, int, int]]) -> None:
        """Compute the new rows of every value."""
        for name, (keep, first, last) in step.items():
            buffer = self.buffers.get(name)
            if buffer is None:
                continue
            if last > buffer.base + buffer.rows:
                self._move(buffer, keep, first)
            height = self.segment.sizes[name][0]
            for low, high in ((first, min(last, 0)), (max(first, height), last)):
                if high > low:
                    self._zero(buffer, low, high - low)
            if name in self.segment.bases:
                self._load(name, buffer, _clip((first, last), height))
        for stage in self.stages:
            if stage.result in step:
                _, first, last = step[stage.result]
                first, last = _clip((first, last), self.segment.sizes[stage.result][0])
                if last > first:
                    self._run(stage, first, last)

    def _place(self, name: str, row: int, column: int) -> Place:
        if name in self.buffers:
            return self.buffers[name].place(self.segment.workspace_base, row, column)
        pixel = self.segment.pixel_bytes(name)
        pitch = self.segment.sizes[name][1] * pixel
        return Place(self.segment.bases[name], row * pitch + column * pixel, pitch)

    def _columns(self, name: str) -> Span:
        """Columns of a value that are computed."""
        if name == self.segment.result:
            return self.result_columns
        return _clip(self.buffers[name].columns, self.segment.sizes[name][1])

    def _run(self, stage: CommandStage, first: int, last: int) -> None:
        sizes = self.segment.sizes
        left, right = self._columns(stage.result)
        places, spans = [], []
        for position, name in enumerate(stage.inputs):
            height, width, _ = sizes[name]
            rows = stage.reach(0, position, first, last, height)
            columns = stage.reach(1, position, left, right, width)
            spans.append((rows, columns))
            places.append(self._place(name, rows[0], columns[0]))
        region = Region(
            last - first,
            right - left,
            first,
            left,
            self._place(stage.result, first, left),
            tuple(places),
            tuple(sizes[name][:2] for name in stage.inputs),
            tuple(spans),
            self.scratch,
            self.segment.counted,
            self.segment.slots[stage.result],
            self.kept,
        )
        self.commands += stage.commands(region)

    def _zero(self, buffer: _Buffer, row: int, rows: int) -> None:
        place = buffer.place(self.segment.workspace_base, row, buffer.columns[0])
        self._rows(zero_rows, place, NOWHERE, rows, buffer.pitch)

    def _move(self, buffer: _Buffer, keep: int, done: int) -> None:
        """Move rows `keep` to `done` to the beginning of the buffer."""
        source = buffer.place(self.segment.workspace_base, keep, buffer.columns[0])
        buffer.base = keep
        target = buffer.place(self.segment.workspace_base, keep, buffer.columns[0])
        if done > keep and source.offset != target.offset:
            self._rows(copy_rows, target, source, done - keep, buffer.pitch)

    def _load(self, name: str, buffer: _Buffer, rows: Span) -> None:
        """Copy rows of a value that lives outside."""
        left, right = self._columns(name)
        if rows[1] <= rows[0] or right <= left:
            return
        pixel = self.segment.pixel_bytes(name)
        pitch = self.segment.sizes[name][1] * pixel
        source = Place(self.segment.bases[name], rows[0] * pitch + left * pixel, pitch)
        target = buffer.place(self.segment.workspace_base, rows[0], left)
        self._rows(copy_rows, target, source, rows[1] - rows[0], (right - left) * pixel)

    def _rows(self, kernel: object, target: Place, source: Place, rows: int, size: int) -> None:
        places = (target, (source,), (), ())
        region = Region(rows, size, 0, 0, *places, self.scratch, False, 0, self.kept)
        self.commands.append(region.command(kernel, None))
