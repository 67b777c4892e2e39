"""Quantized ONNX files become integer graphs with the very same integers."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from equality import session_of
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_files import network, node
from quantized_files import QONNX, File, by_onnxruntime, by_qonnx

from fxp import FixedModel, Format, Overflow, PrecisionWarning, Rounding, from_quantized_onnx
from fxp.executors import oracle, torch_forward
from fxp.export.onnx import to_onnx
from fxp.frontend import FrontendError


def codes(*shape: int, low: int = -128, high: int = 127) -> np.ndarray:
    return np.random.default_rng(5).integers(low, high + 1, shape)


def reals(*shape: int) -> np.ndarray:
    return np.random.default_rng(6).normal(size=shape).astype(np.float32) / 2


def raw_outputs(model: FixedModel, raw: np.ndarray) -> np.ndarray:
    """Run the oracle, and PyTorch, which must agree."""
    (found,) = oracle.run(model.graph, [raw]).outputs
    start = model.graph.inputs[0].format
    end = model.graph.values[model.graph.outputs[0]].format
    assert start is not None
    assert end is not None
    real = torch.from_numpy(np.ldexp(raw.astype(np.float64), -start.frac))[None]
    (torches,) = torch_forward.run(model.graph, [real]).outputs
    assert (np.ldexp(torches.numpy()[0], end.frac) == found).all()
    return found


def check_qonnx(model: onnx.ModelProto, raw: np.ndarray, frac: int) -> FixedModel:
    """Compare an imported model with qonnx on raw integers of its input."""
    made = from_quantized_onnx(model)
    (value,) = made.graph.inputs
    assert value.format is not None
    assert value.format.frac == frac
    theirs = by_qonnx(model, np.ldexp(raw.astype(np.float64), -frac)[None])
    form = made.graph.values[made.graph.outputs[0]].format
    assert form is not None
    ours = raw_outputs(made, raw)
    assert (np.ldexp(theirs.astype(np.float64), form.frac) == ours[None]).all()
    return made


def test_weights_scales_and_roundings_are_those_of_the_file() -> None:
    file = File(1, 2, 6, 6)
    x = file.quant("x", 2**-7, 8)
    scales = 2.0 ** -np.array([7, 6, 7, 5]).reshape(4, 1, 1, 1)
    weights = file.quant(reals(4, 2, 3, 3), scales, 8, narrow=1, name="kernel")
    bias = file.quant(reals(4), 2.0**-9, 8, name="bias")
    x = file.add("Conv", x, weights, bias, name="first.conv", pads=[1, 1, 1, 1])
    x = file.quant(file.add("Relu", x, name="relu"), 2**-4, 6, signed=0, mode="HALF_UP")
    x = file.add("Flatten", x)
    x = file.add("MatMul", x, file.quant(reals(144, 3), 2**-4, 5, name="matrix"))
    model = check_qonnx(file.model(file.quant(x, 2**-2, 8, mode="FLOOR")), codes(2, 6, 6), 7)
    raw = codes(2, 6, 6)
    (engine,) = model.run(raw).outputs
    assert (engine == raw_outputs(model, raw)).all()
    session = session_of(to_onnx(model.graph, form="auto").SerializeToString())
    assert (session.run(None, {"x": raw[None]})[0][0] == engine).all()
    kernel = model.graph.constants_by_name["kernel.0"]
    assert kernel.formats == tuple(Format(8, frac) for frac in (7, 6, 7, 5))
    wanted = np.round(reals(4, 2, 3, 3).astype(np.float64) / scales)
    assert (kernel.data == np.clip(wanted, -127, 127)).all()
    matrix = model.graph.constants_by_name["matrix.0"]
    assert matrix.formats == (Format(5, 4),)
    assert (matrix.data == np.clip(np.round(reals(144, 3).T * 16), -16, 15)).all()
    relu = model.graph.node("relu").quantization
    assert relu is not None
    assert str(relu) == "ap_ufixed<6,2,AP_RND_INF,AP_SAT>"


@pytest.mark.parametrize(
    ("mode", "rounding"),
    [
        ("ROUND", Rounding.HALF_EVEN),
        ("HALF_EVEN", Rounding.HALF_EVEN),
        ("FLOOR", Rounding.FLOOR),
        ("DOWN", Rounding.TO_ZERO),
        ("HALF_UP", Rounding.HALF_AWAY),
        ("HALF_DOWN", Rounding.HALF_TO_ZERO),
    ],
)
def test_names_of_roundings(mode: str, rounding: Rounding) -> None:
    # All ties and quarters from -2.5 to 2.5, by hand: see the table of number semantics.
    file = File(1, 1, 3, 7)
    x = file.add("Mul", file.quant("x", 0.25, 8), file.quant(np.float32(1), 1, 2))
    model = check_qonnx(file.model(file.quant(x, 1, 8, mode=mode)), codes(1, 3, 7), 2)
    quantization = model.graph.nodes[-1].quantization
    assert quantization is not None
    assert quantization.rounding is rounding


@settings(max_examples=15, deadline=None)
@given(
    bits=st.integers(2, 9), signed=st.integers(0, 1), narrow=st.integers(0, 1),
    mode=st.sampled_from(["ROUND", "FLOOR", "DOWN", "HALF_UP", "HALF_DOWN"]),
    frac=st.integers(-2, 9), weight_bits=st.integers(1, 8), channels=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_generated_networks(
    bits: int, signed: int, narrow: int, mode: str, frac: int, weight_bits: int, channels: bool,
    seed: int,
) -> None:  # fmt: skip
    generator = np.random.default_rng(seed)
    file = File(1, 2, 5, 5)
    x = file.quant("x", 2.0**-4, 6, signed=signed)
    scales = 2.0 ** -generator.integers(1, 6, (3, 1, 1, 1)) if channels else 0.125
    weights = generator.normal(size=(3, 2, 3, 3)).astype(np.float32)
    kernel = file.quant(weights, scales, weight_bits, narrow=narrow)
    x = file.quant(
        file.add("Conv", x, kernel), 2.0**-frac, bits, signed=signed, narrow=narrow, mode=mode
    )
    raw = generator.integers(-32 if signed else 0, 32, (2, 5, 5))
    model = file.model(x)
    made = from_quantized_onnx(model)
    theirs = by_qonnx(model, np.ldexp(raw.astype(np.float64), -4)[None])
    (ours,) = oracle.run(made.graph, [raw]).outputs
    form = made.graph.values[made.graph.outputs[0]].format
    assert form is not None
    assert (np.ldexp(theirs.astype(np.float64), form.frac) == ours[None]).all()


def test_bipolar_weights_and_activations() -> None:
    file = File(1, 2, 4, 4)
    x = file.add("BipolarQuant", file.quant("x", 1, 4), np.float32(0.5), domain=QONNX)
    weights = file.add("BipolarQuant", reals(2, 2, 3, 3), np.float32(0.25), domain=QONNX)
    file.add("Conv", x, weights, name="binary")
    raw = codes(2, 4, 4, low=-2, high=2)
    made = check_qonnx(file.model("binary.out"), raw, 0)
    constant = next(c for c in made.graph.constants if c.data.ndim == 4)
    assert constant.formats == (Format(2, 2),)
    assert set(constant.data.ravel().tolist()) == {-1, 1}


@pytest.mark.parametrize("version", [1, 2])
def test_trunc(version: int) -> None:
    file = File(1, 2, 4, 4)
    x = file.add("Conv", file.quant("x", 0.5, 6), file.quant(reals(2, 2, 3, 3), 0.25, 4))
    numbers_of = [np.float32(0.125), np.float32(0), np.float32(14)]
    numbers_of += [np.float32(10)] if version == 1 else [np.float32(2), np.float32(10)]
    x = file.add("Trunc", x, *numbers_of, domain=QONNX, rounding_mode="FLOOR")
    check_qonnx(file.model(x, version=version), codes(2, 4, 4, low=-32, high=31), 1)


def test_a_sum_with_half_a_step_before_a_floor_is_half_up() -> None:
    file = File(1, 1, 4, 4)
    x = file.add("Conv", file.quant("x", 0.25, 6), file.quant(reals(1, 1, 2, 2), 0.25, 4))
    x = file.quant(file.add("Add", x, np.float32(0.5)), 1, 5, mode="FLOOR")
    made = check_qonnx(file.model(x), codes(1, 4, 4, low=-32, high=31), 2)
    (only,) = made.graph.nodes
    assert str(only.quantization) == "ap_fixed<5,5,AP_RND,AP_SAT>"


def quantized_by_onnx(clip: bool = False) -> File:
    """Return quantizers around a convolution, as ONNX Runtime and Brevitas (QCDQ) write them."""
    file = File(1, 2, 6, 6)
    step, zero = np.float32(2**-5), np.int8(0)
    x = file.add("QuantizeLinear", "x", step, zero)
    if clip:
        x = file.add("Clip", x, np.int8(-7), np.int8(7))
    x = file.add("DequantizeLinear", x, step, zero)
    weights = codes(3, 2, 3, 3).astype(np.int8)
    scales = np.float32([2**-7, 2**-8, 2**-6])
    kernel = file.add("DequantizeLinear", weights, scales, np.zeros(3, np.int8), axis=0)
    bias = file.add(
        "DequantizeLinear", np.int32([-900, 3, 70]), scales * step, np.zeros(3, np.int32), axis=0
    )
    x = file.add("Conv", x, kernel, bias, name="conv")
    x = file.add("QuantizeLinear", file.add("Relu", x), np.float32(2**-4), np.uint8(0))
    x = file.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    file.add("DequantizeLinear", x, np.float32(2**-4), np.uint8(0), name="end")
    return file


@pytest.mark.parametrize("clip", [False, True])
def test_quantize_and_dequantize_linear(clip: bool) -> None:
    model = quantized_by_onnx(clip).model("end.out")
    made = from_quantized_onnx(model)
    (value,) = made.graph.inputs
    assert value.format == (Format(4, 5) if clip else Format(8, 5))
    raw = codes(2, 6, 6, low=-7, high=7) if clip else codes(2, 6, 6)
    theirs = by_onnxruntime(model, np.float32(raw / 32)[None])
    assert (theirs * 16 == raw_outputs(made, raw)[None]).all()
    kernel = next(c for c in made.graph.constants if c.data.ndim == 4)
    assert (kernel.data == codes(3, 2, 3, 3)).all()
    assert [form.frac for form in kernel.formats] == [7, 8, 6]


def test_qlinear_conv_of_integers() -> None:
    file = File(1, 2, 6, 6, kind=TensorProto.UINT8)
    weights = codes(3, 2, 3, 3).astype(np.int8)
    scales = np.float32([2**-7, 2**-8, 2**-6])
    x = file.add(
        "QLinearConv", "x", np.float32(2**-8), np.uint8(0), weights, scales, np.zeros(3, np.int8),
        np.float32(2**-4), np.uint8(0), np.int32([100, -2000, 7]), pads=[1, 0, 1, 0],
    )  # fmt: skip
    model = file.model(x, kind=TensorProto.UINT8)
    raw = codes(2, 6, 6, low=0, high=255)
    made = from_quantized_onnx(model)
    assert made.graph.inputs[0].format == Format(8, 8, signed=False)
    assert (by_onnxruntime(model, raw[None].astype(np.uint8)) == raw_outputs(made, raw)[None]).all()


def test_conv_integer() -> None:
    file = File(1, 2, 6, 6, kind=TensorProto.UINT8)
    x = file.add("ConvInteger", "x", codes(3, 2, 3, 3).astype(np.int8))
    x = file.add("Mul", file.add("Cast", x, to=TensorProto.FLOAT), np.float32(2**-9))
    model = file.model(x)
    raw = codes(2, 6, 6, low=0, high=255)
    made = from_quantized_onnx(model)
    theirs = by_onnxruntime(model, raw[None].astype(np.uint8))
    form = made.graph.values[made.graph.outputs[0]].format
    assert form is not None
    assert (np.ldexp(theirs.astype(np.float64), form.frac) == raw_outputs(made, raw)).all()


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(FrontendError) as caught:
        from_quantized_onnx(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scales_that_are_no_powers_of_two_are_refused_or_rounded() -> None:
    file = File(1, 2, 5, 5)
    x = file.quant("x", 0.1, 8, name="camera")
    x = file.add("Conv", x, file.quant(reals(3, 2, 3, 3), 2**-7, 8))
    model = file.model(file.quant(x, 0.25, 8))
    told = refusal(model)
    assert told == (
        "ONNX node 'camera' (qonnx.custom_op.general.Quant, opset 13): its scale 0.1 is not a "
        "power of two; the nearest is 0.125 = 2^-3; train with power-of-two scales, or round the "
        "scales with --snap-scales"
    )
    with pytest.warns(PrecisionWarning, match=r"1 scales were rounded .* SQNR .* dB"):
        made = from_quantized_onnx(model, snap_scales=True)
    assert made.graph.inputs[0].format == Format(8, 3)
    assert '"camera": [0.1' in made.metadata["snapped scales"]


def test_real_biases_and_batch_norms_are_refused_or_rounded() -> None:
    file = File(1, 2, 5, 5)
    x = file.quant("x", 0.125, 8)
    x = file.add("Conv", x, file.quant(reals(3, 2, 3, 3), 2**-7, 8), reals(3), name="conv")
    model = file.model(file.quant(x, 0.25, 8))
    assert refusal(model).startswith("ONNX node 'conv' (Conv, opset 13): its constant 'conv.B'")
    with pytest.warns(PrecisionWarning, match="the constants of 1 nodes"):
        made = from_quantized_onnx(model, snap_scales=True)
    wanted = np.round(reals(3).astype(np.float64) * 2**10)
    assert (made.graph.constants_by_name["conv.2"].data == wanted).all()


def test_constants_without_axes_are_folded() -> None:
    file = File(1, 1, 4, 4)
    factor = file.add("Clip", np.float32(0.5), np.float32(0), np.float32(0.25))
    integer = file.add("QuantizeLinear", np.float32(0.7), np.float32(0.25), np.int8(0))
    x = file.add("Mul", file.quant("x", 0.5, 6), factor)
    x = file.add("Add", x, file.add("DequantizeLinear", integer, np.float32(0.25), np.int8(0)))
    made = from_quantized_onnx(file.model(x))
    # x / 4 + 0.75, in eighths.
    assert raw_outputs(made, np.full((1, 4, 4), -7)).ravel().tolist() == [-7 + 6] * 16


@pytest.mark.parametrize("raw", [False, True])
def test_weights_of_four_bits_lie_two_in_a_byte(raw: bool) -> None:
    file = File(1, 1, 4, 4)
    weights = helper.make_tensor("weights", TensorProto.INT4, (1, 1, 1, 3), [-8, 7, 3])
    x = file.add("DequantizeLinear", "weights", np.float32(0.5))
    model = file.model(file.add("Conv", file.quant("x", 1, 4), x))
    model.opset_import[0].version = 21
    if raw:
        weights.ClearField("int32_data")
        weights.raw_data = bytes((0x78, 0x03))
    model.graph.initializer.append(weights)
    (constant,) = from_quantized_onnx(model).graph.constants
    assert constant.data.ravel().tolist() == [-8, 7, 3]
    assert constant.formats == (Format(4, 1),)
    model.graph.initializer[-1].dims[3] = 5
    assert "tensor 'weights' of shape (1, 1, 1, 5) does not have that many" in refusal(model)


def test_batch_norm_of_powers_of_two_is_exact() -> None:
    file = File(1, 2, 4, 4)
    x = file.add("Conv", file.quant("x", 0.125, 6), file.quant(reals(2, 2, 3, 3), 0.125, 5))
    ones = np.ones(2, np.float32)
    x = file.add(
        "BatchNormalization", x, ones * 4, ones / 2, ones / 8, ones * 4, epsilon=0.0, name="norm"
    )
    check_qonnx(file.model(file.quant(x, 0.25, 8)), codes(2, 4, 4, low=-32, high=31), 3)


def test_a_finer_bias_is_added_to_the_products() -> None:
    file = File(1, 1, 4, 4)
    kernel = file.quant(reals(1, 1, 2, 2), 0.25, 4)
    bias = file.quant(reals(1), 2**-10, 12)
    x = file.add("Conv", file.quant("x", 0.25, 6), kernel, bias)
    check_qonnx(file.model(file.quant(x, 0.125, 8)), codes(1, 4, 4, low=-32, high=31), 2)


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize(("signed", "narrow", "zero"), [(0, 0, 5), (0, 1, 5), (0, 0, 6), (1, 0, -3),
                                                        (1, 1, 2)])  # fmt: skip
def test_zero_points_of_quant_nodes(mode: str, signed: int, narrow: int, zero: int) -> None:
    file = File(1, 1, 8, 16)
    given = (np.float32(0.5), np.float32(zero), np.float32(4))
    x = file.add("Quant", file.quant("x", 0.125, 8), *given, domain=QONNX, signed=signed,
                 narrow=narrow, rounding_mode=mode)  # fmt: skip
    check_qonnx(file.model(x), np.arange(-64, 64).reshape(1, 8, 16), 3)


def test_zero_points_several_scales_and_missing_quantizers_are_refused() -> None:
    file = quantized_by_onnx()
    file.tensors["QuantizeLinear_0.2"] = np.float32(0.5)
    assert "are of another type" in refusal(file.model("end.out"))
    file = File(1, 2, 4, 4)
    given = (np.float32(1), np.float32(99), np.float32(4))
    told = "its zero point is 99, which is none of its 4-bit integers; repair the model"
    assert told in refusal(file.model(file.add("Quant", "x", *given, domain=QONNX, signed=0)))
    file = File(1, 2, 4, 4)
    x = file.quant("x", np.float32([1, 2]).reshape(1, 2, 1, 1), 4)
    assert "its scales differ between channels" in refusal(file.model(x))
    file = File(1, 2, 4, 4)
    weights = file.quant(reals(2, 2, 3, 3), 0.25, 4)
    model = file.model(file.quant(file.add("Conv", "x", weights), 1, 8))
    assert "input 'x' is read without a quantizer" in refusal(model)
    made = from_quantized_onnx(model, input_format="ap_fixed<8,4>")
    assert made.graph.inputs[0].format == Format(8, 4)
    file = File(1, 2, 4, 4)
    file.nodes.clear()
    assert "its rounding mode is 'CEIL'" in refusal(file.model(file.quant("x", 1, 4, mode="CEIL")))
    file.nodes.clear()
    assert "its bit width is [2.5]" in refusal(file.model(file.quant("x", 1, 2.5)))  # type: ignore[arg-type]
    floats = network([node("Relu", "x")])
    assert "it has no quantizers; give it to fxp.quantize" in refusal(floats)


def test_functions_behind_which_a_quantizer_rounds_are_tables() -> None:
    file = File(1, 1, 4, 4)
    x = file.add("Sigmoid", file.quant("x", 0.125, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        made = from_quantized_onnx(file.model(file.quant(x, 2**-6, 6, signed=0)))
    assert [node.op.name for node in made.graph.nodes] == ["sigmoid"]
    assert made.graph.constants[0].data[32] == 32  # sigmoid(0) = 0.5
    unrounded = File(1, 1, 4, 4)
    x = unrounded.add("Sigmoid", unrounded.quant("x", 0.125, 6))
    assert "which no quantizer rounds" in refusal(unrounded.model(x))


def test_narrow_ranges_saturate_symmetrically() -> None:
    file = File(1, 1, 4, 4)
    x = file.add("Conv", file.quant("x", 1, 6), np.full((1, 1, 1, 1), 8, np.float32))
    made = check_qonnx(
        file.model(file.quant(x, 1, 4, narrow=1)), codes(1, 4, 4, low=-32, high=31), 0
    )
    quantization = made.graph.nodes[-1].quantization
    assert quantization is not None
    assert quantization.overflow is Overflow.SATURATE_SYMMETRIC


def test_wrapped_operations_of_images_channels_last() -> None:
    file = File(1, 4, 4, 2)
    wrapped = "qonnx.custom_op.channels_last"
    x = file.quant("x", 2**-3, 6)
    kernel = file.quant(reals(4, 3, 3, 2), 0.25, 4)
    x = file.add("Conv", x, kernel, domain=wrapped, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    x = file.quant(x, 0.5, 6)
    x = file.add("MaxPool", x, domain=wrapped, kernel_shape=[2, 2], strides=[2, 2])
    scales = np.float32([1, 2, 2, 1])
    x = file.add("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                 coordinate_transformation_mode="asymmetric")  # fmt: skip
    made = from_quantized_onnx(file.model(file.quant(x, 0.5, 6)))
    assert [node.op.name for node in made.graph.nodes][:3] == ["conv2d", "max_pool", "nearest"]
    raw = codes(2, 4, 4, low=-32, high=31)
    (found,) = oracle.run(made.graph, [raw]).outputs
    # The same by hand: weights (O, H, W, I), half to even, 2x2 maxima, each repeated.
    weights = np.clip(np.round(reals(4, 3, 3, 2) * 4), -8, 7).astype(int)
    padded = np.pad(raw, ((0, 0), (1, 1), (1, 1)))
    sums = np.zeros((4, 4, 4), int)
    for k, m in np.ndindex(3, 3):
        sums += np.tensordot(weights[:, k, m], padded[:, k : k + 4, m : m + 4], axes=1)
    values = np.clip(np.round(sums / 16), -32, 31).astype(int)
    largest = values.reshape(4, 2, 2, 2, 2).max(axis=(2, 4))
    assert (found == largest.repeat(2, axis=1).repeat(2, axis=2)).all()
