"""Ops that choose channels, and that cut, join, mirror or exchange rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Dimension, Extent, Shape, shape_text
from fxp.graph.ops.base import (
    Accumulator,
    Op,
    Operand,
    Range,
    hull,
    register,
    require,
    require_image,
    require_vector,
)
from fxp.graph.ops.movement import Movement, alignment_shifts, copy_places
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import movement
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

ImageAxis = Literal["row", "column"]
IMAGE_AXES: tuple[ImageAxis, ...] = ("row", "column")
MAX_GATHERED = 1 << 16
"""Most channels that `GatherChannels` may list."""


def _require_image_axis(axis: str) -> None:
    require(axis in IMAGE_AXES, f"axis must be one of {IMAGE_AXES}, got {axis!r}")


@register
@dataclass(frozen=True)
class GatherChannels(Movement):
    """The listed channels, or features of a vector, one after the other; -1 stands for zeros.

    It permutes channels (ShuffleNet's channel shuffle), repeats, drops and pads them.
    """

    name: ClassVar[str] = "gather_channels"
    reads_part: ClassVar[bool] = True

    channels: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        require(
            0 < len(self.channels) <= MAX_GATHERED,
            f"channels must be 1 to {MAX_GATHERED} numbers, got {len(self.channels)}",
        )
        require(min(self.channels) >= -1, "channels must be numbers from 0 on, or -1 for zeros")

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        (shape,) = shapes
        highest, count = max(self.channels), shape[0]
        assert isinstance(count, int)
        require(highest < count, f"there is no channel {highest} among {count}")
        return (len(self.channels), *shape[1:])

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's, and zero where there are zeros."""
        return hull(*ranges, (0.0, 0.0)) if -1 in self.channels else ranges[0]

    @property
    def _chosen(self) -> NDArray[np.int64]:
        return np.array(self.channels, dtype=np.int64)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Index an array that has a channel of zeros behind the others."""
        (array,) = arrays
        return np.concatenate([array, np.zeros_like(array[:1])])[self._chosen]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather by index."""
        chosen = self._chosen

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            row, column = first_row - source.row, first_column - source.column
            movement.gather_channels(band, source.array, row, column, chosen)

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
        """Return the outputs' own positions."""
        return first, last

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Index a tensor that has a channel of zeros behind the others."""
        (tensor,) = tensors
        if -1 in self.channels:
            tensor = torch.cat([tensor, torch.zeros_like(tensor[:, :1])], dim=1)
        chosen = torch.as_tensor(self._chosen % tensor.shape[1], device=tensor.device)
        return tensor.index_select(1, chosen)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Gather, after a channel of zeros is added at the end if one is needed."""
        (name,), count = names, operands[0].channels
        if -1 in self.channels:
            after = [0] * len(operands[0].shape)
            name = emit("Pad", name, emit.constant([0] * (2 + len(after)) + [1] + after[1:]))
            count += 1
        return emit("Gather", name, emit.constant(self._chosen % count), axis=1)


@register
@dataclass(frozen=True)
class Part(Movement):
    """Parts `start` to `stop` - 1 of an image that is cut into `parts` equal parts.

    The size along the axis must be a multiple of the parts. `Slice` cuts at places that are fixed;
    these move with the size.
    """

    name: ClassVar[str] = "part"
    reads_part: ClassVar[bool] = True

    axis: ImageAxis = "row"
    start: int = 0
    stop: int = 1
    parts: int = 2

    def __post_init__(self) -> None:
        _require_image_axis(self.axis)
        require(
            0 <= self.start < self.stop <= self.parts <= 1 << 16,
            f"must have 0 <= start < stop <= parts, got {self.start}, {self.stop}, {self.parts}",
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        sizes = list(shapes[0])
        index = 1 + IMAGE_AXES.index(self.axis)
        size = sizes[index]
        require(
            not isinstance(size, int) or size % self.parts == 0,
            f"size {size} is not a multiple of {self.parts}",
        )
        sizes[index] = size // self.parts * (self.stop - self.start)
        return tuple(sizes)

    def _first(self, axis: int, size: int) -> int:
        """First row or column of the operand, of so many, that the result begins with."""
        return size // self.parts * self.start if self.axis == IMAGE_AXES[axis] else 0

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Slice with NumPy."""
        (array,) = arrays
        index = 1 + IMAGE_AXES.index(self.axis)
        step = array.shape[index] // self.parts
        chosen = slice(self.start * step, self.stop * step)
        return array[:, chosen] if self.axis == "row" else array[:, :, chosen]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather by index."""
        one = dtype.type(1)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            row = first_row + self._first(0, source.height)
            column = first_column + self._first(1, source.width)
            rows = np.arange(row, row + band.shape[0])
            columns = np.arange(column, column + band.shape[1])
            copy_places(band, source, rows, columns, one)

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
        """Return the outputs' own positions, moved.

        Parameters
        ----------
        operands, axis, position, first, last, size
            As for `Op.reach`.
        """
        moved = self._first(axis, size)
        return first + moved, last + moved

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Narrow the tensor."""
        axis = 2 + IMAGE_AXES.index(self.axis)
        step = tensors[0].shape[axis] // self.parts
        return tensors[0].narrow(axis, self.start * step, (self.stop - self.start) * step)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Slice between bounds that are computed from the size."""
        axis = 2 + IMAGE_AXES.index(self.axis)
        size = emit.slice(emit("Shape", names[0]), 0, axis, axis + 1)
        step = emit("Div", size, emit.constant([self.parts]))
        bounds = [emit("Mul", step, emit.constant([bound])) for bound in (self.start, self.stop)]
        return emit("Slice", names[0], *bounds, emit.constant([axis]), emit.constant([1]))


@register
@dataclass(frozen=True)
class SpatialConcat(Op):
    """Images one below the other, or side by side.

    Binary points are aligned to the operand with most fraction bits.
    """

    name: ClassVar[str] = "spatial_concat"
    arity: ClassVar[tuple[int, int]] = (1, 1024)

    axis: ImageAxis = "row"

    def __post_init__(self) -> None:
        _require_image_axis(self.axis)

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: channels and the other size agree, sizes along the axis add up."""
        for shape in shapes:
            require_image(shape)
        index = 1 + IMAGE_AXES.index(self.axis)
        first = shapes[0]
        for other in shapes[1:]:
            require(
                all(
                    axis == index or a == b or isinstance(a, Extent) != isinstance(b, Extent)
                    for axis, (a, b) in enumerate(zip(first, other, strict=True))
                ),
                f"{shape_text(first)} and {shape_text(other)} do not fit side by side",
            )
        total = sum_of_sizes([shape[index] for shape in shapes])
        return (*first[:index], total, *first[index + 1 :])

    def real_range(self, *ranges: Range) -> Range:
        """Return the range of all operands."""
        return hull(*ranges)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range that covers all operands."""
        shifts = alignment_shifts(operands)
        limits = [
            (operand.limits[0] << shift, operand.limits[1] << shift)
            for operand, shift in zip(operands, shifts, strict=True)
        ]
        return Accumulator.uniform(
            operands[0].channels,
            min(low for low, _ in limits),
            max(high for _, high in limits),
            operands[0].format.frac + shifts[0],
        )

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Align and concatenate."""
        shifts = alignment_shifts(operands)
        aligned = [array << shift for array, shift in zip(arrays, shifts, strict=True)]
        return np.concatenate(aligned, axis=1 + IMAGE_AXES.index(self.axis))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Copy what of every operand lies in the region."""
        # A factor too large for the dtype wraps, like the accumulator; it meets zeros only.
        factors = [
            np.int64(1 << min(shift, 62)).astype(dtype) for shift in alignment_shifts(operands)
        ]
        axis = IMAGE_AXES.index(self.axis)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            start = (first_row, first_column)
            offset = 0
            for source, factor in zip(inputs, factors, strict=True):
                size = (source.height, source.width)[axis]
                low = max(start[axis], offset)
                high = min(start[axis] + band.shape[axis], offset + size)
                if low < high:
                    read = [(first, first + band.shape[i]) for i, first in enumerate(start)]
                    read[axis] = low - offset, high - offset
                    target = [slice(0, band.shape[0]), slice(0, band.shape[1])]
                    target[axis] = slice(low - start[axis], high - start[axis])
                    rows, columns = (np.arange(*span) for span in read)
                    copy_places(band[target[0], target[1]], source, rows, columns, factor)
                offset += size

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
        """Everything along the axis, as the operand's place is not known from its own size."""
        return (0, size) if self.axis == IMAGE_AXES[axis] else (first, last)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.cat over rows or columns."""
        return torch.cat(tensors, dim=2 + IMAGE_AXES.index(self.axis))

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Align by multiplication, then Concat."""
        shifts = alignment_shifts(operands)
        aligned = [emit.scaled(n, 1 << shift) for n, shift in zip(names, shifts, strict=True)]
        return emit("Concat", *aligned, axis=2 + IMAGE_AXES.index(self.axis))


def sum_of_sizes(sizes: Sequence[Dimension]) -> Dimension:
    """Return the sum of sizes of one symbol as a formula; raises `GraphError` if there is none."""
    fixed = sum(size for size in sizes if isinstance(size, int))
    formulas = [size for size in sizes if isinstance(size, Extent)]
    if not formulas:
        return fixed
    first = formulas[0]
    if all(formula == first for formula in formulas):
        return first * len(formulas) + fixed
    require(
        all(formula.divisor == 1 and formula.base == first.base for formula in formulas),
        f"the sum of the sizes {', '.join(map(str, formulas))} is not a formula of one size",
    )
    scale = sum(formula.scale for formula in formulas)
    base = Extent(first.base) if isinstance(first.base, str) else first.base
    return base * scale + (sum(formula.offset for formula in formulas) + fixed)


@register
@dataclass(frozen=True)
class Flip(Movement):
    """Rows or columns in reverse order."""

    name: ClassVar[str] = "flip"
    keeps_place: ClassVar[bool] = False

    axis: ImageAxis = "row"

    def __post_init__(self) -> None:
        _require_image_axis(self.axis)

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        return shapes[0]

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Flip with NumPy."""
        return np.flip(arrays[0], 1 + IMAGE_AXES.index(self.axis))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather backwards."""
        one = dtype.type(1)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows = np.arange(first_row, first_row + band.shape[0])
            columns = np.arange(first_column, first_column + band.shape[1])
            if self.axis == "row":
                rows = source.height - 1 - rows
            else:
                columns = source.width - 1 - columns
            copy_places(band, source, rows, columns, one)

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
        """Return the positions at the same distance from the other end."""
        if self.axis != IMAGE_AXES[axis]:
            return first, last
        return size - last, size - first

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.flip."""
        return torch.flip(tensors[0], (2 + IMAGE_AXES.index(self.axis),))

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Slice with a step of minus one."""
        axis = 2 + IMAGE_AXES.index(self.axis)
        return emit("Slice", names[0], *(emit.constant([n]) for n in (-1, -(1 << 62), axis, -1)))


@register
@dataclass(frozen=True)
class Transpose(Movement):
    """Rows become columns: ``(C, H, W)`` to ``(C, W, H)``."""

    name: ClassVar[str] = "transpose"
    keeps_place: ClassVar[bool] = False

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        channels, height, width = shapes[0]
        return channels, width, height

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Transpose with NumPy."""
        return arrays[0].transpose(0, 2, 1)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba index arithmetic."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows = (first_column, first_column + band.shape[1])
            columns = (first_row, first_row + band.shape[0])
            movement.exchange(band, source.view(rows, columns))

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Exchange the last two axes."""
        return tensors[0].transpose(2, 3)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Transpose."""
        return emit("Transpose", names[0], perm=[0, 1, 3, 2])


@register
@dataclass(frozen=True)
class Unflatten(Movement):
    """Vector ``(C*h*w,)`` to image ``(C, h, w)``, the inverse of `Flatten`."""

    name: ClassVar[str] = "unflatten"

    height: int = 1
    width: int = 1

    def __post_init__(self) -> None:
        require(
            self.height >= 1 and self.width >= 1,
            f"height and width must be at least 1, got {self.height} and {self.width}",
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_vector(shapes[0])
        features = shapes[0][0]
        assert isinstance(features, int)
        pixels = self.height * self.width
        require(features % pixels == 0, f"{pixels} pixels do not divide {features} features")
        return features // pixels, self.height, self.width

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Reshape."""
        return arrays[0].reshape(-1, self.height, self.width)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba index arithmetic."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            size = (self.height, self.width)
            movement.unflatten(band, source.view((0, 1), (0, 1)), first_row, first_column, size)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Reshape all but the batch axis."""
        return tensors[0].reshape(tensors[0].shape[0], -1, self.height, self.width)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Reshape."""
        channels = operands[0].channels // (self.height * self.width)
        return emit.reshape(names[0], [0, channels, self.height, self.width])
