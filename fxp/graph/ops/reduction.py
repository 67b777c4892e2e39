"""Sum, mean and maximum over channels, rows, columns, or several of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape, shape_text
from fxp.graph.ops.base import (
    Accumulator,
    Op,
    Operand,
    Range,
    moved,
    register,
    require,
    require_image,
)
from fxp.graph.ops.pooling import GLOBAL_FRAC, MAX_PIXELS, reciprocal
from fxp.graph.ops.windows import Kernel, Summary, Window
from fxp.kernels import statistics
from fxp.kernels.routines import row_vectors
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

MAX_COUNT: Final = MAX_PIXELS
"""Most values that one result is computed from."""


def largest_count(sizes: Sequence[object]) -> int:
    """Most elements that axes of these sizes, some of them free, can have."""
    if all(isinstance(size, int) for size in sizes):
        return math.prod(int(size) for size in sizes)  # type: ignore[call-overload]
    return MAX_COUNT


def check_count(sizes: Sequence[object]) -> None:
    """Raise `GraphError` if so many values are too many for one result."""
    count = largest_count(sizes)
    require(
        count <= MAX_COUNT,
        f"one result would need {count} values, such as pixels; at most {MAX_COUNT} are supported",
    )


class Reduction(Op):
    """One result from all values along some axes, whose size becomes 1.

    A vector counts as channels.
    """

    channels: bool
    rows: bool
    columns: bool

    def __post_init__(self) -> None:
        require(self.channels or self.rows or self.columns, "reduces no axis")

    def _axes(self, rank: int) -> tuple[int, ...]:
        """Numbers of the axes in a value of the graph."""
        flags = (self.channels, self.rows, self.columns)
        return tuple(axis for axis in range(rank) if flags[axis])

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: 1 along the axes."""
        (source,) = shapes
        require(
            len(source) == 3 or not (self.rows or self.columns),
            f"{shape_text(source)} has no rows and columns",
        )
        axes = self._axes(len(source))
        check_count([source[axis] for axis in axes])
        return tuple(1 if axis in axes else size for axis, size in enumerate(source))

    def _count(self, shape: Sequence[object]) -> int:
        return largest_count([shape[axis] for axis in self._axes(len(shape))])

    def _results(self, operand: Operand) -> int:
        return 1 if self.channels else operand.channels

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Return the outputs' own positions, or all along a reduced axis."""
        return (0, size) if (self.rows, self.columns)[axis] else (first, last)

    @abstractmethod
    def _fill(self, results: NDArray, image: NDArray, factor: int) -> None:
        """Reduce an image ``(H, W, C)``; sums, times the factor, may wrap in the results."""

    @abstractmethod
    def _merge(self, parts: NDArray) -> NDArray:
        """Reduce the first axis of stacked results."""

    def summary(self, operands: Sequence[Operand]) -> Summary | None:
        """Results of parts of the image, where rows are reduced."""
        if not self.rows:
            return None
        return Summary(
            lambda results, part: self._fill(results, part, 1),
            lambda columns, channels: (
                1 if self.columns else columns,
                1 if self.channels else channels,
            ),
            self._merge,
        )

    def _factor(self, source: Window, channels: int) -> int:
        """Return what sums are multiplied by."""
        return 1

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba loops over rows, or over the whole image beforehand."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            source, *summaries = inputs
            rows = (0, source.height) if self.rows else (first_row, first_row + len(band))
            first, last = first_column, first_column + band.shape[1]
            factor = self._factor(source, source.array.shape[2])
            if summaries:
                whole = summaries[0].array
                band[...] = whole if self.columns else whole[:, first:last]
                band *= np.int64(factor).astype(dtype)
            else:
                columns = (0, source.width) if self.columns else (first, last)
                image = source.view(rows, columns)
                if not self.channels and not self.columns:
                    band, image = row_vectors(band), row_vectors(image)
                self._fill(band, image, factor)

        return run

    def _torch_axes(self, tensor: torch.Tensor) -> tuple[int, ...]:
        return tuple(axis + 1 for axis in self._axes(tensor.ndim - 1))

    def _onnx_axes(self, operands: Sequence[Operand]) -> list[int]:
        return [axis + 1 for axis in self._axes(len(operands[0].shape))]


class _Sum(Reduction):
    def _fill(self, results: NDArray, image: NDArray, factor: int) -> None:
        most, dtype = (1 << 15, np.int32) if image.dtype == np.int16 else (MAX_COUNT, np.int64)
        statistics.reduce_sum(results, image, factor, np.zeros(1, dtype), most)

    def _merge(self, parts: NDArray) -> NDArray:
        return parts.sum(axis=0)

    def _onnx_sum(self, emit: Emitter, operands: Sequence[Operand], name: str) -> str:
        low, high = operands[0].limits
        bits = (max(high, -low) * self._count(operands[0].shape)).bit_length()
        return emit.sum(name, self._onnx_axes(operands), bits)


@register
@dataclass(frozen=True)
class ReduceSum(_Sum):
    """Exact sum over axes."""

    name: ClassVar[str] = "reduce_sum"

    channels: bool = False
    rows: bool = True
    columns: bool = True

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of the operand times the count, the largest possible one for free sizes."""
        source = operands[0]
        low, high = (limit * self._count(source.shape) for limit in source.limits)
        return Accumulator.uniform(self._results(source), low, high, source.format.frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Sum with NumPy."""
        return arrays[0].sum(axis=self._axes(arrays[0].ndim), keepdims=True)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.sum."""
        return tensors[0].sum(dim=self._torch_axes(tensors[0]), keepdim=True)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """ReduceSum, in two parts where sums are wide."""
        return self._onnx_sum(emit, operands, names[0])


class _Mean(_Sum):
    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's."""
        return ranges[0]

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of sum times reciprocal: ``n * reciprocal(n) <= 2**34 + n/2``."""
        source = operands[0]
        factor = (1 << GLOBAL_FRAC) + self._count(source.shape) // 2
        low, high = (limit * factor for limit in source.limits)
        frac = source.format.frac + GLOBAL_FRAC
        return Accumulator.uniform(self._results(source), low, high, frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Sum with NumPy, times the reciprocal."""
        sums = arrays[0].sum(axis=self._axes(arrays[0].ndim), keepdims=True)
        return sums * reciprocal(arrays[0].size // sums.size, GLOBAL_FRAC)

    def _factor(self, source: Window, channels: int) -> int:
        flags, sizes = (self.channels, self.rows, self.columns), (
            channels, source.height, source.width,
        )  # fmt: skip
        count = math.prod(size for flag, size in zip(flags, sizes, strict=True) if flag)
        return int(reciprocal(count, GLOBAL_FRAC))

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Sum times the reciprocal; in a float graph the true mean."""
        sums = tensors[0].sum(dim=self._torch_axes(tensors[0]), keepdim=True)
        count = tensors[0].numel() // sums.numel()
        if not operands[0].is_integer:
            return sums / count
        return sums * (float(reciprocal(count, GLOBAL_FRAC)) * 2.0**-GLOBAL_FRAC)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Sum times the reciprocal of the run-time count."""
        sums = self._onnx_sum(emit, operands, names[0])
        count = emit.count(names[0], self._onnx_axes(operands))
        doubled = emit("Add", emit.constant(1 << (GLOBAL_FRAC + 1)), count)
        factor = emit("Div", doubled, emit("Mul", count, emit.constant(2)))
        return emit("Mul", sums, factor)


@register
@dataclass(frozen=True)
class ReduceMean(_Mean):
    """Mean over axes: the exact sum times a 34-bit reciprocal of the count."""

    name: ClassVar[str] = "reduce_mean"

    channels: bool = False
    rows: bool = True
    columns: bool = True


class _Max(Reduction):
    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's."""
        return ranges[0]

    def _fill(self, results: NDArray, image: NDArray, factor: int) -> None:
        statistics.reduce_maximum(results, image)

    def _merge(self, parts: NDArray) -> NDArray:
        return parts.max(axis=0)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        return moved(operands[0], self._results(operands[0]))

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Maximum with NumPy."""
        return arrays[0].max(axis=self._axes(arrays[0].ndim), keepdims=True)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.amax."""
        return tensors[0].amax(dim=self._torch_axes(tensors[0]), keepdim=True)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """ReduceMax, in two parts where the values are wide."""
        source = operands[0].format
        axes = self._onnx_axes(operands)
        return emit.largest(names[0], source.width + (not source.signed), axes)


@register
@dataclass(frozen=True)
class ReduceMax(_Max):
    """Largest value over axes."""

    name: ClassVar[str] = "reduce_max"

    channels: bool = True
    rows: bool = False
    columns: bool = False


class _Global(Reduction):
    """Over rows and columns; the result is ``(C, 1, 1)``."""

    channels: ClassVar[bool] = False  # type: ignore[reportIncompatibleVariableOverride]
    rows: ClassVar[bool] = True  # type: ignore[reportIncompatibleVariableOverride]
    columns: ClassVar[bool] = True  # type: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        """There is nothing to check."""

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        return super().shape(*shapes)

    def _count(self, shape: Sequence[object]) -> int:
        return MAX_PIXELS


@register
@dataclass(frozen=True)
class GlobalMaxPool(_Global, _Max):
    """Largest value of each channel."""

    name: ClassVar[str] = "global_max_pool"


@register
@dataclass(frozen=True)
class GlobalAveragePool(_Global, _Mean):
    """Mean of each channel: the exact sum times a 34-bit reciprocal of ``H*W``."""

    name: ClassVar[str] = "global_average_pool"
