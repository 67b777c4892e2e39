"""Max pooling that tells where the maximum lies, and its inverse.

An index is the number of a tap of the window, counted row by row. It does not depend on the size of
the image, so its format has just the bits that the window needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Dimension, Shape, shape_text
from fxp.graph.ops.base import (
    Accumulator,
    Operand,
    Range,
    hull,
    moved,
    register,
    require,
    require_image,
)
from fxp.graph.ops.padding import PaddingMode, Sides
from fxp.graph.ops.pooling import SlidingWindow
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import unpooling
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")


@register
@dataclass(frozen=True)
class MaxPoolIndices(SlidingWindow):
    """Tap of each window's largest value, the first of equal ones; padding is never chosen."""

    name: ClassVar[str] = "max_pool_indices"
    never_rounded: ClassVar[bool] = True
    # Windows are read inside the image alone.
    border: ClassVar[PaddingMode] = "replicate"

    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: Sides = (0, 0, 0, 0)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of the taps' numbers."""
        last = self.window[0] * self.window[1] - 1
        return Accumulator.uniform(operands[0].channels, 0, last, 0)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Return argmax over sliding windows, which is the first maximum."""
        windows = self._windows(arrays[0], operands[0].format.min_raw - 1)
        return windows.reshape(*windows.shape[:3], -1).argmax(axis=3).astype(np.int64)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba comparison over gathered rows and columns."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows, columns = self._inside(band, first_row, first_column, source)
            unpooling.pool_indices(band, source.array, rows, columns)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return argmax over unfolded windows, which is the first maximum."""
        top, bottom, left, right = self.padding
        padded = torch.nn.functional.pad(
            tensors[0], (left, right, top, bottom), value=-float("inf")
        )
        (rows, columns), (row_step, column_step) = self.window, self.stride
        windows = padded.unfold(2, rows, row_step).unfold(3, columns, column_step)
        return windows.flatten(4).argmax(4).to(tensors[0].dtype)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Comparison of strided slices."""
        largest, *others = self._onnx_taps(emit, names[0], operands[0].format.min_raw - 1)
        index = emit("Mul", largest, emit.constant(0))
        for number, tap in enumerate(others, 1):
            larger = emit("Less", largest, tap)
            index = emit("Where", larger, emit.constant(number), index)
            largest = emit("Where", larger, tap, largest)
        return index


@register
@dataclass(frozen=True)
class MaxUnpool(SlidingWindow):
    """Every value at the tap of its window that its index names; zero elsewhere.

    An index that names no tap, or one in the padding, puts the value nowhere. Windows must not
    overlap. `output_padding` adds rows and columns at the bottom and right, as the pooled image may
    have had some that no window read.
    """

    name: ClassVar[str] = "max_unpool"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    takes_accumulators: ClassVar[bool] = True

    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: Sides = (0, 0, 0, 0)
    output_padding: tuple[int, int] = (0, 0)

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's, with the zeros that are put between."""
        return hull(ranges[0], (0.0, 0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            all(step >= size for step, size in zip(self.stride, self.window, strict=True)),
            f"windows of {self.window} at a stride of {self.stride} overlap",
        )
        require(
            min(self.output_padding) >= 0 and max(self.output_padding) < 1 << 20,
            f"output padding must be two counts, got {self.output_padding}",
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: the smallest image that pools to the operand's size, and the padding."""
        for shape in shapes:
            require_image(shape)
        values, indices = shapes
        require(
            all(a == b or isinstance(a, int) != isinstance(b, int)
                for a, b in zip(values, indices, strict=True)),
            f"{shape_text(values)} and {shape_text(indices)} do not fit; they must be equal",
        )  # fmt: skip
        return (values[0], *(self._size(axis, size) for axis, size in enumerate(values[1:])))

    def _size(self, axis: int, size: Dimension) -> Dimension:
        before, after = self.padding[2 * axis : 2 * axis + 2]
        span = self.window[axis] - before - after + self.output_padding[axis]
        return (size - 1) * self.stride[axis] + span

    def _places(self, axis: int, first: int, last: int, size: int) -> tuple[IntArray, IntArray]:
        """Position that outputs first…last-1 read of `size`, and their tap; -1 is none."""
        shifted = np.arange(first, last, dtype=np.int64) + self.padding[2 * axis]
        positions, taps = shifted // self.stride[axis], shifted % self.stride[axis]
        inside = (positions < size) & (taps < self.window[axis])
        return np.minimum(positions, size - 1), np.where(inside, taps, -1)

    def _taps_of(self, row_taps: IntArray, column_taps: IntArray) -> IntArray:
        """Return the number of every pixel's tap; -1 is none."""
        inside = (row_taps[:, None] >= 0) & (column_taps >= 0)
        return np.where(inside, row_taps[:, None] * self.window[1] + column_taps, -1)

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Span of the windows that the outputs lie in."""
        positions, _ = self._places(axis, first, last, size)
        return int(positions[0]), int(positions[-1]) + 1

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the range of the values; every format holds zero."""
        values, indices = operands
        require(
            not indices.is_integer or indices.format.frac == 0,
            f"indices need a format without fraction bits, got {indices.formats[:1]}",
        )
        return moved(values, values.channels)

    def _gathered(self, height: int, width: int) -> tuple[IntArray, IntArray, IntArray]:
        """Rows and columns that the whole result reads, and the taps."""
        sizes = (int(self._size(0, height)), int(self._size(1, width)))  # type: ignore[arg-type]
        rows, row_taps = self._places(0, 0, sizes[0], height)
        columns, column_taps = self._places(1, 0, sizes[1], width)
        return rows, columns, self._taps_of(row_taps, column_taps)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Gather values and indices, and compare."""
        rows, columns, taps = self._gathered(*arrays[0].shape[1:])
        values, indices = (array[:, rows][:, :, columns] for array in arrays)
        return np.where((indices == taps) & (taps >= 0), values, 0)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba comparison over gathered rows and columns."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            values, indices = inputs
            last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
            rows, row_taps = self._places(0, first_row, last_row, values.height)
            columns, column_taps = self._places(1, first_column, last_column, values.width)
            unpooling.unpool(
                band,
                values.array,
                rows - values.row,
                columns - values.column,
                indices.array,
                rows - indices.row,
                columns - indices.column,
                self._taps_of(row_taps, column_taps),
            )

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Gather values and indices, and compare."""
        device = tensors[0].device
        rows, columns, taps = (
            torch.as_tensor(item, device=device) for item in self._gathered(*tensors[0].shape[2:])
        )
        values, indices = (tensor[:, :, rows][:, :, :, columns] for tensor in tensors)
        return torch.where((indices == taps) & (taps >= 0), values, 0)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Write one image per tap, interleaved by Reshape and Transpose; then cut or pad."""
        values, indices = names
        zero = emit.constant(0)
        empty = emit("Mul", values, zero)
        planes = [
            emit("Where", emit("Equal", indices, emit.constant(row * self.window[1] + column)),
                 values, zero)
            if row < self.window[0] and column < self.window[1] else empty
            for row in range(self.stride[0])
            for column in range(self.stride[1])
        ]  # fmt: skip
        channels = operands[0].channels
        spatial = emit.slice(emit("Shape", values), 0, 2, None)
        split = emit("Concat", emit.constant([-1, *self.stride, channels]), spatial, axis=0)
        apart = emit("Reshape", emit("Concat", *planes, axis=1), split)
        interleaved = emit("Transpose", apart, perm=[0, 3, 4, 1, 5, 2])
        larger = emit("Mul", spatial, emit.constant(self.stride))
        merged = emit("Concat", emit.constant([-1, channels]), larger, axis=0)
        image = emit("Reshape", interleaved, merged)
        missing = [0, 0, 0, 0]
        for axis in range(2):
            before, after = self.padding[2 * axis : 2 * axis + 2]
            rest = self.stride[axis] - self.window[axis] + after - self.output_padding[axis]
            image = emit.slice(image, 2 + axis, before, -rest if rest > 0 else None)
            missing[2 + axis] = max(-rest, 0)
        if not any(missing):
            return image
        return emit("Pad", image, emit.constant([0, 0, 0, 0, *missing]))
