"""``fxp quantize`` of an ONNX file, and ``fxp export`` to ONNX and NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_checks import error_of
from onnx import TensorProto, helper, numpy_helper

import fxp
from fxp import Constant, Format, Graph, GraphError, Node, Quantization, Value
from fxp.cli import main
from fxp.export.npz import to_npz
from fxp.graph.ops import Conv2d, Linear


def write_network(path: Path) -> None:
    """Write a 1x1 convolution of images with channels last, which doubles and adds 1."""
    nodes = [
        helper.make_node("Transpose", ["picture"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["turned", "weight", "bias"], ["result"], "scale"),
    ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", "H", "W", 1])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.float32([[[[2.0]]]]), "weight"),
            numpy_helper.from_array(np.float32([1.0]), "bias"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def test_an_onnx_file_through_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_network(Path("doubling.onnx"))
    values = np.arange(24.0).reshape(1, 1, 4, 6) / 32
    np.save("values.npy", values)
    assert main(["quantize", "doubling.onnx", "--calibration", "values.npy", "--out", "net.fxp",
                 "--effort", "fast", "--input-format", "ap_ufixed<8,0>"]) == 0  # fmt: skip
    model = fxp.load("net.fxp")
    again = fxp.quantize("doubling.onnx", [values], effort="fast", input_format="ap_ufixed<8,0>")
    assert [str(node.quantization) for node in again.graph.nodes] == [
        str(node.quantization) for node in model.graph.nodes
    ]
    assert model.graph.name == "doubling"
    assert [str(value.shape[0]) for value in model.graph.inputs] == ["1"]

    assert main(["export", "onnx", "net.fxp", "integers.onnx"]) == 0
    raw = (values * 256).astype(np.int64)
    (found,) = onnxruntime.InferenceSession("integers.onnx").run(None, {"picture": raw})
    frac = model.graph.values["result"].format.frac
    # 2 x + 1 for x = 23 / 32, the largest value.
    assert found[0, 0, 3, 5] == round((2 * 23 / 32 + 1) * 2**frac)

    assert main(["export", "npz", "net.fxp", "net.npz"]) == 0
    with np.load("net.npz") as arrays:
        weight = arrays["scale.W"] * 2.0 ** -arrays["scale.W:frac"]
        assert weight.tolist() == [[[[2.0]]]]
        description = json.loads(arrays["graph"].tobytes())
    assert description["inputs"] == {"picture": "ap_ufixed<8,0>"}
    assert [node["op"] for node in description["nodes"]] == ["conv2d"]

    capsys.readouterr()
    text = error_of(
        capsys, "quantize", "none.onnx", "--calibration", "values.npy", "--out", "a.fxp"
    )
    assert text == "none.onnx: there is no file 'none.onnx'"
    text = error_of(capsys, "quantize", "doubling.onnx", "--calibration", "values.npy",
                    "--out", "a.fxp", "--arg", "x")  # fmt: skip
    assert text == "doubling.onnx holds its weights; leave --arg and --weights out"


def test_integers_of_each_channel_keep_their_formats() -> None:
    formats = Format(4, 1), Format(20, 3)
    weight = Constant("w", np.array([[7, -8], [1, 524287]], np.int64), formats)
    node = Node("y", Linear(), ("x", "w"), Quantization(Format(8, 2)))
    graph = Graph("small", (Value("x", (2,), Format(8, 2)),), (node,), ("y",), (weight,))
    arrays = to_npz(graph)
    assert arrays["w"].dtype == np.int32
    assert arrays["w"].tolist() == [[7, -8], [1, 524287]]
    assert arrays["w:frac"].tolist() == [1, 3]
    assert json.loads(arrays["graph"].tobytes())["nodes"] == [
        {"name": "y", "op": "linear", "inputs": ["x", "w"], "format": str(Format(8, 2)),
         "shape": ["2"]}
    ]  # fmt: skip


def test_a_name_that_the_file_needs_is_refused() -> None:
    weight = Constant("file", np.array([[1, 2]], np.int64), (Format(4, 0),))
    node = Node("y", Linear(), ("x", "file"), Quantization(Format(8, 0)))
    graph = Graph("small", (Value("x", (2,), Format(8, 0)),), (node,), ("y",), (weight,))
    with pytest.raises(GraphError, match=r"constant 'file': an \.npz file needs that name"):
        to_npz(graph)


def test_a_quantized_onnx_file_needs_no_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    step, zero = np.float32(0.25), np.int8(0)
    tensors = {"step": step, "zero": zero, "weights": np.int8([[[[3]]]]), "fine": np.float32(0.3)}

    def write(scale: str) -> None:
        nodes = [
            helper.make_node("QuantizeLinear", ["picture", "step", "zero"], ["codes"], "first"),
            helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["values"], "second"),
            helper.make_node("DequantizeLinear", ["weights", scale, "zero"], ["kernel"], "third"),
            helper.make_node("Conv", ["values", "kernel"], ["result"], "conv"),
        ]
        graph = helper.make_graph(
            nodes, "tiny",
            [helper.make_tensor_value_info("picture", TensorProto.FLOAT, (1, 1, 4, 4))],
            [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "tiny.onnx")

    write("step")
    assert main(["quantize", "tiny.onnx", "--out", "tiny.fxp"]) == 0
    made = fxp.load("tiny.fxp")
    raw = np.arange(-8, 8).reshape(1, 4, 4)
    (found,) = made.run(raw).outputs
    assert (found == 3 * raw).all()
    assert made.graph.values["result"].format == fxp.Format(10, 4)
    write("fine")
    text = error_of(capsys, "quantize", "tiny.onnx", "--out", "tiny.fxp")
    assert text.startswith("tiny.onnx: ONNX node 'third' (DequantizeLinear, opset 17): its scale")
    assert main(["quantize", "tiny.onnx", "--out", "tiny.fxp", "--snap-scales"]) == 0
    assert "1 scales were rounded to powers of two" in capsys.readouterr().err
    np.save("values.npy", np.zeros((1, 1, 4, 4)))
    text = error_of(
        capsys, "quantize", "tiny.onnx", "--calibration", "values.npy", "--out", "tiny.fxp"
    )
    assert "read it with fxp.from_quantized_onnx" in text
    text = error_of(capsys, "quantize", "module:net", "--out", "tiny.fxp")
    assert text.startswith("--calibration is needed")


def test_qonnx_and_c_through_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    extent = fxp.Extent
    x = fxp.Value("x", (1, extent("H"), extent("W")), fxp.Format(8, 4))
    weights = fxp.Constant("w", np.full((1, 1, 3, 3), 2), (fxp.Format(3, 1),))
    rounds = fxp.Quantization(fxp.Format(8, 3))
    node = fxp.Node("y", Conv2d(), ("x", "w"), rounds)
    fxp.FixedModel(fxp.Graph("blur", (x,), (node,), ("y",), (weights,))).save("blur.fxp")
    assert main(["export", "qonnx", "blur.fxp", "blur.onnx", "--height", "8", "--width", "6"]) == 0
    (given,) = onnx.load("blur.onnx").graph.input
    assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [1, 1, 8, 6]
    assert main(["quantize", "blur.onnx", "--out", "again.fxp"]) == 0
    assert fxp.load("again.fxp").graph.nodes == fxp.load("blur.fxp").graph.nodes
    assert main(["export", "c", "blur.fxp", "blur.c", "--height", "8", "--width", "6"]) == 0
    assert "void blur_run(const int8_t *x_2, int8_t *y_2);" in Path("blur.c").read_text()
    text = error_of(capsys, "export", "c", "blur.fxp", "blur.c", "--height", "8")
    assert text.endswith("and C code is for one; give the sizes W")
