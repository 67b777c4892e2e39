"""A quantized ONNX network as a torch module that computes with its real values, in float64.

An integer tensor ``q`` of the file with the scale ``s`` and the zero point ``z`` is the tensor
``(q - z) * s`` of the module. So the operations between quantizers are those of float networks, and
each quantizer is a `QuantizerModule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fxp.formats import Format, Rounding, quantize, saturation_limits
from fxp.frontend.builder import clean_name
from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.call import NodeInfo, refused
from fxp.frontend.onnx.load import example_inputs
from fxp.frontend.onnx.module import OnnxModule, Operator
from fxp.frontend.onnx.qlinear import LAYERS_OF_INTEGERS, QLINEAR, integer_operands
from fxp.frontend.onnx.quantized_tensors import (
    INTEGERS,
    UNKNOWN,
    Codes,
    QuantizedTensors,
)
from fxp.frontend.onnx.quantizers import (
    MAX_BITS,
    ROUNDINGS_ABOVE,
    Bipolar,
    Declared,
    Quantizer,
    QuantizerModule,
    ScaleAndShift,
    Scales,
    centered,
    checked_width,
    frac_of,
    narrowest,
    quantizer_of,
    wide,
)
from fxp.frontend.onnx.wrapped import unwrapped_nodes
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
else:
    onnx = lazy_import("onnx", "onnx")


@dataclass(frozen=True)
class QuantizedModule:
    """A network read from a quantized ONNX file.

    Attributes
    ----------
    module
        The torch module, in float64. Its quantizers are `QuantizerModule` objects.
    declared
        Formats of its parameters that the file gives, by their names in the state dict.
    tensors
        Names of the file's tensors by the names of the parameters that hold them.
    input_formats
        For every input the format that the file gives, None where a quantizer reads the input.
    zeros
        Zero points of inputs and outputs of integers, by name, where they are not 0. The raw
        integers of the graph are those of the file less the zero point.
    scales
        What was rounded.
    """

    module: OnnxModule
    declared: dict[str, Declared]
    tensors: dict[str, str]
    input_formats: tuple[Format | None, ...]
    zeros: dict[str, int]
    scales: Scales

    def set_rounding(self, rounds: bool) -> None:
        """Let the quantizers round, or not, when the module is called."""
        for part in self.module.modules():
            if isinstance(part, QuantizerModule):
                part.rounds = rounds


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a model holds quantizing operations, or arithmetic of quantized integers."""
    return any(node.op_type in QUANTIZING for node in model.graph.node)


def build_quantized(model: onnx.ModelProto, scales: Scales) -> QuantizedModule:
    """Return the module of a quantized model.

    Parameters
    ----------
    model
        Checked by `fxp.frontend.onnx.file.read_model`.
    scales
        What to do with scales that are no powers of two.
    """
    model = unwrapped_nodes(model)
    network = _QuantizedAssembly(model, scales).network()
    means = _whole_windows(network.module)
    return _QuantizedAssembly(model, scales, means).network() if means else network


def _whole_windows(module: OnnxModule) -> frozenset[str]:
    """Names of the average pools of integers whose window is the whole image.

    ONNX Runtime computes them as global averages, which round otherwise. The sizes of images are
    known when the network is run.
    """
    found: set[str] = set()

    def note(part: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(part, Operator)
        if list(given[0].shape[2:]) == part.node.attributes.get("kernel_shape"):
            found.add(part.node.outputs[0])

    pools = [
        part
        for part in module.modules()
        if isinstance(part, Operator)
        and part.node.op == "AveragePool"
        and part.node.outputs[0].endswith(_REAL)
    ]
    if pools:
        hooks = [part.register_forward_pre_hook(note) for part in pools]
        example_inputs(module)
        for hook in hooks:
            hook.remove()
    return frozenset(found)


_REAL: Final = "/real"
"""Behind the name of a tensor of integers, that of its real values."""


def _has_quantizers(domain: str) -> bool:
    """Whether quantizing operations of a domain are known: those of Brevitas, FINN, and QONNX."""
    return domain in ("", "com.microsoft", "onnx.brevitas") or domain.startswith(("finn", "qonnx"))


class _QuantizedAssembly(QuantizedTensors):
    """One pass over the nodes of a quantized model."""

    def __init__(
        self, model: onnx.ModelProto, scales: Scales, means: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(model, scales)
        self._means = means
        self._proto = onnx.NodeProto()

    def network(self) -> QuantizedModule:
        """Translate all nodes."""
        module = self.build()
        module.dtype = torch.float64
        tensors = {
            f"{path}.{name}": part.node.inputs[position]
            for path, part in module.named_children()
            if isinstance(part, Operator)
            for position, name in part.weights.items()
        }
        declared = {
            key: self.declared[tensor] for key, tensor in tensors.items() if tensor in self.declared
        }
        ends = [*self.model.graph.input, *self.model.graph.output]
        zeros = {
            value.name: zero
            for value in ends
            if (codes := self.integers.get(value.name)) and (zero := codes.zero)
        }
        return QuantizedModule(
            module, declared, tensors, tuple(self.input_formats), zeros, self.scales
        )

    def add(self, proto: onnx.NodeProto) -> None:
        """Translate one node."""
        node = self.info(proto)
        handler = QUANTIZING.get(node.op) if _has_quantizers(node.domain) else None
        if handler is not None:
            for name in node.inputs:
                if name and name not in self.known and name not in self.computed:
                    super().add(proto)  # which refuses it
            self._proto = proto
            try:
                handler(self, node)
            except FrontendError:
                raise
            except Exception as error:
                # NumPy raises many unrelated types for operands that do not fit.
                summary = str(error).partition("\n")[0]
                raise refused(node, f"it cannot be read ({summary})", "repair the model") from error
        elif any(name in self.integers for name in node.inputs):
            self.add_integers(node, proto)
        elif node.op in ("Clip", "Transpose") and node.inputs[0] in self.known:
            self.fold(node)
        elif proto.op_type == "BatchNormalization" and node.inputs[0] in self.computed:
            self._normalize(node)
        else:
            super().add(proto)
        for name in node.outputs:
            if name in self.known:
                self.known[name] = wide(self.known[name])

    # Operations of the standard.

    def quantize_linear(self, node: NodeInfo, with_zero: bool = False) -> None:
        """QuantizeLinear: integers of a computed or constant value.

        Parameters
        ----------
        node
            The node.
        with_zero
            Whether the zero point is added before the rounding.
        """
        source, target = node.inputs[0], node.outputs[0]
        kind = INTEGERS.get(node.attributes.get("output_dtype") or 2, UNKNOWN)
        zero_point = node.inputs[2] if len(node.inputs) > 2 else ""
        if zero_point:
            kind = self.kinds.get(zero_point, UNKNOWN)
        if kind == UNKNOWN:
            raise refused(node, "its integers are of another type", "use int8, uint8 or int16")
        width, signed = kind
        if source in self.known:
            values = self.known[source]
            axis = node.attributes.get("axis", 1)
            scale = self.channels(node, 1, values.ndim, axis)
            zero = self.zeros(node, 2, values.ndim, axis)
            form = Format(width, 0, signed)
            integers = np.round(values / scale) + zero
            self.known[target] = np.clip(integers, form.min_raw, form.max_raw).astype(np.int64)
            self.kinds[target] = kind
            return
        zero = self.quantizer_zero(node, 2, width, signed)
        scale = self.scale_input(node, 1)
        quantizer = quantizer_of(node, scale, width, signed=signed)
        stretch = self.stretch(node, 1, scale)
        self.mark_shifted(
            node, source, quantizer, zero, target, with_zero=with_zero, stretch=stretch
        )
        self.integers[target] = Codes(quantizer.scale, zero)

    def dequantize_linear(self, node: NodeInfo) -> None:
        """DequantizeLinear: real values of integers."""
        source, target = node.inputs[0], node.outputs[0]
        if source not in self.known:
            self.real(node, 0, target)
            return
        rank, axis = self.known[source].ndim, node.attributes.get("axis", 1)
        zero = self.zeros(node, 2, rank, axis)
        self.stored(node, 0, self.channels(node, 1, rank, axis), zero, target)

    def qlinear(self, node: NodeInfo) -> None:
        """Compute from integers to integers: real values, the operation, and a quantizer."""
        layout, target = QLINEAR[node.op], node.outputs[0]
        if node.attributes.get("channels_last"):
            raise refused(
                node, "its images are (N, H, W, C)",
                "save the model before ONNX Runtime optimizes it",
            )  # fmt: skip
        alpha = layout.alpha(node.attributes)
        scales, names = [], []
        for number, operand in enumerate(integer_operands(node.op, node.inputs)):
            scale = self.constant_input(node, operand.position + 1) * (alpha if number else 1.0)
            self.known[f"{target}/{number}/scale"] = scale
            scales.append(np.ravel(scale))
            read = replace(
                node,
                inputs=(operand.name, f"{target}/{number}/scale", operand.zero),
                outputs=(f"{target}/{number}",),
                attributes={"axis": layout.channel_axis(node.attributes)},
            )
            self.dequantize_linear(read)
            names.append(f"{target}/{number}")
        if layout.bias is not None and any(node.inputs[layout.bias :][:1]):
            used = [self.scales.read(node, scale) for scale in scales]
            names.append(
                self.stored(
                    node, layout.bias, scales[0] * scales[1], 0, f"{target}/bias",
                    used=used[0] * used[1],
                )
            )  # fmt: skip
        given = node.inputs[layout.result :][:2]
        is_real = not any(given)
        result = target if is_real else f"{target}{_REAL}"
        self.call(layout.op, names, [result], node, layout.kept(self._proto))
        if not is_real:
            if not all(given) or len(given) < 2:
                raise refused(
                    node, "its result has no zero point, which says its type", "write one"
                )
            made = replace(node, inputs=(result, *given), attributes={})
            self.quantize_linear(made, layout.rounds_with_zero and result not in self._means)

    def integer_layer(self, node: NodeInfo) -> None:
        """ConvInteger and MatMulInteger: exact sums of products of integers."""
        source, to = node.inputs[0], node.outputs[0]
        moved = self.from_zero(node, source, self.zero_input(node, 2))
        axis = 0 if node.op == "ConvInteger" else -1
        zero = self.zeros(node, 3, self.constant_input(node, 1).ndim, axis)
        stored = self.stored(node, 1, np.ones(()), zero, f"{to}/w")
        self.call(node.op.removesuffix("Integer"), [moved, stored], [to], node, self._proto)
        self.integers[to] = Codes(self.integers[source].scale)

    def mark_shifted(
        self, node: NodeInfo, source: str, quantizer: Quantizer, zero: int, target: str,
        *, with_zero: bool, stretch: float, top: int | None = None,
    ) -> None:  # fmt: skip
        """Enter the quantizer of a computed value whose integers have a zero point.

        The integers ``q`` stand for ``q - zero``, whose range needs a further bit if zero is
        neither at its center nor at its end. A clamp keeps to the range then.

        Parameters
        ----------
        node
            The node of the file.
        source, quantizer, target
            What is rounded, how without the zero point, and the name of the result.
        zero
            The zero point.
        with_zero
            Whether it is added before the rounding, so that the sign and parity of ``q`` count.
        stretch
            Scale of the file in units of that which is used. The range stays that of the file, so
            that the width may be another.
        top
            Largest integer, if it is not that of the width.
        """
        low, high = saturation_limits(
            Format(quantizer.width, 0, quantizer.signed), quantizer.overflow
        )
        high = high if top is None else top
        above = ROUNDINGS_ABOVE.get(quantizer.rounding, quantizer.rounding)
        if zero and with_zero and stretch == 1:
            by_sign = quantizer.signed and above is not quantizer.rounding
            if by_sign or (zero % 2 and quantizer.rounding is Rounding.HALF_EVEN):
                shifted, rounded = f"{target}/shifted", f"{target}/integers"
                self._add(node, source, zero * quantizer.scale, quantizer, shifted)
                self._mark_within(node, shifted, quantizer, (low, high), rounded)
                self._add(node, rounded, -zero * quantizer.scale, quantizer, target)
                return
            quantizer = replace(quantizer, rounding=above)
        limits = round((low - zero) * stretch), round((high - zero) * stretch)
        self._mark_within(node, source, quantizer, limits, target)

    def _mark_within(
        self, node: NodeInfo, source: str, quantizer: Quantizer, limits: tuple[int, int],
        target: str,
    ) -> None:  # fmt: skip
        """Enter a quantizer of the smallest width, and a clamp if that has further integers."""
        made = narrowest(quantizer, *limits)
        if saturation_limits(Format(made.width, 0, made.signed), made.overflow) == limits:
            self.mark(node, source, made, target)
            return
        rounded, names = f"{target}/rounded", [f"{target}/low", f"{target}/high"]
        self.mark(node, source, made, rounded)
        bounds = zip(names, limits, strict=True)
        self.known |= {name: np.array(bound * made.scale) for name, bound in bounds}
        self.call("Clip", [rounded, *names], [target], node)

    def _add(
        self, node: NodeInfo, source: str, number: float, quantizer: Quantizer, target: str
    ) -> None:  # fmt: skip
        """Enter a computed value plus a multiple of a quantizer's step."""
        fracs = np.array(frac_of(quantizer.scale))
        name = self.constant(node, f"{target}/number", np.array(number), fracs, MAX_BITS, True)
        self.call("Add", [source, name], [target], node)

    # Operations of QONNX.

    def quant(self, node: NodeInfo) -> None:
        """Quant and IntQuant."""
        signed, narrow = (bool(node.attributes.get(name, 1)) for name in ("signed", "narrow"))
        width = checked_width(node, self.constant_input(node, 3))
        if width == 1 and signed:
            # Brevitas writes binary values so.
            self.bipolar(node)
            return
        rounding = str(node.attributes.get("rounding_mode", "ROUND"))
        source, target = node.inputs[0], node.outputs[0]
        if source in self.known:
            self._quantized_constant(node, width, signed, narrow, rounding)
            return
        zero, scale = self.quantizer_zero(node, 2, width, signed), self.scale_input(node, 1)
        quantizer = quantizer_of(
            node, scale, width, rounding=rounding, signed=signed, narrow=narrow and signed
        )
        self.mark_shifted(
            node, source, quantizer, zero, target, with_zero=True,
            stretch=self.stretch(node, 1, scale),
            top=2**width - 2 if narrow and not signed else None,
        )  # fmt: skip

    def _quantized_constant(
        self, node: NodeInfo, width: int, signed: bool, narrow: bool, rounding: str
    ) -> None:
        values = self.known[node.inputs[0]]
        scale, zero = self.constant_input(node, 1), self.constant_input(node, 2)
        one = quantizer_of(node, np.ones(1), width, rounding=rounding, signed=signed)
        form = one.quantization.format
        low = form.min_raw + (narrow and signed)
        high = form.max_raw - (narrow and not signed)
        integers = np.clip(values / scale + zero, low, high)
        integers = quantize(integers, form, one.rounding, one.overflow) - zero
        width, signed = centered(width, signed, zero)
        name, used = node.outputs[0], self.scales.read(node, scale, integers)
        self.rescaled(node, name, integers, scale, used, width, signed)
        self.declared[name] = replace(self.declared[name], tensor=node.inputs[0])

    def bipolar(self, node: NodeInfo) -> None:
        """BipolarQuant: plus or minus the scale, by the sign."""
        source, target = node.inputs[0], node.outputs[0]
        scale = self.scale_input(node, 1)
        if source in self.known:
            values = np.where(self.known[source] >= 0, scale, -scale)
            fracs = 1 - np.frexp(scale)[1]
            self.constant(node, target, values, fracs, 2, True)
            self.declared[target] = replace(self.declared[target], tensor=source)
            return
        if scale.size != 1:
            raise refused(node, "its scales differ between channels", "give values one scale")
        path = self.unique(clean_name(node.name).replace(".", "_"))
        self.root.add_module(path, Bipolar(node, scale.item()))
        self.computed[target] = self.graph.call_module(path, (self.computed[source],))

    def trunc(self, node: NodeInfo) -> None:
        """Trunc, of either version: integers without their last bits."""
        if self.zero_input(node, 2):
            raise refused(node, "its zero point is not 0", "quantize symmetrically")
        rounding = str(node.attributes.get("rounding_mode", "FLOOR"))
        scale = self.scale_input(node, 1)
        source, target = node.inputs[0], node.outputs[0]
        if len(node.inputs) > 5:
            signed, narrow = (
                bool(node.attributes.get(name, default))
                for name, default in (("signed", 1), ("narrow", 0))
            )
            quantizer = quantizer_of(
                node, self.scale_input(node, 4), self.constant_input(node, 5),
                rounding=rounding, signed=signed, narrow=narrow,
            )  # fmt: skip
            self.mark(node, source, quantizer, target)
            return
        before, after = (checked_width(node, self.constant_input(node, place)) for place in (3, 4))
        # The older version keeps the scale, so that values get smaller, and it does not saturate.
        moved = f"{target}/moved"
        self.multiply(node, source, 2.0 ** (after - before), moved)
        quantizer = quantizer_of(node, scale, MAX_BITS, rounding=rounding)
        self.mark(node, moved, replace(quantizer, saturates=False), target)

    def _normalize(self, node: NodeInfo) -> None:
        """Write batch normalization as a product and a sum, which go into no weights."""
        scale, shift, mean, variance = (self.constant_input(node, place) for place in range(1, 5))
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        path = self.unique(clean_name(node.name).replace(".", "_"))
        self.root.add_module(path, ScaleAndShift(node, factor, shift - mean * factor))
        self.computed[node.outputs[0]] = self.graph.call_module(
            path, (self.computed[node.inputs[0]],)
        )


QUANTIZING: Final[dict[str, Callable[[_QuantizedAssembly, NodeInfo], None]]] = {
    **dict.fromkeys(QLINEAR, _QuantizedAssembly.qlinear),
    **dict.fromkeys(LAYERS_OF_INTEGERS, _QuantizedAssembly.integer_layer),
    "BipolarQuant": _QuantizedAssembly.bipolar,
    "DequantizeLinear": _QuantizedAssembly.dequantize_linear,
    "IntQuant": _QuantizedAssembly.quant,
    "Quant": _QuantizedAssembly.quant,
    "QuantizeLinear": _QuantizedAssembly.quantize_linear,
    "Trunc": _QuantizedAssembly.trunc,
}
"""Operations that are translated here, by name."""
