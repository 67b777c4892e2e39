"""Max, average and global pooling.

An average multiplies the exact window sum by a fixed-point reciprocal of the count, as hardware
does: no division, no data-dependent rounding, one requantization at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
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
    padded_shape,
    window_count,
)
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

RECIPROCAL_BITS: Final = 16
"""Reciprocals carry 16 to 17 significant bits, two more than a 14-bit activation needs."""
GLOBAL_FRAC: Final = 34
"""Fraction bits of the reciprocal of a whole image's size, whose relative error is then at most
``H*W * 2**-35``: below 2**-17 up to 512 × 512."""
MAX_PIXELS: Final = 1 << 26
MAX_WINDOW: Final = 1 << 16


def reciprocal(count: int | NDArray[np.int64], frac: int) -> NDArray[np.int64]:
    """``2**frac / count``, rounded half up."""
    counts = np.asarray(count, dtype=np.int64)
    return ((1 << (frac + 1)) + counts) // (2 * counts)


class SlidingWindow(Op):
    """A pooling window of fixed size that slides over the image."""

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Sides
    dilation: ClassVar[tuple[int, int]] = (1, 1)

    def __post_init__(self) -> None:
        check_sides(self.padding, "zero")
        require(
            min(*self.window, *self.stride) >= 1,
            f"window and stride must be at least 1: {self.window}, {self.stride}",
        )
        require(
            self.window[0] * self.window[1] <= MAX_WINDOW,
            f"a window of {self.window} is not supported; at most {MAX_WINDOW} pixels are",
        )
        # So that every window reaches into the image.
        require(
            all(
                side < size
                for side, size in zip(self.padding, np.repeat(self._extent, 2), strict=True)
            ),
            f"padding {self.padding} must be smaller than the window {self._extent}",
        )

    @property
    def _extent(self) -> tuple[int, int]:
        """Rows and columns from the first tap of a window to the last."""
        rows, columns = (
            step * (size - 1) + 1 for size, step in zip(self.window, self.dilation, strict=True)
        )
        return rows, columns

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule, rounding down."""
        require_image(shapes[0])
        channels, height, width = padded_shape(shapes[0], self.padding, "zero")
        return (
            channels,
            window_count(height, self.window[0], self.stride[0], self.dilation[0]),
            window_count(width, self.window[1], self.stride[1], self.dilation[1]),
        )

    border: ClassVar[PaddingMode] = "zero"

    def _taps(self, axis: int) -> TapPositions:
        """Rows or columns that each window reads."""
        return TapPositions(
            self.window[axis],
            self.stride[axis],
            self.dilation[axis],
            self.padding[2 * axis],
            self.border,
        )

    def _sources(
        self, band: NDArray, first_row: int, first_column: int, source: Window
    ) -> tuple[IntArray, IntArray]:
        """Rows and columns of the window's array that each output of a band reads."""
        last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
        rows = self._taps(0).sources(first_row, last_row, source.height)
        columns = self._taps(1).sources(first_column, last_column, source.width)
        return rows - source.row, columns - source.column

    @staticmethod
    def _sum(
        operands: Sequence[Operand],
        band: NDArray,
        source: Window,
        places: tuple[IntArray, IntArray],
        factors: NDArray,
    ) -> None:
        """Sum windows that read these rows and columns; results are multiplied by factors.

        Parameters
        ----------
        operands
            As for the other faces.
        band
            The results.
        source
            The operand.
        places
            Rows and columns, ``(outputs, taps)``.
        factors
            ``(rows, columns)``, of the dtype of the results.
        """
        rows, columns = places
        row_ones = windows.row_sums(np.ones_like(rows), operands[0].limits, factors.dtype)
        column_ones = np.ones(columns.shape, np.int32)
        image = row_vectors(source.array)
        windows.resample(band, image, rows, columns, row_ones, column_ones, factors)

    def _inside(
        self, band: NDArray, first_row: int, first_column: int, source: Window
    ) -> tuple[IntArray, IntArray]:
        """As `_sources`, with -1 for what lies beyond the border."""
        found = []
        for axis, (first, size, start) in enumerate((
            (first_row, source.height, source.row),
            (first_column, source.width, source.column),
        )):  # fmt: skip
            positions = self._taps(axis).positions(first, first + band.shape[axis])
            inside = (positions >= 0) & (positions < size)
            found.append(np.where(inside, positions - start, -1))
        return found[0], found[1]

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Span of the windows; leaves the image for zero padding."""
        return self._taps(axis).reach(first, last, size)

    def _windows(self, image: IntArray, padding_value: int) -> IntArray:
        """Every window of a ``(C, H, W)`` array, ``(C, H_out, W_out, k_h, k_w)``."""
        top, bottom, left, right = self.padding
        padded = np.pad(
            image, ((0, 0), (top, bottom), (left, right)), constant_values=padding_value
        )
        views = np.lib.stride_tricks.sliding_window_view(padded, self._extent, axis=(1, 2))
        views = views[:, :: self.stride[0], :: self.stride[1]]
        return views[..., :: self.dilation[0], :: self.dilation[1]]

    def _onnx_taps(self, emit: Emitter, name: str, padding_value: int) -> list[str]:
        if any(self.padding):
            top, bottom, left, right = self.padding
            pads = emit.constant([0, 0, top, left, 0, 0, bottom, right])
            name = emit("Pad", name, pads, emit.constant(padding_value))
        return emit.windows(name, self.window, self.stride, self.dilation)


@register
@dataclass(frozen=True)
class MaxPool(SlidingWindow):
    """Largest value of each window; padding reads the smallest raw integer of the format."""

    name: ClassVar[str] = "max_pool"
    # Every window that reaches into the padding holds the edge, so repeating it changes nothing.
    border: ClassVar[PaddingMode] = "replicate"

    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: Sides = (0, 0, 0, 0)

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's."""
        return ranges[0]

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        return moved(operands[0], operands[0].channels)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Maximum over sliding windows."""
        return self._windows(arrays[0], operands[0].format.min_raw).max(axis=(3, 4))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba maximum over gathered rows and columns."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows, columns = self._inside(band, first_row, first_column, source)
            windows.pool_maximum(band, row_vectors(source.array), rows, columns, 0)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.max_pool2d."""
        smallest = operands[0].format.min if operands[0].is_integer else -float("inf")
        top, bottom, left, right = self.padding
        padded = torch_functional.pad(tensors[0], (left, right, top, bottom), value=smallest)
        return torch_functional.max_pool2d(padded, self.window, self.stride)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Maximum of strided slices."""
        taps = self._onnx_taps(emit, names[0], operands[0].format.min_raw)
        return reduce(emit.maximum, taps)


@register
@dataclass(frozen=True)
class DilatedMaxPool(SlidingWindow):
    """Largest value of pixels that are `dilation` rows and columns apart.

    Padding reads the smallest raw integer of the format, as in `MaxPool`.
    """

    name: ClassVar[str] = "dilated_max_pool"
    border: ClassVar[PaddingMode] = "replicate"

    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: Sides = (0, 0, 0, 0)
    dilation: tuple[int, int] = (2, 2)  # type: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            all(1 <= step <= MAX_WINDOW for step in self.dilation),
            f"dilation must be 1 to {MAX_WINDOW}: {self.dilation}",
        )

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        return moved(operands[0], operands[0].channels)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Maximum over sliding windows."""
        return self._windows(arrays[0], operands[0].format.min_raw).max(axis=(3, 4))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba maximum over gathered rows and columns."""
        smallest = operands[0].format.min_raw

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows, columns = self._inside(band, first_row, first_column, source)
            windows.pool_maximum(band, row_vectors(source.array), rows, columns, smallest)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.max_pool2d."""
        smallest = operands[0].format.min if operands[0].is_integer else -float("inf")
        top, bottom, left, right = self.padding
        padded = torch_functional.pad(tensors[0], (left, right, top, bottom), value=smallest)
        return torch_functional.max_pool2d(padded, self.window, self.stride, dilation=self.dilation)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Maximum of strided slices."""
        taps = self._onnx_taps(emit, names[0], operands[0].format.min_raw)
        return reduce(emit.maximum, taps)


@register
@dataclass(frozen=True)
class AveragePool(SlidingWindow):
    """Mean of each window: the exact sum times a fixed-point reciprocal of the count.

    With `count_padding` the padding's zeros count as pixels, as in torch's default.
    """

    name: ClassVar[str] = "average_pool"

    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: Sides = (0, 0, 0, 0)
    count_padding: bool = True

    def real_range(self, *ranges: Range) -> Range:
        """Return the operand's, with the zeros that are put between."""
        return hull(ranges[0], (0.0, 0.0))

    @property
    def _area(self) -> int:
        return self.window[0] * self.window[1]

    @property
    def _frac(self) -> int:
        """Fraction bits of the reciprocals; those of a power of two are exact."""
        return RECIPROCAL_BITS + (self._area - 1).bit_length()

    def multiplier(
        self, rows: tuple[int, int], columns: tuple[int, int], size: Sequence[int]
    ) -> NDArray[np.int64]:
        """Return the reciprocal of each window's count, ``(rows, columns)``.

        Parameters
        ----------
        rows, columns
            The first output of each axis, and the one behind the last.
        size
            Height and width of the input.
        """
        counts = []
        for axis, (first, last) in enumerate((rows, columns)):
            positions = self._taps(axis).positions(first, last)
            inside = (positions >= 0) & (positions < size[axis])
            counts.append((inside | self.count_padding).sum(axis=1))
        return reciprocal(np.outer(*counts), self._frac)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of sum times reciprocal, over every possible count."""
        source = operands[0]
        counts = np.arange(1, self._area + 1)
        if self.count_padding:
            factor = self._area * int(reciprocal(self._area, self._frac))
        else:
            factor = int((counts * reciprocal(counts, self._frac)).max())
        low, high = (limit * factor for limit in source.limits)
        return Accumulator.uniform(source.channels, low, high, source.format.frac + self._frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Sum over sliding windows, times the reciprocal."""
        sums = self._windows(arrays[0], 0).sum(axis=(3, 4))
        height, width = sums.shape[1:]
        return sums * self.multiplier((0, height), (0, width), arrays[0].shape[1:])

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba sums of gathered rows, then of gathered columns."""

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            multiplier = self.multiplier(
                (first_row, first_row + band.shape[0]),
                (first_column, first_column + band.shape[1]),
                (source.height, source.width),
            )
            rows, columns = self._sources(band, first_row, first_column, source)
            self._sum(operands, band, source, (rows, columns), multiplier.astype(dtype))

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Sum with avg_pool2d, times the reciprocal; in a float graph the true mean."""
        top, bottom, left, right = self.padding
        padded = torch_functional.pad(tensors[0], (left, right, top, bottom))
        sums = torch_functional.avg_pool2d(padded, self.window, self.stride, divisor_override=1)
        height, width = sums.shape[2:]
        multiplier = self.multiplier((0, height), (0, width), tensors[0].shape[2:])
        factor = np.ldexp(multiplier.astype(np.float64), -self._frac)
        if not operands[0].is_integer:
            factor = 1 / np.rint(1 / factor)
        return sums * torch.as_tensor(factor, dtype=sums.dtype, device=sums.device)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Sum of strided slices, times the reciprocal of a sum of ones."""

        def total(name: str) -> str:
            return reduce(lambda a, b: emit("Add", a, b), self._onnx_taps(emit, name, 0))

        sums = total(names[0])
        if self.count_padding or not any(self.padding):
            return emit.scaled(sums, reciprocal(self._area, self._frac))
        ones = emit("Add", emit("Mul", names[0], emit.constant(0)), emit.constant(1))
        counts = total(ones)
        doubled = emit("Add", emit.constant(1 << (self._frac + 1)), counts)
        factor = emit("Div", doubled, emit("Mul", counts, emit.constant(2)))
        return emit("Mul", sums, factor)


@register
@dataclass(frozen=True)
class SumPool(SlidingWindow):
    """Sum of each window over a given divisor; the padding's zeros add nothing.

    A divisor that is a power of two is exact; others are multiplied as a reciprocal.
    """

    name: ClassVar[str] = "sum_pool"

    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: Sides = (0, 0, 0, 0)
    divisor: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            1 <= self.divisor <= MAX_WINDOW,
            f"divisor must be 1 to {MAX_WINDOW}, got {self.divisor}",
        )

    @property
    def factor(self) -> tuple[int, int]:
        """Multiplier of the sums, and its fraction bits."""
        bits = (self.divisor - 1).bit_length()
        if self.divisor == 1 << bits:
            return 1, bits
        return int(reciprocal(self.divisor, RECIPROCAL_BITS + bits)), RECIPROCAL_BITS + bits

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of the sum of a whole window, times the multiplier."""
        (source,), (multiplier, frac) = operands, self.factor
        area = self.window[0] * self.window[1]
        # Padding may take the place of any pixel.
        low, high = source.limits
        return Accumulator.uniform(
            source.channels,
            min(low, 0) * area * multiplier,
            max(high, 0) * area * multiplier,
            source.format.frac + frac,
        )

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Sum over sliding windows, times the multiplier."""
        return self._windows(arrays[0], 0).sum(axis=(3, 4)) * self.factor[0]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba sums of gathered rows, then of gathered columns."""
        multiplier = np.int64(self.factor[0]).astype(dtype)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            rows, columns = self._sources(band, first_row, first_column, source)
            factors = np.full(band.shape[:2], multiplier)
            self._sum(operands, band, source, (rows, columns), factors)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Sum with avg_pool2d, times the multiplier; in a float graph over the divisor."""
        top, bottom, left, right = self.padding
        padded = torch_functional.pad(tensors[0], (left, right, top, bottom))
        sums = torch_functional.avg_pool2d(padded, self.window, self.stride, divisor_override=1)
        multiplier, frac = self.factor
        return sums * (multiplier * 2.0**-frac if operands[0].is_integer else 1 / self.divisor)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Sum of strided slices, times the multiplier."""
        sums = reduce(lambda a, b: emit("Add", a, b), self._onnx_taps(emit, names[0], 0))
        return emit.scaled(sums, self.factor[0])
