"""How a plan cuts its work: stages into segments, and the result of a segment into pieces.

A segment saves the way to memory and back between its stages. But pieces of its result overlap in
the stages before, where both compute the same rows; the more pieces, and the smaller the image, the
more. Several threads therefore run shorter segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from fxp.engine.program import Options, Program
from fxp.engine.schedule import Schedule, Segment, Span, rows_needed, schedules
from fxp.engine.stages import CommandStage, Stage
from fxp.graph.ops import ConvTranspose2d

MAX_SEGMENT: Final = 64
"""Most stages of a segment: what its pieces compute twice grows with them."""
HEAVY: Final = 300
"""Multiply-accumulates per result above which a stage runs alone: it is not bound by memory."""
MIN_COLUMNS: Final = 128
"""Columns of a strip, at least."""
MAX_STEPS: Final = 1024
"""Most steps of a piece: bands of high images have more rows, so that planning takes no longer."""
MAX_OVERLAP: Final = 0.06
"""Share of a segment's work that its pieces may do twice where several threads run it."""
ELEMENT_WORK: Final = 16
"""Multiply-accumulates that take about as long as to read and write an element."""
PIECES_PER_THREAD: Final = 4
"""Pieces are taken one by one by the threads, so that a slow one does not hold up the others."""
UNEVEN: Final = 0.15
"""How much longer a step takes, as a share, if every thread has one piece and some are slow."""

Sizes = Mapping[str, tuple[int, int, int]]


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


def segment_stages(
    program: Program, sizes: Sizes, threads: int, *, fuse: bool
) -> list[tuple[Stage, ...]]:
    """Cut the stages into segments whose values in between nobody else reads.

    Parameters
    ----------
    program
        The stages.
    sizes
        ``(H, W, C)`` of every value.
    threads
        How many threads will share each segment.
    fuse
        Whether segments may have several stages.
    """
    stages = program.stages
    last_reader: dict[str, int] = {}
    for index, stage in enumerate(stages):
        last_reader.update(dict.fromkeys(stage.inputs, index))
    joins = [isinstance(stage, CommandStage) and not _runs_alone(stage) for stage in stages]
    segments: list[tuple[Stage, ...]] = []
    first = 0
    while first < len(stages):
        ends = [first + 1]
        last = first + 1
        most = first + MAX_SEGMENT if fuse and joins[first] else last
        # Position behind the last stage that reads a value in between.
        needed = last
        while last < min(most, len(stages)) and joins[last]:
            inner = stages[last - 1].result
            if inner in program.kept:
                break
            needed = max(needed, last_reader.get(inner, len(stages)) + 1)
            if needed > most:
                break
            last += 1
            if needed <= last:
                ends.append(last)
        if threads > 1 and len(ends) > 1:
            ends = _with_little_overlap(stages[first:last], [end - first for end in ends],
                                        sizes, threads)  # fmt: skip
            ends = [first + end for end in ends]
        segments.append(tuple(stages[first : ends[-1]]))
        first = ends[-1]
    return segments


def _with_little_overlap(
    stages: Sequence[Stage], ends: list[int], sizes: Sizes, threads: int
) -> list[int]:
    """Keep the first of some ends of a segment: those where its pieces do little work twice."""
    commands = [stage for stage in stages if isinstance(stage, CommandStage)]
    below, above = 1, len(ends) + 1
    while above - below > 1:
        middle = (below + above) // 2
        segment = commands[: ends[middle - 1]]
        if _overlap(segment, sizes) * (threads - 1) <= MAX_OVERLAP:
            below = middle
        else:
            above = middle
    return ends[:below]


def _overlap(stages: Sequence[CommandStage], sizes: Sizes) -> float:
    """Share of a segment's work that is done twice if its result is cut in two."""
    height, factor = sizes[stages[-1].result][0], stages[-1].multiple
    middle = max(height // 2 // factor, 1) * factor
    if middle >= height:
        return 0.0
    halves = [rows_needed(stages, sizes, span) for span in ((0, middle), (middle, height))]
    whole = twice = 0.0
    for stage in stages:
        work = _work(stage, sizes)
        rows = sum(half[stage.result] for half in halves if stage.result in half)
        whole += work
        twice += work * max(rows / sizes[stage.result][0] - 1, 0.0)
    return twice / whole


def _work(stage: Stage, sizes: Sizes) -> int:
    height, width, channels = sizes[stage.result]
    return stage_macs(stage, height, width) + ELEMENT_WORK * height * width * channels


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


def _runs_alone(stage: Stage) -> bool:
    """Whether a stage is bound by its multiplications, or reads far more than it computes."""
    if isinstance(stage, CommandStage) and not stage.is_local:
        return True
    return stage_macs(stage, 1, 1) > HEAVY * max(1, _channels(stage))


def _channels(stage: Stage) -> int:
    return stage.operands[1].channels if len(stage.operands) > 1 else 1


def cut_segment(segment: Segment, threads: int, options: Options) -> Pieces:
    """Cut a segment into pieces.

    Parameters
    ----------
    segment
        The segment.
    threads
        How many threads take the pieces.
    options
        Sizes of buffers and bands.
    """
    height, width, _ = segment.sizes[segment.result]
    factor = segment.stages[-1].multiple
    # Bytes of all values per pixel of the result, columns and rows alike.
    per_pixel = sum(
        prod(segment.sizes[stage.result]) * segment.items[stage.result] for stage in segment.stages
    ) / (height * width)
    band = max(options.band_rows, -(-height // (MAX_STEPS * factor))) * factor
    columns = int(options.workspace_bytes / (per_pixel * (band + 2 * factor)))
    strips = max(1, -(-width // max(columns, MIN_COLUMNS * factor)))
    strip_spans = _cut(width, strips, factor)
    row_spans = _cut(height, _row_parts(segment, threads, strips, options.piece_work), factor)
    shape = (row_spans[0][1] - row_spans[0][0], strip_spans[0][1] - strip_spans[0][0])
    return Pieces(
        segment.stages, tuple(schedules(segment, row_spans, strip_spans, band)), shape, band
    )


def _row_parts(segment: Segment, threads: int, strips: int, piece_work: int) -> int:
    """How many pieces of rows make a segment as fast as can be."""
    if threads == 1:
        return 1
    sizes, stages = segment.sizes, segment.stages
    height = sizes[segment.result][0] // stages[-1].multiple
    work = sum(_work(stage, sizes) for stage in stages)
    overlap = _overlap(stages, sizes) if len(stages) > 1 else 0.0
    best, least = 1, float("inf")
    for each in range(1, PIECES_PER_THREAD + 1):
        parts = min(-(-threads * each // strips), height)
        pieces = parts * strips
        if parts > 1 and work < pieces * piece_work:
            break
        rows = -(-height // parts)
        # Work of a piece, times how many the busiest thread has.
        share = rows / height * (1 + (parts - 1) * overlap) / strips
        turns = -(-pieces // threads)
        time = share * turns * (1 + UNEVEN / turns)
        if time < least:
            best, least = parts, time
    return best


def _cut(size: int, parts: int, multiple: int) -> list[Span]:
    """Cut an axis into parts that begin at multiples and are as wide, but for the last."""
    step = -(-size // (parts * multiple)) * multiple
    return [(first, min(first + step, size)) for first in range(0, size, step)]
