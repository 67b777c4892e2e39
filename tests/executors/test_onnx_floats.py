"""The quick ONNX form, in float32 and float64, equals the oracle."""

from __future__ import annotations

from itertools import islice

import numpy as np
import onnx
import onnxruntime
import pytest
from cases import CASES, Case, Example, any_example, enumerated
from equality import check_onnx, onnx_refuses, run_oracle, session_of
from hypothesis import given, settings

from fxp import Constant, Format, Graph, GraphError, Node, Quantization, Rounding, Value
from fxp.executors import oracle
from fxp.export.onnx import Form, to_onnx
from fxp.formats import Overflow
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, GlobalMaxPool, Prelu, Relu


def check(example: Example) -> onnx.ModelProto | None:
    """Compare one example; None where neither form can be written."""
    graph = example.graph
    try:
        model = to_onnx(graph, form="auto")
    except GraphError:
        assert any(onnx_refuses(node) for node in graph.nodes)
        return None
    expected = run_oracle(graph, example.inputs)
    check_onnx(graph, expected, example.inputs, session=session_of(model.SerializeToString()))
    return model


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    written = [check(example) for example in islice(enumerated(case), 2)]
    assert any(model is not None for model in written)


@settings(max_examples=40, deadline=None)
@given(example=any_example())
def test_any_example(example: Example) -> None:
    check(example)


def layer(
    bits: int, weight_bits: int, rounding: Rounding, overflow: Overflow, drop: int, wide: bool
) -> Graph:
    """Return a convolution of extreme weights, and a ReLU behind it if its sums stay exact."""
    source, kernel = Format(bits, 3), Format(weight_bits, 4)
    generator = np.random.default_rng(bits + weight_bits)
    weights = generator.choice([kernel.min_raw, kernel.max_raw, -1], (4, 8, 3, 3))
    biases = generator.integers(-(1 << bits), 1 << bits, 4)
    result = Quantization(Format(bits, 7 - drop), rounding, overflow)
    x = Value("x", (8, Extent("H"), Extent("W")), source)
    constants = (
        Constant("w", weights, (kernel,)),
        Constant("b", biases, (Format(40, 7),)),
    )
    conv = Conv2d(padding=(1, 1, 1, 1))
    if not wide:
        nodes = (Node("y", conv, ("x", "w", "b"), result),)
        return Graph("layer", (x,), nodes, ("y",), constants)
    trial = Node("c", conv, ("x", "w", "b"), Quantization(Format(60, 7)))
    exact = Graph("layer", (x,), (trial,), ("c",), constants).nodes[0].accumulator
    assert exact is not None
    first = Node("c", conv, ("x", "w", "b"), Quantization(exact.exact_format))
    nodes = (first, Node("y", Relu(), ("c",), result))
    return Graph("layer", (x,), nodes, ("y",), constants)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize(
    ("bits", "weight_bits"), [(5, 4), (8, 8), (12, 8), (14, 8), (16, 8), (16, 16)]
)
def test_layers_at_their_extremes(
    bits: int, weight_bits: int, rounding: Rounding, wide: bool
) -> None:
    for drop in (2, 9, 13):
        for overflow in (Overflow.SATURATE, Overflow.WRAP)[: 1 + (drop == 9)]:
            graph = layer(bits, weight_bits, rounding, overflow, drop, wide)
            source = graph.inputs[0].format
            assert source is not None
            generator = np.random.default_rng(drop)
            raw = generator.integers(source.min_raw, source.max_raw + 1, (8, 9, 9))
            raw[:, :4] = np.where(raw[:, :4] > 0, source.max_raw, source.min_raw)
            (wanted,) = oracle.run(graph, [raw]).outputs
            session = session_of(to_onnx(graph, form="auto").SerializeToString())
            (found,) = session.run(None, {"x": raw[None]})
            assert (found[0] == wanted).all()


def test_one_convolution_is_written_where_it_is_exact_and_two_where_it_is_not() -> None:
    def convolutions(bits: int, weight_bits: int, rounding: Rounding) -> list[str]:
        graph = layer(bits, weight_bits, rounding, Overflow.SATURATE, 6, True)
        kinds = [node.op_type for node in to_onnx(graph, form="auto").graph.node]
        return [kind for kind in kinds if kind in ("Conv", "MatMul")]

    # 72 products: 2**6.2 * 2**7 * 2**7 lies below 2**24, and 2**6.2 * 2**13 * 2**7 above it.
    assert convolutions(8, 8, Rounding.HALF_UP) == ["Conv"]
    assert convolutions(14, 8, Rounding.HALF_UP) == ["Conv", "Conv"]
    # Other roundings join the parts in float64; 16-bit weights leave no exact part.
    assert convolutions(14, 8, Rounding.HALF_EVEN) == ["Conv", "Conv"]
    assert set(convolutions(16, 16, Rounding.HALF_UP)) == {"MatMul"}


def test_names_shapes_and_formats_are_in_the_file() -> None:
    graph = layer(8, 8, Rounding.HALF_UP, Overflow.SATURATE, 4, False)
    more = (*graph.nodes, Node("z", Add(), ("y", "y"), Quantization(Format(10, 4))))
    graph = Graph("two", graph.inputs, more, ("z",), graph.constants)
    for form in ("integer", "auto"):
        model = to_onnx(graph, form=form, opset=21)  # type: ignore[arg-type]
        assert model.opset_import[0].version == 21
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert told["format:y"] == "ap_fixed<8,5>"
        assert {node.name.partition("/")[0] for node in model.graph.node} == {"y", "z"}
        (value,) = model.graph.value_info
        assert [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim] == [
            "N", 4, "H", "W",
        ]  # fmt: skip
        onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("opset", range(13, 24))
def test_operator_sets(opset: int) -> None:
    graph = layer(8, 8, Rounding.HALF_UP, Overflow.SATURATE, 4, True)
    raw = np.random.default_rng(0).integers(-128, 128, (8, 7, 7))
    (wanted,) = oracle.run(graph, [raw]).outputs
    for form in ("integer", "auto"):
        model = to_onnx(graph, form=form, opset=opset)  # type: ignore[arg-type]
        (found,) = session_of(model.SerializeToString()).run(None, {"x": raw[None]})
        assert (found[0] == wanted).all()


def largest_values(width: int) -> Graph:
    """Return a maximum over the rows and columns, and a PReLU of an image of many bits."""
    source = Format(width, 0)
    x = Value("x", (2, 4, 4), source)
    slopes = Constant("s", np.array([3, 1]), (Format(4, 2),))
    nodes = (
        Node("top", GlobalMaxPool(), ("x",), Quantization(source)),
        Node("y", Prelu(), ("x", "s"), Quantization(source)),
    )
    return Graph("largest", (x,), nodes, ("top", "y"), (slopes,))


@pytest.mark.parametrize("opset", [13, 15, 16, 17])
@pytest.mark.parametrize("form", ["integer", "auto"])
def test_old_operator_sets_have_other_spellings(form: Form, opset: int) -> None:
    graph = largest_values(30)
    raw = np.random.default_rng(0).integers(-(1 << 29), 1 << 29, (2, 4, 4))
    model = to_onnx(graph, form=form, opset=opset)
    assert model.ir_version == {13: 7, 15: 8, 16: 8, 17: 8}[opset]
    wanted = oracle.run(graph, [raw]).outputs
    found = session_of(model.SerializeToString()).run(None, {"x": raw[None]})
    for theirs, ours in zip(found, wanted, strict=True):
        assert (theirs[0] == ours).all()
    assert (wanted[0].ravel() == raw.max((1, 2))).all()


def test_other_forms_and_versions_are_refused() -> None:
    graph = layer(8, 8, Rounding.HALF_UP, Overflow.SATURATE, 4, False)
    with pytest.raises(ValueError, match="form must be one of integer, auto, got 'double'"):
        to_onnx(graph, form="double")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="opset must be 13 to 23, got 11"):
        to_onnx(graph, opset=11)
