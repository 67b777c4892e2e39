"""Tensors of a quantized ONNX network: constants, integers with a scale, and quantizers.

An integer tensor ``q`` of the file with the scale ``s`` and the zero point ``z`` is the tensor
``(q - z) * s`` of the module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.frontend.builder import clean_name
from fxp.frontend.onnx.call import NodeInfo, refused
from fxp.frontend.onnx.module import Assembly
from fxp.frontend.onnx.qlinear import integer_operands
from fxp.frontend.onnx.quantizers import (
    MAX_BITS,
    Declared,
    Quantizer,
    QuantizerModule,
    Scales,
    centered,
    frac_of,
    is_center,
    narrowed,
    wide,
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
_NEED_ZERO: Final = frozenset(("Add", "Relu", "Sub"))
"""Those among them that do so only if the zero point is 0."""


@dataclass(frozen=True)
class Codes:
    """What computed integers ``q`` of the file stand for: ``(q - zero) * scale``."""

    scale: float
    zero: int = 0


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
        self.integers: dict[str, Codes] = {}
        """What computed integer tensors stand for, by name."""
        self._quantizers: dict[str, QuantizerModule] = {}
        self._readers: dict[str, int] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1
        for value in model.graph.output:
            self._readers[value.name] = self._readers.get(value.name, 0) + 1
        for node in model.graph.node:
            if node.op_type == "Constant":
                super().add(node)
                for item in node.attribute:
                    self.kinds[node.output[0]] = INTEGERS.get(item.t.data_type, UNKNOWN)
        self.input_formats = [self._input_format(given.name) for given in self.inputs]

    def _input_format(self, name: str) -> Format | None:
        """Format of an input of integers, with the scale and zero point with which they are read.

        Where several nodes read it in several ways, its integers are those of the file.
        """
        value = next(item for item in self.model.graph.input if item.name == name)
        kind = value.type.tensor_type.elem_type
        if kind not in INTEGERS:
            return None
        width, signed = INTEGERS[kind]
        readings, moved = set(), {name}
        for node in self.model.graph.node:
            if node.op_type in {*MOVES, "Clip"} and moved.intersection(node.input[:1]):
                moved.update(node.output)
            readings |= {
                (operand.scale, operand.zero)
                for operand in integer_operands(node.op_type, node.input)
                if operand.name in moved
            }
        scale, zero = 1.0, 0
        if len(readings) == 1:
            scale_name, zero_name = readings.pop()
            if (found := self.known.get(scale_name)) is not None:
                read = self.scales.read(NodeInfo(name, "Input", "", self.opset), found)
                scale = read.item() if read.size == 1 else scale
            if (found := self.known.get(zero_name)) is not None and found.size == 1:
                zero = int(found.item()) if is_center(width, signed, found.item()) else 0
        self.integers[name] = Codes(scale, zero)
        frac = frac_of(2.0 ** np.round(np.log2(scale)))
        return Format(width, frac, signed or zero != 0)

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
            made = narrowed(Quantizer(1.0, width, signed), low, high)
            self.kinds[target] = (width, signed) if made is None else (made.width, made.signed)

    # Values of integer tensors.

    def add_integers(self, node: NodeInfo, proto: onnx.NodeProto) -> None:
        """Translate a node that reads computed integers, which moves or compares them."""
        several = {self.integers[name] for name in node.inputs if name in self.integers}
        codes = next(iter(several))
        if node.op in ("Shape", "Size"):
            super().add(proto)
            return
        if node.op == "Cast":
            self._cast(node, codes)
            return
        fits = len(several) == 1 and not (codes.zero and node.op in _NEED_ZERO)
        if node.op == "Resize" and node.attributes.get("mode", "nearest") != "nearest":
            raise refused(
                node, "it interpolates integers, and the standard does not say how to round them",
                "put DequantizeLinear before it and QuantizeLinear behind it, as in the format QDQ",
            )  # fmt: skip
        if node.op == "Clip":
            self._clip_integers(node, codes)
        elif node.op in MOVES and fits:
            self.call(node.op, self._real_operands(node, codes), node.outputs, node, proto)
        else:
            raise refused(
                node, "it computes with integers" + " of several scales" * (len(several) > 1),
                "put DequantizeLinear before it and QuantizeLinear behind it",
            )  # fmt: skip
        self.integers |= dict.fromkeys((name for name in node.outputs if name), codes)

    def _real_operands(self, node: NodeInfo, codes: Codes) -> list[str]:
        """Names of a node's inputs, with integers that are operands as real values."""
        operands = {"Concat": None, "Max": None, "Min": None, "Add": None, "Sub": None,
                    "Pad": (2,)}.get(node.op, ())  # fmt: skip
        names = []
        given = node.inputs
        if node.op == "Pad" and codes.zero and len(given) > 1:
            # Without a number to pad with, the integer is 0, which is not the zero point.
            given = (*given[:2], f"{node.name}.0", *given[3:]) if not any(given[2:3]) else given
            self.known.setdefault(f"{node.name}.0", np.array(0))
        for position, name in enumerate(given):
            operand = operands is None or position in operands
            if operand and name in self.known:
                values = (self.known[name] - codes.zero) * codes.scale
                name = self.constant(
                    node, f"{node.name}.{position}", values, np.array(frac_of(codes.scale)),
                    MAX_BITS, True,
                )  # fmt: skip
            names.append(name)
        return names

    def _cast(self, node: NodeInfo, codes: Codes) -> None:
        """Real values of integers: the integers themselves."""
        source, target = node.inputs[0], node.outputs[0]
        if node.attributes.get("to") in INTEGERS:
            self.computed[target] = self.computed[source]
            self.integers[target] = codes
        else:
            self.multiply(node, self.from_zero(node, source, 0), 1 / codes.scale, target)

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

    def _clip_integers(self, node: NodeInfo, codes: Codes) -> None:
        bounds = [
            None if bound is None else int(bound) - codes.zero for bound in self._bounds(node)
        ]
        source = self._quantizers.get(node.inputs[0])
        if source is not None and self._readers[node.inputs[0]] == 1:
            narrower = narrowed(source.quantizer, *bounds)
            if narrower is not None:
                source.quantizer = narrower
                self.computed[node.outputs[0]] = self.computed[node.inputs[0]]
                return
        names = [node.inputs[0]]
        for bound in bounds:
            limit = "" if bound is None else f"{node.outputs[0]}/{len(names)}"
            if bound is not None:
                self.known[limit] = np.array(bound * codes.scale)
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

    def from_zero(self, node: NodeInfo, source: str, zero: int) -> str:
        """Return the name of computed integers that stand for their distance from a zero point.

        Parameters
        ----------
        node
            The node of the file.
        source, zero
            The integers, and the zero point with which they are read.
        """
        if source not in self.integers:
            raise refused(node, f"its input {source!r} is no integer tensor", "repair the model")
        codes = self.integers[source]
        if codes.zero == zero:
            return source
        target = f"{node.outputs[0]}/{source}"
        shift = np.array((codes.zero - zero) * codes.scale)
        fracs = np.array(frac_of(codes.scale))
        name = self.constant(node, f"{target}/zero", shift, fracs, MAX_BITS, True)
        self.call("Add", [source, name], [target], node)
        return target

    def zero_input(self, node: NodeInfo, position: int) -> int:
        """Return the zero point of computed integers, 0 if none is given."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return 0
        zero = np.ravel(self.constant_input(node, position))
        if not zero.size or (zero != zero[0]).any() or zero[0] != np.round(zero[0]):
            raise refused(
                node, "its zero points are not one whole number", "give values one zero point"
            )
        return int(zero[0])

    def quantizer_zero(self, node: NodeInfo, position: int, width: int, signed: bool) -> int:
        """Return the zero point of a quantizer, which must be one of its integers.

        Parameters
        ----------
        node, position
            The node, and which input it is.
        width, signed
            Of the integers.
        """
        zero, form = self.zero_input(node, position), Format(width, 0, signed)
        if not form.min_raw <= zero <= form.max_raw:
            raise refused(
                node, f"its zero point is {zero}, which is none of its {width}-bit integers",
                "repair the model",
            )  # fmt: skip
        return zero

    def scale_input(self, node: NodeInfo, position: int) -> NDArray[np.float64]:
        """Return an input that is a scale, as it is to be used."""
        return self.scales.read(node, self.constant_input(node, position))

    def stretch(self, node: NodeInfo, position: int, used: NDArray[Any]) -> float:
        """Return a scale of the file in units of that which is used, for a computed value.

        Parameters
        ----------
        node, position
            The node, and which input has the scale of the file.
        used
            The scale that is used in its place.
        """
        given = np.ravel(np.asarray(self.constant_input(node, position), np.float64))
        return float(given[0] / np.ravel(used)[0])

    def real(self, node: NodeInfo, position: int, target: str) -> str:
        """Enter the real values of computed integers, with the scale and zero point behind them.

        Parameters
        ----------
        node, position
            The node, and which input has the integers.
        target
            Name of the real values, which is returned.
        """
        source, scale = node.inputs[position], self.scale_input(node, position + 1)
        moved = self.from_zero(node, source, self.zero_input(node, position + 2))
        if (scale != scale.ravel()[0]).any():
            raise refused(node, "its scales differ between channels", "give values one scale")
        self.multiply(node, moved, float(scale.ravel()[0]) / self.integers[source].scale, target)
        return target

    def stored(
        self, node: NodeInfo, position: int, scale: NDArray[Any], zero: NDArray[Any] | int, to: str,
        *, used: NDArray[Any] | None = None,
    ) -> str:  # fmt: skip
        """Enter the real values of constant integers.

        Parameters
        ----------
        node, position
            The node, and which input has the integers.
        scale, zero
            Scale and zero point, in shapes that broadcast with the integers.
        to
            Name of the real values.
        used
            The scale as it is to be used, if other nodes say it.
        """
        name = node.inputs[position]
        width, signed = centered(*self.kinds.get(name, UNKNOWN), zero)
        integers = self.constant_input(node, position) - zero
        used = self.scales.read(node, scale, integers) if used is None else used
        self.rescaled(node, to, integers, scale, used, width, signed)
        self.declared[to] = replace(self.declared[to], tensor=name)
        return to

    def rescaled(
        self, node: NodeInfo, name: str, integers: NDArray[Any], scale: NDArray[Any],
        used: NDArray[Any], width: int, signed: bool,
    ) -> None:  # fmt: skip
        """Enter constant integers; they keep their real values as well as rounded scales allow.

        Parameters
        ----------
        node, name
            The node of the file, and the name of the real values.
        integers, scale, used
            The integers, and their scale in the file and as it is used.
        width, signed
            Of the integers; those of other scales may need further bits.
        """
        if self.scales.policy == "snap":
            integers = np.round(integers * (np.asarray(scale, np.float64) / used))
            width = max(width, int(np.abs(integers).max(initial=0)).bit_length() + signed)
        self.constant(node, name, integers * used, 1 - np.frexp(used)[1], width, signed)

    def zeros(
        self, node: NodeInfo, position: int, rank: int, axis: int
    ) -> NDArray[Any] | int:  # fmt: skip
        """Return the zero points of constant integers, 0 if none are given.

        Parameters
        ----------
        node, position, rank, axis
            As for `channels`.
        """
        given = position < len(node.inputs) and node.inputs[position]
        return self.channels(node, position, rank, axis) if given else 0

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
