"""Runs a graph on every executor and gives raw integers, without the comparison of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import onnxruntime
import torch

from fxp.engine import Engine, Options
from fxp.executors import oracle, torch_forward
from fxp.export.onnx import to_onnx
from fxp.formats import IntArray
from fxp.graph import Graph

Arrays = Sequence[IntArray]


def _on_oracle(graph: Graph, inputs: Arrays) -> list[IntArray]:
    return list(oracle.run(graph, inputs).outputs)


def _on_engine(graph: Graph, inputs: Arrays) -> list[IntArray]:
    return list(Engine(graph, Options("fast")).run(inputs).outputs)


def _on_portable_engine(graph: Graph, inputs: Arrays) -> list[IntArray]:
    return list(Engine(graph, Options("portable")).run(inputs).outputs)


def _on_engine_row_by_row(graph: Graph, inputs: Arrays) -> list[IntArray]:
    options = Options("portable", band_bytes=1, band_rows=1)
    return list(Engine(graph, options).run(inputs).outputs)


def _on_torch(graph: Graph, inputs: Arrays) -> list[IntArray]:
    """Real values in and out, turned into raw integers by a power of two alone."""
    batch = [
        torch.tensor(np.ldexp(array.astype(np.float64), -value.format.frac)[None])
        for value, array in zip(graph.inputs, inputs, strict=True)
        if value.format is not None
    ]
    outputs = torch_forward.run(graph, batch).outputs
    results = []
    for name, output in zip(graph.outputs, outputs, strict=True):
        form = graph.values[name].format
        assert form is not None
        scaled = np.ldexp(output[0].numpy(), form.frac)
        assert (scaled == np.rint(scaled)).all(), f"{name}: not a value of {form}"
        results.append(scaled.astype(np.int64))
    return results


def _on_onnx(graph: Graph, inputs: Arrays) -> list[IntArray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = to_onnx(graph).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {
        value.name: array[None].astype(np.int64)
        for value, array in zip(graph.inputs, inputs, strict=True)
    }
    for state in graph.states:  # of the shape of the first input, in the graphs here
        feeds[state.value.name] = np.full((1, *inputs[0].shape), state.reset, np.int64)
    return [output[0] for output in session.run(list(graph.outputs), feeds)]


EXECUTORS: Final[dict[str, Callable[[Graph, Arrays], list[IntArray]]]] = {
    "oracle": _on_oracle,
    "engine": _on_engine,
    "engine, portable": _on_portable_engine,
    "engine, row by row": _on_engine_row_by_row,
    "torch": _on_torch,
    "onnx": _on_onnx,
}
