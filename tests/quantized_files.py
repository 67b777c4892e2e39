"""Small quantized ONNX files, and what qonnx and ONNX Runtime compute from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

QONNX = "qonnx.custom_op.general"


class File:
    """A model that is written node by node.

    Parameters
    ----------
    shape
        Of the input ``x``.
    kind
        Its type in ONNX.
    """

    def __init__(self, *shape: int, kind: int = TensorProto.FLOAT) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.inputs = [helper.make_tensor_value_info("x", kind, shape)]

    def add(self, op: str, *inputs: Any, name: str = "", domain: str = "", **given: Any) -> str:
        """Add a node; arrays among its inputs become initializers. Returns the result's name."""
        name = name or f"{op}_{len(self.nodes)}"
        names = []
        for place, item in enumerate(inputs):
            if isinstance(item, str):
                names.append(item)
            else:
                names.append(f"{name}.{place}")
                self.tensors[names[-1]] = np.asarray(item)
        made = f"{name}.out"
        self.nodes.append(helper.make_node(op, names, [made], name, domain=domain, **given))
        return made

    def quant(
        self, x: Any, scale: Any, bits: int, *, signed: int = 1, narrow: int = 0,
        mode: str = "ROUND", **given: Any,
    ) -> str:  # fmt: skip
        """Add a Quant node."""
        numbers = (np.float32(scale), np.float32(0), np.float32(bits))
        return self.add(
            "Quant", x, *numbers, domain=QONNX, signed=signed, narrow=narrow, rounding_mode=mode,
            **given,
        )  # fmt: skip

    def model(self, *outputs: str, kind: int = TensorProto.FLOAT, version: int = 1) -> Any:
        """Return the model with these outputs."""
        graph = helper.make_graph(
            self.nodes, "small", self.inputs,
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.tensors.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, version)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def by_qonnx(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Return what qonnx computes in float32."""
    wrapper = ModelWrapper(model).transform(InferShapes())
    (given,), (output,) = model.graph.input, model.graph.output
    return execute_onnx(wrapper, {given.name: x.astype(np.float32)})[output.name]


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Return what ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": x})[0]
