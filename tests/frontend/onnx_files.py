"""Small ONNX files for the tests of their import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def network(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str] = ("N", 2, 8, 8),
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
    inputs: Sequence[str] = ("x",),
) -> onnx.ModelProto:
    """Return a model of some nodes; inputs are called ``x``, the result ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=min(10, 3 + opset // 2))


def node(kind: str, *inputs: str, to: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Return a node that reads some values and writes another."""
    name = attributes.pop("name", f"the_{kind}")
    return helper.make_node(kind, list(inputs), [to], name=name, **attributes)


def numbers(*shape: int) -> np.ndarray:
    """Return float32 weights, the same in every run."""
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return ONNX Runtime's session of a model."""
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def outputs_of(model: onnx.ModelProto, *images: np.ndarray) -> list[np.ndarray]:
    """Run a model in ONNX Runtime."""
    session = session_of(model)
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, images, strict=True)))  # type: ignore[return-value]
