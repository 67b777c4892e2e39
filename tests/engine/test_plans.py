"""Plans: what they tell, what they keep, and how they share memory."""

from __future__ import annotations

import gc
import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_graphs import BYTE, OPTIONS, RUNS, Network, compare, plan_of, random_images
from hypothesis import HealthCheck, Phase, given, settings
from random_graphs import GraphExample, graphs

from fxp.engine import Engine, Options, Plan
from fxp.engine.cutting import Pieces
from fxp.engine.engine import MAX_PLANS
from fxp.engine.schedule import ALIGNMENT
from fxp.executors import oracle
from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops import Add, ConvTranspose2d, MaxPool, Op, PixelShuffle, Relu, Sigmoid
from fxp.kernels import tiles

HEIGHT, WIDTH = 10, 12
PIXELS = HEIGHT * WIDTH


def small_graph() -> Graph:
    """A network with one of everything that multiplies."""
    network = Network()
    first = network.conv(network.image(3, multiple=2), 8, to=None)
    first = network.node(Relu(), first, to=BYTE)
    second = network.conv(first, 8, (5, 5), groups=8, stride=(2, 2), padding=(2, 1, 2, 1))
    third = network.node(PixelShuffle(2), network.conv(second, 32, (1, 1), to=None), to=BYTE)
    total = network.node(Add(), third, first, to=BYTE)
    weight = network.weight((3, 8, 4, 4))
    network.node(ConvTranspose2d((2, 2), (1, 1)), total, weight, to=Format(12, 6))
    return network.graph()


MACS = {
    "node0": 8 * 3 * 9 * PIXELS,
    "node2": 8 * 25 * PIXELS // 4,
    "node3": 32 * 8 * PIXELS // 4,
    "node6": 3 * 8 * 16 * PIXELS,
}


def table(plan: Plan) -> list[dict[str, str]]:
    """Rows of the description by the heads of the columns."""
    head, rule, *rows, _ = plan.describe().splitlines()
    spans = [match.span() for match in re.finditer("-+", rule)]
    names = [head[first:last].strip() for first, last in spans]
    return [
        {name: row[first:last].strip() for name, (first, last) in zip(names, spans, strict=True)}
        for row in rows
    ]


@pytest.mark.parametrize("count_clipped", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
def test_description(options: str, count_clipped: bool) -> None:
    graph = small_graph()
    inputs = random_images(graph, (HEIGHT // 2, WIDTH // 2), np.random.default_rng(0))
    plan = plan_of(graph, inputs, OPTIONS[options], threads=3, count_clipped=count_clipped)
    rows = table(plan)
    stages = plan.program.stages
    assert [row["value"] for row in rows] == [stage.result for stage in stages]
    assert " ".join(row["nodes"] for row in rows).split() == [n.op.name for n in graph.nodes]
    nodes = {node.name: node for node in graph.nodes}
    for row, stage in zip(rows, stages, strict=True):
        assert row["kernel"] == ("PORTABLE: asked for" if options == "portable" else stage.kernel)
        head = nodes[stage.chain.head.name].accumulator
        assert head is not None
        assert row["accumulator"].startswith(f"{head.bits} bit in int")
        wanted = [MACS[node.name] for node in stage.chain.nodes if node.name in MACS]
        assert row["MACs"] == "".join(f"{macs:,}" for macs in wanted)
        if row["memory"] != "rows":
            assert stage.result in plan.slots
    total = sum(MACS.values())
    assert plan.macs == total
    last = plan.describe().splitlines()[-1]
    assert last.startswith("3 threads;")
    count = len(stages)
    slow = f"; {count} of {count} stages portable, which is slow" if options == "portable" else ""
    assert last.endswith(f"{total:,} multiply-accumulates{slow}")
    assert f"in {len(plan.slot_bytes)} slots" in last


def test_same_size_has_the_same_plan() -> None:
    engine = Engine(small_graph())
    shapes = [(3, HEIGHT, WIDTH)]
    plan = engine.plan(shapes, threads=1)
    assert engine.plan(shapes, threads=1) is plan
    assert engine.plan([[3, np.int64(HEIGHT), WIDTH]], threads=1) is plan  # type: ignore[list-item]
    others = [
        engine.plan(shapes, threads=2),
        engine.plan(shapes, threads=1, keep_values=True),
        engine.plan(shapes, threads=1, count_clipped=False),
        engine.plan([(3, HEIGHT, WIDTH + 2)], threads=1),
    ]
    assert len({id(item) for item in (plan, *others)}) == 5
    assert plan.program is others[0].program is others[2].program is others[3].program


def test_many_sizes_are_forgotten() -> None:
    """Plans, their memory and compiled kernels do not pile up."""
    graph, generator = small_graph(), np.random.default_rng(0)
    engine = Engine(graph)
    kernels = None
    for number in range(3 * MAX_PLANS):
        inputs = random_images(graph, (1 + number % 40, 17), generator)
        expected = oracle.run(graph, inputs)
        compare(engine, expected, inputs, [(1, False, False)])
        assert len(engine._plans) <= MAX_PLANS
        assert len(engine._programs) == 1
        if number == 20:
            kernels = tiles.dense_kernel.cache_info().currsize
    assert tiles.dense_kernel.cache_info().currsize == kernels


SMOOTH = MaxPool((3, 3), (1, 1), (1, 1, 1, 1))


@pytest.mark.parametrize("ops", [(Relu(),), (Relu(), SMOOTH), (Add(),)])
def test_planning_is_linear_in_the_number_of_nodes(ops: tuple[Op, ...]) -> None:
    def seconds(count: int) -> float:
        network = Network()
        last = network.image(2)
        for number in range(count):
            op = ops[number % len(ops)]
            last = network.node(op, *[last] * op.arity[0], to=BYTE)
        engine = Engine(network.graph())
        # A collection would go through what all tests before have left.
        gc.disable()
        try:
            begin = time.process_time()
            engine.plan([(2, 8, 8)], threads=1, count_clipped=False)
            return time.process_time() - begin
        finally:
            gc.enable()

    seconds(64)  # Kernels are compiled.
    few = min(seconds(500) for _ in range(3))
    # Sixteen times as long if it grew with the square.
    assert min(seconds(2000) for _ in range(2)) < 9 * few


def test_high_images_are_planned_in_few_steps() -> None:
    network = Network()
    last = network.node(Relu(), network.image(1), to=BYTE)
    last = network.node(SMOOTH, last, to=BYTE)
    engine = Engine(network.graph())
    plans = [engine.plan([(1, height, 4)], threads=1, count_clipped=False)
             for height in (1 << 13, 1 << 17)]  # fmt: skip
    low, high = (
        sum(len(item.commands) for step in plan.steps if isinstance(step, Pieces)
            for item in step.schedules)
        for plan in plans
    )  # fmt: skip
    assert high < 1.1 * low


def test_plans_used_least_recently_are_forgotten() -> None:
    graph = small_graph()
    shapes = [
        [array.shape for array in random_images(graph, size, np.random.default_rng(0))]
        for size in ((8, 8), (8, 10), (10, 10))
    ]
    sizes = [Engine(graph).plan(shape, threads=1).held_bytes for shape in shapes]
    assert all(size > 0 for size in sizes)
    # Room for any two plans, but not for three.
    engine = Engine(graph, Options(plan_bytes=sum(sizes) - 1))
    first, second = (engine.plan(shape, threads=1) for shape in shapes[:2])
    assert engine.plan(shapes[0], threads=1) is first
    third = engine.plan(shapes[2], threads=1)
    assert list(engine._plans.values()) == [first, third]
    assert engine.plan(shapes[1], threads=1) is not second
    # A plan that takes more than there is room for is kept until the next.
    engine = Engine(graph, Options(plan_bytes=1))
    only = engine.plan(shapes[0], threads=1)
    assert engine.plan(shapes[0], threads=1) is only
    assert list(engine._plans.values()) == [only]


def test_bytes_of_a_plan_are_those_of_its_memory_and_commands() -> None:
    graph = small_graph()
    inputs = random_images(graph, (12, 16), np.random.default_rng(0))
    plan = Engine(graph).plan([array.shape for array in inputs], threads=2)
    memory = plan.take_memory()
    blocks = sum(block.nbytes for block in (*memory.slots, *memory.workspaces))
    commands = [item.commands for step in plan.steps if isinstance(step, Pieces)
                for item in step.schedules]  # fmt: skip
    assert plan.held_bytes == blocks + sum(rows.nbytes for rows in commands)


def test_memory_is_used_again() -> None:
    graph, generator = small_graph(), np.random.default_rng(0)
    engine = Engine(graph)
    inputs = random_images(graph, (HEIGHT // 2, WIDTH // 2), generator)
    plan = engine.plan([array.shape for array in inputs], threads=1)
    for _ in range(3):
        engine.run(inputs, threads=1)
        assert len(plan._idle) == 1
    memory = plan.take_memory()
    assert all(array.ctypes.data % ALIGNMENT == 0 for array in memory.slots + memory.workspaces)
    other = plan.take_memory()
    assert not {a.ctypes.data for a in memory.slots} & {a.ctypes.data for a in other.slots}
    plan.give_back(memory)
    plan.give_back(other)
    assert len(plan._idle) == 1


def check_slots(plan: Plan) -> int:
    """Values in one slot do not live at the same time; returns how many share one."""
    end = len(plan.steps)
    graph = plan.program.graph
    born = dict.fromkeys([value.name for value in graph.inputs], -1)
    born |= dict.fromkeys([state.value.name for state in graph.states], -1)
    dies: dict[str, int] = {}
    for number, step in enumerate(plan.steps):
        stages = step.stages if isinstance(step, Pieces) else (step,)
        inside = {stage.result for stage in stages[:-1]}
        born[stages[-1].result] = number
        for name in {name for stage in stages for name in stage.inputs} - inside:
            assert name in born
            dies[name] = number
        # Nobody else reads what a segment keeps in rows.
        assert not inside & ({*plan.slots} | plan.program.kept)
    for name in (*graph.outputs, *(state.source for state in graph.states), *plan.program.kept):
        dies[name] = end
    assert born.keys() == plan.slots.keys()
    shared = 0
    for slot, size in enumerate(plan.slot_bytes):
        names = sorted((n for n, s in plan.slots.items() if s == slot), key=lambda n: born[n])
        assert size == max(
            np.prod(plan.shapes[name]) * plan.program.dtypes[name].itemsize for name in names
        )
        for first, second in itertools.pairwise(names):
            assert max(dies.get(first, -1), born[first]) < born[second]
            shared += 1
    return shared


shared_slots: list[int] = []


@settings(suppress_health_check=[*HealthCheck], max_examples=100, phases=[Phase.generate])
@given(example=graphs())
def check_slots_of_random_graph(example: GraphExample) -> None:
    shapes = [array.shape for array in example.calls[0][0]]
    for options in (Options(), Options(fuse=False), Options("portable")):
        engine = Engine(example.graph, options)
        for threads, counted, kept in RUNS:
            plan = engine.plan(shapes, threads=threads, count_clipped=counted, keep_values=kept)
            shared_slots.append(check_slots(plan))


def test_slots() -> None:
    shared_slots.clear()
    check_slots_of_random_graph()
    assert sum(shared_slots) > 1000


def test_slots_are_few() -> None:
    """A long chain of values needs two slots, whatever its length."""
    network = Network()
    name = network.image(4)
    for _ in range(12):
        name = network.conv(name, 4)
    graph = network.graph()
    for options in (Options(fuse=False), Options("portable")):
        plan = Engine(graph, options).plan([(4, 20, 20)])
        assert len(plan.steps) == 12
        assert len(plan.slot_bytes) == 2
        assert check_slots(plan) == 11
    # Several threads would run shorter segments, whose pieces compute little twice.
    fused = Engine(graph).plan([(4, 20, 20)], threads=1, count_clipped=False)
    assert len(fused.steps) == 1
    assert fused.workspace_bytes > 0


def test_calls_at_once() -> None:
    """Threads that share an engine, with counting and without, do not disturb each other."""
    graph = small_graph()
    engine = Engine(graph, Options(band_rows=1))
    generator = np.random.default_rng(4)
    calls = [random_images(graph, (4 + n % 3, 17), generator) for n in range(24)]
    expected = [oracle.run(graph, inputs) for inputs in calls]

    def call(number: int):
        return engine.run(calls[number], threads=1 + number % 3, count_clipped=number % 2 == 0)

    with ThreadPoolExecutor(6) as pool:
        for number, result in enumerate(pool.map(call, range(24))):
            assert np.array_equal(result.outputs[0], expected[number].outputs[0])
            assert result.clipped == (expected[number].clipped if number % 2 == 0 else {})


def test_narrow_results() -> None:
    """Arrays in the type that the engine stores hold the same integers."""
    network = Network()
    first = network.conv(network.image(3), 4)
    second = network.node(Relu(), network.conv(first, 4, to=Format(30, 12)), to=Format(40, 20))
    table_of = network.constant(Sigmoid().tabulate(BYTE, Format(9, 8)), Format(9, 8))
    third = network.node(Sigmoid(), first, table_of, to=Format(9, 8))
    graph = network.graph(first, second, third)
    inputs = random_images(graph, (9, 11), network.generator)
    expected = oracle.run(graph, inputs)
    result = Engine(graph).run(inputs, narrow=True, keep_values=True)
    for name, want, got in zip(graph.outputs, expected.outputs, result.outputs, strict=True):
        form = graph.values[name].format
        assert form is not None
        assert got.dtype == form.dtype
        assert np.array_equal(want, got)
    for name, value in expected.values.items():
        assert np.array_equal(value, result.values[name])
