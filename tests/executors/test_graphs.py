"""Random graphs on every executor, over several calls; memory reuse, row bands and threads."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import assert_same
from equality import (
    check_engine,
    check_onnx,
    check_torch,
    onnx_refuses,
    onnx_session,
    torch_refuses,
)
from hypothesis import HealthCheck, Phase, find, given, settings
from random_graphs import GraphExample, graphs, random_inputs

from fxp.engine import Engine, Options
from fxp.engine.stages import BandStage
from fxp.executors import oracle
from fxp.export.onnx import to_onnx
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, State, Value
from fxp.graph.ops import REGISTRY, Add, Concat, FunctionTable, GraphError, Relu
from fxp.graph.ops.windows import Window

thorough = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    max_examples=100,
    phases=[Phase.generate],  # a seed does not shrink
)

seen: Counter[str] = Counter()


def note(graph: Graph) -> None:
    """Count what a random graph has, to assert that the interesting things were there."""
    seen.update({node.op.name for node in graph.nodes})
    seen["graphs"] += 1
    seen["states"] += bool(graph.states)
    seen["several inputs"] += len(graph.inputs) > 1
    seen["several outputs"] += len(graph.outputs) > 1
    seen["an input as output"] += bool({*graph.outputs} & {value.name for value in graph.inputs})
    seen["an output twice"] += len({*graph.outputs}) < len(graph.outputs)
    seen["formats per channel"] += any(len(c.formats) > 1 for c in graph.constants)
    seen["five nodes"] += len(graph.nodes) >= 5
    seen["torch runs"] += not torch_refuses(graph)
    seen["onnx runs"] += not any(onnx_refuses(node) for node in graph.nodes)
    for node in graph.nodes:
        operands = graph.operands[node.name]
        if isinstance(node.op, Add | Concat) and len({op.format.frac for op in operands}) > 1:
            seen[f"{node.op.name} of different fractions"] += 1


def check(example: GraphExample) -> None:
    """Run all calls on all executors, each fed with its own states."""
    graph = example.graph
    engine, session = Engine(graph), onnx_session(graph)
    oracle_states, torch_states, onnx_states = [{}, {}], None, None
    for batch in example.calls:
        expected = [
            oracle.run(graph, arrays, state)
            for arrays, state in zip(batch, oracle_states, strict=True)
        ]
        for element, (arrays, state) in enumerate(zip(batch, oracle_states, strict=True)):
            options = ((1, True), (3, False)) if element else ((3, True), (1, False))
            check_engine(graph, expected[element], arrays, state, options, engine)
        torch_states = check_torch(graph, expected, batch, torch_states)
        if session is not None:
            onnx_states = check_onnx(graph, expected, batch, onnx_states, session)
        oracle_states = [item.states for item in expected]


@thorough
@given(example=graphs())
def check_random_graphs(example: GraphExample) -> None:
    note(example.graph)
    check(example)


def test_random_graphs() -> None:
    seen.clear()
    check_random_graphs()
    for wanted in (
        "states", "several inputs", "several outputs", "an input as output", "an output twice",
        "formats per channel", "add of different fractions", "concat of different fractions",
    ):  # fmt: skip
        assert seen[wanted] >= 3, wanted
    for wanted in ("five nodes", "torch runs", "onnx runs"):
        assert seen[wanted] >= seen["graphs"] / 3, wanted
    # The functions that become tables are one op with many names.
    functions = {name for name, op in REGISTRY.items() if issubclass(op, FunctionTable)}
    assert {*REGISTRY} - functions <= {*seen}
    assert functions & {*seen}


@settings(thorough, max_examples=30)
@given(example=graphs(tall=True))
def test_row_bands(example: GraphExample) -> None:
    """Tall images with bands of one row, and of a few."""
    graph = example.graph
    for band_bytes, band_rows in ((1, 1), (200, 4)):
        for kernels in ("portable", "fast"):
            options = Options(kernels, band_bytes=band_bytes, band_rows=band_rows)
            engine = Engine(graph, options)
            states: dict = {}
            for batch in example.calls:
                expected = oracle.run(graph, batch[0], states)
                check_engine(graph, expected, batch[0], states, ((1, True), (3, False)), engine)
                states = expected.states


def test_bands_cover_every_row_once() -> None:
    """The rows that the kernel is asked for are all rows, in several bands."""
    form = Format(8, 0)
    graph = Graph("g", (Value("x", (2, 31, 4), form),),
                  (Node("y", Relu(), ("x",), Quantization(form)),), ("y",))  # fmt: skip
    engine = Engine(graph, Options("portable", band_bytes=100))
    bands: list[tuple[int, int]] = []
    (stage,) = engine.plan([(2, 31, 4)]).program.stages
    assert isinstance(stage, BandStage)
    right = stage.run_kernel

    def kernel(band: np.ndarray, first_row: int, first_column: int, inputs: list[Window]) -> None:
        bands.append((first_row, first_row + len(band)))
        right(band, first_row, first_column, inputs)

    stage.run_kernel = kernel
    engine.run([np.zeros((2, 31, 4), np.int64)], threads=1)
    assert [row for first, end in sorted(bands) for row in range(first, end)] == [*range(31)]
    assert len(bands) == 11


def test_one_engine_from_several_threads() -> None:
    """Calls that overlap do not disturb each other."""
    for wanted in (False, True):
        example = find(
            graphs(),
            lambda item, wanted=wanted: (
                len(item.graph.nodes) >= 8 and bool(item.graph.states) == wanted
            ),
            settings=settings(thorough, max_examples=500),
        )
        graph, engine = example.graph, Engine(example.graph)
        generator = np.random.default_rng(5)
        size = example.calls[0][0][0].shape[1:]
        calls = [random_inputs(graph, size, generator, "random") for _ in range(24)]
        expected = [oracle.run(graph, arrays) for arrays in calls]

        def call(index: int, engine: Engine = engine, calls: list = calls):
            return engine.run(calls[index], threads=1 + index % 2, keep_values=index % 3 == 0)

        with ThreadPoolExecutor(4) as pool:
            results = [*pool.map(call, range(len(calls)))]
        for want, got in zip(expected, results, strict=True):
            for name, left, right in zip(graph.outputs, want.outputs, got.outputs, strict=True):
                assert_same("engine", name, left, right)
            for name, state in want.states.items():
                assert_same("engine", name, state, got.states[name])
            assert got.clipped == want.clipped


FORM = Format(8, 0)
VECTOR = Value("x", (2,), FORM)


def relu(name: str, source: str) -> Node:
    """Node that keeps the format."""
    return Node(name, Relu(), (source,), Quantization(FORM))


UNUSUAL = {
    "input as output": Graph("g", (VECTOR,), (relu("y", "x"),), ("y", "x")),
    "output twice": Graph("g", (VECTOR,), (relu("y", "x"),), ("x", "y", "y")),
    "state as output": Graph(
        "g", (VECTOR,), (Node("y", Add(), ("x", "s"), Quantization(FORM)),), ("s", "y"), (),
        (State(Value("s", (2,), FORM), "y", -3),),
    ),
    "state from input": Graph(
        "g", (VECTOR,), (Node("y", Add(), ("x", "s"), Quantization(FORM)),), ("y",), (),
        (State(Value("s", (2,), FORM), "x", 7),),
    ),
    "state from state": Graph(
        "g", (VECTOR,), (Node("y", Add(), ("x", "t"), Quantization(FORM)),), ("y",), (),
        (State(Value("s", (2,), FORM), "x"), State(Value("t", (2,), FORM), "s", 1)),
    ),
    "value twice": Graph(
        "g", (VECTOR,), (relu("y", "x"), Node("z", Add(), ("y", "y"), Quantization(FORM))), ("z",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_ends(name: str) -> None:
    generator = np.random.default_rng(1)
    graph = UNUSUAL[name]
    calls = tuple(
        tuple(random_inputs(graph, (1, 1), generator, "random") for _ in range(2)) for _ in range(4)
    )
    check(GraphExample(graph, calls))


@pytest.mark.parametrize("taken", ["y.0", "s.next"])
def test_onnx_refuses_names_it_needs(taken: str) -> None:
    graph = Graph(
        "g", (VECTOR,), (relu(taken, "x"), relu("y", taken), relu("z", "s")), ("y", "y", "z"), (),
        (State(Value("s", (2,), FORM), "y"),),
    )  # fmt: skip
    with pytest.raises(GraphError, match=f"ONNX needs the name '{taken}' for an output"):
        to_onnx(graph)
