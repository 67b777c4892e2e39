"""Pooling to a given size: windows that differ by a pixel where the sizes do not divide.

Of ``n`` rows, row ``o`` of ``m`` results has those from ``o*n // m`` to before
``ceil((o + 1) * n / m)``, as in torch; neighbours may overlap by a row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import (
    Accumulator,
    Op,
    Operand,
    moved,
    register,
    require,
    require_image,
)
from fxp.graph.ops.pooling import GLOBAL_FRAC, MAX_PIXELS, reciprocal
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import windows
from fxp.kernels.routines import row_vectors
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")
    torch_functional = lazy_import("torch.nn.functional", "torch")

MAX_RESULTS = 1 << 12
"""Most rows or columns of results."""


def spans(first: int, last: int, size: int, count: int) -> NDArray[np.int64]:
    """First pixel of windows ``first…last-1``, and the pixel behind the last, ``(windows, 2)``.

    Parameters
    ----------
    first, last
        The windows.
    size
        Pixels along the axis.
    count
        Number of all windows.
    """
    outputs = np.arange(first, last, dtype=np.int64)
    return np.stack([outputs * size // count, -(-(outputs + 1) * size // count)], axis=1)


class _AdaptivePool(Op):
    """A reduction of windows whose number is given."""

    keeps_place: ClassVar[bool] = False

    size: tuple[int, int]

    def __post_init__(self) -> None:
        require(
            all(1 <= count <= MAX_RESULTS for count in self.size),
            f"size must be two numbers from 1 to {MAX_RESULTS}, got {self.size}",
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: the given size."""
        require_image(shapes[0])
        channels, *sizes = shapes[0]
        pixels = 1
        for size, count in zip(sizes, self.size, strict=True):
            pixels *= size // count + 2 if isinstance(size, int) else 1
        require(
            pixels <= MAX_PIXELS, f"windows of {pixels} pixels; at most {MAX_PIXELS} are supported"
        )
        return channels, *self.size

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Span of the windows."""
        found = spans(first, last, size, self.size[axis])
        return int(found[0, 0]), int(found[-1, 1])

    def _taps(
        self, axis: int, first: int, last: int, size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pixels of windows first…last-1, ``(windows, taps)``; the last is repeated.

        The second array has a one for every pixel, and a zero for every repetition.
        """
        found = spans(first, last, size, self.size[axis])
        counts = found[:, 1:] - found[:, :1]
        taps = np.arange(counts.max())
        return found[:, :1] + np.minimum(taps, counts - 1), (taps < counts).astype(np.int64)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Reduce one window after the other."""
        (array,) = arrays
        result = np.empty((array.shape[0], *self.size), np.int64)
        rows = spans(0, self.size[0], array.shape[1], self.size[0])
        columns = spans(0, self.size[1], array.shape[2], self.size[1])
        for y, (top, bottom) in enumerate(rows):
            for x, (left, right) in enumerate(columns):
                result[:, y, x] = self._reduced(array[:, top:bottom, left:right])
        return result

    @abstractmethod
    def _reduced(self, window: IntArray) -> IntArray:
        """Return what every channel of one window gives, ``(C, rows, columns)``."""

    def _onnx_gathered(self, emit: Emitter, name: str, axis: int) -> tuple[str, str, str]:
        """Emit the pixels of every window along one axis, which becomes two axes.

        Returns
        -------
        tuple of str
            The pixels, the last one repeated; a one for each pixel and a zero for each repetition,
            ``(windows, taps)``; and the counts, ``(windows, 1)``.
        """
        count = self.size[axis]
        along = 2 + axis
        size = emit("Gather", emit("Shape", name), emit.constant(along))
        outputs = np.arange(count)[:, None]
        first = emit.floor_divide(emit("Mul", emit.constant(outputs), size), count)
        above = emit("Add", emit("Mul", emit.constant(outputs + 1), size), emit.constant(count - 1))
        counts = emit("Sub", emit.floor_divide(above, count), first)
        most = emit("Add", emit.floor_divide(size, count), emit.constant(2))
        taps = emit("Range", emit.constant(0), most, emit.constant(1))
        inside = emit.minimum(taps, emit("Sub", counts, emit.constant(1)))
        ones = emit("Cast", emit("Less", taps, counts), to=7)
        pixels = emit("Gather", name, emit("Add", first, inside), axis=along)
        return pixels, ones, counts


@register
@dataclass(frozen=True)
class AdaptiveMaxPool(_AdaptivePool):
    """Largest value of each of a given number of windows."""

    name: ClassVar[str] = "adaptive_max_pool"

    size: tuple[int, int] = (1, 1)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        return moved(operands[0], operands[0].channels)

    def _reduced(self, window: IntArray) -> IntArray:
        return window.max(axis=(1, 2))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba maximum over gathered rows and columns."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows, _ = self._taps(0, first_row, first_row + band.shape[0], source.height)
            columns, _ = self._taps(1, first_column, first_column + band.shape[1], source.width)
            windows.pool_maximum(
                band,
                row_vectors(source.array),
                rows - source.row,
                columns - source.column,
                0,
            )

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.adaptive_max_pool2d."""
        return torch_functional.adaptive_max_pool2d(tensors[0], self.size)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Maximum over gathered rows, then over gathered columns."""
        name, bits = names[0], operands[0].format.width
        for axis in (0, 1):
            pixels, _, _ = self._onnx_gathered(emit, name, axis)
            name = emit("Squeeze", emit.largest(pixels, bits, [3 + axis]),
                        emit.constant([3 + axis]))  # fmt: skip
        return name


@register
@dataclass(frozen=True)
class AdaptiveAveragePool(_AdaptivePool):
    """Mean of each window: the exact sum times a 34-bit reciprocal of its count."""

    name: ClassVar[str] = "adaptive_average_pool"

    size: tuple[int, int] = (1, 1)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of sum times reciprocal: ``n * reciprocal(n) <= 2**34 + n/2``."""
        source = operands[0]
        factor = (1 << GLOBAL_FRAC) + MAX_PIXELS // 2
        low, high = (limit * factor for limit in source.limits)
        return Accumulator.uniform(source.channels, low, high, source.format.frac + GLOBAL_FRAC)

    def _reduced(self, window: IntArray) -> IntArray:
        return window.sum(axis=(1, 2)) * reciprocal(window[0].size, GLOBAL_FRAC)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba sums of rows and then of columns, with weights of one and zero."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows, row_ones = self._taps(0, first_row, first_row + band.shape[0], source.height)
            columns, column_ones = self._taps(
                1, first_column, first_column + band.shape[1], source.width
            )
            counts = np.outer(row_ones.sum(axis=1), column_ones.sum(axis=1))
            windows.resample(
                band,
                row_vectors(source.array),
                rows - source.row,
                columns - source.column,
                windows.row_sums(row_ones, operands[0].limits, dtype),
                column_ones.astype(np.int32),
                reciprocal(counts, GLOBAL_FRAC).astype(dtype),
            )

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Sum gathered rows and columns, times the reciprocals; in a float graph the true mean."""
        (result,) = tensors
        if not operands[0].is_integer:
            return torch_functional.adaptive_avg_pool2d(result, self.size)
        counts = []
        for axis, count in enumerate(self.size):
            indices, ones = self._taps(axis, 0, count, result.shape[2 + axis])
            counts.append(ones.sum(axis=1))
            places = torch.as_tensor(indices, device=result.device)
            inside = torch.as_tensor(ones, dtype=result.dtype, device=result.device)
            taken = result.index_select(2 + axis, places.flatten())
            taken = taken.unflatten(2 + axis, indices.shape)
            shape = (*ones.shape, 1) if axis == 0 else ones.shape
            result = (taken * inside.reshape(shape)).sum(dim=3 + axis)
        factor = np.ldexp(reciprocal(np.outer(*counts), GLOBAL_FRAC).astype(float), -GLOBAL_FRAC)
        return result * torch.as_tensor(factor, dtype=result.dtype, device=result.device)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Sum gathered rows and columns, times the reciprocals of their counts."""
        name, counted = names[0], []
        low, high = operands[0].limits
        bits = (max(high, -low) * MAX_PIXELS).bit_length()
        for axis in (0, 1):
            pixels, ones, counts = self._onnx_gathered(emit, name, axis)
            counted.append(counts)
            if axis == 0:
                ones = emit("Unsqueeze", ones, emit.constant([2]))
            total = emit.sum(emit("Mul", pixels, ones), [3 + axis], bits)
            name = emit("Squeeze", total, emit.constant([3 + axis]))
        area = emit("Mul", counted[0], emit("Transpose", counted[1], perm=[1, 0]))
        doubled = emit("Add", emit.constant(1 << (GLOBAL_FRAC + 1)), area)
        factor = emit("Div", doubled, emit("Mul", area, emit.constant(2)))
        return emit("Mul", name, factor)
