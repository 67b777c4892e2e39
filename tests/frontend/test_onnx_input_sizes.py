"""ONNX networks of several inputs whose free sizes fit each other in a proportion."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_files import node, numbers, outputs_of

import fxp
from fxp.frontend import FrontendError, from_onnx, load_onnx


def nearest(source: str, factor: float, to: str) -> onnx.NodeProto:
    settings = {"mode": "nearest", "nearest_mode": "floor",
                "coordinate_transformation_mode": "asymmetric"}  # fmt: skip
    return node("Resize", source, "", f"scales_{factor}", to=to, name=f"up_{source}", **settings)


def network(*factors: float, stride: int = 1, shape: tuple = ("N", 2, "h", "w")) -> onnx.ModelProto:
    """Return a network that adds the first input to enlarged further ones.

    Parameters
    ----------
    factors
        Of the further inputs, which are smaller by them.
    stride
        Of the convolution of the first input.
    shape
        Of the further inputs.
    """
    nodes = [node("Conv", "a", "kernel", to="y0", pads=[1, 1, 1, 1], strides=[stride, stride])]
    names = ["a"]
    for number, factor in enumerate(factors):
        name = "bcd"[number]
        names.append(name)
        nodes += [
            nearest(name, factor, f"{name}_large"),
            node("Add", f"y{number}", f"{name}_large", to=f"y{number + 1}", name=f"sum_{name}"),
        ]
    constants = {f"scales_{factor}": np.float32([1, 1, factor, factor]) for factor in factors}
    constants["kernel"] = numbers(2, 2, 3, 3)
    shapes = [("N", 2, "H", "W"), *[shape] * len(factors)]
    graph = helper.make_graph(
        nodes, "several",
        [helper.make_tensor_value_info(*given) for given in zip(
            names, [TensorProto.FLOAT] * len(names), shapes, strict=True)],
        [helper.make_tensor_value_info(f"y{len(factors)}", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.normal(size=(1, 2, *size)).astype(np.float32) for size in sizes]


def check(model: onnx.ModelProto, given: list[np.ndarray]) -> fxp.graph.Graph:
    """Compare the float graph with ONNX Runtime."""
    graph = from_onnx(model)
    images = [torch.from_numpy(image).double() for image in given]
    (found,) = fxp.executors.torch_forward.run(graph, images).outputs
    (wanted,) = outputs_of(model, *given)
    assert np.abs(found.numpy() - wanted).max() < 1e-5
    return graph


def text(graph: fxp.graph.Graph) -> list[str]:
    return [f"{value.shape[1]} {value.shape[2]}" for value in graph.inputs]


def test_an_input_of_half_the_size() -> None:
    graph = check(network(2), pictures((12, 20), (6, 10)))
    assert text(graph) == ["2*H 2*W", "H W"]
    larger_last = network(2)
    first, last = map(onnx.ValueInfoProto.SerializeToString, larger_last.graph.input)
    larger_last.graph.input[0].ParseFromString(last)
    larger_last.graph.input[1].ParseFromString(first)
    assert text(check(larger_last, pictures((6, 10), (12, 20)))) == ["H W", "2*H 2*W"]


def test_a_pyramid_of_three_inputs() -> None:
    graph = check(network(2, 4), pictures((16, 24), (8, 12), (4, 6)))
    assert text(graph) == ["4*H 4*W", "2*H 2*W", "H W"]


def test_an_input_that_fits_behind_a_stride() -> None:
    graph = check(network(1, stride=2), pictures((12, 20), (6, 10)))
    assert [value.name for value in graph.inputs] == ["a", "b"]


def test_sizes_are_quantized_as_the_calibration_data_has_them(tmp_path) -> None:
    path = tmp_path / "several.onnx"
    onnx.save(network(2), path)
    data = pictures((12, 20), (6, 10))
    model = fxp.quantize(path, [tuple(data)], effort="fast")
    found = model(*data)
    (wanted,) = outputs_of(onnx.load(path), *data)
    assert np.abs(found - wanted).max() < 2**-7 * np.abs(wanted).max()


def test_other_proportions_have_to_be_given() -> None:
    model = network(3)
    with pytest.raises(FrontendError) as caught:
        load_onnx(model)
    assert str(caught.value).startswith(
        "ONNX node 'sum_b' (Add, opset 17): torch cannot compute it"
    )
    assert str(caught.value).endswith(
        "; if its inputs fit each other at certain sizes alone, give these as `shapes` to "
        "fxp.frontend.load_onnx"
    )
    module = load_onnx(model, [(1, 2, 12, 24), (1, 2, 4, 8)])
    assert module.runnable_shapes == [(1, 2, 12, 24), (1, 2, 4, 8)]
    graph = from_onnx(model, [torch.zeros(1, 2, 12, 24), torch.zeros(1, 2, 4, 8)])
    assert text(graph) == ["3*H 3*W", "H W"]


def test_shapes_that_do_not_fit_the_file_are_refused() -> None:
    model = network(2)
    with pytest.raises(FrontendError, match="example input 0 is a list"):
        from_onnx(model, [[1.0], [2.0]])  # type: ignore[list-item]
    with pytest.raises(FrontendError, match="it has 2 inputs, and 1 shapes are given"):
        load_onnx(model, [(1, 2, 8, 8)])
    with pytest.raises(FrontendError, match=r"input 'b' has the shape \(1, 2, 0, 0\), with 0 for"):
        load_onnx(model, [(1, 2, 8, 8), (1, 3, 4, 4)])
    with pytest.raises(FrontendError, match=r"and \(1, 2, 4, 0\) is given"):
        load_onnx(model, [(1, 2, 8, 8), (1, 2, 4, 0)])
