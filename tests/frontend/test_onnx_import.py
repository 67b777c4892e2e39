"""ONNX files become graphs that equal ONNX Runtime, or are refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from frontend_checks import run
from onnx import TensorProto, helper
from onnx_files import network, node, numbers, outputs_of

import fxp
from fxp.frontend import FrontendError, from_onnx, load_onnx
from fxp.frontend.onnx import catalog


def module_equals(model: onnx.ModelProto, *shape: int) -> np.ndarray:
    """Compare the module with ONNX Runtime at a shape, and return the result."""
    image = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    (wanted,) = outputs_of(model, image)
    with torch.no_grad():
        (found,) = load_onnx(model)(torch.from_numpy(image)).values()
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)
    return found.numpy()


CASES = {
    "same_upper": network([node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])],
                          constants={"w": numbers(3, 2, 3, 3)}),
    "same_lower": network([node("Conv", "x", "w", auto_pad="SAME_LOWER")],
                          constants={"w": numbers(3, 2, 2, 2)}),
    "uneven_pads": network([node("Conv", "x", "w", "b", pads=[0, 1, 2, 0], group=2)],
                           constants={"w": numbers(4, 1, 3, 3), "b": numbers(4)}),
    "transposed": network([node("ConvTranspose", "x", "w", strides=[2, 2], pads=[0, 1, 1, 0])],
                          constants={"w": numbers(2, 3, 3, 3)}),
    "transposed_to_size": network(
        [node("ConvTranspose", "x", "w", strides=[2, 2], output_shape=[16, 16])],
        constants={"w": numbers(2, 3, 3, 3)}),
    "max_pool_uneven": network([node("MaxPool", "x", kernel_shape=[3, 3], pads=[0, 0, 1, 1],
                                     strides=[2, 2])]),
    "max_pool_same": network([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2],
                                   auto_pad="SAME_UPPER")], ("N", 2, 7, 7)),
    "average_uncounted": network([node("AveragePool", "x", kernel_shape=[3, 3],
                                       pads=[1, 1, 1, 1])]),
    "average_counted": network([node("AveragePool", "x", kernel_shape=[3, 3], count_include_pad=1,
                                     pads=[0, 1, 1, 2])]),
    "clip_6": network([node("Clip", "x", min=-0.5, max=0.75)], opset=7),
    "clip_11": network([node("Clip", "x", "", "top")], constants={"top": np.float32(0.5)}),
    "prelu": network([node("PRelu", "x", "slope")], constants={"slope": numbers(2, 1, 1)}),
    "hard_sigmoid": network([node("HardSigmoid", "x", alpha=0.3, beta=0.4)]),
    "selu": network([node("Selu", "x", alpha=1.5, gamma=1.25)]),
    "batch_norm": network([node("BatchNormalization", "x", "s", "b", "m", "v", epsilon=1e-3)],
                          constants={"s": numbers(2), "b": numbers(2), "m": numbers(2),
                                     "v": np.abs(numbers(2))}),
    "lrn": network([node("LRN", "x", size=3, alpha=0.5, beta=0.5, bias=2.0)], ("N", 5, 4, 4)),
    "shuffle_dcr": network([node("DepthToSpace", "x", blocksize=2)], ("N", 8, 3, 4)),
    "shuffle_crd": network([node("DepthToSpace", "x", blocksize=2, mode="CRD")], ("N", 8, 3, 4)),
    "unshuffle": network([node("SpaceToDepth", "x", blocksize=2)], ("N", 3, 4, 6)),
    "slice_1": network([node("Slice", "x", starts=[1, 2], ends=[100, -1], axes=[2, 3])], opset=9),
    "slice_back": network([node("Slice", "x", "s", "e", "a", "t")], constants={
        "s": np.array([-1]), "e": np.array([-100]), "a": np.array([3]), "t": np.array([-2])}),
    "pad_2": network([node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)], opset=10),
    "pad_edge": network([node("Pad", "x", "p", "", "a", mode="edge")], opset=18, constants={
        "p": np.array([1, 2, 0, 1]), "a": np.array([2, 3])}),
    "pad_reflect": network([node("Pad", "x", "p", mode="reflect")], constants={
        "p": np.array([0, 0, 1, 0, 0, 0, 2, 3])}),
    "upsample": network([node("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0])], opset=7),
    "resize_centres": network([node("Resize", "x", "", "s", mode="linear")],
                              constants={"s": np.float32([1, 1, 1.5, 2])}),
    "resize_corners": network(
        [node("Resize", "x", "", "", "s", mode="linear",
              coordinate_transformation_mode="align_corners")],
        constants={"s": np.array([1, 2, 15, 5])}),
    "resize_cubic": network([node("Resize", "x", "", "s", mode="cubic")],
                            constants={"s": np.float32([1, 1, 2, 2])}),
    "resize_nearest": network([node("Resize", "x", "", "s")],
                              constants={"s": np.float32([1, 1, 2, 2])}),
    "resize_halved": network([node("Resize", "x", "", "s")],
                             constants={"s": np.float32([1, 1, 0.5, 0.5])}),
    "resize_odd": network(
        [node("Resize", "x", "", "", "s", nearest_mode="ceil",
              coordinate_transformation_mode="asymmetric")],
        constants={"s": np.array([1, 2, 5, 11])}),
    "softmax_old": network([node("Softmax", "x")], ("N", 2, 1, 1), opset=11),
    "reduce": network([node("ReduceMean", "x", axes=[2, 3], keepdims=0)]),
    "reduce_18": network([node("ReduceSum", "x", "a")], constants={"a": np.array([1])}),
    "division": network([node("Div", "x", "c")], constants={"c": np.float32(3.0)}),
    "reversed_difference": network([node("Sub", "c", "x")],
                                   constants={"c": np.float32([[[2.0]], [[3.0]]])}),
    "gather": network([node("Gather", "x", "i", axis=1)], constants={"i": np.array([1, 0, -1])}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_node_computes_what_onnx_runtime_computes(name: str) -> None:
    model = CASES[name]
    shape = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    module_equals(model, *shape)


def test_the_rounding_of_halves_goes_down_when_pixels_are_dropped() -> None:
    model = CASES["resize_halved"]
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8).repeat(2, 1)
    (found,) = load_onnx(model)(torch.from_numpy(image)).values()
    # Centres lie at 0.5, 2.5, 4.5 and 6.5; round_prefer_floor takes 0, 2, 4 and 6.
    assert found[0, 0, 0].tolist() == [0, 2, 4, 6]
    assert found[0, 0, :, 0].tolist() == [0, 16, 32, 48]


def test_large_images_may_be_made_of_small_ones() -> None:
    # 2**23 numbers, more than a file may ask for whatever its images are.
    nodes = [node("ConvTranspose", "x", "w", to="c", kernel_shape=[1, 1], strides=[8, 8]),
             node("GlobalMaxPool", "c")]  # fmt: skip
    model = network(nodes, ("N", 1, 128, 128), {"w": numbers(1, 8, 1, 1)})
    assert module_equals(model, 1, 1, 128, 128).shape == (1, 8, 1, 1)


def small_classifier(opset: int = 17) -> onnx.ModelProto:
    """Convolution, pool and a linear layer, with the sizes of the reshape computed."""
    return network(
        [
            node("Conv", "x", "w", "b", to="c", pads=[1, 1, 1, 1]),
            node("Relu", "c", to="r"),
            node("MaxPool", "r", to="p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Shape", "p", to="sizes"),
            node("Gather", "sizes", "zero", to="first"),
            helper.make_node("Unsqueeze", ["first", "axis"], ["batch"]),
            helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),
            node("Reshape", "p", "wanted", to="flat"),
            node("Gemm", "flat", "m", "v", transB=1),
        ],
        ("N", 2, 8, 8),
        {
            "w": numbers(3, 2, 3, 3), "b": numbers(3), "m": numbers(5, 48), "v": numbers(5),
            "zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1]),
        },
        opset=opset,
    )  # fmt: skip


def test_a_file_becomes_a_graph_with_its_names(tmp_path: Path) -> None:
    model = small_classifier()
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    graph = from_onnx(path)
    assert [str(value) for value in graph.inputs] == ["x: (2, 8, 8)"]
    assert graph.outputs == ("y",)
    assert graph.name == "small"
    assert {item.name for item in graph.constants} == {
        "the_Conv.W", "the_Conv.B", "the_Gemm.B", "the_Gemm.C",
    }  # fmt: skip
    image = np.random.default_rng(1).normal(size=(1, 2, 8, 8)).astype(np.float32)
    (wanted,) = outputs_of(model, image)
    found = run(graph, [torch.from_numpy(image)]).outputs[0]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_free_sizes_stay_free() -> None:
    model = network(
        [
            node("MaxPool", "x", to="p", kernel_shape=[2, 2], strides=[2, 2],
                 auto_pad="SAME_UPPER"),
            node("Upsample", "p", "s"),
        ],
        ("N", 2, "H", "W"), {"s": np.float32([1, 1, 2, 2])}, opset=9,
    )  # fmt: skip
    graph = from_onnx(model)
    assert str(graph.inputs[0]) == "x: (2, H, W)"
    image = np.random.default_rng(1).normal(size=(1, 2, 7, 10)).astype(np.float32)
    (wanted,) = outputs_of(model, image)
    found = run(graph, [torch.from_numpy(image)]).outputs[0]
    np.testing.assert_array_equal(found.numpy().astype(np.float32), wanted)


def test_images_with_channels_last_are_taken_with_channels_first() -> None:
    model = network(
        [
            node("Transpose", "x", to="t", perm=[0, 3, 1, 2]),
            node("Conv", "t", "w", to="c"),
            node("Transpose", "c", to="back", name="back", perm=[0, 2, 3, 1]),
            node("Softmax", "back", axis=3),
        ],
        ("N", 6, 5, 3), {"w": numbers(4, 3, 3, 3)},
    )  # fmt: skip
    graph = from_onnx(model)
    assert str(graph.inputs[0]) == "x: (3, 6, 5)"
    assert [item.op.name for item in graph.nodes] == ["conv2d", "softmax"]
    image = np.random.default_rng(1).normal(size=(1, 6, 5, 3)).astype(np.float32)
    (wanted,) = outputs_of(model, image)
    found = run(graph, [torch.from_numpy(image.transpose(0, 3, 1, 2))]).outputs[0]
    np.testing.assert_allclose(found.numpy(), wanted.transpose(0, 3, 1, 2), atol=1e-6)


def test_several_inputs_and_outputs() -> None:
    nodes = [node("Add", "left", "right", to="sum"), node("Sub", "left", "right", to="gap")]
    model = network(nodes, ("N", 1, 4, 4), inputs=("left", "right"), outputs=("gap", "sum"))
    graph = from_onnx(model)
    assert [value.name for value in graph.inputs] == ["left", "right"]
    assert graph.outputs == ("gap", "sum")


def test_an_output_with_channels_first_stays_as_it_is() -> None:
    nodes = [node("Transpose", "x", to="t", perm=[0, 3, 1, 2]), node("Conv", "t", "w")]
    graph = from_onnx(network(nodes, ("N", 6, 5, 3), {"w": numbers(4, 3, 1, 1)}))
    assert graph.values["y"].shape == (4, 6, 5)


def refusal(model: onnx.ModelProto | Path) -> str:
    with pytest.raises(FrontendError) as caught:
        from_onnx(model)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_an_unknown_operation_is_refused_by_name() -> None:
    text = refusal(network([node("TopK", "x", "k", to="y")], constants={"k": np.array([1])}))
    assert text == (
        "ONNX node 'the_TopK' (TopK, opset 17): this operation is not supported; leave it outside "
        "of the network, which then returns what it searches"
    )


def test_what_the_graph_cannot_express_is_refused_by_the_node() -> None:
    model = network([node("Relu", "x", to="r"), node("Transpose", "x", to="t", perm=[0, 1, 3, 2]),
                     node("MatMul", "r", "t")])  # fmt: skip
    assert refusal(model).startswith("ONNX node 'the_MatMul' (MatMul, opset 17): it multiplies")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (network([node("Relu", "z")]), "it reads 'z', which no earlier node computes"),
        (network([node("Relu", "x", to="z")]), "output 'y' is computed by no node"),
        (network([node("Relu", "x")], opset=6), "its operator set is version 6"),
        (network([node("Relu", "x")], (8, 2, 4, 4)), "is a batch of 8"),
        (network([node("Relu", "x")], (1, 1 << 31, 1 << 31, 4)), "needs too much memory"),
        (network([node("Tile", "x", "n")], constants={"n": np.array([1, 1, 1 << 14, 1 << 14])}),
         "ONNX node 'the_Tile' (Tile, opset 17): a tensor of shape"),
        (network([node("ConvTranspose", "x", "w", strides=[1 << 12, 1 << 12])],
                 constants={"w": numbers(2, 1, 2, 2)}),
         "ONNX node 'the_ConvTranspose' (ConvTranspose, opset 17): a tensor of shape"),
        # The result is small, but not what the padded image takes.
        (network([node("Conv", "x", "w", strides=[1 << 12, 1 << 12],
                       pads=[0, 0, 1 << 12, 1 << 12])], constants={"w": numbers(3, 2, 2, 2)}),
         "ONNX node 'the_Conv' (Conv, opset 17): a tensor of shape (1, 2, 4104, 4104)"),
        (network([node("ConstantOfShape", "n", to="c"), node("Add", "x", "c")],
                 constants={"n": np.array([1 << 20, 1 << 20])}), "needs too much memory"),
        (network([node("Reshape", "x", "s")], constants={"s": np.array([1, 7])}),
         "ONNX node 'the_Reshape' (Reshape, opset 17): torch cannot compute it"),
    ],
    ids=["cycle", "missing", "old", "batch", "input", "tile", "stride", "padding", "constant",
         "reshape"],
)  # fmt: skip
def test_bad_models_are_refused_in_one_line(model: onnx.ModelProto, expected: str) -> None:
    assert expected in refusal(model)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(small_classifier().SerializeToString()[:-40])
    assert "net.onnx" in refusal(path)
    path.write_bytes(b"")
    assert "holds no network" in refusal(path)
    assert "there is no file" in refusal(tmp_path / "none.onnx")


def with_external_data(folder: Path, location: str, count: int = 24) -> Path:
    model = network([node("Conv", "x", "w")], constants={"w": numbers(3, 2, 2, 2)})
    tensor = model.graph.initializer[0]
    (folder / "weights.bin").write_bytes(numbers(3, 2, 2, 2).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.dims[0] = count // 8
    for key, value in (("location", location), ("offset", "0"), ("length", str(count * 4))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_lies_beside_the_file(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    graph = from_onnx(with_external_data(inner, "weights.bin"))
    assert graph.constants[0].data.astype(np.float32).tolist() == numbers(3, 2, 2, 2).tolist()
    (tmp_path / "secret.bin").write_bytes(bytes(96))
    assert "outside the folder" in refusal(with_external_data(inner, "../secret.bin"))
    assert "outside the folder" in refusal(with_external_data(inner, str(tmp_path / "secret.bin")))
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "outside the folder" in refusal(with_external_data(inner, "link.bin"))
    assert "does not hold" in refusal(with_external_data(inner, "weights.bin", 1 << 33))


def test_missing_and_truncated_external_data_is_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(95))
    assert "needs 96 bytes, which 'weights.bin' does not hold" in refusal(path)
    (tmp_path / "weights.bin").unlink()
    assert "lies in 'weights.bin', which is no file" in refusal(path)
    # A folder is none either, and a model in memory has no folder.
    (tmp_path / "weights.bin").mkdir()
    assert "lies in 'weights.bin', which is no file" in refusal(path)
    assert "a model in memory has no folder" in refusal(onnx.load(path, load_external_data=False))


def test_a_tensor_of_more_numbers_than_the_file_holds_is_refused() -> None:
    model = network([node("Conv", "x", "w")], constants={"w": numbers(3, 2, 2, 2)})
    model.graph.initializer[0].dims[0] = 1 << 40
    assert "does not have that many numbers" in refusal(model)


def test_a_branch_is_refused() -> None:
    inner = helper.make_graph([node("Relu", "x", to="z")], "inner", [], [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])  # fmt: skip
    nodes = [
        node("ReduceMax", "x", to="largest", keepdims=0),
        node("Greater", "largest", "zero", to="yes"),
        node("If", "yes", then_branch=inner, else_branch=inner),
    ]
    model = network(nodes, constants={"zero": np.float32(0)})
    assert "export a network without control flow" in refusal(model)


def test_the_page_lists_every_operation() -> None:
    page = (Path(fxp.__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    assert catalog.tables() in page, "run python -m fxp.frontend.onnx.catalog docs/onnx.md"
    assert re.search(r"\| `Resize` \|", page)


def test_operations_are_words(tmp_path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(
        network([node("Relu", "x", name="a")]).SerializeToString().replace(b"Relu", b"Re\nu")
    )
    with pytest.raises(FrontendError) as caught:
        load_onnx(path)
    assert str(caught.value) == (
        "damaged.onnx: it is damaged: its operation 'Re\\nu' (op_type) is no word; copy or export "
        "it again"
    )


def test_free_sizes_are_small_beside_large_ones() -> None:
    module = load_onnx(network([node("Relu", "x")], ("N", 2, "H", 65536)))
    assert module.runnable_shapes == [(1, 2, 8, 65536)]


def test_text_that_is_not_utf8_is_refused(tmp_path) -> None:
    model = network([node("Relu", "x")]).SerializeToString().replace(b"small", b"sm\xcfll")
    path = tmp_path / "damaged.onnx"
    path.write_bytes(model)
    with pytest.raises(
        FrontendError, match=r"^damaged.onnx: it is damaged: its text .* is not UTF-8"
    ):
        load_onnx(path)
