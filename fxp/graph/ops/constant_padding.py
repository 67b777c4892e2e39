"""Borders of one value that need not be zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Accumulator, Op, Operand, register, require, require_image
from fxp.graph.ops.padding import Sides, check_sides, padded_shape
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import movement
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional

    from fxp.graph.onnx_emitter import Emitter
else:
    torch_functional = lazy_import("torch.nn.functional", "torch")

MAX_VALUE_BITS = 62
"""Most bits of the rounded value."""


@register
@dataclass(frozen=True)
class ConstantPad(Op):
    """Rows and columns of one number, rounded half up to the operand's fraction bits.

    `Pad` is the op for zeros.
    """

    name: ClassVar[str] = "constant_pad"

    sides: Sides = (0, 0, 0, 0)
    value: float = 0.0

    def __post_init__(self) -> None:
        check_sides(self.sides, "zero")
        require(math.isfinite(self.value), f"the value must be finite, got {self.value}")

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        require_image(shapes[0])
        return padded_shape(shapes[0], self.sides, "zero")

    def _raw(self, source: Operand) -> int:
        """Return the value as an integer of the operand's fraction bits."""
        raw = math.floor(math.ldexp(self.value, source.format.frac) + 0.5)
        require(
            raw.bit_length() <= MAX_VALUE_BITS,
            f"the value {self.value} is too large for {source.format.frac} fraction bits",
        )
        return raw

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of the operand and the value."""
        (source,) = operands
        raw, (low, high) = self._raw(source), source.limits
        return Accumulator.uniform(
            source.channels, min(low, raw), max(high, raw), source.format.frac
        )

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Pad with NumPy."""
        top, bottom, left, right = self.sides
        widths = ((0, 0), (top, bottom), (left, right))
        return np.pad(arrays[0].astype(np.int64), widths, constant_values=self._raw(operands[0]))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Gather by index."""
        raw, one = self._raw(operands[0]), dtype.type(1)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            places = []
            for axis, (first, size, start) in enumerate((
                (first_row, source.height, source.row),
                (first_column, source.width, source.column),
            )):  # fmt: skip
                begin = first - self.sides[2 * axis]
                positions = np.arange(begin, begin + band.shape[axis])
                inside = (positions >= 0) & (positions < size)
                places.append(np.where(inside, positions - start, -1))
            movement.gather(band, source.array, *places, 0, one, raw)

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
        """Return the outputs' own positions in the image, or a pixel at its edge."""
        before = self.sides[2 * axis]
        low = min(max(first - before, 0), size - 1)
        return low, max(min(last - before, size), low + 1)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.pad."""
        value = self.value
        if operands[0].is_integer:
            value = math.ldexp(self._raw(operands[0]), -operands[0].format.frac)
        top, bottom, left, right = self.sides
        return torch_functional.pad(tensors[0], (left, right, top, bottom), value=value)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Pad."""
        top, bottom, left, right = self.sides
        pads = emit.constant([0, 0, top, left, 0, 0, bottom, right])
        return emit("Pad", names[0], pads, emit.constant(self._raw(operands[0])))
