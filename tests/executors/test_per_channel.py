"""A network as `fxp.quantize` makes it by default: weights per output channel in every executor."""

from __future__ import annotations

import numpy as np
from equality import check_engine, check_onnx, check_torch, onnx_refuses, run_oracle
from quantized_networks import uneven


def test_every_executor_agrees():
    graph = uneven().graph
    per_channel = [item.name for item in graph.constants if len(set(item.formats)) > 1]
    assert {"first.weight", "depthwise.weight", "middle.weight", "enlarge.weight"} < {*per_channel}
    assert not any(onnx_refuses(node) for node in graph.nodes)
    generator = np.random.default_rng(0)
    batch = [[generator.integers(0, 256, (1, 7, 6))] for _ in range(2)]
    expected = run_oracle(graph, batch)
    for inputs, result in zip(batch, expected, strict=True):
        check_engine(graph, result, inputs)
    check_torch(graph, expected, batch)
    check_onnx(graph, expected, batch)
