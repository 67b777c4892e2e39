"""KimSR's first layer in other fixed-point libraries, per pixel.

Each computes the same integers as fxp: 3x3 convolution to 32 maps, ReLU, 14 bits. Only the
arithmetic is timed; constants and the input are ready in the library's own type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import fxp
from benchmarks.speed.timing import Settings, best_times
from benchmarks.speed.versus import Say, fastest, fixed_model, raw_input
from benchmarks.speed.works import WORKS
from fxp.formats import Format
from fxp.graph import Graph
from fxp.support.distribution import install_advice

LAYER = "KimSR's first layer"
Number = TypeVar("Number")


class Layer:
    """Convolution and ReLU as plain integers with formats, and fxp's result for a frame."""

    def __init__(self, model: fxp.FixedModel, raw: NDArray) -> None:
        (constant,) = model.graph.constants
        (value,) = model.graph.inputs
        assert value.format is not None
        self.weights: NDArray[np.int64] = constant.data
        self.weight_format: Format = constant.formats[0]
        self.input_format: Format = value.format
        result = model.graph.values[model.graph.outputs[0]].format
        assert result is not None
        self.result_format: Format = result
        self.raw = raw
        self.padded = np.pad(raw, ((0, 0), (1, 1), (1, 1)))
        self.expected = model.run(raw).outputs[0]

    def taps(self) -> list[tuple[slice, slice, NDArray[np.int64]]]:
        """Return, for each kernel position, where it looks in the padded image, and its weights."""
        _, height, width = self.raw.shape
        return [
            (
                slice(row, row + height),
                slice(column, column + width),
                self.weights[:, :, row, column].reshape(-1, 1, 1),
            )
            for row in range(3)
            for column in range(3)
        ]


Prepare = Callable[[Layer], tuple[Callable[[], Any], Callable[[Any], NDArray]]]
"""Returns what to time, and what turns its result into raw integers."""


def with_fxpmath(layer: Layer) -> tuple[Callable[[], Any], Callable[[Any], NDArray]]:
    """Use arrays of `fxpmath.Fxp`, one multiplication and addition of arrays per tap."""
    from fxpmath import Fxp

    def number(raw: NDArray, form: Format) -> Any:
        values = np.ldexp(raw.astype(np.float64), -form.frac)
        return Fxp(values, signed=form.signed, n_word=form.width, n_frac=form.frac)

    image = number(layer.padded, layer.input_format)
    taps = [
        (rows, columns, number(weights, layer.weight_format))
        for rows, columns, weights in layer.taps()
    ]
    target = layer.result_format

    def run() -> Any:
        total = _sum([weights * image[:, rows, columns] for rows, columns, weights in taps])
        # It has no rounding half up: half a step is added, then rounded down.
        return Fxp(
            total.get_val() + 2.0 ** (-target.frac - 1),
            signed=target.signed,
            n_word=target.width,
            n_frac=target.frac,
            rounding="floor",
            overflow="saturate",
        )

    return run, lambda result: np.asarray(result.val, np.int64)


def with_apytypes(layer: Layer) -> tuple[Callable[[], Any], Callable[[Any], NDArray]]:
    """Use arrays of `apytypes.APyFixedArray`, one multiplication and addition of arrays per tap."""
    from apytypes import APyFixedArray, OverflowMode, QuantizationMode

    def number(raw: NDArray, form: Format) -> Any:
        bits = form.width + (not form.signed)
        return APyFixedArray(raw.tolist(), bits=bits, frac_bits=form.frac)

    image = number(layer.padded, layer.input_format)
    taps = [
        (rows, columns, number(weights, layer.weight_format))
        for rows, columns, weights in layer.taps()
    ]
    target = layer.result_format
    assert not target.signed

    def run() -> Any:
        total = _sum([weights * image[:, rows, columns] for rows, columns, weights in taps])
        # Its numbers are signed: one bit more holds the unsigned ones.
        return total.cast(
            int_bits=target.integer + 1,
            frac_bits=target.frac,
            quantization=QuantizationMode.RND,
            overflow=OverflowMode.SAT,
        )

    def raw_result(result: Any) -> NDArray:
        # The ReLU, left out of the time: the library has no maximum of arrays.
        return np.maximum(np.ldexp(result.to_numpy(), target.frac), 0).astype(np.int64)

    return run, raw_result


def with_qonnx(layer: Layer) -> tuple[Callable[[], Any], Callable[[Any], NDArray]]:
    """Use a graph of Quant, Conv, Relu and Quant, run by QONNX itself."""
    from onnx import TensorProto, helper, numpy_helper
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    domain = "qonnx.custom_op.general"
    weight, target = layer.weight_format, layer.result_format
    channels, (_, height, width) = len(layer.weights), layer.raw.shape
    constants = {
        "weight": np.ldexp(layer.weights.astype(np.float32), -weight.frac),
        "weight_step": np.float32(weight.step),
        "weight_bits": np.float32(weight.width),
        "result_step": np.float32(target.step),
        "result_bits": np.float32(target.width),
        "zero": np.float32(0),
    }

    def quant(name: str, kind: str, result: str, *, signed: bool) -> Any:
        # Half up is away from zero there, the same for what a ReLU leaves.
        inputs = [name, f"{kind}_step", "zero", f"{kind}_bits"]
        options = {"signed": int(signed), "narrow": 0, "rounding_mode": "HALF_UP"}
        return helper.make_node("Quant", inputs, [result], domain=domain, **options)

    nodes = [
        quant("weight", "weight", "kernel", signed=weight.signed),
        helper.make_node("Conv", ["x", "kernel"], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sums"], ["positive"]),
        quant("positive", "result", "y", signed=target.signed),
    ]
    shapes = {
        "x": (1, 1, height, width),
        "kernel": layer.weights.shape,
        **dict.fromkeys(("sums", "positive", "y"), (1, channels, height, width)),
    }
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes,
        "layer",
        [values["x"]],
        [values["y"]],
        [numpy_helper.from_array(np.asarray(data), name) for name, data in constants.items()],
        value_info=[values[name] for name in ("kernel", "sums", "positive")],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(domain, 2)]
    model = ModelWrapper(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    image = np.ldexp(layer.raw[None].astype(np.float32), -layer.input_format.frac)
    return (
        lambda: execute_onnx(model, {"x": image})["y"],
        lambda result: np.ldexp(result[0].astype(np.float64), target.frac).astype(np.int64),
    )


LIBRARIES: dict[str, Prepare] = {
    "fxpmath": with_fxpmath,
    "apytypes": with_apytypes,
    "qonnx": with_qonnx,
}


def measure(name: str, settings: Settings, say: Say) -> dict[str, Any]:
    """Check that a library gives fxp's integers, and time both on one thread.

    Parameters
    ----------
    name
        Name of the library, a key of `LIBRARIES`.
    settings
        Sizes and rounds.
    say
        Called with what is being done.
    """
    side = 8 if settings.quick else 64
    record: dict[str, Any] = {"name": name, "what": LAYER, "height": side, "width": side}
    if find_spec(name) is None:
        return record | {"reason": f"not installed; {install_advice('bench')}"}
    say(f"{name}: {LAYER}")
    model, raw = small_kimsr(side, last="relu")
    layer = Layer(model, raw)
    try:
        call, raw_result = LIBRARIES[name](layer)
        found = raw_result(call())
    # Whatever a library raises is its reason not to be in the table.
    except Exception as error:
        return record | {"reason": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    if not np.array_equal(found, layer.expected):
        return record | {"reason": "its integers differ"}
    calls = {"other": call, "fxp": fastest(model, raw, 1)}
    return record | {"seconds": best_times(calls, settings)}


def small_kimsr(side: int, last: str) -> tuple[fxp.FixedModel, NDArray]:
    """Return KimSR in integers up to the node `last`, and a small frame for it."""
    work = next(work for work in WORKS if work.name == "kimsr-540")
    # Their arrays have one format each.
    graph = fixed_model(work, work.network(), per_channel=False).graph
    count = [node.name for node in graph.nodes].index(last) + 1
    nodes = graph.nodes[:count]
    used = {name for node in nodes for name in node.inputs}
    constants = tuple(constant for constant in graph.constants if constant.name in used)
    model = fxp.FixedModel(Graph(graph.name, graph.inputs, nodes, (last,), constants))
    return model, raw_input(model, replace(work, shape=(1, side, side)).frame())


def _sum(items: list[Number]) -> Number:
    total = items[0]
    for item in items[1:]:
        total = total + item  # type: ignore[operator]
    return total
