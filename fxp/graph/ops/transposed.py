"""Transposed convolution, computed as one ordinary convolution per phase of the stride.

Output ``o`` of an axis reads input ``i`` through tap ``t`` where ``stride*i + dilation*t`` equals
``o + padding``. All outputs with the same remainder by the stride, a *phase*, use the same taps, so
that each phase is a convolution of stride 1 by some of the taps, turned around. No zero is ever
inserted between pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import (
    Accumulator,
    Op,
    Operand,
    Role,
    register,
    require,
    require_image,
)
from fxp.graph.ops.convolution import Conv2d, bias_or_zeros, check_bias, constant_data, weighted_sum
from fxp.graph.ops.padding import TapPositions
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels.convolution import convolve
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional

    from fxp.graph.onnx_emitter import Emitter
else:
    torch_functional = lazy_import("torch.nn.functional", "torch")

MAX_STEP: Final = 1 << 20
Pair = tuple[int, int]
Weight = TypeVar("Weight", bound=Any)


@dataclass(frozen=True)
class Phase:
    """Outputs whose row and column have given remainders by the stride.

    The output at row ``stride*m + row`` and column ``stride*n + column`` is a convolution without
    bias, whose first tap reads the input at row ``m + first_row`` and column ``n + first_column``
    and whose next ones lie ``row_step`` rows and ``column_step`` columns apart.

    Attributes
    ----------
    row, column
        The remainders.
    weight
        Taps in the order of the input, ``(rows, columns, C_in / groups, C_out)``, contiguous.
    first_row, first_column, row_step, column_step
        See above.
    """

    row: int
    column: int
    weight: NDArray
    first_row: int
    first_column: int
    row_step: int
    column_step: int

    def taps(self) -> tuple[TapPositions, TapPositions]:
        """Input rows and columns read by the outputs ``m`` and ``n`` of the phase."""
        rows, columns = self.weight.shape[:2]
        return (
            TapPositions(rows, 1, self.row_step, -self.first_row, "zero"),
            TapPositions(columns, 1, self.column_step, -self.first_column, "zero"),
        )


def phases(weight: NDArray, stride: Pair, padding: Pair, dilation: Pair) -> tuple[Phase, ...]:
    """Split a transposed convolution into convolutions of stride 1.

    Parameters
    ----------
    weight
        ``(C_out, C_in / groups, k_h, k_w)``.
    stride, padding, dilation
        Attributes of the op, rows first.

    Returns
    -------
    tuple
        The phases that read the input at all. With a stride beyond the kernel some do not: their
        outputs are the bias.
    """
    rows, columns = (
        list(_axis_phases(*axis))
        for axis in zip(weight.shape[2:], stride, padding, dilation, strict=True)
    )
    steps = [d // math.gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    taps = weight.transpose(2, 3, 1, 0)
    return tuple(
        Phase(
            row,
            column,
            np.ascontiguousarray(taps[np.ix_(row_taps, column_taps)]),
            first_row,
            first_column,
            *steps,
        )
        for row, row_taps, first_row in rows
        for column, column_taps, first_column in columns
    )


def _axis_phases(
    kernel: int, stride: int, padding: int, dilation: int
) -> Iterator[tuple[int, list[int], int]]:
    """Remainder, taps in the order of the input, and first input of each phase of an axis."""
    by_phase: dict[int, list[int]] = {}
    for tap in reversed(range(kernel)):
        by_phase.setdefault((dilation * tap - padding) % stride, []).append(tap)
    for phase, taps in sorted(by_phase.items()):
        yield phase, taps, (phase + padding - dilation * taps[0]) // stride


def exchange_channels(weight: Weight, groups: int) -> Weight:
    """Turn torch's weight ``(C_in, C_out / groups, k_h, k_w)`` into the op's, and the reverse.

    Takes NumPy arrays and tensors.
    """
    first, second, *kernel = weight.shape
    grouped = weight.reshape(groups, first // groups, second, *kernel)
    return grouped.swapaxes(1, 2).reshape(groups * second, first // groups, *kernel)


@register
@dataclass(frozen=True)
class ConvTranspose2d(Op):
    """2-D transposed convolution: each pixel adds its multiple of the kernel to the result.

    Inputs: image ``(C_in, H, W)``, weight ``(C_out, C_in / groups, k_h, k_w)``, optional bias
    ``(C_out,)``. Attributes as in torch; its weights have the first two axes exchanged.
    """

    name: ClassVar[str] = "conv_transpose2d"
    recordable: ClassVar[bool] = False
    arity: ClassVar[tuple[int, int]] = (2, 3)
    constant_roles: ClassVar[Mapping[int, Role]] = {1: "weight", 2: "bias"}

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        for name, least in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1)):
            pair = getattr(self, name)
            require(
                len(pair) == 2 and all(least <= item < MAX_STEP for item in pair),
                f"{name} must be two integers from {least} on, below {MAX_STEP}: {pair}",
            )
        require(
            all(
                added < max(stride, dilation)
                for added, stride, dilation in zip(
                    self.output_padding, self.stride, self.dilation, strict=True
                )
            ),
            f"output_padding must be smaller than stride or dilation: {self.output_padding}",
        )
        require(self.groups >= 1, f"groups must be at least 1, got {self.groups}")

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        image, weight, *bias = shapes
        require_image(image)
        require(len(weight) == 4, f"the weight must have four axes, got {weight}")
        channels, group_in, *kernel = (int(size) for size in weight)  # type: ignore[arg-type]
        require(
            image[0] == group_in * self.groups,
            f"the weight {weight} in {self.groups} groups takes {group_in * self.groups} channels, "
            f"the image has {image[0]}",
        )
        require(channels % self.groups == 0, f"{self.groups} groups do not divide {channels}")
        check_bias(bias, channels)
        height, width = (
            (size - 1) * stride + added
            for size, stride, added in zip(image[1:], self.stride, self._added(kernel), strict=True)
        )
        return channels, height, width

    def _added(self, kernel: Sequence[int]) -> tuple[int, int]:
        """Size of the result beyond ``stride * (size - 1)``."""
        rows, columns = (
            self.dilation[axis] * (kernel[axis] - 1)
            + 1
            - 2 * self.padding[axis]
            + self.output_padding[axis]
            for axis in (0, 1)
        )
        return rows, columns

    def _phases(self, weight: NDArray) -> tuple[Phase, ...]:
        return phases(weight, self.stride, self.padding, self.dilation)

    def canvas(self, result: tuple[int, ...], *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the result before the padding is cut off."""
        rows, columns = self.padding
        return result[0], result[1] + 2 * rows, result[2] + 2 * columns

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Exact interval per output channel, over the taps that one output sees."""
        source, weight, *bias = operands
        sums = [
            weighted_sum(
                source,
                Operand(taps.shape, weight.formats, taps),
                bias[0] if bias else None,
            )
            for phase in self._phases(constant_data(weight))
            for taps in [phase.weight.transpose(3, 2, 0, 1)]
        ]
        return Accumulator(
            tuple(map(min, zip(*(item.low for item in sums), strict=True))),
            tuple(map(max, zip(*(item.high for item in sums), strict=True))),
            sums[0].fracs,
        )

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Add every pixel's multiples of the kernel, then cut the padding off."""
        image, weight, *bias = arrays
        _, height, width = (int(size) for size in self.shape(image.shape, weight.shape))  # type: ignore[arg-type]
        rows, columns = image.shape[1:]
        top, left = self.padding
        total = np.zeros((len(weight), height + 2 * top, width + 2 * left), np.int64)
        for sums, taps, part in zip(
            *(np.split(array, self.groups) for array in (total, weight, image)), strict=True
        ):
            for row, column in np.ndindex(weight.shape[2:]):
                y, x = row * self.dilation[0], column * self.dilation[1]
                sums[
                    :,
                    y : y + (rows - 1) * self.stride[0] + 1 : self.stride[0],
                    x : x + (columns - 1) * self.stride[1] + 1 : self.stride[1],
                ] += np.tensordot(taps[:, :, row, column], part, axes=1)
        result = total[:, top : top + height, left : left + width]
        return result + (bias[0][:, None, None] if bias else 0)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba convolution per phase."""
        parts = self._phases(constant_data(operands[1]).astype(dtype))
        bias = bias_or_zeros(operands, dtype)
        complete = len(parts) == math.prod(self.stride)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            if not complete:
                band[:] = bias
            for phase in parts:
                # First row and column of the band that belong to the phase.
                y = (phase.row - first_row) % self.stride[0]
                x = (phase.column - first_column) % self.stride[1]
                target = band[y :: self.stride[0], x :: self.stride[1]]
                if not target.size:
                    continue
                m, n = (first_row + y) // self.stride[0], (first_column + x) // self.stride[1]
                vertical, horizontal = phase.taps()
                rows = vertical.positions(m, m + target.shape[0]) - source.row
                columns = horizontal.positions(n, n + target.shape[1]) - source.column
                result = target if self.stride == (1, 1) else np.empty(target.shape, dtype)
                convolve(result, source.array, phase.weight, bias, rows, columns, self.groups)
                if result is not target:
                    target[:] = result

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
        """Span of the taps that fall on the outputs; leaves the image."""
        stride = self.stride[axis]
        starts = [
            self.padding[axis] - self.dilation[axis] * tap
            for tap in range(constant_data(operands[1]).shape[2 + axis])
        ]
        # Input stride * i = output + start, with i rounded up at one end and down at the other.
        spans = [(-(-(first + start) // stride), (last - 1 + start) // stride) for start in starts]
        spans = [(low, high) for low, high in spans if low <= high]
        if not spans:  # outputs that are all bias
            nearest = min(first // stride, size - 1)
            return nearest, nearest + 1
        return min(low for low, _ in spans), max(high for _, high in spans) + 1

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.conv_transpose2d."""
        image, weight, *bias = tensors
        return torch_functional.conv_transpose2d(
            image,
            exchange_channels(weight, self.groups),
            bias[0] if bias else None,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Each phase as an int64 convolution, then an interleaving Reshape."""
        weight = constant_data(operands[1])
        parts = self._phases(weight)
        # Every phase gives size + more rows or columns; what exceeds the result is cut off.
        added = self._added(weight.shape[2:])
        more = [-(-count // stride) - 1 for count, stride in zip(added, self.stride, strict=True)]
        reaches = [
            [taps.reach(0, 1, 1) for taps in axis_taps]
            for axis_taps in zip(*(phase.taps() for phase in parts), strict=True)
        ]
        before = [max(0, *(-low for low, _ in spans)) for spans in reaches]
        behind = [
            max(0, *(high - 1 + extra for _, high in spans))
            for spans, extra in zip(reaches, more, strict=True)
        ]
        pads = emit.constant([0, 0, *before, 0, 0, *behind])
        padded = emit("Pad", names[0], pads) if any(before + behind) else names[0]
        results: dict[Pair, str] = {}
        for index, phase in enumerate(parts):
            window = padded
            for axis in (0, 1):
                low, high = reaches[axis][index]
                end = high - 1 + more[axis] - behind[axis]
                window = emit.slice(window, 2 + axis, before[axis] + low, end or None)
            taps = phase.weight.transpose(3, 2, 0, 1)
            op = Conv2d(dilation=(phase.row_step, phase.column_step), groups=self.groups)
            results[phase.row, phase.column] = op.onnx(
                emit, (operands[0], Operand(taps.shape, (), taps)), window, names[1]
            )
        total = self._interleaved(emit, results)
        for axis in (0, 1):
            excess = self.stride[axis] * (more[axis] + 1) - added[axis]
            total = emit.slice(total, 2 + axis, 0, -excess if excess else None)
        if len(names) == 3:
            total = emit("Add", total, emit.constant(constant_data(operands[2]).reshape(-1, 1, 1)))
        return total

    def _interleaved(self, emit: Emitter, results: Mapping[Pair, str]) -> str:
        """Image of all phases; those without a result are zero."""
        some = next(iter(results.values()))
        if self.stride == (1, 1):
            return some
        zeros = "" if len(results) == math.prod(self.stride) else emit.scaled(some, 0)
        rows = []
        for row in range(self.stride[0]):
            parts = [results.get((row, column), zeros) for column in range(self.stride[1])]
            # (N, C, m, n) each to (N, C, m, 1, n, stride)
            parts = [emit("Unsqueeze", part, emit.constant([3, 5])) for part in parts]
            rows.append(emit("Concat", *parts, axis=5))
        size = emit("Mul", emit("Shape", some), emit.constant([1, 1, *self.stride]))
        return emit("Reshape", emit("Concat", *rows, axis=3), size)
