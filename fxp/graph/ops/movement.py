"""Ops that move values: concat, slice, pad, flatten, pixel shuffle and nearest upsampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Extent, Shape, shape_text
from fxp.graph.ops.base import (
    Accumulator,
    Kernel,
    Op,
    Operand,
    Window,
    moved,
    register,
    require,
    require_image,
)
from fxp.graph.ops.padding import (
    PaddingMode,
    Sides,
    Taps,
    check_sides,
    pad_onnx,
    pad_oracle,
    pad_torch,
    padded_shape,
)
from fxp.kernels import movement
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.export.emitter import Emitter
else:
    torch = lazy_import("torch", "torch")


@register
@dataclass(frozen=True)
class Concat(Op):
    """Channels of several images (or features of vectors) one after the other.

    Binary points are aligned to the operand with most fraction bits.
    """

    name: ClassVar[str] = "concat"
    arity: ClassVar[tuple[int, int]] = (1, 1024)

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: sizes agree, channels add up."""
        first = shapes[0]
        for other in shapes[1:]:
            require(
                len(other) == len(first)
                and all(
                    a == b or isinstance(a, Extent) != isinstance(b, Extent)
                    for a, b in zip(first[1:], other[1:], strict=True)
                ),
                f"{shape_text(first)} and {shape_text(other)} differ in height or width",
            )
        channels = sum(int(shape[0]) for shape in shapes)  # type: ignore[arg-type]
        return (channels, *first[1:])

    def _shifts(self, operands: Sequence[Operand]) -> list[int]:
        common = max(operand.format.frac for operand in operands)
        return [common - operand.format.frac for operand in operands]

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Each operand's range on its own channels."""
        shifts = self._shifts(operands)
        parts = [
            (operand.limits[0] << shift, operand.limits[1] << shift, operand.channels)
            for operand, shift in zip(operands, shifts, strict=True)
        ]
        frac = operands[0].format.frac + shifts[0]
        return Accumulator(
            tuple(low for low, _, channels in parts for _ in range(channels)),
            tuple(high for _, high, channels in parts for _ in range(channels)),
            (frac,) * sum(channels for _, _, channels in parts),
        )

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Align and concatenate."""
        shifts = self._shifts(operands)
        return np.concatenate([a << shift for a, shift in zip(arrays, shifts, strict=True)])

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """One gather per operand."""
        # A factor too large for the dtype wraps, like the accumulator; it meets zeros only.
        factors = [np.int64(1 << min(shift, 62)).astype(dtype) for shift in self._shifts(operands)]

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            rows = np.arange(first_row, first_row + band.shape[0])
            columns = np.arange(first_column, first_column + band.shape[1])
            channel = 0
            for source, factor in zip(inputs, factors, strict=True):
                movement.gather(
                    band,
                    source.array,
                    rows - source.row,
                    columns - source.column,
                    channel,
                    factor,
                )
                channel += source.array.shape[2]

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
        """torch.cat over channels."""
        return torch.cat(tensors, dim=1)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Align by multiplication, then Concat."""
        shifts = self._shifts(operands)
        aligned = [emit.scaled(n, 1 << shift) for n, shift in zip(names, shifts, strict=True)]
        return emit("Concat", *aligned, axis=1)


class _Move(Op):
    """One operand whose values are moved; range and fraction bits stay."""

    takes_accumulators: ClassVar[bool] = True

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        channels = self.shape(operands[0].shape)[0]
        assert isinstance(channels, int)
        return moved(operands[0], channels)


Axis = Literal["channel", "row", "column"]
_AXES: tuple[Axis, ...] = ("channel", "row", "column")


@register
@dataclass(frozen=True)
class Slice(_Move):
    """``start:stop:step`` along one axis; negative bounds count from the end, as in Python.

    On rows and columns a crop must be written from the ends (``stop`` None or negative) when the
    size is free.
    """

    name: ClassVar[str] = "slice"

    axis: Axis = "channel"
    start: int = 0
    stop: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        require(self.axis in _AXES, f"axis must be one of {_AXES}, got {self.axis!r}")
        require(self.step >= 1, f"step must be at least 1, got {self.step}")

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        (shape,) = shapes
        index = _AXES.index(self.axis)
        require(index < len(shape), f"{shape_text(shape)} has no {self.axis} axis")
        size = shape[index]
        if isinstance(size, int):
            count = len(range(*slice(self.start, self.stop, self.step).indices(size)))
            require(count > 0, f"{self} leaves nothing of size {size}")
            return (*shape[:index], count, *shape[index + 1 :])
        require(
            self.start >= 0 and (self.stop is None or self.stop < 0),
            f"{self} of the free size {size} must have start >= 0 and stop None or negative",
        )
        left = size + (self.stop or 0) - self.start
        return (*shape[:index], (left + (self.step - 1)) // self.step, *shape[index + 1 :])

    def _slices(self, rank: int) -> tuple[slice, ...]:
        index = _AXES.index(self.axis)
        chosen = slice(self.start, self.stop, self.step)
        return tuple(chosen if axis == index else slice(None) for axis in range(rank))

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Slice with NumPy."""
        return arrays[0][self._slices(arrays[0].ndim)]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Copy of the chosen channels, or of every n-th row or column."""
        if self.axis == "channel":
            first, _, step = self._range(operands[0].channels)

            def run_channels(
                band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]
            ) -> None:
                (source,) = inputs
                movement.slice_channels(
                    band,
                    source.array,
                    first_row - source.row,
                    first_column - source.column,
                    first,
                    step,
                )

            return run_channels

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            ranges = [
                self._read(axis, first, first + count, size)
                for axis, first, count, size in zip(
                    (0, 1),
                    (first_row, first_column),
                    band.shape,
                    (source.height, source.width),
                    strict=False,
                )
            ]
            rows, columns = ((reads.start, reads.stop) for reads in ranges)
            view = source.view(rows, columns)
            band[:] = view[:: ranges[0].step, :: ranges[1].step]

        return run

    def _range(self, size: int) -> tuple[int, int, int]:
        return slice(self.start, self.stop, self.step).indices(size)

    def _read(self, axis: int, first: int, last: int, size: int) -> range:
        """Rows or columns that outputs first…last-1 read, without a gap behind the last."""
        chosen = range(size)
        if self.axis == _AXES[axis + 1]:
            chosen = range(*self._range(size))
        reads = chosen[first:last]
        return range(reads[0], reads[-1] + 1, reads.step)

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """First to last chosen row or column."""
        reads = self._read(axis, first, last, size)
        return reads.start, reads.stop

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Slice the tensor."""
        return tensors[0][(slice(None), *self._slices(tensors[0].ndim - 1))]

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Slice."""
        axis = 1 + _AXES.index(self.axis)
        return emit.slice(names[0], axis, self.start, self.stop, self.step)


@register
@dataclass(frozen=True)
class Pad(_Move):
    """Rows and columns added at the borders: zero, reflect (without the edge) or replicate."""

    name: ClassVar[str] = "pad"

    sides: Sides = (0, 0, 0, 0)
    mode: PaddingMode = "zero"

    def __post_init__(self) -> None:
        check_sides(self.sides, self.mode)

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        return padded_shape(shapes[0], self.sides, self.mode)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Pad with NumPy."""
        return pad_oracle(arrays[0], self.sides, self.mode)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather by index."""
        vertical, horizontal = self._taps(0), self._taps(1)
        one = dtype.type(1)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
            rows = vertical.sources(first_row, last_row, source.height)[:, 0]
            columns = horizontal.sources(first_column, last_column, source.width)[:, 0]
            movement.gather(band, source.array, rows - source.row, columns - source.column, 0, one)

        return run

    def _taps(self, axis: int) -> Taps:
        return Taps(1, 1, 1, self.sides[2 * axis], self.mode)

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Return the outputs' own positions; leaves the image for zeros."""
        return self._taps(axis).reach(first, last, size)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.pad."""
        return pad_torch(tensors[0], self.sides, self.mode)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Pad."""
        return pad_onnx(emit, names[0], self.sides, self.mode)


@register
@dataclass(frozen=True)
class Flatten(_Move):
    """Image ``(C, H, W)`` to vector ``(C*H*W,)`` in that order; the size must be fixed."""

    name: ClassVar[str] = "flatten"

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        require(
            all(isinstance(size, int) for size in shapes[0]),
            f"needs a fixed height and width, got {shape_text(shapes[0])}",
        )
        return (math.prod(int(size) for size in shapes[0]),)  # type: ignore[arg-type]

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Reshape."""
        return arrays[0].reshape(-1)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Transpose to channels first, then reshape."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            image = source.view((0, source.height), (0, source.width))
            band[:] = image.transpose(2, 0, 1).reshape(1, 1, -1)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Flatten all but the batch axis."""
        return torch.flatten(tensors[0], 1)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Reshape."""
        return emit.reshape(names[0], [0, -1])


class _Factor(_Move):
    """A spatial rearrangement by an integer factor."""

    factor: int

    def __post_init__(self) -> None:
        require(1 <= self.factor <= 64, f"factor must be 1 to 64, got {self.factor}")


@register
@dataclass(frozen=True)
class PixelShuffle(_Factor):
    """``(C*f*f, H, W)`` to ``(C, f*H, f*W)`` (Shi et al., CVPR 2016, eq. 4)."""

    name: ClassVar[str] = "pixel_shuffle"

    factor: int = 2

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        channels, height, width = shapes[0]
        assert isinstance(channels, int)
        square = self.factor**2
        require(channels % square == 0, f"{square} does not divide the {channels} channels")
        return channels // square, height * self.factor, width * self.factor

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Reshape and transpose."""
        channels, height, width = arrays[0].shape
        f = self.factor
        split = arrays[0].reshape(channels // (f * f), f, f, height, width)
        return split.transpose(0, 3, 1, 4, 2).reshape(-1, height * f, width * f)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba index arithmetic."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            movement.pixel_shuffle(
                band, first_row, first_column, source.array, source.row, source.column, self.factor
            )

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
        """One pixel per block."""
        return first // self.factor, (last - 1) // self.factor + 1

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.pixel_shuffle."""
        return torch.nn.functional.pixel_shuffle(tensors[0], self.factor)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Reshape and Transpose (stock DepthToSpace has no int64 kernel)."""
        channels = operands[0].channels // self.factor**2
        f = self.factor
        # The sizes are free, so split on the channel axis and merge from the sizes themselves.
        spatial = emit.slice(emit("Shape", names[0]), 0, 2, None)
        split = emit("Concat", emit.constant([-1, channels, f, f]), spatial, axis=0)
        moved_axes = emit("Transpose", emit("Reshape", names[0], split), perm=[0, 1, 4, 2, 5, 3])
        larger = emit("Mul", spatial, emit.constant([f]))
        merged = emit("Concat", emit.constant([-1, channels]), larger, axis=0)
        return emit("Reshape", moved_axes, merged)


@register
@dataclass(frozen=True)
class PixelUnshuffle(_Factor):
    """``(C, f*H, f*W)`` to ``(C*f*f, H, W)``, the inverse of `PixelShuffle`."""

    name: ClassVar[str] = "pixel_unshuffle"

    factor: int = 2

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule; the sizes must be multiples of the factor."""
        require_image(shapes[0])
        channels, *sizes = shapes[0]
        for size in sizes:
            require(
                not isinstance(size, int) or size % self.factor == 0,
                f"size {size} is not a multiple of {self.factor}",
            )
        return channels * self.factor**2, sizes[0] // self.factor, sizes[1] // self.factor

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Reshape and transpose."""
        channels, height, width = arrays[0].shape
        f = self.factor
        split = arrays[0].reshape(channels, height // f, f, width // f, f)
        return split.transpose(0, 2, 4, 1, 3).reshape(-1, height // f, width // f)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba index arithmetic."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            row, column = (first * self.factor for first in (first_row, first_column))
            movement.pixel_unshuffle(
                band, source.array, row - source.row, column - source.column, self.factor
            )

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
        """One block per pixel."""
        return first * self.factor, last * self.factor

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.pixel_unshuffle."""
        return torch.nn.functional.pixel_unshuffle(tensors[0], self.factor)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Strided slices per phase, then reorder the channels."""
        channels = operands[0].channels
        phases = [
            emit.slice(rows, 3, column, None, self.factor)
            for rows in (
                emit.slice(names[0], 2, row, None, self.factor) for row in range(self.factor)
            )
            for column in range(self.factor)
        ]
        stacked = emit("Concat", *phases, axis=1) if len(phases) > 1 else phases[0]
        order = np.arange(len(phases) * channels).reshape(len(phases), channels).T.ravel()
        return emit("Gather", stacked, emit.constant(order), axis=1)


@register
@dataclass(frozen=True)
class Nearest(_Factor):
    """Upsampling by repetition: every pixel becomes a ``factor × factor`` block."""

    name: ClassVar[str] = "nearest"

    factor: int = 2

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        channels, height, width = shapes[0]
        return channels, height * self.factor, width * self.factor

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Repeat rows and columns."""
        return arrays[0].repeat(self.factor, axis=1).repeat(self.factor, axis=2)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather by index."""
        one = dtype.type(1)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows = np.arange(first_row, first_row + band.shape[0]) // self.factor
            columns = np.arange(first_column, first_column + band.shape[1]) // self.factor
            movement.gather(band, source.array, rows - source.row, columns - source.column, 0, one)

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
        """One pixel per block."""
        return first // self.factor, (last - 1) // self.factor + 1

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Repeat rows and columns."""
        rows = tensors[0].repeat_interleave(self.factor, dim=2)
        return rows.repeat_interleave(self.factor, dim=3)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Expand along new axes, merged by Reshape."""
        f, channels = self.factor, operands[0].channels
        spatial = emit.slice(emit("Shape", names[0]), 0, 2, None)
        split = emit("Unsqueeze", names[0], emit.constant([3, 5]))
        copies = emit("Expand", split, emit.constant([1, 1, 1, f, 1, f]))
        larger = emit("Mul", spatial, emit.constant([f]))
        return emit(
            "Reshape", copies, emit("Concat", emit.constant([-1, channels]), larger, axis=0)
        )
