"""The comparisons can fail: a plan is made wrong in one place, and the comparison must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from engine_graphs import (
    BYTE,
    GARBAGE,
    OPTIONS,
    Network,
    Run,
    compare,
    guarded_memory,
    random_images,
)
from numpy.typing import NDArray

from fxp.engine import Engine, Options, Plan, cutting
from fxp.engine import schedule as schedule_module
from fxp.engine.cutting import Pieces
from fxp.engine.schedule import ALIGNMENT
from fxp.engine.stages import CommandStage
from fxp.executors import oracle
from fxp.executors.execution import Result
from fxp.formats import Format, IntArray
from fxp.graph import Graph
from fxp.graph.ops import Add, PixelShuffle, Relu

NARROW = Options(band_rows=2, workspace_bytes=1, piece_work=1)
RUN: Run = (1, False, False)
COUNTED: Run = (1, True, False)
DIFFERENT = r"engine, .* differ, first at"


@pytest.fixture(autouse=True)
def narrow_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small images into strips."""
    monkeypatch.setattr(cutting, "MIN_COLUMNS", 5)


class Trial:
    """A graph with data, and what the oracle makes of it."""

    def __init__(self, graph: Graph, size: tuple[int, int] = (11, 15)) -> None:
        self.graph = graph
        self.inputs: tuple[IntArray, ...] = random_images(graph, size, np.random.default_rng(3))
        self.expected: Result = oracle.run(graph, self.inputs)

    def engine(self, options: Options = NARROW) -> Engine:
        """Engine that passes, with its plan in the cache."""
        engine = Engine(self.graph, options)
        self.passes(engine)
        return engine

    def passes(self, engine: Engine, run: Run = RUN) -> None:
        """Compare a run that is right."""
        compare(engine, self.expected, self.inputs, [run])

    def fails(self, engine: Engine, run: Run = RUN) -> None:
        """Compare a run that is wrong."""
        with pytest.raises(AssertionError, match=DIFFERENT):
            compare(engine, self.expected, self.inputs, [run])

    def fails_once(self, engine: Engine, run: Run = RUN) -> bool:
        """Whether a run is wrong."""
        try:
            self.passes(engine, run)
        except AssertionError:
            return True
        return False

    def fails_somewhere(self) -> bool:
        """Whether some number of rows in a band shows what is wrong."""
        engines = [Engine(self.graph, replace(NARROW, band_rows=rows)) for rows in (1, 2, 3, 8)]
        return any(self.fails_once(engine) for engine in engines)

    def plan(self, engine: Engine) -> Plan:
        """The plan that is run."""
        shapes = [array.shape for array in self.inputs]
        return engine.plan(shapes, threads=1, count_clipped=False)

    def set_plan(self, engine: Engine, plan: Plan) -> None:
        """Run another plan instead."""
        current = self.plan(engine)
        (key,) = (key for key, found in engine._plans.items() if found is current)
        engine._plans[key] = plan


def segment_trial() -> Trial:
    """A residual block in one segment, with padding, moves and a load from outside."""
    network = Network()
    first = network.conv(network.image(4), 4)
    second = network.conv(network.node(Relu(), network.conv(first, 4, (5, 5)), to=BYTE), 4)
    network.conv(network.node(Add(), second, first, to=BYTE), 3)
    return Trial(network.graph())


def with_commands(plan: Plan, change: Callable[[int, NDArray], NDArray]) -> Plan:
    """Plan whose pieces have other commands, ``change(piece, commands)``."""
    (step,) = plan.steps
    assert isinstance(step, Pieces)
    schedules = tuple(
        replace(item, commands=change(piece, item.commands))
        for piece, item in enumerate(step.schedules)
    )
    return replace(plan, steps=(replace(step, schedules=schedules),))


def test_every_dropped_command_is_noticed() -> None:
    trial = segment_trial()
    engine = trial.engine()
    plan = trial.plan(engine)
    (step,) = plan.steps
    assert isinstance(step, Pieces)
    assert len(step.stages) >= 4
    count = len(step.schedules[1].commands)
    for index in range(count):
        wrong = with_commands(
            plan,
            lambda piece, commands, index=index: (
                np.delete(commands, index, axis=0) if piece == 1 else commands
            ),
        )
        trial.set_plan(engine, wrong)
        trial.fails(engine)
        trial.set_plan(engine, plan)
    trial.passes(engine)
    assert count > 30


def test_dropped_piece_is_noticed() -> None:
    trial = segment_trial()
    engine = trial.engine()
    plan = trial.plan(engine)
    (step,) = plan.steps
    assert isinstance(step, Pieces)
    for index in range(len(step.schedules)):
        rest = step.schedules[:index] + step.schedules[index + 1 :]
        trial.set_plan(engine, replace(plan, steps=(replace(step, schedules=rest),)))
        trial.fails(engine)
        trial.set_plan(engine, plan)


def test_buffer_one_row_too_small_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each buffer in turn lends its last row to the next one."""
    trial = segment_trial()
    assert not trial.fails_somewhere()
    right = schedule_module._allocate
    seen: set[str] = set()
    noticed = 0
    for victim in range(4):

        def wrong(*arguments, victim: int = victim):
            buffers, scratch, workspace = right(*arguments)
            places = sorted(buffers.items(), key=lambda item: item[1].offset)
            name, small = places[victim]
            seen.add(name)
            for _, buffer in places[victim + 1 :]:
                buffer.offset -= small.pitch + schedule_module.ALIGNMENT
            return buffers, scratch, workspace

        monkeypatch.setattr(schedule_module, "_allocate", wrong)
        noticed += trial.fails_somewhere()
    assert len(seen) == 4
    # A row that its owner has read already is lent without harm.
    assert noticed >= 3


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, -1)])
def test_halo_one_too_small_is_noticed(axis: int, before: int, after: int) -> None:
    """A stage that asks for one row or column less, at either end."""
    trial = segment_trial()
    trial.engine()
    count = len(Engine(trial.graph, NARROW)._program(False).stages)
    for number in range(count):
        engine = Engine(trial.graph, NARROW)
        stage = engine._program(False).stages[number]
        right = stage.reach

        def wrong(asked: int, position: int, first: int, last: int, size: int, right=right):
            low, high = right(asked, position, first, last, size)
            if asked == axis and position == 0 and high - low > 1:
                return low + before, high + after
            return low, high

        stage.reach = wrong  # type: ignore[method-assign]
        trial.fails(engine)


@pytest.mark.parametrize("change", ["kept one row too short", "only the next row is kept"])
def test_rows_dropped_too_early_are_noticed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    name = network.conv(network.image(4), 4)
    name = network.conv(name, 4, (7, 7), padding_mode="reflect")
    network.conv(name, 4)
    trial = Trial(network.graph(), (12, 9))
    assert not trial.fails_somewhere()
    walk = schedule_module._Walk
    right = walk._kept

    def wrong(self, done):
        if change == "kept one row too short":
            return {name: row + 1 for name, row in right(self, done).items()}
        kept: dict[str, int] = {}
        for stage in self.stages:
            row = max(done[stage.result], 0)
            if row >= self.segment.sizes[stage.result][0]:
                continue
            for position, name in enumerate(stage.inputs):
                low = self._reach(stage, 0, position, (row, row + 1))[0]
                kept[name] = min(kept.get(name, low), low)
        return kept

    monkeypatch.setattr(walk, "_kept", wrong)
    assert trial.fails_somewhere()


def test_strip_moved_wrongly_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(segment_trial().graph, (11, 40))
    right = schedule_module._moved

    def wrong(segment, model, before, after):
        shifted = {name: (first + 1, last + 1) for name, (first, last) in after.items()}
        return right(segment, model, before, shifted)

    monkeypatch.setattr(schedule_module, "_moved", wrong)
    trial.fails(Engine(trial.graph, replace(NARROW, band_rows=100)))


KERNELS = {
    "dense": (8, (3, 3), {}),
    "depthwise": (8, (3, 2), {"groups": 8}),
    "to few channels": (3, (1, 3), {}),
    "chunks": (8, (3, 1), {"bits": 16}),
    "winograd": (32, (3, 3), {"bits": 4}),
    "bytes": (8, (3, 3), {}),
    "four outputs": (32, (3, 3), {"bits": 4}),
}
FORMS = {"chunks": Format(16, 4), "bytes": BYTE, "four outputs": BYTE}
NO_PADDING = (0, 0, 0, 0)


@pytest.mark.parametrize("name", [*KERNELS, "shuffled"])
def test_wrong_weight_in_a_tile_is_noticed(name: str) -> None:
    """Each number of 8 or 16 bits that a kernel reads beside its input, changed by one bit.

    Some serve only runs that count, or only what is left over at the ends of blocks.
    """
    network = Network()
    channels, kernel, more = KERNELS.get(name, (4, (3, 3), {}))
    inputs = 32 if name in ("winograd", "four outputs") else 8
    form = FORMS.get(name, Format(10, 4))
    to = Format(16, -12) if name == "chunks" else Format(16, 9)
    conv = network.conv(
        network.image(inputs, form),
        channels,
        kernel,
        to=None if name == "shuffled" else to,
        padding=NO_PADDING,
        **more,
    )
    if name == "shuffled":
        network.node(PixelShuffle(2), conv, to=Format(16, 9))
    trial = Trial(network.graph(), (9, 21))
    engine = trial.engine(OPTIONS["many wide registers"])
    (stage,) = trial.plan(engine).program.stages
    assert isinstance(stage, CommandStage)
    if name in FORMS:
        assert {"bytes": "quad", "chunks": "chunks"}.get(name, name) in stage.kernel
    packed = weights_of(stage)
    assert packed
    tried = 0
    for array in packed:
        flat = array.reshape(-1)
        # Zeros are padding, whose product with whatever lies behind the input must not matter.
        chosen = np.flatnonzero(flat)
        for index in chosen[:: max(1, len(chosen) // 60)]:
            bit = 9 if name == "chunks" else 1
            flat[index] ^= 1 << bit
            failed = any(trial.fails_once(engine, run) for run in (RUN, COUNTED))
            flat[index] ^= 1 << bit
            assert failed, (name, index)
            tried += 1
    trial.passes(engine)
    trial.passes(engine, COUNTED)
    assert tried >= 20


def weights_of(holder: object, depth: int = 3) -> list[NDArray[np.signedinteger]]:
    """All int8 and int16 arrays that a stage or its parts hold."""
    found: list[NDArray[np.signedinteger]] = []
    items = holder if isinstance(holder, list | tuple) else [*vars(holder).values()]
    for item in items:
        if isinstance(item, np.ndarray):
            found += [item] if item.dtype in (np.int8, np.int16) else []
        elif depth and (isinstance(item, list | tuple | CommandStage)):
            found += weights_of(item, depth - 1)
    unique = {array.ctypes.data: array for array in found}
    return list(unique.values())


def test_slot_shared_by_two_values_is_noticed() -> None:
    network = Network()
    first = network.conv(network.image(4), 4)
    second = network.conv(first, 4)
    third = network.node(Add(), second, first, to=BYTE)
    trial = Trial(network.graph(third))
    engine = trial.engine(Options(fuse=False))
    plan = trial.plan(engine)
    slots = {**plan.slots, second: plan.slots[first]}
    trial.set_plan(engine, replace(plan, slots=slots))
    trial.fails(engine)


def test_write_behind_the_memory_is_noticed() -> None:
    """A workspace that ends at the last byte that is written will do; one byte less will not."""
    trial = segment_trial()
    engine = trial.engine()
    plan = trial.plan(engine)
    *_, (whole, first, last) = guarded_memory(plan)
    engine.run(trial.inputs, threads=1, count_clipped=False)
    written = int(np.flatnonzero(whole != GARBAGE)[-1]) + 1 - first
    # What is read but not written comes behind: a cache line, and the columns of the padding.
    assert 0 < last - first - written <= 4 * ALIGNMENT

    class Smaller(Plan):
        """Says that it needs less than it does."""

        @property
        def workspace_bytes(self) -> int:
            return size

    fields = {name: getattr(plan, name) for name in (
        "program", "planes", "shapes", "steps", "bases", "slots", "slot_bytes", "threads",
        "counted")}  # fmt: skip
    size = written
    trial.set_plan(engine, Smaller(**fields))
    trial.passes(engine)
    size = written - 1
    trial.set_plan(engine, Smaller(**fields))
    with pytest.raises(AssertionError, match="written behind the memory"):
        trial.passes(engine)
