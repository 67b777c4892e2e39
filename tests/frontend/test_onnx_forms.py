"""The forms in which ONNX files write an operation give graphs that equal ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from frontend_checks import run
from onnx import helper, numpy_helper
from onnx_files import network, node, numbers, outputs_of, session_of

from fxp.frontend import FrontendError, from_onnx
from fxp.graph import Graph

IMAGE = ("N", 2, 8, 8)
FREE = ("N", 2, "H", "W")


def graph_equals(model: onnx.ModelProto | Path, *sizes: tuple[int, ...]) -> Graph:
    """Compare the graph with ONNX Runtime for images of some sizes, and return it."""
    graph = from_onnx(model)
    proto = onnx.load(model) if isinstance(model, Path) else model
    generator = np.random.default_rng(7)
    images = [generator.normal(size=(1, *size)).astype(np.float32) for size in sizes]
    wanted = outputs_of(proto, *images)
    # Sequences are images of one row.
    rows = [image[:, :, None] if image.ndim == 3 else image for image in images]
    found = run(graph, [torch.from_numpy(image) for image in rows]).outputs
    for ours, theirs in zip(found, wanted, strict=True):
        shaped = ours.numpy().reshape(theirs.shape)
        np.testing.assert_allclose(shaped, theirs, rtol=1e-4, atol=1e-5)
    return graph


def resized(opset: int = 17, sizes: Any = None, scales: Any = None, **how: Any) -> onnx.ModelProto:
    """Return a network that resizes the rows and columns of 2 channels of 6 x 5 pixels."""
    inputs = ["x"] if opset < 11 else ["x", ""]
    if sizes is None:
        target, constant = [*inputs, "target"], np.float32([1, 1, *scales])
    else:
        target, constant = [*inputs, "", "target"], np.array([1, 2, *sizes])
    return network([node("Resize", *target, **how)], ("N", 2, 6, 5), {"target": constant},
                   opset=opset)  # fmt: skip


def shuffled(axes: tuple[int, ...], first: tuple[int, ...], last: tuple[int, ...], channels: int):
    """Return Reshape, Transpose and Reshape of images of 4 x 6 pixels."""
    nodes = [
        node("Reshape", "x", "first", to="apart"),
        node("Transpose", "apart", to="turned", perm=axes),
        node("Reshape", "turned", "last", name="the_last"),
    ]
    constants = {"first": np.array(first), "last": np.array(last)}
    return network(nodes, ("N", channels, 4, 6), constants)


def to_twice_the_size(opset: int) -> onnx.ModelProto:
    """Resize to sizes that the graph computes from those of the image, as PyTorch writes it."""
    axes = {"axes": [0]} if opset < 13 else {}
    given = [] if axes else ["zero"]
    nodes = [
        node("Conv", "x", "w", to="c", pads=[1, 1, 1, 1]),
        node("Shape", "x", to="sizes"),
        node("Gather", "sizes", "two", to="height", axis=0),
        node("Gather", "sizes", "three", to="width", axis=0, name="gather_width"),
        node("Mul", "height", "two", to="taller"),
        node("Mul", "two", "width", to="wider", name="multiply_width"),
        node("Unsqueeze", "taller", *given, to="high", **axes),
        node("Unsqueeze", "wider", *given, to="wide", name="unsqueeze_width", **axes),
        node("Shape", "c", to="sizes_of_c", name="shape_of_c"),
        node("Slice", "sizes_of_c", "zero", "end", to="kept"),
        node("Concat", "kept", "high", "wide", to="target", axis=0),
        node("Resize", "c", "none", "none", "target", coordinate_transformation_mode="asymmetric",
             nearest_mode="floor"),
    ]  # fmt: skip
    constants = {
        "w": numbers(3, 2, 3, 3), "two": np.array(2), "three": np.array(3), "zero": np.array([0]),
        "end": np.array([2]), "none": np.float32([]),
    }  # fmt: skip
    return network(nodes, FREE, constants, opset=opset)


def flattened_by_sizes() -> onnx.ModelProto:
    """Flatten by Shape, Gather, Mul, Concat and Reshape."""
    nodes = [
        node("Shape", "x", to="sizes"),
        node("Gather", "sizes", "places", to="picked", axis=0),
        node("ReduceProd", "picked", to="count", axes=[0], keepdims=1),
        node("Concat", "minus", "count", to="wanted", axis=0),
        node("Reshape", "x", "wanted", to="flat"),
        node("Gemm", "flat", "m"),
    ]
    constants = {
        "places": np.array([1, 2, 3]), "minus": np.array([-1]), "m": numbers(24, 3),
    }  # fmt: skip
    return network(nodes, ("N", 2, 3, 4), constants)


def parts(opset: int, *sizes: int) -> onnx.ModelProto:
    """Split five channels in two, by the attribute or by an input, and join them in turn."""
    given = {"split": list(sizes)} if opset < 13 and sizes else {}
    names = ["x", "sizes"] if opset >= 13 and sizes else ["x"]
    nodes = [
        helper.make_node("Split", names, ["a", "b"], "parts", axis=1, **given),
        node("Concat", "b", "a", axis=-3 if opset >= 11 else 1),
    ]
    channels = sum(sizes) or 4
    return network(
        nodes, ("N", channels, 3, 4), {"sizes": np.array(sizes)} if len(names) > 1 else None,
        opset=opset,
    )  # fmt: skip


W3 = {"w": numbers(3, 2, 3, 3)}
W2 = {"w": numbers(3, 2, 2, 2)}
CASES: dict[str, onnx.ModelProto] = {
    **{
        f"conv_{pad}_{stride}_{size}".lower(): network(
            [node("Conv", "x", "w", auto_pad=pad, strides=[stride, stride])],
            ("N", 2, size, size + 1), W3)
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID") for stride in (1, 2) for size in (7,)
    },
    "conv_same_even": network([node("Conv", "x", "w", auto_pad="SAME_UPPER")], IMAGE, W2),
    "conv_same_free": network([node("Conv", "x", "w", auto_pad="SAME_UPPER")], FREE, W3),
    "transposed_same_upper": network(
        [node("ConvTranspose", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])],
        IMAGE, {"w": numbers(2, 3, 3, 3)}),
    "transposed_same_lower": network(
        [node("ConvTranspose", "x", "w", auto_pad="SAME_LOWER", strides=[2, 2])],
        IMAGE, {"w": numbers(2, 3, 3, 3)}),
    "transposed_group": network(
        [node("ConvTranspose", "x", "w", "b", group=2, strides=[2, 1], output_padding=[1, 0])],
        IMAGE, {"w": numbers(2, 2, 3, 3), "b": numbers(4)}),
    "max_same_upper": network(
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")]),
    "max_same_lower": network(
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")]),
    "max_valid": network(
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID")]),
    "max_ceil": network(
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)]),
    "average_valid": network(
        [node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], auto_pad="VALID")]),
    "average_same": network(
        [node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")]),
    "sizes_11": to_twice_the_size(11),
    "sizes_17": to_twice_the_size(17),
    "flattened_by_sizes": flattened_by_sizes(),
    "split_2": parts(9, 2, 3),
    "split_equal_2": parts(9),
    "split_13": parts(17, 2, 3),
    "split_equal_13": parts(17),
    "split_18": network(
        [helper.make_node("Split", ["x"], ["a", "b"], "parts", axis=1, num_outputs=2),
         node("Add", "a", "b")], ("N", 4, 3, 3), opset=18),
    "slice_9": network([node("Slice", "x", starts=[1, -3], ends=[2, 2**31 - 1], axes=[1, 2])],
                       opset=9),
    "slice_9_all": network([node("Slice", "x", starts=[0, 0, 2], ends=[1, 2, 7])], opset=9),
    "slice_10": network([node("Slice", "x", "s", "e", "a", "t")], FREE, {
        "s": np.array([1, 0]), "e": np.array([-1, 2**63 - 1]), "a": np.array([-1, 2]),
        "t": np.array([1, 2])}, opset=10),
    "slice_channels": network([node("Slice", "x", "s", "e", "a")], FREE, {
        "s": np.array([1]), "e": np.array([100]), "a": np.array([1])}),
    "lrn": network([node("LRN", "x", size=3, alpha=0.3, beta=0.75, bias=1.5)], ("N", 5, 3, 4)),
    "lrn_default": network([node("LRN", "x", size=5)], ("N", 6, 3, 4)),
    "mean_attribute": network([node("ReduceMean", "x", axes=[2, 3])]),
    "mean_negative": network([node("ReduceMean", "x", axes=[-1, -2], keepdims=1)], FREE),
    "mean_channels": network([node("ReduceMean", "x", axes=[1])], FREE),
    "mean_18": network([node("ReduceMean", "x", "a", keepdims=0)], FREE,
                       {"a": np.array([2, 3])}, opset=18),
    "mean_of_rows": network([node("ReduceMean", "x", axes=[3])]),
    "max_reduced": network([node("ReduceMax", "x", axes=[2, 3])]),
    **{
        f"resize_{name}": resized(**how)
        for name, how in {
            "10": {"opset": 10, "scales": (2, 3), "mode": "nearest"},
            "asymmetric_floor": {"scales": (2, 2), "nearest_mode": "floor",
                                 "coordinate_transformation_mode": "asymmetric"},
            "asymmetric_sizes": {"sizes": (9, 4), "nearest_mode": "floor",
                                 "coordinate_transformation_mode": "asymmetric"},
            "centre_ceil": {"sizes": (9, 4), "nearest_mode": "round_prefer_ceil"},
            "corner_nearest": {"sizes": (12, 10), "nearest_mode": "round_prefer_floor",
                               "coordinate_transformation_mode": "align_corners"},
            "linear_down": {"scales": (0.5, 0.8), "mode": "linear"},
            "linear_sizes": {"sizes": (12, 15), "mode": "linear"},
            "linear_torch": {"sizes": (12, 10), "mode": "linear",
                             "coordinate_transformation_mode": "pytorch_half_pixel"},
            "linear_one": {"sizes": (1, 10), "mode": "linear",
                           "coordinate_transformation_mode": "pytorch_half_pixel"},
            "linear_corners": {"sizes": (11, 9), "mode": "linear",
                               "coordinate_transformation_mode": "align_corners"},
            "linear_asymmetric": {"scales": (2, 2), "mode": "linear",
                                  "coordinate_transformation_mode": "asymmetric"},
            "linear_10": {"opset": 10, "scales": (2, 2), "mode": "linear"},
            "cubic": {"scales": (2, 2), "mode": "cubic"},
            "cubic_corners": {"sizes": (11, 9), "mode": "cubic",
                              "coordinate_transformation_mode": "align_corners"},
        }.items()
    },
    "upsample_linear": network(
        [node("Upsample", "x", "s", mode="linear")], FREE, {"s": np.float32([1, 1, 3, 2])},
        opset=9),
    "upsample_bilinear_7": network(
        [node("Upsample", "x", scales=[1.0, 1.0, 4.0, 1.0], mode="linear")], FREE, opset=7),
    "resize_axes": network(
        [node("Resize", "x", "", "s", axes=[2, 3])], FREE, {"s": np.float32([2, 2])}, opset=18),
    "clip_6": network([node("Clip", "x", min=0.0, max=0.5)], FREE, opset=7),
    "clip_6_low": network([node("Clip", "x", min=0.25)], FREE, opset=9),
    "clip_11": network([node("Clip", "x", "low", "high")], FREE,
                       {"low": np.float32(-0.5), "high": np.float32([0.5])[0]}, opset=11),
    "clip_13_constants": network(
        [node("Constant", to="high", value_float=0.5), node("Clip", "x", "", "high")], FREE),
    "pad_2": network([node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)], FREE, opset=9),
    "pad_2_reflect": network([node("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="reflect")],
                             FREE, opset=9),
    "pad_11": network([node("Pad", "x", "p", "v")], FREE, {
        "p": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "v": np.float32(-0.25)}, opset=11),
    "pad_11_channels": network([node("Pad", "x", "p")], FREE, {
        "p": np.array([0, 1, 0, 0, 0, 2, 0, 0])}, opset=13),
    "pad_11_cropped": network([node("Pad", "x", "p")], FREE, {
        "p": np.array([0, 0, -1, 0, 0, 0, 0, -2])}, opset=13),
    "pad_18": network([node("Pad", "x", "p", "", "a", mode="edge")], FREE, {
        "p": np.array([1, 0, 2, 1]), "a": np.array([-1, -2])}, opset=18),
    "gemm": network([node("Gemm", "x", "m", "v", alpha=0.5, beta=2.0)], ("N", 6),
                    {"m": numbers(6, 4), "v": numbers(4)}),
    "gemm_transposed": network([node("Gemm", "x", "m", "v", transB=1, alpha=-1.5)], ("N", 6),
                               {"m": numbers(4, 6), "v": numbers(1, 4)}),
    "gemm_one": network([node("Gemm", "x", "m", "v", beta=0.5)], ("N", 6),
                        {"m": numbers(6, 4), "v": np.float32([0.7])}),
    "matmul": network([node("MatMul", "x", "m", to="z"), node("Add", "z", "v")], ("N", 6),
                      {"m": numbers(6, 4), "v": numbers(4)}),
    "matmul_of_columns": network([node("MatMul", "x", "m")], ("N", 2, 3, 6),
                                 {"m": numbers(6, 4)}),
    "matmul_of_rows": network([node("MatMul", "m", "x")], ("N", 2, 3, 6), {"m": numbers(4, 3)}),
    "matmul_of_channels": network(
        [node("Transpose", "x", to="t", perm=[0, 2, 3, 1]), node("MatMul", "t", "m", to="z"),
         node("Add", "z", "v", to="s"), node("Transpose", "s", perm=[0, 3, 1, 2], name="back")],
        FREE, {"m": numbers(2, 4), "v": numbers(4)}),
    "matmul_of_four_axes": network([node("MatMul", "x", "m")], ("N", 2, 3, 6),
                                   {"m": numbers(1, 1, 6, 4)}),
    "large_constants": network(
        [node("Reshape", "c", "s", to="r"), node("Mul", "r", "half", to="m"),
         node("Transpose", "m", to="t", perm=[1, 0]), node("MatMul", "x", "t")],
        ("N", 257), {"c": numbers(256 * 257), "s": np.array([256, 257]), "half": np.float32(0.5)}),
    "matmul_of_rows_of_images": network([node("MatMul", "m", "x")], ("N", 2, 3, 6),
                                        {"m": numbers(4, 3)}),
    "batch_norm_9": network(
        [node("Conv", "x", "w", to="c"), node("BatchNormalization", "c", "s", "t", "m", "v")],
        FREE, {**W3, "s": numbers(3), "t": numbers(3), "m": numbers(3), "v": np.abs(numbers(3))},
        opset=9),
    "dropout_7": network([node("Dropout", "x", to="d", ratio=0.5), node("Relu", "d")], FREE,
                         opset=7),
    "dropout_13": network([node("Dropout", "x", "r", "t", to="d"), node("Relu", "d")], FREE,
                          {"r": np.float32(0.5), "t": np.array(False)}, opset=13),
    "weights_of_nodes": network(
        [node("Constant", to="k", value=numpy_helper.from_array(numbers(3, 2, 1, 1))),
         node("Identity", "k", to="w"), node("Conv", "x", "w")], FREE),
    "several": network([node("Sum", "x", "c", "x", to="s"), node("Max", "s", "x")], FREE,
                       {"c": numbers(2, 1, 1)}),
    "mean_of_several": network([node("Mean", "x", "c")], FREE, {"c": numbers(1, 2, 1, 1)}),
    "reciprocal": network([node("Abs", "x", to="a"), node("Add", "a", "c", to="b"),
                           node("Div", "c", "b")], FREE, {"c": np.float32(0.5)}),
    "power": network([node("Pow", "x", "c")], FREE, {"c": np.float32(2)}),
    "hard_swish": network([node("HardSwish", "x")], FREE),
    "gelu_20": network([node("Gelu", "x")], FREE, opset=20),
    "softplus": network([node("Softplus", "x")], FREE),
    "elu": network([node("Elu", "x", alpha=0.5)], FREE),
    "softmax_channels": network([node("Softmax", "x", axis=1)], FREE),
    "softmax_vector_7": network([node("Softmax", "x")], ("N", 6), opset=7),
    "flatten_and_reshape": network(
        [node("GlobalAveragePool", "x", to="g"), node("Reshape", "g", "s", to="f"),
         node("Gemm", "f", "m", transB=1)], FREE, {"s": np.array([0, -1]), "m": numbers(3, 2)}),
    "squeezed_7": network(
        [node("GlobalMaxPool", "x", to="g"), node("Squeeze", "g", to="f", axes=[2, 3]),
         node("MatMul", "f", "m")], FREE, {"m": numbers(2, 3)}, opset=9),
    "sequence": network(
        [node("Conv", "x", "w", "b", to="c", pads=[2, 0], kernel_shape=[3]), node("Relu", "c")],
        ("N", 2, 12), {"w": numbers(3, 2, 3), "b": numbers(3)}),
    "prelu_channels": network([node("PRelu", "x", "s")], FREE, {"s": numbers(2, 1, 1)}),
    "prelu_one": network([node("PRelu", "x", "s")], FREE, {"s": np.float32([0.2])}),
    "prelu_batch": network([node("PRelu", "x", "s")], FREE, {"s": numbers(1, 2, 1, 1)}),
    "prelu_vector": network([node("PRelu", "x", "s")], ("N", 6), {"s": numbers(6)}),
    "shuffle_crd": shuffled((0, 1, 4, 2, 5, 3), (-1, 2, 2, 2, 4, 6), (-1, 2, 8, 12), 8),
    "shuffle_dcr": shuffled((0, 3, 4, 1, 5, 2), (-1, 2, 2, 2, 4, 6), (-1, 2, 8, 12), 8),
    "unshuffle_crd": shuffled((0, 1, 3, 5, 2, 4), (-1, 2, 2, 2, 3, 2), (-1, 8, 2, 3), 2),
    "unshuffle_dcr": shuffled((0, 3, 5, 1, 2, 4), (-1, 2, 2, 2, 3, 2), (-1, 8, 2, 3), 2),
    "shuffle_of_groups": shuffled((0, 2, 1, 3, 4), (-1, 2, 3, 4, 6), (-1, 6, 4, 6), 6),
}  # fmt: skip


SIZES = {"N": 1, "H": 6, "W": 9}


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize("name", CASES)
def test_a_form_computes_what_onnx_runtime_computes(name: str) -> None:
    model = CASES[name]
    declared = model.graph.input[0].type.tensor_type.shape.dim
    graph_equals(model, tuple(size.dim_value or SIZES[size.dim_param] for size in declared)[1:])


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("shuffle_crd", ["pixel_shuffle"]),
        ("unshuffle_crd", ["pixel_unshuffle"]),
        ("shuffle_of_groups", ["gather_channels"]),
        ("sizes_11", ["conv2d", "nearest"]),
    ],
)
def test_a_spelling_becomes_the_operation_it_means(name: str, ops: list[str]) -> None:
    assert [node.op.name for node in from_onnx(CASES[name]).nodes] == ops


def pair_of_inputs() -> onnx.ModelProto:
    """Images of different sizes and channels, a vector, and two outputs."""
    inputs = {"big": ("N", 1, 12, 8), "small": ("N", 2, 6, 4), "gains": ("N", 2)}
    nodes = [
        node("Conv", "big", "w", to="half", strides=[2, 2], name="shrink"),
        node("Unsqueeze", "gains", "axes", to="each"),
        node("Mul", "small", "each", to="scaled"),
        node("Add", "half", "scaled", to="sum"),
        node("GlobalAveragePool", "sum", to="means"),
        node("Flatten", "means", to="vector"),
    ]
    model = network(nodes, constants={"w": numbers(2, 1, 2, 2), "axes": np.array([2, 3])})
    del model.graph.input[:], model.graph.output[:]
    kind = onnx.TensorProto.FLOAT
    for name, shape in inputs.items():
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    for name in ("vector", "sum"):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    # As old files do, the weights are inputs as well.
    model.graph.input.append(helper.make_tensor_value_info("w", kind, [2, 1, 2, 2]))
    return model


def test_several_inputs_and_outputs_of_several_shapes() -> None:
    model = pair_of_inputs()
    graph = from_onnx(model)
    assert [value.name for value in graph.inputs] == ["big", "small", "gains"]
    assert graph.outputs == ("vector", "sum")
    generator = np.random.default_rng(7)
    shapes = (1, 1, 12, 8), (1, 2, 6, 4), (1, 2)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    feed = dict(zip(("big", "small", "gains"), arrays, strict=True))
    session = session_of(model)
    found = run(graph, [torch.from_numpy(array) for array in arrays]).outputs
    for ours, theirs in zip(found, session.run(None, feed), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5)


def test_weights_in_another_file_at_an_offset(tmp_path: Path) -> None:
    model = network(
        [node("Conv", "x", "w", "b")], FREE, {"w": numbers(3, 2, 3, 3), "b": numbers(3)}
    )
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size >= 57 * 4
    graph_equals(path, (2, 6, 9))


def test_images_with_channels_last_through_arithmetic_and_joins() -> None:
    model = network(
        [
            node("Transpose", "x", to="t", perm=[0, 3, 1, 2]),
            node("Conv", "t", "w", to="c"),
            node("Transpose", "c", to="back", perm=[0, 2, 3, 1], name="back"),
            node("Add", "back", "v", to="moved"),
            node("Concat", "moved", "back", to="both", axis=3),
            node("Transpose", "both", to="again", perm=[0, 3, 1, 2], name="again"),
            node("MaxPool", "again", to="p", kernel_shape=[2, 2]),
            node("Transpose", "p", perm=[0, 2, 3, 1], name="last"),
        ],
        ("N", 6, 5, 2), {"w": numbers(3, 2, 1, 1), "v": numbers(3)},
    )  # fmt: skip
    graph = from_onnx(model)
    assert str(graph.inputs[0]) == "x: (2, 6, 5)"
    image = np.random.default_rng(7).normal(size=(1, 6, 5, 2)).astype(np.float32)
    (wanted,) = outputs_of(model, image)
    (found,) = run(graph, [torch.from_numpy(image.transpose(0, 3, 1, 2))]).outputs
    np.testing.assert_allclose(found.numpy(), wanted.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


REFUSED = {
    "lrn": (network([node("LRN", "x", size=4)]), "use an odd number"),
    "linear": (resized(scales=(1.5, 2), mode="linear",
                       coordinate_transformation_mode="asymmetric"), "use whole scales"),
    "crop": (network([node("Resize", "x", "r", "s", mode="linear",
                           coordinate_transformation_mode="tf_crop_and_resize")], constants={
                 "r": np.float32([0, 0, 0, 0, 1, 1, 1, 1]), "s": np.float32([1, 1, 2, 2])}),
             "use half_pixel or align_corners"),
    "antialias": (network([node("Resize", "x", "", "s", mode="linear", antialias=1)], opset=18,
                          constants={"s": np.float32([1, 1, 0.5, 0.5])}), "set both options to 0"),
    "wrap": (network([node("Pad", "x", "p", mode="wrap")], opset=19, constants={
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}), "use one of"),
    "positions": (network([helper.make_node("MaxPool", ["x"], ["y", "z"], "the_MaxPool",
                                            kernel_shape=[2, 2])]), "pool without positions"),
    "exponents": (network([node("Pow", "c", "x")], constants={"c": np.float32(2)}),
                  "make it a constant"),
    "gemm": (network([node("Gemm", "m", "x", transB=1)], (1, 6), {"m": numbers(4, 6)}),
             "only weights that are parameters"),
    "left_out": (network([helper.make_node("Split", ["x"], ["", "y"], "the_Split", axis=1)]),
                 "give it a name"),
    "mask": (network([node("Where", "m", "x", "x")], constants={"m": np.array([[[[True]]]])}),
             "choose by x >= 0"),
    "loop": (network([node("NonZero", "x")]), "leave it outside"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_with_node_and_advice(name: str) -> None:
    model, advice = REFUSED[name]
    refused = model.graph.node[0]
    with pytest.raises(FrontendError) as caught:
        from_onnx(model)
    text = str(caught.value)
    opset = model.opset_import[0].version
    assert text.startswith(f"ONNX node {refused.name!r} ({refused.op_type}, opset {opset}): ")
    assert advice in text
    assert "\n" not in text
