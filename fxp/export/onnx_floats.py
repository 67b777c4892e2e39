"""Nodes of a graph as float32 operations of ONNX whose results are proved to be exact integers.

ONNX Runtime has neither int64 nor float64 kernels for convolutions on CPUs, but fast ones for
float32, which holds every integer up to ``2**24``. A sum of products is exact in it, in any order,
if every sum of some of its terms stays within that bound, the largest of which are those of all
positive and of all negative terms; scaling by powers of two changes no
bit. Where a sum is larger, the image is split into an upper and a lower part, so that each part's
sum is exact, and the two are joined by the rounding: with ``value = high * 2**k + low``,
``floor(value / 2**s) = floor((high + floor(low / 2**k)) / 2**(s - k))``. The same splitting makes
matrix products exact in Ozaki et al., "Error-free transformations of matrix multiplication by using
fast routines of matrix multiplication", Numerical Algorithms, 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.export.rounding import (
    bound_of,
    half_of,
    largest,
    rounded,
    saturates,
    saturation_of,
)
from fxp.formats import EXACT_FLOAT32, EXACT_FLOAT64, Rounding
from fxp.graph import Graph, Node
from fxp.graph.onnx_emitter import DOUBLE, INT64, Emitter
from fxp.graph.ops import (
    Add,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Linear,
    MaxPool,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Subtract,
    Table,
)
from fxp.graph.ops.padding import pad_onnx
from fxp.graph.ops.transposed import exchange_channels

FLOAT: Final = 1
"""Number of float32 in ONNX."""
MOVES: Final = frozenset(
    ("flatten", "flip", "gather_channels", "nearest", "pad", "part", "pixel_shuffle",
     "pixel_unshuffle", "requantize", "slice", "transpose", "unflatten")
)  # fmt: skip
"""Ops whose ONNX nodes move numbers of any type."""
Layer = Conv2d | ConvTranspose2d | Linear


@dataclass(frozen=True)
class Sums:
    """Products of a layer that are not rounded yet.

    Attributes
    ----------
    node
        The layer.
    split
        Bits of the lower part of the image; 0 where the image is not split.
    """

    node: Node
    split: int


class FloatNodes:
    """Writes those nodes of a graph that are exact in float32, or float64."""

    def __init__(self, emit: Emitter, graph: Graph) -> None:
        self._emit = emit
        self._graph = graph
        self.written: dict[str, dict[int, str]] = {}
        """Names of tensors that hold a value, by the number of their type."""
        self._sums: dict[str, Sums] = {}

    def number(self, values: Any, kind: int = FLOAT) -> str:
        """Enter constants of a type."""
        array = np.asarray(values, np.float64)
        return self._emit.constant(array, np.float32 if kind == FLOAT else np.float64)

    def tensor(self, name: str, kind: int) -> str:
        """Name of the tensor that holds a value in a type, which is converted if need be."""
        held = self.written[name]
        if kind not in held:
            held[kind] = self._emit("Cast", next(iter(held.values())), to=kind)
        return held[kind]

    def waits(self, name: str) -> bool:
        """Whether a value is written together with its only reader."""
        return name in self._sums

    def add(self, node: Node) -> bool:
        """Write a node, if it is exact in floating point; say whether it is."""
        op = node.op
        assert node.quantization is not None
        if node.inputs[0] in self._sums:
            self._round_sums(node, self._sums[node.inputs[0]])
            return True
        if not saturates(node.quantization):
            return False
        if isinstance(op, Conv2d | ConvTranspose2d | Linear):
            return self._layer(node)
        if isinstance(op, Table):
            return self._table(node)
        if isinstance(op, Add | Subtract | Multiply | Prelu):
            return self._arithmetic(node)
        return self._moved(node)

    def _moved(self, node: Node) -> bool:
        """Write an op whose exact result lies among the numbers that it reads."""
        op, emit = node.op, self._emit
        if any(name in self._graph.constants_by_name for name in node.inputs):
            return False
        operands = self._graph.operands[node.name]
        values = [self._graph.values[name].format for name in node.inputs]
        bound = max(bound_of(node), *(largest(form) for form in values if form is not None))
        kind = self._kind(node, bound)
        if kind is None:
            return False
        names = [self.tensor(name, kind) for name in node.inputs]
        match op:
            case Relu() | Clamp():
                low, high = op.limits(operands[0])
                made = emit("Clip", names[0], self.number(low, kind), self.number(high, kind))
            case MaxPool():
                top, bottom, left, right = op.padding
                made = emit("MaxPool", names[0], kernel_shape=list(op.window),
                            strides=list(op.stride), pads=[top, left, bottom, right])  # fmt: skip
            case Concat():
                assert node.accumulator is not None
                shifts = [node.accumulator.frac - operand.format.frac for operand in operands]
                scaled = [
                    emit("Mul", name, self.number(2.0**shift, kind)) if shift else name
                    for name, shift in zip(names, shifts, strict=True)
                ]
                made = emit("Concat", *scaled, axis=1)
            case _ if op.name in MOVES:
                made = op.onnx(emit, operands, *names)
            case _:
                return False
        self._finish(node, made, kind)
        return True

    def _kind(self, node: Node, bound: int) -> int | None:
        """Type in which a result of that magnitude, and its rounding, are exact; None if none is.

        Parameters
        ----------
        node
            The node, whose format the result is rounded to.
        bound
            Largest magnitude.
        """
        target = node.quantization
        assert target is not None
        shifts = self._shifts(node)
        needed = (bound << max(-int(shifts.min()), 0)) + (1 << max(int(shifts.max()), 0))
        needed = max(needed, largest(target.format))
        return FLOAT if needed <= EXACT_FLOAT32 else DOUBLE if needed <= EXACT_FLOAT64 else None

    def _shifts(self, node: Node) -> NDArray[np.int64]:
        assert node.accumulator is not None
        assert node.quantization is not None
        shifts = np.asarray(node.accumulator.fracs) - node.quantization.format.frac
        return shifts[:1] if (shifts == shifts[0]).all() else shifts

    def _view(self, node: Node, values: NDArray[Any]) -> NDArray[Any]:
        rank = len(self._graph.values[node.name].shape)
        return np.asarray(values).reshape((-1,) + (1,) * (rank - 1))

    def _finish(self, node: Node, exact: str, kind: int) -> None:
        """Round an exact result to the format of its node."""
        target = node.quantization
        assert target is not None
        shifts = self._shifts(node)
        if shifts.any():
            factors = self._view(node, np.exp2(-shifts.astype(np.float64)))
            exact = self._emit("Mul", exact, self.number(factors, kind))
        if (shifts > 0).any():
            half = half_of(target.rounding)
            if half:
                exact = self._emit("Add", exact, self.number(half, kind))
            exact = self._round(exact, target.rounding, kind)
        if not node.is_exact:
            exact = self._clipped(exact, *saturation_of(node), kind)
        self._written(node, exact, kind)

    def _written(self, node: Node, name: str, kind: int) -> None:
        """Enter the result of a node, in the smallest type that holds it."""
        assert node.quantization is not None
        self.written[node.name] = {kind: name}
        if kind == DOUBLE and largest(node.quantization.format) <= EXACT_FLOAT32:
            self.tensor(node.name, FLOAT)

    def _round(self, name: str, rounding: Rounding, kind: int = FLOAT) -> str:
        """Round numbers to which `_half` was added."""
        emit = self._emit
        if rounding in (Rounding.FLOOR, Rounding.HALF_UP):
            return emit("Floor", name)
        if rounding is Rounding.HALF_DOWN:
            return emit("Ceil", name)
        if rounding is Rounding.HALF_EVEN:
            return emit("Round", name)
        # Toward zero or by magnitude: the sign is taken off first.
        magnitude = emit("Abs", name)
        if rounding is Rounding.HALF_AWAY:
            magnitude = emit("Floor", emit("Add", magnitude, self.number(0.5, kind)))
        elif rounding is Rounding.HALF_TO_ZERO:
            magnitude = emit("Ceil", emit("Sub", magnitude, self.number(0.5, kind)))
        else:
            magnitude = emit("Floor", magnitude)
        return emit("Mul", emit("Sign", name), magnitude)

    def _clipped(self, name: str, low: int, high: int, kind: int = FLOAT) -> str:
        return self._emit("Clip", name, self.number(low, kind), self.number(high, kind))

    def _arithmetic(self, node: Node) -> bool:
        """Add, subtract, multiply, or PReLU."""
        op, operands = node.op, self._graph.operands[node.name]
        assert node.accumulator is not None
        shifts = [0] * len(operands)
        if isinstance(op, Prelu):
            shifts[0] = int(operands[1].format.frac)
        elif not isinstance(op, Multiply):
            shifts = [node.accumulator.frac - operand.format.frac for operand in operands]
        if max(shifts) > 60:
            return False
        terms = [
            max(map(abs, operand.limits)) << shift
            for operand, shift in zip(operands, shifts, strict=True)
        ]
        kind = self._kind(node, max(bound_of(node), *terms))
        if kind is None:
            return False
        names = []
        for name, shift in zip(node.inputs, shifts, strict=True):
            constant = self._graph.constants_by_name.get(name)
            if constant is None:
                source = self.tensor(name, kind)
                factor = self.number(2.0**shift, kind)
                names.append(self._emit("Mul", source, factor) if shift else source)
            elif isinstance(op, Prelu):
                slopes = np.ldexp(constant.data.astype(np.float64), -shifts[0])
                names.append(self.number(self._view(node, slopes), kind))
            else:
                names.append(self.number(np.ldexp(constant.data.astype(np.float64), shift), kind))
        kinds = {Add: "Add", Subtract: "Sub", Multiply: "Mul", Prelu: "PRelu"}
        self._finish(node, self._emit(kinds[type(op)], *names), kind)
        return True

    def _table(self, node: Node) -> bool:
        """Look up each code in a table."""
        source, table = self._graph.operands[node.name]
        kind = self._kind(node, bound_of(node))
        if kind is None or table.constant is None:
            return False
        codes = self.tensor(node.inputs[0], INT64)
        codes = self._emit("Sub", codes, self._emit.constant(source.format.min_raw))
        entries = self.number(table.constant, kind)
        self._finish(node, self._emit("Gather", entries, codes, axis=0), kind)
        return True

    # Layers.

    def _layer(self, node: Node) -> bool:
        """Write a layer, or keep it for its only reader."""
        op = node.op
        source = self._graph.operands[node.name][0].format
        # ONNX Runtime refuses an output padding that only a dilation allows.
        added, stride = getattr(op, "output_padding", (0, 0)), getattr(op, "stride", (1, 1))
        if largest(source) > EXACT_FLOAT32 or added[0] >= stride[0] or added[1] >= stride[1]:
            return False
        readers = self._graph.consumers.get(node.name, ())
        alone = len(readers) == 1 and node.name not in self._graph.outputs
        if alone and node.is_exact and isinstance(readers[0].op, Relu | Clamp | Requantize):
            (reader,) = readers
            split = self._split_of(node, reader)
            if split is not None:
                self._sums[node.name] = Sums(node, split)
                return True
        split = self._split_of(node, node)
        if split is not None:
            self._write_layer(node, Sums(node, split), *saturation_of(node))
            return True
        return self._in_parts(node)

    def _in_parts(self, node: Node) -> bool:
        """Write a layer whose parts are joined in float64 before they are rounded."""
        operands = self._graph.operands[node.name]
        k = self._even_split(node)
        weights = operands[1].constant
        assert weights is not None
        biases = operands[2].constant if len(operands) > 2 else None
        bound = self._whole(node)
        if k is None or self._kind(node, bound) is None:
            return False
        source = self._padded(node, self.tensor(node.inputs[0], FLOAT))
        ones, none = np.ones(len(weights)), np.zeros(len(weights))
        if k:
            upper, lower = self._halves(source, k)
            sums = [
                self._emit("Cast", self._products(node, part, weights, ones, none), to=DOUBLE)
                for part in (upper, lower)
            ]
            total = self._emit("Add", *sums)
        else:
            total = self._products(node, source, weights, ones, none)
            total = self._emit("Cast", total, to=DOUBLE)
        if biases is not None:
            total = self._emit("Add", total, self.number(self._view(node, biases), DOUBLE))
        self._finish(node, total, DOUBLE)
        return True

    def _round_sums(self, node: Node, sums: Sums) -> None:
        """Write a layer and the clamp that reads it: rounding keeps the order of numbers."""
        target, op = node.quantization, node.op
        assert target is not None
        low, high = saturation_of(node)
        if isinstance(op, Relu | Clamp):
            source = self._graph.operands[node.name][0]
            # The bounds are rounded as any other value of the clamp's result.
            shift = source.format.frac - target.format.frac
            lower, upper = (rounded(bound, shift, target) for bound in op.limits(source))
            low, high = max(low, min(lower, high)), min(high, max(upper, low))
        self._write_layer(node, sums, low, high)

    def _layer_shifts(self, layer: Node, reader: Node) -> NDArray[np.int64]:
        assert layer.accumulator is not None
        assert reader.quantization is not None
        return np.asarray(layer.accumulator.fracs) - reader.quantization.format.frac

    def _whole(self, node: Node) -> int:
        """Largest magnitude of any sum of some terms of a layer, in any channel."""
        operands = self._graph.operands[node.name]
        low, high = operands[0].limits
        bias = operands[2].constant if len(operands) > 2 else None
        extra = 0 if bias is None else int(np.abs(bias).max())
        return self._largest_sum(node, low, high) + extra

    def _largest_sum(self, node: Node, low: int, high: int) -> int:
        """Return the largest magnitude of any sum of some products of a layer, in any order.

        Parameters
        ----------
        node
            The layer.
        low, high
            Bounds of the numbers that it multiplies.
        """
        positive, negative = self._graph.operands[node.name][1].signed_sums
        low, high = min(low, 0), max(high, 0)
        return max(
            max(p * high + n * low, -n * high - p * low)
            for p, n in zip(positive, negative, strict=True)
        )

    def _split_of(self, layer: Node, reader: Node) -> int | None:
        """Bits of the lower part of the image with which sums can be rounded in float32.

        Parameters
        ----------
        layer, reader
            The layer, and the node that rounds its sums.

        Returns
        -------
        int or None
            0 where the image need not be split, None where no split will do.
        """
        target = reader.quantization
        assert target is not None
        if not saturates(target) or largest(target.format) > EXACT_FLOAT32:
            return None
        shifts = self._layer_shifts(layer, reader)
        most = max(int(shifts.max()), 0)
        whole = self._whole(layer)
        if (whole << max(-int(shifts.min()), 0)) + (1 << most) <= EXACT_FLOAT32:
            return 0
        if target.rounding not in (Rounding.FLOOR, Rounding.HALF_UP):
            return None
        source = self._graph.operands[layer.name][0]
        form, (low, high) = source.format, source.limits
        bias = whole - self._largest_sum(layer, low, high)
        # Where the lower part has as many bits as are dropped, nothing is dropped of the upper one.
        wanted = sorted(
            range(1, min(form.width, int(shifts.min()) + 1)),
            key=lambda k: (k != most, abs(2 * k - form.width)),
        )
        for k in wanted:
            upper = self._largest_sum(layer, (low >> k) - 1, (high >> k) + 1)
            upper += (bias + (1 << most)) >> k
            half = 1 << (k - 1)
            lower = self._largest_sum(layer, -half, half) + (2 << k)
            if max(upper + 4, lower) <= EXACT_FLOAT32:
                return k
        return None

    def _even_split(self, layer: Node) -> int | None:
        """Bits of the lower part with which the sums of both parts are exact, 0 for one part."""
        source = self._graph.operands[layer.name][0]
        width, (low, high) = source.format.width, source.limits
        if self._largest_sum(layer, low, high) <= EXACT_FLOAT32:
            return 0
        for k in sorted(range(1, width), key=lambda k: abs(2 * k - width)):
            half = 1 << (k - 1)
            upper = self._largest_sum(layer, (low >> k) - 1, (high >> k) + 1)
            if max(upper, self._largest_sum(layer, -half, half)) <= EXACT_FLOAT32:
                return k
        return None

    def _halves(self, source: str, k: int) -> tuple[str, str]:
        """Write an image as the nearest multiples of ``2**k``, and what is left."""
        # Numbers of this size are 2**k apart, so that the sum is rounded to one.
        large = self.number(1.5 * 2.0 ** (23 + k))
        upper = self._emit("Sub", self._emit("Add", source, large), large)
        return upper, self._emit("Sub", source, upper)

    def _write_layer(self, node: Node, sums: Sums, low: int, high: int) -> None:
        """Write a layer rounded to the format of a node, within limits."""
        layer, k = sums.node, sums.split
        target = node.quantization
        assert target is not None
        operands = self._graph.operands[layer.name]
        weights = operands[1].constant
        assert weights is not None
        shifts = self._layer_shifts(layer, node)
        biases = np.zeros(len(weights), np.int64)
        if len(operands) > 2 and operands[2].constant is not None:
            biases = operands[2].constant
        source = self._padded(layer, self.tensor(layer.inputs[0], FLOAT))
        if not k:
            scales = np.exp2(-shifts.astype(np.float64))
            halves = np.where(shifts > 0, half_of(target.rounding), 0.0)
            made = self._products(layer, source, weights, scales, biases * scales + halves)
            if (shifts > 0).any():
                made = self._round(made, target.rounding)
            self._written(node, self._clipped(made, low, high), FLOAT)
            return
        upper, lower = self._halves(source, k)
        # Every channel drops at least k bits, of which half a unit may be a part.
        added = biases + (1 << (shifts - 1)) if target.rounding is Rounding.HALF_UP else biases
        small, large = (added & ((1 << k) - 1)) * 0.5**k, added >> k
        fine = self._products(layer, lower, weights, np.full(len(weights), 0.5**k), small)
        fine = self._emit("Floor", fine)
        scales = np.exp2(k - shifts.astype(np.float64))
        coarse = self._products(layer, upper, weights, scales * 0.5**k, large * scales)
        if (scales != 1).any():
            fine = self._emit("Mul", fine, self.number(self._view(layer, scales)))
        total = self._emit("Add", coarse, fine)
        if (scales != 1).any():
            total = self._emit("Floor", total)
        self._written(node, self._clipped(total, low, high), FLOAT)

    def _padded(self, layer: Node, source: str) -> str:
        op = layer.op
        if isinstance(op, Conv2d) and op.padding_mode != "zero":
            return pad_onnx(self._emit, source, op.padding, op.padding_mode)
        return source

    def _products(
        self, layer: Node, source: str, weights: NDArray[np.int64], scales: NDArray[np.float64],
        biases: NDArray[Any],
    ) -> str:  # fmt: skip
        """Write the sums of products of a layer, times a power of two for each channel."""
        op, emit = layer.op, self._emit
        scaled = weights * scales.reshape((-1,) + (1,) * (weights.ndim - 1))
        bias = [self.number(biases)] if biases.any() else []
        if isinstance(op, Linear):
            return emit("Gemm", source, self.number(scaled), *bias, transB=1)
        if isinstance(op, Conv2d):
            top, bottom, left, right = op.padding if op.padding_mode == "zero" else (0, 0, 0, 0)
            return emit(
                "Conv", source, self.number(scaled), *bias, strides=list(op.stride),
                pads=[top, left, bottom, right], dilations=list(op.dilation), group=op.groups,
            )  # fmt: skip
        assert isinstance(op, ConvTranspose2d)
        exchanged = self.number(exchange_channels(scaled, op.groups))
        return emit(
            "ConvTranspose", source, exchanged, *bias, strides=list(op.stride),
            pads=[*op.padding, *op.padding], dilations=list(op.dilation), group=op.groups,
            output_padding=list(op.output_padding),
        )  # fmt: skip
