"""Operations of ONNX Runtime on quantized integers, with zero points, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantized_files import QONNX, File, by_onnxruntime, by_qonnx

from fxp import FixedModel, Format, PrecisionWarning, from_quantized_onnx
from fxp.executors import oracle
from fxp.frontend import FrontendError, load_onnx

MICROSOFT = "com.microsoft"
CENTER = np.uint8(128)
FLOAT, UINT8, INT32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32
SIGNED, UNSIGNED = Format(8, 0), Format(8, 0, signed=False)


def step(exponent: int) -> np.float32:
    return np.float32(2.0**exponent)


def codes(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)


def biases(count: int) -> np.ndarray:
    return np.random.default_rng(6).integers(-999, 1000, count).astype(np.int32)


def model_of(file: File, output: str, kind: int) -> onnx.ModelProto:
    model = file.model(output, kind=kind)
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


def check(
    write: Callable[[File, np.uint8], str], zero: np.uint8, result: int = UINT8, at: int = 0
) -> FixedModel:
    """Compare a network on unsigned integers with ONNX Runtime.

    Parameters
    ----------
    write
        Adds nodes that read the integers ``x``; returns the name of the result.
    zero
        Zero point of ``x``.
    result, at
        Type of the result, and its zero point.
    """
    file = File(1, 2, 4, 4, kind=UINT8)
    model = model_of(file, write(file, zero), result)
    made = from_quantized_onnx(model)
    given = made.graph.inputs[0].format
    assert given is not None
    raw = codes(2, 4, 4)
    theirs = by_onnxruntime(model, raw[None])[0].astype(np.float64)
    assert len(np.unique(theirs)) > 1
    taken = raw.astype(np.int64) - (int(zero) if given.signed else 0)
    (found,) = oracle.run(made.graph, [taken]).outputs
    form = made.graph.values[made.graph.outputs[0]].format
    assert form is not None
    frac = form.frac if result == FLOAT else 0
    assert (np.ldexp(theirs - at, frac) == found).all()
    return made


def matmul(file: File, zero: np.uint8) -> str:
    x = file.add("Flatten", "x")
    return file.add("QLinearMatMul", x, step(-6), zero, codes(32, 5), step(-7), CENTER, step(-2),
                    zero)  # fmt: skip


def gemm(file: File, zero: np.uint8) -> str:
    scales = np.float32(2.0 ** -np.arange(4, 9))
    return file.add(
        "QGemm", file.add("Flatten", "x"), step(-6), zero, codes(5, 32), scales,
        np.full(5, CENTER), biases(5), step(-2), zero, domain=MICROSOFT, transB=1,
    )  # fmt: skip


def gemm_with_factor(file: File, zero: np.uint8) -> str:
    return file.add(
        "QGemm", file.add("Flatten", "x"), step(-6), zero, codes(32, 5), step(-7), CENTER,
        biases(5), step(-2), zero, domain=MICROSOFT, alpha=0.5,
    )  # fmt: skip


def unary(op: str, **given: Any) -> Callable[[File, np.uint8], str]:
    def write(file: File, zero: np.uint8) -> str:
        return file.add(op, "x", step(-5), zero, step(-4), zero, domain=MICROSOFT, **given)

    return write


def binary(op: str) -> Callable[[File, np.uint8], str]:
    def write(file: File, zero: np.uint8) -> str:
        other = (np.uint8([200]), step(-5), np.uint8(3))
        return file.add(op, "x", step(-5), zero, *other, step(-4), zero, domain=MICROSOFT)

    return write


def concat(file: File, zero: np.uint8) -> str:
    largest = file.add("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    given = (step(-5), zero, "x", step(-5), zero, largest, step(-4), zero)
    return file.add("QLinearConcat", *given, domain=MICROSOFT, axis=1)


def conv(file: File, zero: np.uint8) -> str:
    return file.add(
        "QLinearConv", "x", step(-6), zero, codes(3, 2, 3, 3), step(-7), CENTER, step(-2), zero,
        biases(3), pads=[1, 1, 1, 1],
    )  # fmt: skip


@pytest.mark.parametrize("zero", [np.uint8(0), CENTER, np.uint8(7)])
@pytest.mark.parametrize(
    "write",
    [
        conv,
        matmul,
        gemm,
        gemm_with_factor,
        binary("QLinearAdd"),
        binary("QLinearMul"),
        concat,
        unary("QLinearAveragePool", kernel_shape=[2, 2], strides=[2, 2]),
        unary("QLinearGlobalAveragePool"),
        unary("QLinearLeakyRelu", alpha=0.25),
    ],
)
def test_integers_are_those_of_onnx_runtime(
    write: Callable[[File, np.uint8], str], zero: np.uint8
) -> None:
    made = check(write, zero, at=int(zero))
    form = made.graph.values[made.graph.outputs[0]].format
    assert form is not None
    # The integers -7 to 248 need nine bits.
    assert form.width == (9 if zero == 7 else 8)
    assert form.signed == (zero != 0)
    zeros = json.loads(made.metadata.get("zero points", "{}"))
    (output,) = made.graph.outputs
    assert zeros.get(output, 0) == int(zero)


def test_sigmoid_is_a_table() -> None:
    def write(file: File, zero: np.uint8) -> str:
        given = (step(-5), zero, step(-8), np.uint8(0))
        return file.add("QLinearSigmoid", "x", *given, domain=MICROSOFT)

    made = check(write, CENTER)
    assert [node.op.name for node in made.graph.nodes] == ["sigmoid"]


def test_a_gemm_without_a_scale_of_its_result_is_real() -> None:
    def write(file: File, zero: np.uint8) -> str:
        given = (step(-6), zero, codes(32, 5), step(-7), CENTER)
        return file.add("QGemm", file.add("Flatten", "x"), *given, domain=MICROSOFT)

    check(write, CENTER, FLOAT)


def dequantized(*between: tuple[str, tuple, dict]) -> Callable[[File, np.uint8], str]:
    """Return a writer of operations on integers, and of a DequantizeLinear."""

    def write(file: File, zero: np.uint8) -> str:
        x = "x"
        for op, inputs, given in between:
            x = file.add(op, x, *inputs, **given)
        return file.add("DequantizeLinear", x, step(-5), zero)

    return write


BORDER = np.array([0, 0, 1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize("zero", [np.uint8(0), CENTER])
@pytest.mark.parametrize(
    "write",
    [
        dequantized(("Pad", (BORDER,), {})),
        dequantized(("Pad", (BORDER, np.uint8(130)), {})),
        dequantized(("Clip", (np.uint8(100), np.uint8(150)), {})),
        dequantized(("Transpose", (), {"perm": [0, 1, 3, 2]}), ("Flatten", (), {})),
    ],
)
def test_moved_integers_keep_their_zero_point(
    write: Callable[[File, np.uint8], str], zero: np.uint8
) -> None:
    made = check(write, zero, FLOAT)
    assert made.graph.inputs[0].format == Format(8, 5, signed=zero != 0)


def test_integers_that_are_read_with_several_zero_points() -> None:
    def write(file: File, zero: np.uint8) -> str:
        other = file.add("Cast", "x", to=FLOAT)
        return file.add("Add", other, file.add("DequantizeLinear", "x", step(-5), zero))

    assert check(write, CENTER, FLOAT).graph.inputs[0].format == Format(8, 5)
    made = check(dequantized(), np.uint8(7), FLOAT)
    assert made.graph.inputs[0].format == Format(8, 5, signed=False)


@pytest.mark.parametrize("zero", [np.uint8(0), np.uint8(7), CENTER])
def test_integer_layers_subtract_zero_points(zero: np.uint8) -> None:
    def convolution(file: File, zero: np.uint8) -> str:
        given = (codes(3, 2, 3, 3), zero, CENTER)
        return file.add("ConvInteger", "x", *given, pads=[1, 1, 1, 1])

    def product(file: File, zero: np.uint8) -> str:
        return file.add("MatMulInteger", file.add("Flatten", "x"), codes(32, 5), zero, CENTER)

    for write in (convolution, product):
        made = check(write, zero, INT32)
        assert made.graph.inputs[0].format == (SIGNED if zero == CENTER else UNSIGNED)
        assert made.graph.constants[-1].formats == (SIGNED,)


def test_columns_of_a_product_have_zero_points_of_their_own() -> None:
    zeros = codes(32)

    def of_integers(file: File, zero: np.uint8) -> str:
        x = file.add("Flatten", "x")
        return file.add("MatMulInteger", x, codes(32, 32), zero, zeros)

    def scaled(file: File, zero: np.uint8) -> str:
        scales = np.float32(2.0 ** -(np.arange(32) % 3 + 5))
        given = (step(-6), zero, codes(32, 32), scales, zeros, step(-1), zero)
        return file.add("QLinearMatMul", file.add("Flatten", "x"), *given)

    check(of_integers, CENTER, INT32)
    check(scaled, CENTER, at=128)


def test_biases_keep_their_values_when_scales_are_rounded() -> None:
    file = File(1, 2, 4, 4, kind=UINT8)
    x = file.add(
        "QLinearConv", "x", np.float32(0.011), CENTER, codes(1, 2, 3, 3), np.float32(0.0123),
        CENTER, step(-2), CENTER, np.int32([10000]),
    )  # fmt: skip
    with pytest.warns(PrecisionWarning, match="scales were rounded"):
        made = from_quantized_onnx(model_of(file, x, UINT8), snap_scales=True)
    (bias,) = (constant for constant in made.graph.constants if constant.data.size == 1)
    # 10000 * 0.011 * 0.0123 is 1.353. The nearest powers are 2**-7 and 2**-6, and the weights need
    # two bits more, as they are neither 0.0123 times integers nor nearly so in steps of 2**-7.
    assert bias.formats[0].frac == 15
    assert bias.data.ravel().tolist() == [44336]


@pytest.mark.parametrize("clip", [False, True])
def test_quantizers_with_a_zero_point_in_the_center(clip: bool) -> None:
    file = File(1, 2, 4, 4)
    x = file.add("QuantizeLinear", "x", step(-4), CENTER)
    if clip:
        x = file.add("Clip", x, np.uint8(112), np.uint8(143))
    model = file.model(file.add("DequantizeLinear", x, step(-4), CENTER))
    made = from_quantized_onnx(model)
    assert made.graph.inputs[0].format == (Format(5, 4) if clip else Format(8, 4))


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        # 1.5, -1.5, 2.5, -2.5, 0.75, -0.75, and two beyond the range of 4 bits.
        ("ROUND", [2, -2, 2, -2, 1, -1, 7, -8]),
        ("FLOOR", [1, -2, 2, -3, 0, -1, 7, -8]),
        ("DOWN", [1, -2, 2, -3, 0, -1, 7, -8]),
        ("HALF_UP", [2, -1, 3, -2, 1, -1, 7, -8]),
        ("HALF_DOWN", [1, -2, 2, -3, 1, -1, 7, -8]),
    ],
)
def test_quant_rounds_behind_the_zero_point(mode: str, wanted: list[int]) -> None:
    file = File(1, 1, 2, 4)
    numbers = (np.float32(1), np.float32(8), np.float32(4))
    x = file.quant("x", 0.25, 8)
    x = file.add("Mul", x, file.quant(np.float32(1), 1, 2))
    x = file.add("Quant", x, *numbers, domain=QONNX, signed=0, narrow=0, rounding_mode=mode)
    model = file.model(x)
    raw = np.array([6, -6, 10, -10, 3, -3, 100, -100]).reshape(1, 2, 4)
    made = from_quantized_onnx(model)
    (found,) = oracle.run(made.graph, [raw]).outputs
    assert found.ravel().tolist() == wanted
    assert (by_qonnx(model, raw[None] / 4)[0] == found).all()


def refusal(file: File, output: str, kind: int = UINT8) -> str:
    with pytest.raises(FrontendError) as caught:
        from_quantized_onnx(model_of(file, output, kind))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals_name_the_node_and_the_way_out() -> None:
    file = File(1, 2, 4, 4, kind=UINT8)
    given = (step(-5), CENTER, step(-5), CENTER)
    file = File(1, 2, 4, 4, kind=UINT8)
    x = file.add("QLinearGlobalAveragePool", "x", *given[:3], CENTER, domain=MICROSOFT,
                 channels_last=1)  # fmt: skip
    assert "its images are (N, H, W, C); save the model before ONNX" in refusal(file, x)
    file = File(1, 2, 4, 4, kind=UINT8)
    x = file.add("QLinearLeakyRelu", "x", *given[:3], domain=MICROSOFT)
    assert "its result has no zero point, which says its type" in refusal(file, x)
    file = File(1, 2, 4, 4, kind=UINT8)
    x = file.add("Relu", "x")
    x = file.add("DequantizeLinear", x, step(-5), CENTER)
    assert "'Relu_0' (Relu, opset 13): it computes with integers; put" in refusal(file, x, FLOAT)
    file = File(1, 2, 4, 4, kind=UINT8)
    x = file.add("Resize", "x", np.float32([]), np.float32([1, 1, 2, 2]), mode="linear")
    x = file.add("DequantizeLinear", x, step(-5), CENTER)
    assert "'Resize_0' (Resize, opset 13): it interpolates integers" in refusal(file, x, FLOAT)
    file = File(1, 2, 4, 4, kind=UINT8)
    x = file.add("QLinearSoftmax", "x", *given[:3], np.uint8(0), domain=MICROSOFT, axis=1, opset=13)
    assert "'QLinearSoftmax_0' (Softmax, opset 13): its integers" in refusal(file, x)


def test_the_float_import_points_to_the_other() -> None:
    file = File(1, 2, 4, 4)
    x = file.add("QuantizeLinear", "x", step(-5), CENTER)
    x = file.add("QLinearLeakyRelu", x, step(-5), CENTER, step(-5), CENTER, domain=MICROSOFT)
    del file.nodes[0]
    file.inputs[0].name = "QuantizeLinear_0.out"
    with pytest.raises(FrontendError, match=r"read it with fxp.from_quantized_onnx"):
        load_onnx(model_of(file, x, FLOAT))


@pytest.mark.parametrize("kind", ["stored", "float"])
def test_constants_whose_scales_are_rounded_have_steps_that_are_fine_enough(kind: str) -> None:
    file = File(1, 1, 4, 4)
    x = file.quant("x", 0.25, 6)
    # In halves, 0.75 * (3, -4, 0, 4) loses nothing if halved once more; 0.5 * integers nothing.
    scales = np.float32([0.75, 0.5])
    integers = np.int8([3, -4, 0, 4, 1, 2, 3, -1]).reshape(2, 1, 2, 2)
    if kind == "stored":
        weights = file.add("DequantizeLinear", integers, scales, np.int8([0, 0]), axis=0)
    else:
        broadcast = scales.reshape(2, 1, 1, 1)
        weights = file.quant(integers * broadcast, broadcast, 4)
    with pytest.warns(PrecisionWarning, match="scales were rounded"):
        made = from_quantized_onnx(
            file.model(file.quant(file.add("Conv", x, weights), 1, 8)), snap_scales=True
        )
    (constant,) = made.graph.constants
    assert [form.frac for form in constant.formats] == [2, 1]
    assert constant.data.ravel().tolist() == [9, -12, 0, 12, 1, 2, 3, -1]


def test_a_value_whose_scale_is_rounded_keeps_its_range() -> None:
    file = File(1, 1, 1, 4)
    x = file.add("QuantizeLinear", "x", np.float32(6 / 255), np.uint8(0))
    x = file.add("DequantizeLinear", x, np.float32(6 / 255), np.uint8(0))
    with pytest.warns(PrecisionWarning, match="scales were rounded"):
        made = from_quantized_onnx(file.model(x), snap_scales=True)
    # The quantizer is a ReLU6. Its steps become 1/32, and 6 is 192 of them.
    assert made(np.array([[[-1.0, 2.5, 6.0, 7.9]]])).ravel().tolist() == [0, 2.5, 6, 6]


@pytest.mark.parametrize("size", [2, 4])
def test_a_window_that_is_the_whole_image_rounds_before_an_odd_zero_point(size: int) -> None:
    zero = np.uint8(7)
    file = File(1, 16, size, size, kind=UINT8)
    pool = file.add("QLinearAveragePool", "x", step(0), zero, step(0), zero, domain=MICROSOFT,
                    kernel_shape=[2, 2], strides=[2, 2])  # fmt: skip
    model = model_of(file, pool, UINT8)
    made = from_quantized_onnx(model)
    raw = np.zeros((16, size, size), np.uint8)
    raw[:, :2, :2] = np.array([[1, 1], [0, 0]])
    # 1/2 - 7 is a tie: it is rounded to -6, or, with 7 added before, to 0 - 7.
    wanted = 7 + (-6 if size == 2 else -7)
    theirs = by_onnxruntime(model, raw[None])[0]
    assert (theirs[:, 0, 0] == wanted).all()
    (found,) = oracle.run(made.graph, [raw.astype(np.int64)]).outputs
    assert (found + 7 == theirs[0]).all()
