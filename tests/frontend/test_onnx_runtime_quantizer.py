"""Networks that ONNX Runtime's static quantizer wrote keep their integers, to the last bit."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_files import network, node
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from quantized_files import by_onnxruntime

from fxp import FixedModel, Format, PrecisionWarning, from_quantized_onnx
from fxp.executors import oracle
from fxp.frontend import FrontendError
from fxp.imaging.metrics import sqnr

SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True}
FORMATS = [QuantFormat.QDQ, QuantFormat.QOperator]
TYPES = [QuantType.QInt8, QuantType.QUInt8]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32) / 3


def float_network() -> onnx.ModelProto:
    """Return a network with the operations that the quantizer has integer forms of."""
    nodes = [
        node("Conv", "x", "w1", "b1", to="c", name="first", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c", to="r"),
        node("Conv", "r", "w2", to="d", name="second", pads=[1, 1, 1, 1]),
        node("LeakyRelu", "d", to="l", alpha=0.125),
        node("Add", "r", "l", to="a"),
        node("Mul", "a", "r", to="m"),
        node("MaxPool", "m", to="p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", "p", "p", to="k", axis=1),
        node("GlobalAveragePool", "k", to="g"),
        node("Flatten", "g", to="f"),
        node("Gemm", "f", "w3", "b3", transB=1, name="last"),
    ]
    constants = {"w1": weights(4, 1, 3, 3), "b1": weights(4), "w2": weights(4, 4, 3, 3),
                 "w3": weights(3, 8), "b3": weights(3)}  # fmt: skip
    return network(nodes, ("N", 1, 16, 16), constants)


def gated_network() -> onnx.ModelProto:
    """Return a network of further operations, some of which work on the integers themselves."""
    nodes = [
        node("Conv", "x", "w1", "b1", to="c", pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["c"], ["d", "e"], "halves", axis=1),
        node("Sigmoid", "e", to="s"),
        node("Mul", "d", "s", to="g"),
        node("Pad", "g", "borders", to="p", mode="reflect"),
        node("Clip", "p", "low", "high", to="k"),
        node("AveragePool", "k", to="a", kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", "a", "", "scales", to="r", mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("Transpose", "r", to="t", perm=[0, 1, 3, 2]),
        node("Conv", "t", "w2", name="last"),
    ]  # fmt: skip
    constants = {"w1": weights(4, 1, 3, 3), "b1": weights(4), "w2": weights(3, 2, 3, 3),
                 "borders": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "low": np.float32(0),
                 "high": np.float32(0.7), "scales": np.float32([1, 1, 2, 2])}  # fmt: skip
    return network(nodes, ("N", 1, 16, 16), constants)


class Pictures(CalibrationDataReader):
    """Four pictures."""

    def __init__(self) -> None:
        generator = np.random.default_rng(1)
        self._left: Iterator[np.ndarray] = iter(
            generator.normal(size=(4, 1, 1, 16, 16)).astype(np.float32)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """Return the next picture by the name of the input."""
        picture = next(self._left, None)
        return None if picture is None else {"x": picture}


def quantized(
    folder: Path, form: QuantFormat, kind: QuantType, options: dict[str, bool],
    weight_kind: QuantType | None = None, source: onnx.ModelProto | None = None, **given: bool,
) -> onnx.ModelProto:  # fmt: skip
    """Return a network, by default that above, as ONNX Runtime quantizes it."""
    path = str(folder / "quantized.onnx")
    logging.disable(logging.WARNING)  # it advises to do what was done
    try:
        quantize_static(
            source or float_network(), path, Pictures(), quant_format=form, activation_type=kind,
            weight_type=weight_kind or kind, extra_options=options, **given,
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(path)


def with_powers_of_two(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose scales are the nearest powers of two."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name.endswith("_scale"):
            scales = numpy_helper.to_array(tensor)
            powers = np.exp2(np.round(np.log2(scales))).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(powers, tensor.name))
    return made


def real_outputs(made: FixedModel, raw: np.ndarray) -> np.ndarray:
    """Return what the oracle computes, as real numbers."""
    (found,) = oracle.run(made.graph, [raw]).outputs
    form = made.graph.values[made.graph.outputs[0]].format
    assert form is not None
    return np.ldexp(found.astype(np.float64), -form.frac)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_powers_of_two_are_exact(
    form: QuantFormat, kind: QuantType, per_channel: bool, tmp_path: Path
) -> None:
    model = with_powers_of_two(quantized(tmp_path, form, kind, SYMMETRIC, per_channel=per_channel))
    made = from_quantized_onnx(model)
    (value,) = made.graph.inputs
    assert value.format == Format(8, 5)
    raw = np.random.default_rng(3).integers(-128, 128, (1, 16, 16))
    theirs = by_onnxruntime(model, np.float32(raw / 32)[None])[0]
    assert len(np.unique(theirs)) == 3
    assert (theirs == real_outputs(made, raw)).all()
    (engine,) = made.run(raw).outputs
    assert (engine == oracle.run(made.graph, [raw]).outputs[0]).all()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", FORMATS)
def test_operations_on_integers_are_exact(
    form: QuantFormat, kind: QuantType, tmp_path: Path
) -> None:
    written = quantized(tmp_path, form, kind, SYMMETRIC, source=gated_network())
    model = with_powers_of_two(written)
    raw = np.random.default_rng(3).integers(-128, 128, (1, 16, 16))
    made = from_quantized_onnx(model)
    theirs = by_onnxruntime(model, np.float32(raw / 32)[None])[0]
    assert len(np.unique(theirs)) > 20
    assert (theirs == real_outputs(made, raw)).all()


@pytest.mark.parametrize(
    ("kind", "weight_kind", "bits", "weight_bits"),
    [
        (QuantType.QInt16, QuantType.QInt8, 16, 8),
        (QuantType.QUInt16, QuantType.QInt8, 16, 8),
        (QuantType.QInt8, QuantType.QInt4, 8, 4),
        (QuantType.QInt8, QuantType.QUInt4, 8, 4),
    ],
)
def test_other_widths_are_exact(
    kind: QuantType, weight_kind: QuantType, bits: int, weight_bits: int, tmp_path: Path
) -> None:
    model = with_powers_of_two(quantized(tmp_path, QuantFormat.QDQ, kind, SYMMETRIC, weight_kind))
    made = from_quantized_onnx(model)
    form = made.graph.inputs[0].format
    assert form is not None
    assert (form.width, form.signed) == (bits, True)
    kernel = next(constant for constant in made.graph.constants if constant.data.ndim == 4)
    assert [each.width for each in kernel.formats] == [weight_bits]
    raw = np.random.default_rng(3).integers(form.min_raw, form.max_raw + 1, (1, 16, 16))
    theirs = by_onnxruntime(model, np.ldexp(raw, -form.frac).astype(np.float32)[None])[0]
    assert (theirs == real_outputs(made, raw)).all()


def test_scales_that_depend_on_the_image_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "dynamic.onnx")
    quantize_dynamic(float_network(), path, weight_type=QuantType.QUInt8)
    told = r"\(DynamicQuantizeLinear, opset 17\): this operation is not supported; quantize static"
    with pytest.raises(FrontendError, match=told):
        from_quantized_onnx(path)


@pytest.mark.parametrize("form", FORMATS)
def test_other_scales_are_refused_or_rounded(form: QuantFormat, tmp_path: Path) -> None:
    model = quantized(tmp_path, form, QuantType.QInt8, SYMMETRIC)
    with pytest.raises(FrontendError, match=r"^ONNX node '.*' \(.*Linear, opset 17\): its scale"):
        from_quantized_onnx(model)
    pictures = np.random.default_rng(9).normal(size=(8, 1, 1, 16, 16)).astype(np.float32)
    with pytest.warns(PrecisionWarning, match="scales were rounded to powers of two"):
        made = from_quantized_onnx(model, snap_scales=True)
    # Values keep their range, if need be with a further bit.
    largest = max(
        node.quantization.format.width for node in made.graph.nodes if node.op.name == "conv2d"
    )
    assert largest in (8, 9)
    floats = [by_onnxruntime(float_network(), picture)[0] for picture in pictures]
    theirs = [by_onnxruntime(model, picture)[0] for picture in pictures]
    ours = [made(picture)[0] for picture in pictures]
    # The page on ONNX has these figures.
    assert np.mean(list(map(sqnr, floats, theirs))) == pytest.approx(30.2, abs=0.5)
    assert np.mean(list(map(sqnr, floats, ours))) == pytest.approx(30.7, abs=0.5)
    scales = json.loads(made.metadata["snapped scales"])["scales"]
    if form is QuantFormat.QOperator:
        assert {"first_quant", "first_quant (2)", "last_quant"} <= scales.keys()
    for scale, power in scales.values():
        # Constants may need steps that are finer.
        assert 2**-3.5 <= power / scale <= 2**0.5


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("source", [float_network, gated_network])
def test_zero_points_of_its_defaults_are_exact(
    source: Callable[[], onnx.ModelProto], form: QuantFormat, kind: QuantType, tmp_path: Path
) -> None:
    written = quantized(tmp_path, form, kind, {}, source=source())
    zeros = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in written.graph.initializer
        if tensor.name.endswith("_zero_point")
    }
    assert zeros["x_zero_point"] not in (0, 128)
    model = with_powers_of_two(written)
    made = from_quantized_onnx(model)
    (value,) = made.graph.inputs
    assert value.format == Format(9, 5)
    raw = np.random.default_rng(3).integers(-256, 256, (1, 16, 16))
    theirs = by_onnxruntime(model, np.float32(raw / 32)[None])[0]
    assert len(np.unique(theirs)) >= 3
    assert (theirs == real_outputs(made, raw)).all()
    (engine,) = made.run(raw).outputs
    assert (engine == oracle.run(made.graph, [raw]).outputs[0]).all()
