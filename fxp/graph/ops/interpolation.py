"""Interpolation to another size: nearest, bilinear and bicubic, by any ratio.

Positions are fractions of integers, and so are the weights before they are rounded once to at most
`WEIGHT_BITS` fraction bits. Each pair or quadruple of weights sums to exactly one, so that an image
of one value keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Dimension, Shape
from fxp.graph.ops.base import Accumulator, Op, Operand, register, require, require_image
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import movement
from fxp.kernels.routines import row_vectors
from fxp.kernels.windows import resample, row_sums
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

Interpolation = Literal["nearest", "nearest_exact", "bilinear", "bicubic"]
WEIGHT_BITS: Final = 16
"""Fraction bits of weights that are not multiples of a smaller power of two."""
MAX_RATIO: Final = 1 << 16
"""Largest numerator and denominator."""
MAX_SIZE: Final = 1 << 20
"""Largest size that may be given."""
_KEYS: Final = -0.75
"""Parameter of the cubic kernel (Keys, IEEE TASSP 1981) that torch uses."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where the results along one axis lie: ``(step * o + start) / unit`` of the operand."""

    step: int
    start: int
    unit: int


@register
@dataclass(frozen=True)
class Interpolate(Op):
    """Interpolation with pixel centres or corners aligned, as torch's ``interpolate``.

    The size of the result is that of a second input, which gives nothing else; else `size`, if it
    is not zero; else ``numerators / denominators`` of the operand's, rounded down. A ratio is also
    the distance of the results, as torch has it where ``scale_factor`` is given.
    """

    name: ClassVar[str] = "interpolate"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    equal_sizes: ClassVar[bool] = False

    mode: Interpolation = "bilinear"
    numerators: tuple[int, int] = (1, 1)
    denominators: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (0, 0)
    align_corners: bool = False

    def __post_init__(self) -> None:
        require(self.mode in get_args(Interpolation), f"unknown mode {self.mode!r}")
        ratios = (*self.numerators, *self.denominators)
        require(
            all(1 <= number <= MAX_RATIO for number in ratios),
            f"numerators and denominators must be 1 to {MAX_RATIO}, got {ratios}",
        )
        require(
            all(0 <= size <= MAX_SIZE for size in self.size) and all(self.size) == any(self.size),
            f"size must be two numbers up to {MAX_SIZE}, or zeros, got {self.size}",
        )
        require(
            not any(self.size) or set(ratios) == {1}, "the size is given twice: size and a ratio"
        )
        require(
            not self.align_corners or not self.mode.startswith("nearest"),
            "nearest cannot align corners",
        )

    @property
    def keeps_place(self) -> bool:  # type: ignore[reportIncompatibleVariableOverride]
        """Whether a result's place does not depend on the size of the image."""
        enlarges = self.numerators != (1, 1) and self.denominators == (1, 1)
        return enlarges and not self.align_corners

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: the size of the second input, the given one, or the ratio of the first's."""
        for shape in shapes:
            require_image(shape)
        channels, *sizes = shapes[0]
        if len(shapes) == 2:
            require(
                not any(self.size) and {*self.numerators, *self.denominators} == {1},
                "the size is given twice: by the second input and by an attribute",
            )
            return channels, *shapes[1][1:]
        return channels, *(self._result_size(axis, size) for axis, size in enumerate(sizes))

    def _result_size(self, axis: int, size: Dimension) -> Dimension:
        """Rows or columns of the result for those of the operand, where it is alone."""
        return self.size[axis] or size * self.numerators[axis] // self.denominators[axis]

    def _has_ratio(self, inputs: int) -> bool:
        return inputs == 1 and not any(self.size)

    def _fraction_bits(self, axis: int, inputs: int) -> int:
        """Fraction bits that hold the positions along an axis, at most `WEIGHT_BITS`."""
        if not self._has_ratio(inputs) or self.align_corners:
            return WEIGHT_BITS
        common = gcd(self.numerators[axis], self.denominators[axis])
        up, down = self.numerators[axis] // common, self.denominators[axis] // common
        # Results lie at odd multiples of down / (2*up), less a half.
        unit = up if up % 2 and down % 2 else 2 * up
        return min(unit.bit_length() - 1, WEIGHT_BITS) if unit & (unit - 1) == 0 else WEIGHT_BITS

    def _bits(self, axis: int, inputs: int) -> int:
        """Fraction bits of the weights along an axis."""
        if self.mode.startswith("nearest"):
            return 0
        bits = self._fraction_bits(axis, inputs)
        return min(3 * bits + 2, WEIGHT_BITS) if self.mode == "bicubic" and bits else bits

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Interval from the largest sums of positive and of negative weights."""
        source, inputs = operands[0], len(operands)
        positive, negative = 1, 0
        for axis in (0, 1):
            bits = self._bits(axis, inputs)
            # The negative weights of the cubic kernel sum to at least -3/16, before rounding.
            below = -(-3 * (1 << bits) // 16) + 1 if self.mode == "bicubic" and bits else 0
            above = (1 << bits) + below
            positive, negative = (
                positive * above + negative * below, positive * below + negative * above
            )  # fmt: skip
        low, high = source.limits
        return Accumulator.uniform(
            source.channels,
            low * positive - high * negative,
            high * positive - low * negative,
            source.format.frac + self._bits(0, inputs) + self._bits(1, inputs),
        )

    def _axis(self, axis: int, inputs: int, size: Any, result: Any) -> tuple[Any, Any]:
        """Distance of the results along an axis, as a numerator and a denominator."""
        if self._has_ratio(inputs):
            return self.denominators[axis], self.numerators[axis]
        return size, result

    def _positions(self, axis: int, inputs: int, size: int, result: int) -> _Axis:
        if self.align_corners:
            return _Axis(size - 1, 0, max(result - 1, 1))
        step, unit = self._axis(axis, inputs, size, result)
        if self.mode == "nearest":
            return _Axis(step, 0, unit)
        start = step if self.mode == "nearest_exact" else step - unit
        return _Axis(2 * step, start, 2 * unit)

    @property
    def _offsets(self) -> tuple[int, ...]:
        """Pixels that a result reads, from the one at or before it."""
        return {"bilinear": (0, 1), "bicubic": (-1, 0, 1, 2)}.get(self.mode, (0,))

    def taps(
        self, axis: int, inputs: int, span: tuple[int, int], size: int, result: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return what results along an axis read.

        Parameters
        ----------
        axis
            0 for rows, 1 for columns.
        inputs
            How many inputs the node has.
        span
            First result, and the one after the last.
        size, result
            Size of the operand and of the result along the axis.

        Returns
        -------
        indices
            Pixels ``(results, taps)``; beyond the borders the edge is repeated.
        weights
            Integers that sum to ``2**bits``, ``(results, taps)``.
        real
            The weights before they are rounded.
        """
        place = self._positions(axis, inputs, size, result)
        positions = place.step * np.arange(*span, dtype=np.int64) + place.start
        first, rest = np.divmod(positions, place.unit)
        indices = np.clip(first[:, None] + np.array(self._offsets), 0, size - 1)
        bits = self._fraction_bits(axis, inputs)
        near = ((rest << (bits + 1)) + place.unit) // (2 * place.unit)
        fraction = rest / place.unit
        if self.mode.startswith("nearest"):
            ones = np.ones((len(first), 1), np.int64)
            return indices, ones, ones.astype(np.float64)
        if self.mode == "bilinear":
            weights = np.stack([(1 << bits) - near, near], axis=1)
            return indices, weights, np.stack([1 - fraction, fraction], axis=1)
        integers = _cubic_weights(near, bits, self._bits(axis, inputs))
        return indices, integers, _cubic(fraction)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Interpolate rows, then columns."""
        result = arrays[0]
        sizes = self.shape(*(array.shape for array in arrays))[1:]
        for axis, wanted in enumerate(sizes):
            size, count = result.shape[1 + axis], int(wanted)  # type: ignore[arg-type]
            indices, weights, _ = self.taps(axis, len(arrays), (0, count), size, count)
            shape = (-1, 1) if axis == 0 else (-1,)
            terms = [
                np.take(result, indices[:, tap], axis=1 + axis) * weights[:, tap].reshape(shape)
                for tap in range(indices.shape[1])
            ]
            result = reduce(np.add, terms)
        return result

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba gather, or separable weights."""
        one = dtype.type(1)
        inputs = len(operands)

        def run(
            band: NDArray, first_row: int, first_column: int, windows: Sequence[Window]
        ) -> None:
            source, sizing = windows[0], windows[-1]
            wanted = (sizing.height, sizing.width)
            found = []
            for axis, (first, count, size, start) in enumerate((
                (first_row, band.shape[0], source.height, source.row),
                (first_column, band.shape[1], source.width, source.column),
            )):  # fmt: skip
                result = wanted[axis] if inputs == 2 else int(self._result_size(axis, size))  # type: ignore[arg-type]
                span = (first, first + count)
                indices, weights, _ = self.taps(axis, inputs, span, size, result)
                found.append((indices - start, weights))
            (rows, row_weights), (columns, column_weights) = found
            if self.mode.startswith("nearest"):
                movement.gather(band, source.array, rows[:, 0], columns[:, 0], 0, one, 0)
            else:
                image, factors = row_vectors(source.array), np.ones(band.shape[:2], dtype)
                taps = row_sums(row_weights, operands[0].limits, dtype)
                resample(band, image, rows, columns, taps, column_weights.astype(np.int32), factors)

        return run

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Span of the taps; of the second input nothing but its size."""
        if position == 1:
            return 0, 1
        if len(operands) == 2:
            return 0, size
        count = int(self._result_size(axis, size))  # type: ignore[arg-type]
        indices, _, _ = self.taps(axis, 1, (first, last), size, count)
        return int(indices.min()), int(indices.max()) + 1

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Weighted sum of gathered rows, then of gathered columns."""
        result = tensors[0]
        sizes = self.shape(*(tuple(tensor.shape[1:]) for tensor in tensors))[1:]
        for axis, wanted in enumerate(sizes):
            size, count = result.shape[2 + axis], int(wanted)  # type: ignore[arg-type]
            indices, integers, weights = self.taps(axis, len(tensors), (0, count), size, count)
            if operands[0].is_integer:
                weights = np.ldexp(integers.astype(np.float64), -self._bits(axis, len(tensors)))
            places = torch.as_tensor(indices, device=result.device)
            factors = torch.as_tensor(weights, dtype=result.dtype, device=result.device)
            shape = (-1, 1) if axis == 0 else (-1,)
            terms = [
                result.index_select(2 + axis, places[:, tap]) * factors[:, tap].reshape(shape)
                for tap in range(indices.shape[1])
            ]
            result = reduce(torch.add, terms)
        return result

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Gathers at positions, and weights, that integer arithmetic finds from the sizes."""
        result = names[0]
        wanted = emit("Shape", names[-1])
        for axis in (0, 1):
            size = emit("Gather", emit("Shape", result), emit.constant(2 + axis))
            if len(names) == 2:
                count = emit("Gather", wanted, emit.constant(2 + axis))
            elif any(self.size):
                count = emit.constant(self.size[axis])
            else:
                count = emit.floor_divide(
                    emit.scaled(size, self.numerators[axis]), self.denominators[axis]
                )
            result = self._onnx_axis(emit, result, axis, len(names), size, count)
        return result

    def _onnx_axis(
        self, emit: Emitter, name: str, axis: int, inputs: int, size: str, count: str
    ) -> str:
        """Interpolate along an axis; `size` and `count` are scalars of the operand and result."""
        one, two = emit.constant(1), emit.constant(2)
        outputs = emit("Range", emit.constant(0), count, one)
        if self.align_corners:
            unit = emit.maximum(emit("Sub", count, one), one)
            positions = emit("Mul", outputs, emit("Sub", size, one))
        elif self.mode == "nearest":
            step, unit = self._onnx_ratio(emit, axis, inputs, size, count)
            positions = emit("Mul", outputs, step)
        else:
            step, half = self._onnx_ratio(emit, axis, inputs, size, count)
            unit = emit("Mul", half, two)
            odd = emit("Add", emit("Mul", outputs, two), one)
            positions = emit("Mul", odd, step)
            if self.mode != "nearest_exact":
                positions = emit("Sub", positions, half)
        rest = emit("Mod", positions, unit)
        first = emit("Div", emit("Sub", positions, rest), unit)
        last = emit("Sub", size, one)

        def pixels(offset: int) -> str:
            place = emit("Add", first, emit.constant(offset)) if offset else first
            inside = emit.minimum(emit.maximum(place, emit.constant(0)), last)
            return emit("Gather", name, inside, axis=2 + axis)

        if self.mode.startswith("nearest"):
            return pixels(0)
        bits = self._fraction_bits(axis, inputs)
        doubled = emit("Add", emit("Mul", rest, emit.constant(2 << bits)), unit)
        near = emit("Div", doubled, emit("Mul", unit, two))
        if self.mode == "bilinear":
            weights = [emit("Sub", emit.constant(1 << bits), near), near]
        else:
            weights = _onnx_cubic_weights(emit, near, bits, self._bits(axis, inputs))
        if axis == 0:
            weights = [emit("Unsqueeze", item, emit.constant([1])) for item in weights]
        terms = [
            emit("Mul", pixels(offset), item)
            for offset, item in zip(self._offsets, weights, strict=True)
        ]
        return reduce(lambda a, b: emit("Add", a, b), terms)

    def _onnx_ratio(
        self, emit: Emitter, axis: int, inputs: int, size: str, count: str
    ) -> tuple[str, str]:
        step, unit = self._axis(axis, inputs, size, count)
        if self._has_ratio(inputs):
            return emit.constant(step), emit.constant(unit)
        return step, unit


def _cubic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the pixels around a position ``t`` behind the second of four."""
    s, a = 1 - t, _KEYS
    inner = [((a + 2) * x - (a + 3)) * x * x + 1 for x in (t, s)]
    return np.stack([a * t * s * s, *inner, a * t * t * s], axis=1)


def _cubic_weights(t: NDArray[np.int64], bits: int, target: int) -> NDArray[np.int64]:
    """Weights with `target` fraction bits at positions of `bits` fraction bits.

    The outer two are rounded half up, and so is the inner one farther from the position; the nearer
    one, the largest, makes the sum exactly one.
    """
    s, shift = (1 << bits) - t, max(3 * bits + 2 - target, 0) if bits else 0
    half = (1 << shift) >> 1
    outer = [(-3 * x * y * y + half) >> shift for x, y in ((t, s), (s, t))]
    far = np.maximum(t, s)
    farther = ((5 * far - (9 << bits)) * far * far + (4 << (3 * bits)) + half) >> shift
    if not bits:
        farther, outer = t, [0 * t, 0 * t]
    nearer = (1 << target) - outer[0] - outer[1] - farther
    first = np.where(t <= s, nearer, farther)
    second = np.where(t <= s, farther, nearer)
    return np.stack([outer[0], first, second, outer[1]], axis=1)


def _onnx_cubic_weights(emit: Emitter, t: str, bits: int, target: int) -> list[str]:
    """Emit `_cubic_weights`."""
    if not bits:
        zero = emit("Mul", t, emit.constant(0))
        return [zero, emit("Sub", emit.constant(1), t), t, zero]
    s = emit("Sub", emit.constant(1 << bits), t)
    shift = 3 * bits + 2 - target

    def rounded(value: str) -> str:
        added = emit("Add", value, emit.constant((1 << shift) >> 1))
        return emit.floor_divide(added, 1 << shift) if shift else value

    product = emit("Mul", emit("Mul", t, s), emit.constant(-3))
    outer = [rounded(emit("Mul", product, factor)) for factor in (s, t)]
    far = emit.maximum(t, s)
    cubic = emit("Sub", emit("Mul", far, emit.constant(5)), emit.constant(9 << bits))
    cubic = emit("Mul", emit("Mul", cubic, far), far)
    farther = rounded(emit("Add", cubic, emit.constant(4 << (3 * bits))))
    others = reduce(lambda a, b: emit("Add", a, b), [*outer, farther])
    nearer = emit("Sub", emit.constant(1 << target), others)
    second_is_nearer = emit("Less", s, t)
    first = emit("Where", second_is_nearer, farther, nearer)
    second = emit("Where", second_is_nearer, nearer, farther)
    return [outer[0], first, second, outer[1]]
