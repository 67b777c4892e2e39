"""An integer graph as a QONNX model, for FINN, hls4ml, alkaid and other tools.

Umuroglu et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from fxp.export.onnx_floats import MOVES
from fxp.export.rounding import bound_of
from fxp.formats import EXACT_FLOAT32, Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node
from fxp.graph.extents import Extent, evaluate_shape
from fxp.graph.onnx_emitter import Emitter
from fxp.graph.ops import (
    Add,
    AveragePool,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    DilatedMaxPool,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    PixelShuffle,
    Prelu,
    Relu,
    Requantize,
    Subtract,
)
from fxp.graph.ops.base import GraphError, Operand
from fxp.graph.ops.padding import NUMPY_MODES
from fxp.graph.ops.transposed import exchange_channels
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")

DOMAIN: Final = "qonnx.custom_op.general"
OPSET: Final = 13
IR_VERSION: Final = 8
INEXACT: Final = "inexact in float32"
"""Metadata key of the nodes that a run in float32 may round."""
MODES: Final = {
    Rounding.FLOOR: "FLOOR",
    Rounding.TO_ZERO: "DOWN",
    Rounding.HALF_UP: "FLOOR",
    Rounding.HALF_DOWN: "FLOOR",
    Rounding.HALF_AWAY: "HALF_UP",
    Rounding.HALF_TO_ZERO: "HALF_DOWN",
    Rounding.HALF_EVEN: "ROUND",
}
"""Names of QONNX; halves toward an infinity are a sum before ``FLOOR``."""


def to_qonnx(graph: Graph, *, sizes: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """Write an integer graph as a QONNX model of real values, with a ``Quant`` node for each value.

    Inputs and outputs are float32 tensors of the real values. A node keeps its name, and so do
    constants; `fxp.from_quantized_onnx` reads the same graph from the file. Where the format rounds
    halves up, half a step is added before ``Quant`` rounds down, for which QONNX has no name.

    Parameters
    ----------
    graph
        An integer graph without states.
    sizes
        Numbers of rows and columns by the name of a free size; those left out stay free.

    Returns
    -------
    onnx.ModelProto
        Its metadata has the formats of all values under ``format:NAME``, and names the nodes whose
        sums may have more bits than the float32 numbers in which the ``qonnx`` package runs a
        model. Tools that read the integers are not concerned.

    Raises
    ------
    GraphError
        If QONNX cannot express a node; the message names it.
    """
    if not graph.is_integer:
        raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
    if graph.states:
        raise GraphError(f"graph {graph.name!r} has states, which QONNX does not know")
    return _Writer(graph, dict(sizes or {})).model()


@dataclass
class _Writer:
    """One run of the export."""

    graph: Graph
    sizes: dict[str, int]

    def __post_init__(self) -> None:
        self.emit = Emitter()
        self.names = {value.name: f"{value.name}/codes" for value in self.graph.inputs}
        self.constants: dict[str, str] = {}
        self.inexact: list[str] = []

    def model(self) -> onnx.ModelProto:
        graph, emit = self.graph, self.emit
        for value in graph.inputs:
            assert value.format is not None
            self._quant(value.name, self.names[value.name], Quantization(value.format), "")
        for node in graph.nodes:
            self._node(node)
        outputs = [self._value(name, self.names[name]) for name in dict.fromkeys(graph.outputs)]
        if len(outputs) < len(graph.outputs):
            raise GraphError(f"graph {graph.name!r} returns a value twice, which QONNX does not")
        used = {name for node in emit.nodes for name in node.input}
        proto = onnx_helper.make_graph(
            emit.nodes,
            graph.name,
            [self._value(value.name, value.name) for value in graph.inputs],
            outputs,
            [tensor for tensor in emit.initializers if tensor.name in used],
            value_info=[
                self._value(node.name, node.name)
                for node in graph.nodes
                if node.name not in graph.outputs
            ],
        )
        model = onnx_helper.make_model(
            proto,
            opset_imports=[
                onnx_helper.make_opsetid("", OPSET),
                onnx_helper.make_opsetid(DOMAIN, 1),
            ],
            producer_name="fxp",
            ir_version=IR_VERSION,
        )
        told = {f"format:{name}": str(value.format) for name, value in graph.values.items()}
        if self.inexact:
            told[INEXACT] = ", ".join(self.inexact)
        for key, text in told.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, text
        onnx.checker.check_model(model)
        return model

    def _value(self, name: str, tensor: str) -> onnx.ValueInfoProto:
        shape: list[Any] = []
        for size in self.graph.values[name].shape:
            if isinstance(size, Extent) and size.symbol in self.sizes:
                size = evaluate_shape((size,), self.sizes)[0]
            shape.append(str(size) if isinstance(size, Extent) else size)
        return onnx_helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, [1, *shape])

    def _number(self, values: Any) -> str:
        return self.emit.constant(np.asarray(values, np.float64), np.float32)

    def _named(self, name: str, values: Any) -> str:
        """Enter an initializer under its own name."""
        array = np.asarray(values, np.float64)
        self.emit.initializers.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def _quant(
        self, source: str, target: str, quantization: Quantization, name: str,
        scale: Any = None,
    ) -> str:  # fmt: skip
        """Write a Quant node, named after what it rounds."""
        form = quantization.format
        self.emit.scope = name or source
        inputs = [
            source,
            self._number(2.0**-form.frac if scale is None else scale),
            self._number(0.0),
            self._number(float(form.width)),
        ]
        narrow = quantization.overflow is Overflow.SATURATE_SYMMETRIC and form.signed
        self.emit(
            "Quant", *inputs, output=target, domain=DOMAIN, signed=int(form.signed),
            narrow=int(narrow), rounding_mode=MODES[quantization.rounding],
        )  # fmt: skip
        made = self.emit.nodes[-1]
        made.name = f"{name or source}.quant"
        made.doc_string = str(quantization)
        return target

    def constant(self, name: str, *, rank: int | None = None, exchanged: int = 0) -> str:
        """Name of a constant's real values, behind a Quant node of its format.

        Parameters
        ----------
        name
            The constant.
        rank
            Axes, where they are other than in the graph; the first one stays.
        exchanged
            Groups of a transposed convolution, whose weights ONNX has in the order of torch.
        """
        if name not in self.constants:
            constant = self.graph.constants_by_name[name]
            self.constants[name] = self._constant(constant, rank, exchanged)
        return self.constants[name]

    def _constant(self, constant: Constant, rank: int | None, exchanged: int) -> str:
        if np.abs(constant.data).max() > EXACT_FLOAT32:
            raise GraphError(
                f"constant {constant.name!r} needs more than the 24 bits of float32, in which "
                "QONNX stores constants; quantize with fewer bits"
            )
        values, formats = constant.values, constant.formats
        if rank is not None:
            values = values.reshape((-1,) + (1,) * (rank - 1))
        scale = np.exp2([-float(form.frac) for form in formats])
        view = scale.reshape((-1,) + (1,) * (values.ndim - 1)) if len(formats) > 1 else scale[0]
        if exchanged:
            values = exchange_channels(values, exchanged)
            view = view.reshape(1, -1, 1, 1) if len(formats) > 1 else view
        form = Format(max(item.width for item in formats), 0, any(item.signed for item in formats))
        target = f"{constant.name}/codes"
        return self._quant(
            self._named(constant.name, values), target,
            Quantization(form, Rounding.HALF_EVEN), constant.name, view,
        )  # fmt: skip

    def _node(self, node: Node) -> None:
        quantization, accumulator = node.quantization, node.accumulator
        assert quantization is not None
        assert accumulator is not None
        saturates = quantization.overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
        if not node.is_exact and not saturates:
            self.refuse(node, f"its overflow mode is {quantization.overflow.name}")
        handler = _HANDLERS.get(type(node.op))
        self.emit.scope = node.name
        bound, frac = self._sums(node)
        if bound + (1 << max(0, frac - quantization.format.frac)) > EXACT_FLOAT32:
            self.inexact.append(node.name)
        if handler is not None:
            exact = handler(self, node)
        elif node.op.name in MOVES:
            operands = self.graph.operands[node.name]
            exact = node.op.onnx(self.emit, operands, *(self.names[name] for name in node.inputs))
        else:
            self.refuse(node, "QONNX has no such operation")
        self.emit.nodes[-1].name = node.name
        if node.is_exact:
            quantization = Quantization(quantization.format, Rounding.HALF_EVEN)
        half = 2.0 ** -(quantization.format.frac + 1)
        if quantization.rounding in (Rounding.HALF_UP, Rounding.HALF_DOWN):
            if quantization.rounding is Rounding.HALF_DOWN:
                half -= 2.0**-frac
            exact = self.emit("Add", exact, self._number(half))
        self.names[node.name] = self._quant(exact, node.name, quantization, node.name)

    def _sums(self, node: Node) -> tuple[int, int]:
        """Bound of every sum within a node, in steps of its exact result, and their fraction bits.

        The reciprocal of a power of two adds zeros alone to a mean.
        """
        assert node.accumulator is not None
        operands = self.graph.operands[node.name]
        frac = node.accumulator.frac
        if isinstance(node.op, AveragePool | GlobalAveragePool):
            count = _pixels(node, operands[0])
            frac = operands[0].format.frac + count.bit_length() - 1
            return max(map(abs, operands[0].limits)) * count, frac
        if not isinstance(node.op, Conv2d | ConvTranspose2d | Linear):
            return bound_of(node), frac
        positive, negative = operands[1].signed_sums
        weights = max(p - n for p, n in zip(positive, negative, strict=True))
        low, high = operands[0].limits
        bias = operands[2].constant if len(operands) > 2 else None
        return weights * max(-low, high) + (0 if bias is None else int(np.abs(bias).max())), frac

    def refuse(self, node: Node, rule: str) -> NoReturn:
        """Raise the error of a node."""
        raise GraphError(
            f"node {node.name!r} ({node.op.name}): {rule}; write the model as ONNX, which has all "
            "operations"
        )

    def inputs(self, node: Node) -> list[str]:
        """Names of what a node reads, constants in the axes of its result."""
        rank = len(self.graph.values[node.name].shape)
        found = []
        for name in node.inputs:
            constant = self.graph.constants_by_name.get(name)
            if constant is None:
                found.append(self.names[name])
            else:
                found.append(self.constant(name, rank=rank if isinstance(node.op, Prelu) else None))
        return found


def _conv(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, Conv2d)
    x, weight, *bias = node.inputs
    source, sides = writer.names[x], op.padding
    if op.padding_mode != "zero" and any(sides):
        source = _padded(writer, source, sides, op.padding_mode, node)
        sides = (0, 0, 0, 0)
    top, bottom, left, right = sides
    kernel = writer.constant(weight)
    biases = [writer.constant(name) for name in bias]
    writer.emit.scope = node.name
    return writer.emit(
        "Conv", source, kernel, *biases, strides=list(op.stride), group=op.groups,
        pads=[top, left, bottom, right], dilations=list(op.dilation),
        kernel_shape=list(writer.graph.constants_by_name[weight].data.shape[2:]),
    )  # fmt: skip


def _conv_transpose(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, ConvTranspose2d)
    x, weight, *bias = node.inputs
    constant = writer.graph.constants_by_name[weight]
    if len(set(constant.formats)) > 1 and op.groups > 1:
        writer.refuse(node, "its weights have a format per channel, and it has groups")
    kernel = writer.constant(weight, exchanged=op.groups)
    biases = [writer.constant(name) for name in bias]
    writer.emit.scope = node.name
    return writer.emit(
        "ConvTranspose", writer.names[x], kernel, *biases, strides=list(op.stride),
        pads=[*op.padding, *op.padding], dilations=list(op.dilation), group=op.groups,
        output_padding=list(op.output_padding),
    )  # fmt: skip


def _linear(writer: _Writer, node: Node) -> str:
    x, *constants = node.inputs
    names = [writer.constant(name) for name in constants]
    writer.emit.scope = node.name
    return writer.emit("Gemm", writer.names[x], *names, transB=1)


def _simple(kind: str, **attributes: Any) -> Callable[[_Writer, Node], str]:
    def write(writer: _Writer, node: Node) -> str:
        names = writer.inputs(node)
        writer.emit.scope = node.name
        return writer.emit(kind, *names, **attributes)

    return write


def _clamp(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, Clamp)
    source = writer.graph.operands[node.name][0]
    bounds = [
        "" if bound is None else writer._number(raw * 2.0**-source.format.frac)
        for bound, raw in zip(op.bounds(), op.limits(source), strict=True)
    ]
    return writer.emit("Clip", writer.names[node.inputs[0]], *bounds)


def _max_pool(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, MaxPool | DilatedMaxPool)
    dilation = op.dilation if isinstance(op, DilatedMaxPool) else (1, 1)
    top, bottom, left, right = op.padding
    return writer.emit(
        "MaxPool", writer.names[node.inputs[0]], kernel_shape=list(op.window),
        strides=list(op.stride), pads=[top, left, bottom, right], dilations=list(dilation),
    )  # fmt: skip


def _average_pool(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, AveragePool)
    _check_count(writer, node)
    if any(op.padding) and not op.count_padding:
        writer.refuse(node, "its means are of different numbers of pixels")
    top, bottom, left, right = op.padding
    return writer.emit(
        "AveragePool", writer.names[node.inputs[0]], kernel_shape=list(op.window),
        strides=list(op.stride), pads=[top, left, bottom, right], count_include_pad=1,
    )  # fmt: skip


def _global_average_pool(writer: _Writer, node: Node) -> str:
    _check_count(writer, node)
    return writer.emit("GlobalAveragePool", writer.names[node.inputs[0]])


def _pixels(node: Node, source: Operand) -> int:
    """Count the pixels of a mean, 0 where that is free."""
    if isinstance(node.op, AveragePool):
        return prod(node.op.window)
    return prod(size if isinstance(size, int) else 0 for size in source.shape[1:])


def _check_count(writer: _Writer, node: Node) -> None:
    count = _pixels(node, writer.graph.operands[node.name][0])
    if count < 1 or count & (count - 1):
        what = f"of {count} pixels" if count else "of a free number of pixels"
        writer.refuse(node, f"its mean {what} is exact for powers of two alone")


def _padded(writer: _Writer, source: str, sides: Sequence[int], mode: str, node: Node) -> str:
    if mode == "symmetric":
        writer.refuse(node, "its padding is symmetric")
    top, bottom, left, right = sides
    pads = writer.emit.constant([0, 0, top, left, 0, 0, bottom, right])
    return writer.emit("Pad", source, pads, mode=NUMPY_MODES[mode])


def _pad(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, Pad)
    return _padded(writer, writer.names[node.inputs[0]], op.sides, op.mode, node)


def _resize(mode: str, **attributes: Any) -> Callable[[_Writer, Node], str]:
    def write(writer: _Writer, node: Node) -> str:
        factor = float(getattr(node.op, "factor", 2))
        scales = writer._number([1.0, 1.0, factor, factor])
        return writer.emit(
            "Resize", writer.names[node.inputs[0]], "", scales, mode=mode, **attributes
        )

    return write


def _pixel_shuffle(writer: _Writer, node: Node) -> str:
    op = node.op
    assert isinstance(op, PixelShuffle)
    return writer.emit(
        "DepthToSpace", writer.names[node.inputs[0]], blocksize=op.factor, mode="CRD"
    )


_HANDLERS: Final[Mapping[type, Callable[[_Writer, Node], str]]] = {
    Add: _simple("Add"),
    AveragePool: _average_pool,
    BilinearUpsample: _resize("linear", coordinate_transformation_mode="half_pixel"),
    Clamp: _clamp,
    Concat: _simple("Concat", axis=1),
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    DilatedMaxPool: _max_pool,
    Flatten: _simple("Flatten", axis=1),
    GlobalAveragePool: _global_average_pool,
    GlobalMaxPool: _simple("GlobalMaxPool"),
    Linear: _linear,
    MaxPool: _max_pool,
    Multiply: _simple("Mul"),
    Nearest: _resize("nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    Pad: _pad,
    PixelShuffle: _pixel_shuffle,
    Prelu: _simple("PRelu"),
    Relu: _simple("Relu"),
    Requantize: _simple("Identity"),
    Subtract: _simple("Sub"),
}
"""Writers by op."""
