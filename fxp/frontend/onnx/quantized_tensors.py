"""Tensors of a quantized ONNX network: constants, integers with a scale, and quantizers.

An integer tensor ``q`` of the file with the scale ``s`` is the tensor ``q * s`` of the module.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.formats import Format, saturation_limits
from fxp.frontend.builder import clean_name
from fxp.frontend.onnx.call import NodeInfo, refused
from fxp.frontend.onnx.module import Assembly
from fxp.frontend.onnx.quantizers import (
    MAX_BITS,
    Declared,
    Quantizer,
    QuantizerModule,
    Scales,
    frac_of,
)
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")

INTEGERS: Final = {2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True), 6: (32, True),
                   7: (62, True), 12: (32, False), 21: (4, False), 22: (4, True)}  # fmt: skip
"""Width and sign by number of the type in ONNX."""
UNKNOWN: Final = (MAX_BITS, True)
"""Width and sign of integers of another type."""
MOVES: Final = frozenset(
    ("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "Max",
     "MaxPool", "Min", "Pad", "Relu", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split",
     "Squeeze", "Tile", "Transpose", "Unsqueeze", "Add", "Sub")
)  # fmt: skip
"""Operations on integers of one scale that give integers of that scale."""


_SCALED: Final = frozenset({"DequantizeLinear", "QLinearConv", "QLinearMatMul"})


class QuantizedTensors(Assembly):
    """What is known of the tensors of a quantized model, and of their scales."""

    takes_integers = True
    keeps_tensors = True

    def __init__(self, model: onnx.ModelProto, scales: Scales) -> None:
        super().__init__(model)
        self.scales = scales
        self.known = {name: wide(array) for name, array in self.known.items()}
        self.kinds = {
            tensor.name: INTEGERS.get(tensor.data_type, UNKNOWN)
            for tensor in model.graph.initializer
        }
        """Width and sign of constant integers, by name."""
        self.declared: dict[str, Declared] = {}
        self.integers: dict[str, float] = {}
        """Scales of computed integer tensors, by name."""
        self._quantizers: dict[str, QuantizerModule] = {}
        self._readers: dict[str, int] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1
        for value in model.graph.output:
            self._readers[value.name] = self._readers.get(value.name, 0) + 1
        self.input_formats = [self._input_format(given.name) for given in self.inputs]

    def _input_format(self, name: str) -> Format | None:
        """Format of an input of integers, whose scale is that with which it is read."""
        value = next(item for item in self.model.graph.input if item.name == name)
        kind = value.type.tensor_type.elem_type
        if kind not in INTEGERS:
            return None
        width, signed = INTEGERS[kind]
        scales = {
            node.input[1] for node in self.model.graph.node
            if name == (node.input or [""])[0] and node.op_type in _SCALED
        }  # fmt: skip
        self.integers[name] = 1.0
        if len(scales) == 1 and (found := self.known.get(next(iter(scales)))) is not None:
            info = NodeInfo(name, "Input", "", self.opset)
            scale = self.scales.read(info, found)
            if scale.size == 1:
                self.integers[name] = scale.item()
        scale = self.integers[name]
        return Format(width, frac_of(2.0 ** np.round(np.log2(scale))), signed)

    def folded(self, node: NodeInfo, constants: Any) -> NDArray[Any] | None:
        """Return what a node computes from constants, of declared formats where theirs are."""
        made = super().folded(node, constants)
        source = self.declared.get(node.inputs[0]) if node.inputs else None
        if made is None or source is None or made.size != source.fracs.size:
            return made
        fracs = super().folded(node, {**constants, 0: source.fracs})
        if fracs is not None and fracs.shape == made.shape:
            name = node.outputs[0]
            self.declared[name] = replace(source, fracs=np.asarray(fracs, np.int64))
        return made

    def fold(self, node: NodeInfo) -> None:
        """Clip or transpose a constant, whose format follows."""
        name, target = node.inputs[0], node.outputs[0]
        array = self.known[name]
        if node.op == "Transpose":
            order = node.attributes.get("perm") or list(reversed(range(array.ndim)))
            if sorted(order) != list(range(array.ndim)):
                raise refused(node, f"its order of axes is {order}", "repair the model")
            self.known[target] = array.transpose(order)
            if name in self.declared:
                fracs = self.declared[name].fracs.transpose(order)
                self.declared[target] = replace(self.declared[name], fracs=fracs)
            self.kinds[target] = self.kinds.get(name, UNKNOWN)
            return
        low, high = self._bounds(node)
        self.known[target] = array.clip(low, high)
        width, signed = self.kinds.get(name, UNKNOWN)
        if array.dtype.kind == "i" and width < MAX_BITS:
            made = _narrowed(Quantizer(1.0, width, signed), low, high)
            self.kinds[target] = (width, signed) if made is None else (made.width, made.signed)

    # Values of integer tensors.

    def add_integers(self, node: NodeInfo, proto: onnx.NodeProto) -> None:
        """Translate a node that reads computed integers, which moves or compares them."""
        scales = {self.integers[name] for name in node.inputs if name in self.integers}
        scale = next(iter(scales))
        if node.op in ("Shape", "Size"):
            super().add(proto)
            return
        if node.op == "Cast":
            self._cast(node, scale)
            return
        if node.op == "Clip":
            self._clip_integers(node, scale)
        elif node.op in MOVES and len(scales) == 1:
            self.call(node.op, self._scaled_inputs(node, scale), node.outputs, node, proto)
        else:
            raise refused(
                node, "it computes with integers" + " of several scales" * (len(scales) > 1),
                "put DequantizeLinear before it and QuantizeLinear behind it",
            )  # fmt: skip
        self.integers |= dict.fromkeys((name for name in node.outputs if name), scale)

    def _scaled_inputs(self, node: NodeInfo, scale: float) -> list[str]:
        """Names of a node's inputs, with integers that are operands as real values."""
        operands = {"Concat": None, "Max": None, "Min": None, "Add": None, "Sub": None,
                    "Pad": (2,)}.get(node.op, ())  # fmt: skip
        names = []
        for position, name in enumerate(node.inputs):
            operand = operands is None or position in operands
            if operand and name in self.known:
                name = self.constant(
                    node, f"{node.name}.{position}", self.known[name] * scale,
                    np.array(frac_of(scale)), 62, True,
                )  # fmt: skip
            names.append(name)
        return names

    def _cast(self, node: NodeInfo, scale: float) -> None:
        """Real values of integers: the integers themselves."""
        source, target = node.inputs[0], node.outputs[0]
        if node.attributes.get("to") in INTEGERS:
            self.computed[target] = self.computed[source]
            self.integers[target] = scale
        else:
            self.multiply(node, source, 1 / scale, target)

    def _bounds(self, node: NodeInfo) -> tuple[Any, Any]:
        """Lower and upper bound of a Clip, None where there is none."""
        bounds = []
        for position, name in ((1, "min"), (2, "max")):
            bound = node.attributes.get(name)
            if bound is None and len(node.inputs) > position and node.inputs[position]:
                array = self.constant_input(node, position)
                if array.size != 1:
                    raise refused(node, "a bound is no number", "give one number")
                bound = array.item()
            bounds.append(bound)
        return bounds[0], bounds[1]

    def _clip_integers(self, node: NodeInfo, scale: float) -> None:
        bounds = [None if bound is None else int(bound) for bound in self._bounds(node)]
        source = self._quantizers.get(node.inputs[0])
        if source is not None and self._readers[node.inputs[0]] == 1:
            narrower = _narrowed(source.quantizer, *bounds)
            if narrower is not None:
                source.quantizer = narrower
                self.computed[node.outputs[0]] = self.computed[node.inputs[0]]
                return
        names = [node.inputs[0]]
        for bound in bounds:
            limit = "" if bound is None else f"{node.outputs[0]}/{len(names)}"
            if bound is not None:
                self.known[limit] = np.array(bound * scale)
            names.append(limit)
        self.call("Clip", names, node.outputs, node)

    # Parts that several operations have in common.

    def call(
        self, op: str, inputs: list[str], outputs: Any, node: NodeInfo,
        proto: onnx.NodeProto | None = None,
    ) -> None:  # fmt: skip
        """Translate a node of the standard in place of another.

        Parameters
        ----------
        op, inputs, outputs
            What it is.
        node
            The node of the file, which gives the name.
        proto
            The node of the file, if its attributes stay.
        """
        made = onnx_helper.make_node(op, inputs, list(outputs), name=node.name)
        if proto is not None:
            made.attribute.extend(proto.attribute)
        super().add(made)

    def constant_input(self, node: NodeInfo, position: int) -> NDArray[Any]:
        """Return an input that must be a constant."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        if name not in self.known:
            raise refused(
                node, f"its input {position} ({name!r}) is not a constant", "make it a constant"
            )
        return self.known[name]

    def constant(
        self, node: NodeInfo, name: str, values: NDArray[Any], fracs: NDArray[Any], width: int,
        signed: bool,
    ) -> str:  # fmt: skip
        """Enter a constant of declared format, and return its name.

        Parameters
        ----------
        node
            The node of the file.
        name, values
            The name, and the real values.
        fracs, width, signed
            Its format: fraction bits in a shape that broadcasts, bits, and sign.
        """
        self.known[name] = np.asarray(values, np.float64)
        several = np.size(fracs) > 1
        fracs = np.broadcast_to(np.asarray(fracs, np.int64), self.known[name].shape)
        self.declared[name] = Declared(name, fracs, width, signed, several)
        return name

    def multiply(self, node: NodeInfo, source: str, factor: float, target: str) -> None:
        """Enter a computed value times a power of two.

        Parameters
        ----------
        node
            The node of the file.
        source, factor, target
            The tensor, the number, and the name of the product.
        """
        if factor == 1:
            self.computed[target] = self.computed[source]
            return
        name = f"{target}/factor"
        self.constant(node, name, np.array(factor), np.array(frac_of(factor)), 2, True)
        self.call("Mul", [source, name], [target], node)

    def mark(self, node: NodeInfo, source: str, quantizer: Quantizer, target: str) -> None:
        """Enter the quantizer of a computed value.

        Parameters
        ----------
        node
            The node of the file.
        source, quantizer, target
            What is rounded, how, and the name of the result.
        """
        path = self.unique(clean_name(node.name).replace(".", "_"))
        part = QuantizerModule(node, quantizer)
        self.root.add_module(path, part)
        self.computed[target] = self.graph.call_module(path, (self.computed[source],))
        self._quantizers[target] = part
        if source in self.channels_last:
            self.channels_last.add(target)

    def check_zero(self, node: NodeInfo, position: int) -> None:
        """Refuse a zero point of computed integers that is not 0."""
        if position < len(node.inputs) and node.inputs[position]:
            zero = self.constant_input(node, position)
            if np.any(zero):
                first = np.ravel(zero)[np.flatnonzero(zero)[0]]
                raise refused(
                    node, f"its zero point is {first:g}",
                    "quantize symmetrically, with zero point 0",
                )  # fmt: skip

    def scale_input(self, node: NodeInfo, position: int) -> NDArray[np.float64]:
        """Return an input that is a scale, as it is to be used."""
        return self.scales.read(node, self.constant_input(node, position))

    def real(self, node: NodeInfo, position: int, target: str) -> str:
        """Enter the real values of computed integers, whose scale is the next input.

        Parameters
        ----------
        node, position
            The node, and which input has the integers.
        target
            Name of the real values, which is returned.
        """
        source, scale = node.inputs[position], self.scale_input(node, position + 1)
        if source not in self.integers:
            raise refused(node, f"its input {source!r} is no integer tensor", "repair the model")
        if (scale != scale.ravel()[0]).any():
            raise refused(node, "its scales differ between channels", "give values one scale")
        self.multiply(node, source, float(scale.ravel()[0]) / self.integers[source], target)
        return target

    def stored(
        self, node: NodeInfo, position: int, scale: NDArray[Any], zero: NDArray[Any] | int, to: str
    ) -> str:
        """Enter the real values of constant integers.

        Parameters
        ----------
        node, position
            The node, and which input has the integers.
        scale, zero
            Scale and zero point, in shapes that broadcast with the integers.
        to
            Name of the real values.
        """
        name = node.inputs[position]
        width, signed = self.kinds.get(name, UNKNOWN)
        if np.any(zero):
            width, signed = width + 1, True
        used = self.scales.read(node, scale)
        integers = (self.constant_input(node, position) - zero) * (
            np.asarray(scale, np.float64) / used
        )
        if self.scales.policy == "snap":
            # A constant keeps its real value as well as the rounded scale allows.
            integers = np.round(integers)
            width = max(width, int(np.abs(integers).max(initial=0)).bit_length() + signed)
        self.constant(node, to, integers * used, 1 - np.frexp(used)[1], width, signed)
        self.declared[to] = replace(self.declared[to], tensor=name)
        return to

    def channels(self, node: NodeInfo, position: int, rank: int, axis: int) -> NDArray[Any]:
        """Return a scale or zero point in a shape that broadcasts along an axis.

        Parameters
        ----------
        node, position
            The node, and which input it is.
        rank, axis
            Axes of the tensor, and that of the channels.
        """
        array = np.asarray(self.constant_input(node, position))
        if array.size == 1:
            return array.reshape(())
        if array.ndim != 1:
            raise refused(node, "it has a scale for each block", "give one for each channel")
        shape = [1] * rank
        shape[axis] = -1
        return array.reshape(shape)


class ScaleAndShift(torch.nn.Module):
    """A product and a sum for each channel."""

    def __init__(self, node: NodeInfo, scale: NDArray[Any], shift: NDArray[Any]) -> None:
        super().__init__()
        self.node = node
        self.scale = torch.nn.Parameter(torch.from_numpy(scale), requires_grad=False)
        self.shift = torch.nn.Parameter(torch.from_numpy(shift), requires_grad=False)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the products, shifted."""
        shape = (-1, *(1,) * (value.ndim - 2))
        return value * self.scale.reshape(shape) + self.shift.reshape(shape)


class Bipolar(torch.nn.Module):
    """Plus or minus a number, by the sign of a value."""

    def __init__(self, node: NodeInfo, scale: float) -> None:
        super().__init__()
        self.node = node
        self.above = torch.nn.Buffer(torch.tensor(scale, dtype=torch.float64))
        self.below = torch.nn.Buffer(torch.tensor(-scale, dtype=torch.float64))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the number, with the sign."""
        return torch.where(value >= 0, self.above, self.below)


def wide(array: NDArray[Any]) -> NDArray[Any]:
    """Return floats in float64."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _narrowed(quantizer: Quantizer, low: int | None, high: int | None) -> Quantizer | None:
    """Return a quantizer with the bounds of integers, None where no width has them."""
    form = Format(quantizer.width, 0, quantizer.signed)
    low = max(form.min_raw if low is None else low, form.min_raw)
    high = min(form.max_raw if high is None else high, form.max_raw)
    signed = low < 0
    width = max(high, 0).bit_length() + signed
    made = replace(quantizer, width=max(width, 1), signed=signed, narrow=signed and low == -high)
    limits = saturation_limits(Format(made.width, 0, signed), made.overflow)
    return made if limits == (low, high) and width <= quantizer.width else None
