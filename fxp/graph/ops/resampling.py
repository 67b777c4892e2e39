"""Upsampling by two with exact dyadic taps: bilinear and bicubic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import (
    Accumulator,
    Op,
    Operand,
    Range,
    register,
    require,
    require_image,
)
from fxp.graph.ops.padding import Sides, pad_onnx, pad_oracle, symmetric_sources
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels.routines import row_vectors
from fxp.kernels.windows import resample, row_sums
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

Border = Literal["replicate", "symmetric"]

KEYS_TAPS: Final[dict[float, tuple[int, tuple[int, ...]]]] = {
    -0.5: (7, (-9, 111, 29, -3)),
    -0.75: (8, (-27, 225, 67, -9)),
}
"""Fraction bits and taps at distance 5/4, 1/4, 3/4, 7/4 of Keys' cubic kernel by its parameter."""


class _UpsampleTwice(Op):
    """Separable interpolation at ``i - 1/4`` and ``i + 1/4`` (pixel centres, not corners)."""

    def taps(self) -> tuple[int, tuple[int, ...]]:
        """Fraction bits and taps at ``i + 1/4``, for pixels ``i - k/2 + 1`` to ``i + k/2``."""
        raise NotImplementedError

    def border_mode(self) -> Border:
        """Return what lies beyond the border."""
        raise NotImplementedError

    def _phases(self) -> list[tuple[int, tuple[int, ...]]]:
        """First tap's offset in the padded image and the taps, for even and odd outputs."""
        _, odd = self.taps()
        return [(0, odd[::-1]), (1, odd)]

    @property
    def _radius(self) -> int:
        return len(self.taps()[1]) // 2

    def _sides(self, vertical: bool) -> Sides:
        """Return the padding along one axis."""
        radius = self._radius
        return (radius, radius, 0, 0) if vertical else (0, 0, radius, radius)

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: doubled height and width."""
        require_image(shapes[0])
        channels, height, width = shapes[0]
        return channels, height * 2, width * 2

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Interval from the sums of positive and negative taps."""
        source = operands[0]
        frac, taps = self.taps()
        weights = np.outer(taps, taps)
        positive = int(weights[weights > 0].sum())
        negative = int(weights[weights < 0].sum())
        low, high = source.limits
        return Accumulator.uniform(
            source.channels,
            low * positive + high * negative,
            high * positive + low * negative,
            source.format.frac + 2 * frac,
        )

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Interpolate rows, then columns."""
        rows = self._interpolate(arrays[0], 1)
        return self._interpolate(rows, 2)

    def _interpolate(self, array: IntArray, axis: int) -> IntArray:
        size = array.shape[axis]
        padded = pad_oracle(array, self._sides(axis == 1), self.border_mode())
        padded = np.moveaxis(padded, axis, 0)
        result = np.zeros((2 * size, *padded.shape[1:]), np.int64)
        for phase, (first, taps) in enumerate(self._phases()):
            for offset, tap in enumerate(taps, start=first):
                result[phase::2] += tap * padded[offset : offset + size]
        return np.moveaxis(result, 0, axis)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba separable taps."""
        phases = np.array([taps for _, taps in self._phases()], np.int32)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
            rows = self._tap_indices(first_row, last_row, source.height)
            columns = self._tap_indices(first_column, last_column, source.width)
            resample(
                band,
                row_vectors(source.array),
                rows - source.row,
                columns - source.column,
                row_sums(phases[np.arange(first_row, last_row) % 2], operands[0].limits, dtype),
                phases[np.arange(first_column, last_column) % 2],
                np.ones(band.shape[:2], dtype),
            )

        return run

    def _tap_indices(self, first: int, last: int, size: int) -> NDArray[np.int64]:
        """Source index of every tap of outputs first…last-1, ``(outputs, k)``."""
        output = np.arange(first, last, dtype=np.int64)[:, None]
        positions = output // 2 + output % 2 - self._radius + np.arange(2 * self._radius)
        if self.border_mode() == "replicate":
            return np.clip(positions, 0, size - 1)
        return symmetric_sources(positions, size)

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Span of the taps, moved into the image."""
        low = first // 2 + first % 2 - self._radius
        high = (last - 1) // 2 + (last - 1) % 2 + self._radius
        if low >= 0 and high <= size:
            return low, high
        indices = self._tap_indices(first, last, size)
        return int(indices.min()), int(indices.max()) + 1

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Weighted sum of gathered rows, then of gathered columns."""
        result = tensors[0]
        scale = 2.0 ** -self.taps()[0]
        phases = np.array([taps for _, taps in self._phases()]) * scale
        for axis, shape in ((2, (-1, 1)), (3, (-1,))):
            indices = torch.as_tensor(
                self._tap_indices(0, 2 * result.shape[axis], result.shape[axis]),
                device=result.device,
            )
            weights = torch.as_tensor(
                np.tile(phases, (len(indices) // 2, 1)), dtype=result.dtype, device=result.device
            )
            terms = [
                result.index_select(axis, indices[:, tap]) * weights[:, tap].reshape(shape)
                for tap in range(indices.shape[1])
            ]
            result = torch.stack(terms).sum(dim=0)
        return result

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Gathered borders, strided slices and an interleaving Reshape, per axis."""
        name = names[0]
        for axis in (2, 3):
            name = self._onnx_axis(emit, name, axis, operands[0].channels)
        return name

    def _onnx_axis(self, emit: Emitter, name: str, axis: int, channels: int) -> str:
        radius = self._radius
        shape = emit("Shape", name)
        padded = pad_onnx(emit, name, self._sides(axis == 2), self.border_mode())
        phases = []
        for first, taps in self._phases():
            terms = []
            for offset, tap in enumerate(taps, start=first):
                behind = 2 * radius - offset
                window = emit.slice(padded, axis, offset, -behind if behind else None)
                terms.append(emit.scaled(window, tap))
            total = reduce(lambda a, b: emit("Add", a, b), terms)
            phases.append(emit("Unsqueeze", total, emit.constant([axis + 1])))
        interleaved = emit("Concat", *phases, axis=axis + 1)
        doubled = emit("Mul", shape, emit.constant([2 if a == axis else 1 for a in range(4)]))
        return emit("Reshape", interleaved, doubled)


@register
@dataclass(frozen=True)
class BilinearUpsample(_UpsampleTwice):
    """Bilinear ×2 with taps 3/4 and 1/4; equals torch's ``align_corners=False``."""

    name: ClassVar[str] = "bilinear_upsample"

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's."""
        return ranges[0]

    def taps(self) -> tuple[int, tuple[int, ...]]:
        """Two taps over four."""
        return 2, (3, 1)

    def border_mode(self) -> Border:
        """Edges are repeated."""
        return "replicate"


@register
@dataclass(frozen=True)
class BicubicUpsample(_UpsampleTwice):
    """Bicubic ×2 with Keys' kernel (IEEE TASSP 1981) and exact taps.

    ``parameter=-0.5, border="symmetric"`` is MATLAB's ``imresize``;
    ``parameter=-0.75, border="replicate"`` is ``torch.nn.functional.interpolate``.
    """

    name: ClassVar[str] = "bicubic_upsample"

    parameter: float = -0.5
    border: Border = "symmetric"

    def __post_init__(self) -> None:
        require(self.parameter in KEYS_TAPS, f"parameter must be -0.5 or -0.75: {self.parameter}")
        require(self.border in get_args(Border), f"unknown border {self.border!r}")

    def taps(self) -> tuple[int, tuple[int, ...]]:
        """Four taps of the chosen kernel."""
        return KEYS_TAPS[self.parameter]

    def border_mode(self) -> Border:
        """As chosen."""
        return self.border
