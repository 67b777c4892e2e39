"""Profiles: how long every stage of a run takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.engine.cutting import Pieces, stage_macs
from fxp.engine.engine import Engine
from fxp.engine.plan import Memory, Plan, kernel_text
from fxp.engine.stages import BandStage, Stage
from fxp.executors.execution import start
from fxp.kernels.commands import FIELDS, KERNEL, SLOT, copy_rows, run_commands, zero_rows
from fxp.support.errors import ArgumentError

ROWS = "rows between stages"
"""What the time is called in which rows are only moved, or filled with zeros."""


@dataclass(frozen=True)
class StageTime:
    """How long a stage takes.

    Attributes
    ----------
    value
        Its result.
    nodes
        The ops it computes.
    kernel
        The kernel that runs it, as in `Plan.describe`.
    seconds
        Time of one run on one thread.
    macs
        Multiply-accumulates.
    elements
        Elements of its result.
    """

    value: str
    nodes: tuple[str, ...]
    kernel: str
    seconds: float
    macs: int
    elements: int

    @property
    def speed(self) -> str:
        """Multiply-accumulates, or else elements, per second."""
        if not self.seconds or not self.elements:
            return ""
        rate = (self.macs or self.elements) / self.seconds * 1e-9
        return f"{rate:.2f} {'GMAC/s' if self.macs else 'Gelem/s'}"


@dataclass(frozen=True)
class Profile:
    """How long the stages of one run take; `print` it for a table.

    Attributes
    ----------
    stages
        In the order of the run; the last stands for all rows that are only moved.
    """

    stages: tuple[StageTime, ...]

    @property
    def seconds(self) -> float:
        """Time of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def __str__(self) -> str:
        whole = self.seconds or 1.0
        rows = [("µs", "share", "speed", "kernel", "nodes", "value")]
        rows += [
            (
                f"{stage.seconds * 1e6:.1f}",
                f"{stage.seconds / whole:.1%}",
                stage.speed,
                stage.kernel,
                " ".join(stage.nodes),
                stage.value,
            )
            for stage in self.stages
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if number < 3 else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        count = sum(stage.value != "" for stage in self.stages)
        return "\n".join([*lines, f"{self.seconds * 1e6:.1f} µs in {count} stages"])


def profile(
    engine: Engine,
    inputs: Sequence[ArrayLike],
    states: Mapping[str, ArrayLike] | None = None,
    *,
    repeats: int = 20,
) -> Profile:
    """Measure how long every stage of a run takes, on one thread.

    The run is that of `Engine.run` without counts of overflows. Stages of a segment take turns
    every few rows; each turn is timed, and the shortest time of all repetitions counts.

    Parameters
    ----------
    engine
        What to run.
    inputs, states
        As in `Engine.run`, whose errors this raises.
    repeats
        How many times to run, at least once.

    Raises
    ------
    ArgumentError
        If `repeats` is not at least 1.
    """
    if repeats < 1:
        raise ArgumentError(f"repeats must be at least 1, got {repeats}")
    arrays = [np.asarray(array) for array in inputs]
    plan = engine.plan([array.shape for array in arrays], threads=1, count_clipped=False)
    started, _ = start(engine.graph, arrays, states, narrow=True, shapes=plan.planes)
    memory = plan.take_memory()
    turns = [turn for step in plan.steps for turn in _turns(plan, memory, step)]
    best = [float("inf")] * len(turns)
    idle = float("inf")
    nothing = partial(run_commands, np.empty((0, FIELDS), np.int64), *_addresses(plan, memory))
    for _ in range(repeats + 1):  # the first compiles, and is counted only if it is the fastest
        for name, array in started.items():
            image = plan.array(memory, name)
            image[...] = array.reshape(image.shape) if array.ndim == 1 else array.transpose(1, 2, 0)
        for number, (_, run) in enumerate(turns):
            idle = min(idle, _seconds(nothing))
            best[number] = min(best[number], _seconds(run))
    plan.give_back(memory)
    totals: dict[str, float] = defaultdict(float)
    for (name, _), seconds in zip(turns, best, strict=True):
        totals[name] += max(seconds - idle, 0.0)
    stages = [_stage_time(plan, stage, totals[stage.result]) for stage in plan.program.stages]
    return Profile((*stages, StageTime("", (), ROWS, totals[ROWS], 0, 0)))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _addresses(plan: Plan, memory: Memory) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bases of the only thread, and counters that nobody reads."""
    return plan.addresses(memory)[0], np.zeros(len(plan.program.stages), np.int64)


def _turns(
    plan: Plan, memory: Memory, step: Pieces | BandStage
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Parts of a step in order, each with the stage that it belongs to."""
    if isinstance(step, BandStage):
        result = plan.array(memory, step.result)
        sources = [plan.array(memory, name) for name in step.inputs]
        windows = step.windows(sources, *result.shape[:2])
        yield step.result, partial(step.run, windows, result, 0, len(result))
        return
    plain = [copy_rows.address, zero_rows.address]
    names = [stage.result for stage in plan.program.stages]
    for piece in step.schedules:
        moves = np.isin(piece.commands[:, KERNEL], plain) & (len(step.stages) > 1)
        owners = np.where(moves, -1, piece.commands[:, SLOT])
        cuts = np.flatnonzero(np.diff(owners)) + 1
        for commands, owner in zip(
            np.split(piece.commands, cuts), owners[[0, *cuts]].tolist(), strict=True
        ):
            name = ROWS if owner < 0 else names[owner]
            yield name, partial(run_commands, commands, *_addresses(plan, memory))


def _stage_time(plan: Plan, stage: Stage, seconds: float) -> StageTime:
    shape = plan.shapes[stage.result]
    nodes = tuple(node.op.name for node in stage.chain.nodes)
    macs = stage_macs(stage, *shape[:2])
    return StageTime(stage.result, nodes, kernel_text(stage), seconds, macs, prod(shape))
