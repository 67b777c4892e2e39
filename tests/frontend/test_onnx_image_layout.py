"""Inputs ``(N, H, W, C)`` are recognized behind arithmetic, padding and skip connections."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_files import network, node, numbers, outputs_of

from fxp.frontend import FrontendError, from_onnx, load_onnx

LAYER = [
    node("Transpose", "read", to="first", perm=[0, 3, 1, 2], name="in"),
    node("Conv", "first", "w", to="c", pads=[1, 1, 1, 1]),
    node("Transpose", "c", to="back", perm=[0, 2, 3, 1], name="out"),
]


def of(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    given = {"w": numbers(3, 3, 3, 3), **constants}
    return network([*nodes], ("N", "H", "W", 3), given)


CASES = {
    "arithmetic": (
        of(node("Sub", "x", "mean", to="d"), node("Div", "d", "range", to="read"), *LAYER,
           node("Relu", "back"), mean=np.float32([1, 2, 3]), range=np.float32(0.5)),
        ["subtract", "multiply", "conv2d", "relu"],
    ),
    "padding": (
        of(node("Pad", "x", "p", to="read"), *LAYER, node("Identity", "back"),
           p=np.array([0, 1, 2, 0, 0, 1, 2, 0])),
        ["conv2d"],
    ),
    "skip": (
        of(node("Identity", "x", to="read"), *LAYER, node("Add", "back", "x")),
        ["conv2d", "add"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_image_with_channels_last_becomes_one_with_channels_first(name: str) -> None:
    model, ops = CASES[name]
    image = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype(np.float32)
    (wanted,) = outputs_of(model, image)
    (found,) = load_onnx(model)(torch.from_numpy(image.transpose(0, 3, 1, 2))).values()
    np.testing.assert_allclose(found.numpy().transpose(0, 2, 3, 1), wanted, atol=1e-5)
    graph = from_onnx(model)
    assert str(graph.inputs[0]) == "x: (3, H, W)"
    assert [item.op.name for item in graph.nodes] == ops


def test_an_image_that_is_also_read_as_it_is_keeps_its_order() -> None:
    reshaped = node("Reshape", "x", "s", to="vector")
    model = of(node("Identity", "x", to="read"), *LAYER, reshaped, s=np.array([1, -1]))
    with pytest.raises(FrontendError, match="has a free number of channels"):
        load_onnx(model)


def test_a_sparse_constant_is_refused_by_name() -> None:
    helper = onnx.helper
    values = helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [2.0])
    places = helper.make_tensor("i", onnx.TensorProto.INT64, [1], [5])
    sparse = helper.make_sparse_tensor(values, places, [3, 2, 3, 3])
    constant = helper.make_node("Constant", [], ["w"], "weights", sparse_value=sparse)
    with pytest.raises(FrontendError, match=r"'weights' \(Constant, opset 17\): its tensor is sp"):
        load_onnx(network([constant, node("Conv", "x", "w")]))
