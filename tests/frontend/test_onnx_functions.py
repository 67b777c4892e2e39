"""Functions that ONNX files define are written out, or refused before they take memory."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_files import network, node, numbers, outputs_of

from fxp.frontend import FrontendError, load_onnx

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def function(name: str, *body: onnx.NodeProto) -> onnx.FunctionProto:
    return helper.make_function("own", name, ["a"], ["b"], list(body), OPSETS)


def own(name: str, source: str, target: str) -> onnx.NodeProto:
    return helper.make_node(name, [source], [target], domain="own")


def calling(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    """Return a network that calls the first of some functions."""
    nodes = [own(functions[0].name, "x", "z"), node("Conv", "z", "w")]
    model = network(nodes, constants={"w": numbers(3, 2, 3, 3)})
    model.functions.extend(functions)
    model.opset_import.append(OPSETS[1])
    return model


def test_functions_within_functions_are_written_out() -> None:
    square = function("Square", helper.make_node("Mul", ["a", "a"], ["b"]))
    both = function("Both", own("Square", "a", "c"), helper.make_node("Add", ["a", "c"], ["b"]))
    model = calling(both, square)
    image = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
    (found,) = load_onnx(model)(torch.from_numpy(image)).values()
    np.testing.assert_allclose(found.numpy(), outputs_of(model, image)[0], atol=1e-5)


def test_functions_that_call_themselves_are_refused() -> None:
    with pytest.raises(FrontendError, match=r"^its function 'Again' calls itself"):
        load_onnx(calling(function("Again", own("Again", "a", "b"))))


def test_functions_that_grow_exponentially_are_refused() -> None:
    # 32 calls of the next one in each of 12: 2**60 nodes in a file of 20 kB.
    names = [f"F{number}" for number in range(13)]
    chain = [
        function(name, *(own(after, f"a{k}" if k else "a", f"a{k + 1}") for k in range(31)),
                 own(after, "a31", "b"))
        for name, after in itertools.pairwise(names)
    ]  # fmt: skip
    last = function(names[-1], helper.make_node("Relu", ["a"], ["b"]))
    with pytest.raises(FrontendError, match=r"^its functions, such as 'F0', need too much memory"):
        load_onnx(calling(*chain, last))
