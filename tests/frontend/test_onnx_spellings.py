"""What exporters write in ways of their own: several nodes for one, branches, odd types."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_files import network, node, numbers
from torch import nn

from fxp.frontend import FrontendError, from_onnx, load_onnx

KERNEL = numbers(3, 2, 3, 3)


def exported(module: nn.Module, *shape: int, opset: int) -> onnx.ModelProto:
    """Return a module as the older exporter of torch writes it."""
    file = BytesIO()
    example = torch.zeros(1, *shape)
    torch.onnx.export(module.eval(), (example,), file, dynamo=False, opset_version=opset)  # type: ignore[arg-type]
    return onnx.load_from_string(file.getvalue())


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op.name for node in from_onnx(model).nodes]


@pytest.mark.parametrize(
    ("module", "shape", "spelled", "wanted"),
    [
        (nn.GELU(), (2, 8, 8), "Erf", "gelu"),
        (nn.GroupNorm(2, 4), (4, 8, 8), "InstanceNormalization", "group_norm"),
        (nn.ReflectionPad2d(1), (2, 8, 8), "Pad", "pad"),
        (nn.MaxPool1d(2, 2, 1), (2, 8), "MaxPool", "max_pool"),
        (nn.AvgPool1d(2), (2, 8), "AveragePool", "average_pool"),
    ],
)
def test_layers_as_torch_exports_them(
    module: nn.Module, shape: tuple[int, ...], spelled: str, wanted: str
) -> None:
    model = exported(module, *shape, opset=13)
    assert spelled in [each.op_type for each in model.graph.node]
    found = operations(model)
    assert found.count(wanted) == 1
    assert not {"multiply", "table", "erf"}.intersection(found) or wanted == "group_norm"


def test_unflattened_vectors() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 12), nn.Unflatten(1, (3, 2, 2)))
    model = exported(module, 2, 2, 2, opset=13)
    assert "Mod" in [each.op_type for each in model.graph.node]
    assert from_onnx(model).values[from_onnx(model).outputs[0]].shape == (3, 2, 2)


def gelu(*last: onnx.NodeProto, half: str = "half") -> onnx.ModelProto:
    """Return a network of the error function, and further nodes."""
    nodes = [
        node("Mul", "root", "x", to="scaled", name="a"),
        node("Erf", "scaled", to="e", name="b"),
        node("Add", "one", "e", to="f", name="c"),
        *last,
    ]
    given = {"root": np.float32(0.5**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    given["two"] = np.float32(2)
    return network(nodes, constants=given)


def test_gelu_with_its_factors_in_any_order() -> None:
    first = gelu(
        node("Mul", "x", "half", to="h", name="d"), node("Mul", "h", "f", name="e"),
    )  # fmt: skip
    second = gelu(
        node("Div", "f", "two", to="h", name="d"), node("Mul", "h", "x", name="e"),
    )  # fmt: skip
    for model in (first, second):
        assert operations(model) == ["gelu"]
    other = gelu(node("Mul", "f", "x", name="d"))
    assert operations(other).count("erf") == 1


def branches(condition: str) -> onnx.ModelProto:
    """Return a network with a branch by a condition; the second branch has one of its own."""
    inner = [
        helper.make_graph(
            [helper.make_node(op, ["c"], [op], op)], op, [],
            [helper.make_tensor_value_info(op, TensorProto.FLOAT, None)],
        )
        for op in ("Neg", "Sigmoid")
    ]  # fmt: skip
    nested = helper.make_node("If", ["on"], ["n"], "inner", then_branch=inner[1],
                              else_branch=inner[0])  # fmt: skip
    outer = helper.make_graph(
        [nested], "outer", [], [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)]
    )
    nodes = [
        node("Conv", "x", "w", to="c"),
        node("ReduceMax", "x", to="largest", keepdims=0),
        node("Greater", "largest", "zero", to="computed"),
        helper.make_node("If", [condition], ["y"], "choice", then_branch=inner[0],
                         else_branch=outer),
    ]  # fmt: skip
    given = {"w": KERNEL, "on": np.array(True), "off": np.array(False), "zero": np.float32(0)}
    return network(nodes, constants=given)


def test_constant_branches_are_chosen() -> None:
    assert operations(branches("off"))[-1] == "sigmoid"
    assert operations(branches("on"))[-1] != "sigmoid"
    with pytest.raises(FrontendError, match=r"ONNX node 'choice' \(If, opset 17\) holds a graph"):
        from_onnx(branches("computed"))


def test_networks_of_float64() -> None:
    matrix = numbers(6, 3).astype(np.float64)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "m"], ["y"], "product")], "double",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        [onnx.numpy_helper.from_array(matrix, "m")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    (constant,) = from_onnx(helper.make_model(graph, opset_imports=opsets, ir_version=8)).constants
    assert (constant.data == matrix.T.astype(np.float32)).all()


def test_root_mean_square_normalization() -> None:
    nodes = [node("Flatten", "x", to="f"), node("RMSNormalization", "f", "s")]
    found = from_onnx(network(nodes, ("N", 2, 4, 4), {"s": numbers(32)}, opset=23))
    assert found.values[found.outputs[0]].shape == (32,)


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        (
            [node("Dropout", "x", "ratio", "on", name="drop")],
            r"'drop' \(Dropout, opset 17\): it drops values at random; export .* for inference",
        ),
        ([node("Sqrt", "x", name="root")], "'y' is not finite in ONNX Runtime for normally"),
        (
            [helper.make_node("FusedConv", ["x", "w"], ["y"], "fused", domain="com.microsoft")],
            r"'fused' \(com.microsoft.FusedConv, opset 17\): .*; if ONNX Runtime has optimized",
        ),
    ],
)
def test_refusals_say_what_to_do(nodes: list[onnx.NodeProto], told: str) -> None:
    given = {"ratio": np.float32(0.5), "on": np.array(True), "w": KERNEL}
    used = {name for each in nodes for name in each.input}
    model = network(nodes, constants={name: given[name] for name in given if name in used})
    with pytest.raises(FrontendError, match=told):
        load_onnx(model)


@pytest.mark.parametrize(
    ("centres", "rule", "scale"),
    [
        ("asymmetric", "round_prefer_floor", 0.5),
        ("asymmetric", "floor", 0.25),
        ("half_pixel", "round_prefer_floor", 0.5),
        ("asymmetric", "round_prefer_floor", 2.0),
        ("pytorch_half_pixel", "round_prefer_ceil", 3.0),
        ("asymmetric", "ceil", 3.0),
        ("asymmetric", "round_prefer_floor", 4.0),
        ("half_pixel", "floor", 4.0),
        ("pytorch_half_pixel", "ceil", 3.0),
        ("half_pixel", "ceil", 0.5),
        ("half_pixel", "floor", 0.25),
    ],
)
def test_nearest_pixels_by_whole_ratios_keep_the_sizes_free(
    centres: str, rule: str, scale: float
) -> None:
    resize = node("Resize", "x", "", "s", mode="nearest", nearest_mode=rule,
                  coordinate_transformation_mode=centres)  # fmt: skip
    scales = {"s": np.float32([1, 1, scale, scale])}
    (free,) = from_onnx(network([resize], ("N", 2, "H", "W"), scales)).inputs
    assert [str(size) for size in free.shape] == ["2", "H", "W"]
    # Odd sizes, which leave a rest.
    load_onnx(network([resize], ("N", 2, 13, 11), scales))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("by_sizes", [False, True])
def test_huge_scales_are_refused_before_they_take_memory(mode: str, by_sizes: bool) -> None:
    given = np.array([1, 2, 8 << 40, 8 << 40]) if by_sizes else np.float32([1, 1, 2**40, 2**40])
    places = ["x", "", "", "s"] if by_sizes else ["x", "", "s"]
    resize = node("Resize", *places, mode=mode, coordinate_transformation_mode="asymmetric")
    with pytest.raises(FrontendError, match=r"^ONNX node 'the_Resize' \(Resize, opset 17\): "):
        load_onnx(network([resize], ("N", 2, 8, 8), {"s": given}))


@pytest.mark.parametrize("name", ["in", "class", "None", "forward", "7", "a/b:0"])
def test_nodes_may_have_any_name(name: str) -> None:
    graph = from_onnx(network([node("Relu", "x", to="r", name=name), node("Neg", "r")]))
    assert graph.nodes[0].op.name == "relu"


def test_pixels_that_no_rule_chooses_are_refused_with_their_number() -> None:
    resize = node("Resize", "x", "", "s", mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="align_corners")  # fmt: skip
    model = network([resize], ("N", 2, "H", "W"), {"s": np.float32([1, 1, 3, 3])})
    with pytest.raises(FrontendError, match="it puts more than 65536 values in an order of their"):
        from_onnx(model)


@pytest.mark.parametrize("rule", ["floor", "ceil"])
def test_thirds_are_rounded_as_onnx_runtime_does(rule: str) -> None:
    resize = node("Resize", "x", "", "s", mode="nearest", nearest_mode=rule,
                  coordinate_transformation_mode="asymmetric")  # fmt: skip
    load_onnx(network([resize], ("N", 2, 13, 12), {"s": np.float32([1, 1, 1 / 3, 1 / 3])}))
