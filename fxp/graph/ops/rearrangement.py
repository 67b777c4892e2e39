"""Ops that rearrange pixels: pixel shuffle, its inverse, and nearest upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Operand, register, require, require_image
from fxp.graph.ops.movement import Movement
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import movement
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")


class _Factor(Movement):
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
            movement.gather(
                band, source.array, rows - source.row, columns - source.column, 0, one, 0
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
