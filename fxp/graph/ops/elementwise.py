"""Element-wise ops: arithmetic, the ReLU family and plain requantization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Dimension, Shape, shape_text
from fxp.graph.ops.base import (
    UNBOUNDED,
    Accumulator,
    GraphError,
    Op,
    Operand,
    Range,
    Role,
    channel_view,
    moved,
    register,
    require,
)
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import elementwise, movement
from fxp.kernels.routines import row_vectors
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

MAX_SHIFT = 62
"""Aligning by more bits than this fits a 63-bit accumulator for zeros only."""


def joined_rows(
    band: NDArray, first_row: int, first_column: int, windows: Sequence[Window]
) -> tuple[NDArray, list[NDArray], list[tuple[int, int, int, int]]]:
    """Make every row one pixel of all its channels, where the operands have pixels of its columns.

    Parameters
    ----------
    band
        The results.
    first_row, first_column
        Where they begin.
    windows
        The operands.

    Returns
    -------
    tuple
        The band, the operands' arrays, and where the band begins in each.
    """
    arrays = [window.array for window in windows]
    starts = [window.start(first_row, first_column) for window in windows]
    whole = [
        array.shape[1:] == band.shape[1:] and start[1] == 0 and start[3] == 1
        for array, start in zip(arrays, starts, strict=True)
    ]
    if not all(whole):
        return band, arrays, starts
    return row_vectors(band), [row_vectors(array) for array in arrays], starts


class Elementwise(Op):
    """Every output reads one element of each input."""

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Return the outputs' own positions; the only one of an axis of size 1."""
        return (0, 1) if size == 1 else (first, last)


class _Combination(Elementwise):
    """Two operands, broadcast over axes of size 1; constants are allowed on either side."""

    arity: ClassVar[tuple[int, int]] = (2, 2)
    right_sign: ClassVar[int] = 1
    multiplies: ClassVar[bool] = False

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: equal sizes, or 1 on one side."""
        left, right = shapes
        if len(left) == len(right):
            pairs = list(zip(left, right, strict=True))
            if all(a == b or 1 in (a, b) or isinstance(a, int) != isinstance(b, int)
                   for a, b in pairs):  # fmt: skip
                return tuple(_broadcast(a, b) for a, b in pairs)
        raise GraphError(
            f"{shape_text(left)} and {shape_text(right)} do not fit; sizes must be equal or 1"
        )

    def _shifts(self, operands: Sequence[Operand]) -> tuple[int, int]:
        """Left shifts that align the binary points of the operands."""
        left, right = (operand.format.frac for operand in operands)
        common = max(left, right)
        return common - left, common - right

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Interval of the aligned operands."""
        left, right = self._shifts(operands)
        bounds = self._interval(
            tuple(limit << left for limit in operands[0].limits),
            tuple(limit << right for limit in operands[1].limits),
        )
        channels = max(operand.channels for operand in operands)
        frac = self._frac(operands[0].format.frac, operands[1].format.frac)
        return Accumulator.uniform(channels, min(bounds), max(bounds), frac)

    def _frac(self, left: int, right: int) -> int:
        return max(left, right)

    def real_range(self, *ranges: Range) -> Range:
        """Interval of the real operands; unbounded if one of them is."""
        if not all(math.isfinite(limit) for limit in (*ranges[0], *ranges[1])):
            return UNBOUNDED
        bounds = self._interval(*ranges)
        return min(bounds), max(bounds)

    def _interval(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> list[Any]:
        """Return the extreme results."""
        raise NotImplementedError

    def _combine(self, left: IntArray, right: IntArray) -> IntArray:
        raise NotImplementedError

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Shift to align, then combine."""
        left, right = self._shifts(operands)
        return self._combine(arrays[0] << left, arrays[1] << right)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Fused shift and combination."""
        shifts = [min(shift, MAX_SHIFT) for shift in self._shifts(operands)]
        # A factor too large for the dtype wraps, like the accumulator.
        factors = ((np.int64(1) << np.array(shifts)) * (1, self.right_sign)).astype(dtype)
        # The kernel broadcasts the channels of its second operand only.
        order = (0, 1) if operands[0].channels >= operands[1].channels else (1, 0)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            one, other = (inputs[position] for position in order)
            band, arrays, starts = joined_rows(band, first_row, first_column, (one, other))
            elementwise.combine(
                band,
                arrays[0],
                starts[0],
                arrays[1],
                starts[1],
                factors[order[0]],
                factors[order[1]],
                self.multiplies,
            )

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Combine the real values."""
        return self._combine(*tensors)  # type: ignore[arg-type, return-value]

    onnx_op: ClassVar[str]

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Shift by multiplication, then combine."""
        aligned = [
            emit.scaled(name, 1 << min(shift, MAX_SHIFT))
            for name, shift in zip(names, self._shifts(operands), strict=True)
        ]
        return emit(self.onnx_op, *aligned)


def _broadcast(left: Dimension, right: Dimension) -> Dimension:
    # A symbolic size against a fixed one is decided when the sizes are known.
    if left == 1:
        return right
    return left


@register
@dataclass(frozen=True)
class Add(_Combination):
    """Sum of two operands, exact after aligning their binary points."""

    name: ClassVar[str] = "add"
    takes_accumulators: ClassVar[bool] = True
    other_constants: ClassVar[Role | None] = "offset"
    onnx_op: ClassVar[str] = "Add"

    def _interval(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> list[Any]:
        return [left[0] + right[0], left[1] + right[1]]

    def _combine(self, left: IntArray, right: IntArray) -> IntArray:
        return left + right


@register
@dataclass(frozen=True)
class Subtract(_Combination):
    """Difference of two operands, exact after aligning their binary points."""

    name: ClassVar[str] = "subtract"
    takes_accumulators: ClassVar[bool] = True
    other_constants: ClassVar[Role | None] = "offset"
    right_sign: ClassVar[int] = -1
    onnx_op: ClassVar[str] = "Sub"

    def _interval(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> list[Any]:
        return [left[0] - right[1], left[1] - right[0]]

    def _combine(self, left: IntArray, right: IntArray) -> IntArray:
        return left - right


@register
@dataclass(frozen=True)
class Multiply(_Combination):
    """Element-wise product; fraction bits add up."""

    name: ClassVar[str] = "multiply"
    other_constants: ClassVar[Role | None] = "factor"
    multiplies: ClassVar[bool] = True
    onnx_op: ClassVar[str] = "Mul"

    def _shifts(self, operands: Sequence[Operand]) -> tuple[int, int]:
        return 0, 0

    def _frac(self, left: int, right: int) -> int:
        return left + right

    def _interval(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> list[Any]:
        return [a * b for a in left for b in right]

    def _combine(self, left: IntArray, right: IntArray) -> IntArray:
        return left * right


@dataclass(frozen=True)
class _Identity(Elementwise):
    takes_accumulators: ClassVar[bool] = True

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        return shapes[0]

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's."""
        return ranges[0]


class _Clamp(_Identity):
    """Clip between two bounds, either of which may be missing."""

    def bounds(self) -> tuple[float | None, float | None]:
        """Lower and upper bound as real numbers."""
        raise NotImplementedError

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's, clipped."""
        low, high = (
            own if bound is None else bound
            for bound, own in zip(self.bounds(), UNBOUNDED, strict=True)
        )
        first, last = (min(max(limit, low), high) for limit in ranges[0])
        return first, last

    def limits(self, source: Operand) -> tuple[int, int]:
        """Bounds as raw integers of the source, rounded half up; its own range where missing."""
        raws = [
            own if bound is None else math.floor(Fraction(bound) * Fraction(2) ** source.format.frac
                                                 + Fraction(1, 2))
            for bound, own in zip(self.bounds(), source.limits, strict=True)
        ]  # fmt: skip
        low, high = (min(max(raw, source.limits[0]), source.limits[1]) for raw in raws)
        return low, high

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Interval of the clipped source."""
        source = operands[0]
        return Accumulator.uniform(source.channels, *self.limits(source), source.format.frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Clip with NumPy."""
        return np.clip(arrays[0], *self.limits(operands[0]))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba clip."""
        low, high = (dtype.type(limit) for limit in self.limits(operands[0]))

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            band, (array,), (start,) = joined_rows(band, first_row, first_column, (source,))
            elementwise.clamp(band, array, start, low, high)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.clamp, at the rounded bounds in an integer graph."""
        low, high = self.bounds()
        if operands[0].is_integer:
            scale = 2.0 ** -operands[0].format.frac
            low, high = (limit * scale for limit in self.limits(operands[0]))
        return torch.clamp(tensors[0], low, high)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Maximum, then minimum."""
        low, high = self.limits(operands[0])
        return emit.minimum(emit.maximum(names[0], emit.constant(low)), emit.constant(high))


@register
@dataclass(frozen=True)
class Relu(_Clamp):
    """``max(x, 0)``."""

    name: ClassVar[str] = "relu"

    def bounds(self) -> tuple[float | None, float | None]:
        """Zero and nothing."""
        return 0.0, None


@register
@dataclass(frozen=True)
class Clamp(_Clamp):
    """Clip to ``[low, high]`` (ReLU6 is ``Clamp(0, 6)``); None leaves a side open."""

    name: ClassVar[str] = "clamp"

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        given = [bound for bound in (self.low, self.high) if bound is not None]
        require(bool(given), "clamp needs a lower or an upper bound")
        require(all(math.isfinite(bound) for bound in given), f"bounds must be finite: {given}")
        require(given == sorted(given), f"the lower bound {self.low} exceeds {self.high}")

    def bounds(self) -> tuple[float | None, float | None]:
        """Return the attributes."""
        return self.low, self.high


@register
@dataclass(frozen=True)
class Prelu(Elementwise):
    """``x`` where positive, ``slope * x`` where negative (PReLU; LeakyReLU with one slope).

    Inputs: value, slope constant of shape ``(1,)`` or ``(C,)``.
    """

    name: ClassVar[str] = "prelu"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    constant_roles: ClassVar[Mapping[int, Role]] = {1: "slope"}

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        image, slope = shapes
        require(
            len(slope) == 1 and slope[0] in (1, image[0]),
            f"needs one slope or one per channel ({image[0]}), got {slope}",
        )
        return image

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Interval per channel; the slope may be negative or above one."""
        source, slope = operands
        slopes = self._slopes(source, slope)
        low, high = source.limits
        one = 1 << max(slope.format.frac, 0)
        corners = [(low * s, 0, high * one) for s in slopes.tolist()]
        frac = source.format.frac + slope.format.frac
        return Accumulator(
            tuple(min(corner) for corner in corners),
            tuple(max(corner) for corner in corners),
            (frac,) * len(corners),
        )

    def _slopes(self, source: Operand, slope: Operand) -> IntArray:
        require(
            0 <= slope.format.frac <= MAX_SHIFT,
            f"the slope needs 0 to {MAX_SHIFT} fraction bits, got {slope.format.frac}",
        )
        assert slope.constant is not None
        return np.broadcast_to(slope.constant, source.channels)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Multiply by one or by the slope."""
        slopes = channel_view(self._slopes(*operands), arrays[0].ndim)
        return arrays[0] * np.where(arrays[0] >= 0, 1 << operands[1].format.frac, slopes)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba select and multiply."""
        slopes = np.array(self._slopes(*operands), dtype)
        one = np.int64(1 << operands[1].format.frac).astype(dtype)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            start = source.start(first_row, first_column)
            elementwise.prelu(band, source.array, start, slopes, one)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.prelu."""
        return torch.nn.functional.prelu(tensors[0], tensors[1].to(tensors[0].dtype))

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Select by sign, then multiply."""
        slopes = channel_view(self._slopes(*operands), len(operands[0].shape))
        factor = emit(
            "Where",
            emit("Less", names[0], emit.constant(0)),
            emit.constant(slopes),
            emit.constant(1 << operands[1].format.frac),
        )
        return emit("Mul", names[0], factor)


@register
@dataclass(frozen=True)
class Requantize(_Identity):
    """The value itself, moved to the node's format."""

    name: ClassVar[str] = "requantize"
    format_is_given: ClassVar[bool] = True

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        return moved(operands[0], operands[0].channels)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Return the operand."""
        return arrays[0]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather by index."""
        one = dtype.type(1)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            band, (array,), (start,) = joined_rows(band, first_row, first_column, (source,))
            rows, columns = (
                start[axis] + start[2 + axis] * np.arange(band.shape[axis]) for axis in (0, 1)
            )
            movement.gather(band, array, rows, columns, 0, one, 0)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the operand."""
        return tensors[0]

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Return the operand."""
        return names[0]
