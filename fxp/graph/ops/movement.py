"""Ops that move values: concat, slice, pad and flatten."""

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
    Op,
    Operand,
    Range,
    hull,
    moved,
    register,
    require,
    require_image,
)
from fxp.graph.ops.padding import (
    PaddingMode,
    Sides,
    TapPositions,
    check_sides,
    pad_onnx,
    pad_oracle,
    pad_torch,
    padded_shape,
)
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import movement
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")


def alignment_shifts(operands: Sequence[Operand]) -> list[int]:
    """Bits by which each operand is shifted left to the binary point of the finest."""
    common = max(operand.format.frac for operand in operands)
    return [common - operand.format.frac for operand in operands]


def copy_places(
    band: NDArray, source: Window, rows: IntArray, columns: IntArray, factor: np.signedinteger
) -> None:
    """Gather rows and columns of an image, times a factor.

    Parameters
    ----------
    band
        The results; written.
    source
        The operand.
    rows, columns
        Of the image, one for every row and column of the band.
    factor
        Multiplies every value.
    """
    movement.gather(band, source.array, rows - source.row, columns - source.column, 0, factor, 0)


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

    def real_range(self, *ranges: Range) -> Range:
        """Return the range of all operands."""
        return hull(*ranges)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Each operand's range on its own channels."""
        shifts = alignment_shifts(operands)
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
        shifts = alignment_shifts(operands)
        return np.concatenate([a << shift for a, shift in zip(arrays, shifts, strict=True)])

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """One gather per operand."""
        # A factor too large for the dtype wraps, like the accumulator; it meets zeros only.
        factors = [
            np.int64(1 << min(shift, 62)).astype(dtype) for shift in alignment_shifts(operands)
        ]

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
                    0,
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
        shifts = alignment_shifts(operands)
        aligned = [emit.scaled(n, 1 << shift) for n, shift in zip(names, shifts, strict=True)]
        return emit("Concat", *aligned, axis=1)


class Movement(Op):
    """One operand whose values are moved; range and fraction bits stay."""

    takes_accumulators: ClassVar[bool] = True

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's."""
        return ranges[0]

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        channels = self.shape(operands[0].shape)[0]
        assert isinstance(channels, int)
        return moved(operands[0], channels)


Axis = Literal["channel", "row", "column"]
_AXES: tuple[Axis, ...] = ("channel", "row", "column")


@register
@dataclass(frozen=True)
class Slice(Movement):
    """``start:stop:step`` along one axis; negative bounds count from the end, as in Python.

    On rows and columns a crop must be written from the ends (``stop`` None or negative) when the
    size is free.
    """

    name: ClassVar[str] = "slice"
    reads_part: ClassVar[bool] = True

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
        one = dtype.type(1)

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
            rows, columns = (np.array(reads, np.int64) for reads in ranges)
            copy_places(band, source, rows, columns, one)

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
class Pad(Movement):
    """Rows and columns added at the borders: zero, reflect (without the edge) or replicate."""

    name: ClassVar[str] = "pad"

    sides: Sides = (0, 0, 0, 0)
    mode: PaddingMode = "zero"

    def __post_init__(self) -> None:
        check_sides(self.sides, self.mode)

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's, with the zeros that are put between."""
        return hull(ranges[0], (0.0, 0.0))

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
            movement.gather(
                band, source.array, rows - source.row, columns - source.column, 0, one, 0
            )

        return run

    def _taps(self, axis: int) -> TapPositions:
        return TapPositions(1, 1, 1, self.sides[2 * axis], self.mode)

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
class Flatten(Movement):
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
        """Numba index arithmetic."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            movement.flatten(band, source.view((0, source.height), (0, source.width)))

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Flatten all but the batch axis."""
        return torch.flatten(tensors[0], 1)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Reshape."""
        return emit.reshape(names[0], [0, -1])
