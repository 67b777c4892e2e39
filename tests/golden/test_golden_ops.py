"""Every executor gives the integers that were written by hand, for every op of the registry."""

from __future__ import annotations

import numpy as np
import pytest
from golden_case import Golden, Value
from golden_ops import GOLDEN
from golden_runs import EXECUTORS

from fxp.formats import Format, IntArray
from fxp.graph import Constant, Graph, Node
from fxp.graph import Value as GraphValue
from fxp.graph.ops import REGISTRY


def graph_of(golden: Golden) -> tuple[Graph, list[IntArray]]:
    """Graph of one node ``result``, and its inputs."""
    inputs, constants, arrays, names = [], [], [], []
    for position, operand in enumerate(golden.operands):
        name, raw = f"operand{position}", np.array(operand.raw, np.int64)
        names.append(name)
        if isinstance(operand, Value):
            inputs.append(GraphValue(name, raw.shape, operand.format))
            arrays.append(raw)
        else:
            formats = operand.formats
            formats = (formats,) if isinstance(formats, Format) else formats
            constants.append(Constant(name, raw, formats))
    node = Node("result", golden.op, tuple(names), golden.result)
    return Graph("golden", tuple(inputs), (node,), ("result",), tuple(constants)), arrays


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("golden", GOLDEN, ids=str)
def test_integers_are_those_written_by_hand(golden: Golden, executor: str) -> None:
    graph, inputs = graph_of(golden)
    (result,) = EXECUTORS[executor](graph, inputs)
    assert result.tolist() == golden.expected


@pytest.mark.parametrize("name", REGISTRY)
def test_every_op_has_integers_written_by_hand(name: str) -> None:
    assert any(golden.op.name == name for golden in GOLDEN), (
        f"{name} has no line in GOLDEN of tests/golden/golden_ops.py"
    )


def test_names_of_cases_are_unique() -> None:
    assert len({str(golden) for golden in GOLDEN}) == len(GOLDEN)
