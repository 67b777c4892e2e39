"""Parts of small graphs, and the check of a refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    Conv2d,
    Op,
    Relu,
)
from fxp.graph.ops.base import GraphError

H, W = Extent("H"), Extent("W")
PIXEL = Format(8, 4)
TO_PIXEL = Quantization(PIXEL)
X = Value("x", (2, H, W), PIXEL)
WEIGHT_DATA = np.arange(-18, 18, dtype=np.int64).reshape(2, 2, 3, 3)
WEIGHT = Constant("w", WEIGHT_DATA, (Format(6, 5),))
BIAS = Constant("b", np.array([100, -200]), (Format(16, 9),))
SAME = Conv2d(padding=(1, 1, 1, 1))
CONV = Node("conv", SAME, ("x", "w", "b"), TO_PIXEL, origin="net.0")


def node(name: str, op: Op, *inputs: str, to: Quantization | None = TO_PIXEL) -> Node:
    return Node(name, op, inputs, to)


def raw(name: str, shape: tuple[int, ...], form: Format = PIXEL, fill: int = 1) -> Constant:
    return Constant(name, np.full(shape, fill, np.int64), (form,))


def one(op: Op, *inputs: str, constants: tuple[Constant, ...] = (), x: Value = X) -> Graph:
    """Build a graph of one node ``y``."""
    return Graph("g", (x,), (node("y", op, *inputs),), ("y",), constants)


def conv_graph(**changes: Any) -> Graph:
    """Build a small valid graph, with some parts exchanged."""
    parts: dict[str, Any] = {
        "name": "g",
        "inputs": (X,),
        "nodes": (CONV, node("y", Relu(), "conv")),
        "outputs": ("y",),
        "constants": (WEIGHT, BIAS),
    }
    return Graph(**{**parts, **changes})


def recurrent(state: State | None = None, **changes: Any) -> Graph:
    parts: dict[str, Any] = {
        "name": "g",
        "inputs": (X,),
        "nodes": (node("y", Add(), "x", "s"),),
        "outputs": ("y",),
        "states": (state or State(Value("s", (2, H, W), PIXEL), "y", 3),),
    }
    return Graph(**{**parts, **changes})


def refuses(build: Callable[[], object], *words: str) -> str:
    """Check that `build` raises GraphError with these words in order; returns the message."""
    with pytest.raises(GraphError) as caught:
        build()
    message = str(caught.value)
    assert re.search(".*".join(re.escape(word) for word in words), message, re.DOTALL), message
    return message
