"""Every executor against the oracle: equal integers, or a refusal where one is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
import pytest
import torch
from cases import assert_same

from fxp.engine import Engine
from fxp.executors import oracle, torch_forward
from fxp.executors.execution import Result
from fxp.export.onnx import to_onnx
from fxp.formats import IntArray, Overflow, dequantize
from fxp.graph import Graph, Node
from fxp.graph.ops.base import GraphError

Arrays = Sequence[IntArray]
States = Mapping[str, IntArray]

ENGINE_OPTIONS = tuple((threads, keep) for threads in (1, 3) for keep in (True, False))


def check_engine(
    graph: Graph,
    expected: Result,
    inputs: Arrays,
    states: States | None = None,
    options: Sequence[tuple[int, bool]] = ENGINE_OPTIONS,
    engine: Engine | None = None,
) -> None:
    """Compare outputs, states, values and the counts of clipped elements."""
    engine = engine or Engine(graph)
    for threads, keep_values in options:
        result = engine.run(inputs, states, threads=threads, keep_values=keep_values)
        for name, want, got in zip(graph.outputs, expected.outputs, result.outputs, strict=True):
            assert got.dtype == np.int64
            assert_same("engine", name, want, got)
        assert result.states.keys() == expected.states.keys()
        for name, state in expected.states.items():
            assert_same("engine", name, state, result.states[name])
        assert result.values.keys() == (expected.values.keys() if keep_values else set())
        for name, value in result.values.items():
            assert_same("engine", name, expected.values[name], value)
        assert result.clipped == expected.clipped
        assert result.sizes == expected.sizes


def torch_refuses(graph: Graph) -> bool:
    """Whether float64 has too few bits for some accumulator or format of the graph."""
    return any(
        node.accumulator.bits > 52 or node.quantization.format.width > 53
        for node in graph.nodes
        if node.accumulator and node.quantization
    )


def real_batch(graph: Graph, name: str, arrays: Sequence[IntArray]) -> torch.Tensor:
    """Real values of raw integers, stacked to a batch."""
    form = graph.values[name].format
    assert form is not None
    return torch.tensor(np.stack([dequantize(array, form) for array in arrays]))


def check_torch(
    graph: Graph,
    expected: Sequence[Result],
    batch: Sequence[Arrays],
    states: Mapping[str, torch.Tensor] | None = None,
    executed: Graph | None = None,
) -> dict[str, torch.Tensor]:
    """Compare the real values of every value, and what nodes clip; returns the states.

    Expects a refusal where an accumulator has more than 52 bits. `executed` runs in place of the
    graph.
    """
    if torch_refuses(graph):
        zeros = [torch.zeros((1, *np.shape(array)), dtype=torch.float64) for array in batch[0]]
        with pytest.raises(GraphError, match=r"(is|are) not exact in float64"):
            torch_forward.run(graph, zeros)
        return {}
    inputs = [
        real_batch(graph, value.name, [arrays[position] for arrays in batch])
        for position, value in enumerate(graph.inputs)
    ]
    result = torch_forward.run(executed or graph, inputs, states, count_clipped=True)
    for position, name in enumerate(graph.outputs):
        assert result.outputs[position] is result.values[name]
    for name in expected[0].values:
        want = real_batch(graph, name, [item.values[name] for item in expected])
        assert result.values[name].dtype == torch.float64
        assert_same("torch", name, want.numpy(), result.values[name].numpy())
    for name in expected[0].clipped if executed is None else ():
        assert result.clipped[name] == sum(item.clipped[name] for item in expected), name
    return result.states


def onnx_refuses(node: Node) -> bool:
    """Whether 64-bit arithmetic without a double-width shift does not suffice for a node."""
    assert node.accumulator is not None
    assert node.quantization is not None
    target = node.quantization
    shifts = np.array(node.accumulator.fracs) - target.format.frac
    wraps = target.overflow in (Overflow.WRAP, Overflow.WRAP_SIGN_MAGNITUDE)
    return bool(
        node.accumulator.bits + max(0, *-shifts) > 62
        or max(0, *shifts) > 61
        or (wraps and target.format.width > 61)
    )


def onnx_session(graph: Graph) -> onnxruntime.InferenceSession | None:
    """Session of the exported graph; None where the export rightly refuses."""
    if any(onnx_refuses(node) for node in graph.nodes):
        with pytest.raises(GraphError, match="ONNX"):
            to_onnx(graph)
        return None
    return session_of(to_onnx(graph).SerializeToString())


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    """Session of a model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_onnx(
    graph: Graph,
    expected: Sequence[Result],
    batch: Sequence[Arrays],
    states: Mapping[str, IntArray] | None = None,
    session: onnxruntime.InferenceSession | None = None,
) -> dict[str, IntArray]:
    """Compare outputs and states of a batch; returns the states, batch included.

    Expects a refusal where 64-bit arithmetic does not suffice.
    """
    session = session or onnx_session(graph)
    if session is None:
        return {}
    feeds = {
        value.name: np.stack([arrays[position] for arrays in batch])
        for position, value in enumerate(graph.inputs)
    }
    for state in graph.states:
        name = state.value.name
        shape = (len(batch), *expected[0].states[name].shape)
        feeds[name] = (states or {}).get(name, np.full(shape, int(state.reset), np.int64))
    results = session.run(None, feeds)
    outputs, next_states = results[: len(graph.outputs)], results[len(graph.outputs) :]
    for position, (name, got) in enumerate(zip(graph.outputs, outputs, strict=True)):
        assert got.dtype == np.int64
        assert_same("onnx", name, np.stack([item.outputs[position] for item in expected]), got)
    fed_back = dict(zip((state.value.name for state in graph.states), next_states, strict=True))
    for name, got in fed_back.items():
        assert_same("onnx", name, np.stack([item.states[name] for item in expected]), got)
    return fed_back


def run_oracle(graph: Graph, batch: Sequence[Arrays]) -> list[Result]:
    """Oracle results of every element of a batch."""
    return [oracle.run(graph, arrays) for arrays in batch]
