"""Weighted sums: conv2d and linear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops import double_convolution
from fxp.graph.ops.base import (
    Accumulator,
    GraphError,
    Op,
    Operand,
    Role,
    register,
    require,
    require_image,
    require_vector,
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
    window_count,
)
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels.convolution import convolve
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional

    from fxp.graph.onnx_emitter import Emitter
else:
    torch_functional = lazy_import("torch.nn.functional", "torch")


def weighted_sum(source: Operand, weight: Operand, bias: Operand | None) -> Accumulator:
    """Exact interval of ``Σ w·x + b`` per output channel, from the integer weights.

    With ``x`` in ``[low, high]`` and ``low <= 0 <= high``, the sum reaches
    ``high·Σw⁺ + low·Σw⁻ + b`` at most (and the mirror image at least).

    Parameters
    ----------
    source
        The input ``x``: its format alone counts.
    weight
        The weights ``w``, raw integers ``(outputs, ...)``.
    bias
        The bias ``b``, raw integers ``(outputs,)``, or None.

    Raises
    ------
    GraphError
        If a bias does not have the fraction bits of the products.
    """
    data = weight.constant
    assert data is not None
    positive, negative = weight.signed_sums
    low, high = source.limits
    channels = range(data.shape[0])
    offsets = [0] * len(channels) if bias is None else [int(b) for b in constant_data(bias)]
    fracs = np.broadcast_to(weight.fracs + source.format.frac, len(channels))
    if bias is not None and not np.array_equal(np.broadcast_to(bias.fracs, len(channels)), fracs):
        raise GraphError(
            f"the bias has {sorted(set(bias.fracs.tolist()))} fraction bits, the products "
            f"{sorted(set(fracs.tolist()))}; they must agree channel by channel"
        )
    return Accumulator(
        tuple(high * negative[c] + low * positive[c] + offsets[c] for c in channels),
        tuple(high * positive[c] + low * negative[c] + offsets[c] for c in channels),
        tuple(int(frac) for frac in fracs),
    )


def constant_data(operand: Operand) -> NDArray:
    """Values of a constant."""
    assert operand.constant is not None
    return operand.constant


def check_bias(bias: Sequence[Shape], channels: int) -> None:
    """Raise `GraphError` unless the bias, if there is one, fits the channels."""
    if bias:
        require(bias[0] == (channels,), f"the bias must have shape ({channels},), got {bias[0]}")


def bias_or_zeros(operands: Sequence[Operand], dtype: np.dtype) -> NDArray:
    """Bias of a weighted sum, zeros if it has none."""
    if len(operands) == 3:
        return constant_data(operands[2]).astype(dtype)
    return np.zeros(operands[1].channels, dtype)


@register
@dataclass(frozen=True)
class Conv2d(Op):
    """2-D cross-correlation, the convolution of neural networks.

    Inputs: image ``(C_in, H, W)``, weight ``(C_out, C_in / groups, k_h, k_w)``, optional bias
    ``(C_out,)``.
    """

    name: ClassVar[str] = "conv2d"
    recordable: ClassVar[bool] = False
    arity: ClassVar[tuple[int, int]] = (2, 3)
    constant_roles: ClassVar[Mapping[int, Role]] = {1: "weight", 2: "bias"}

    stride: tuple[int, int] = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    padding_mode: PaddingMode = "zero"
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        check_sides(self.padding, self.padding_mode)
        for pair in (self.stride, self.dilation):
            require(len(pair) == 2 and min(pair) >= 1, f"stride and dilation must be >= 1: {pair}")
        require(self.groups >= 1, f"groups must be at least 1, got {self.groups}")

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        image, weight, *bias = shapes
        require_image(image)
        require(len(weight) == 4, f"the weight must have four axes, got {weight}")
        channels, group_in, kernel_height, kernel_width = (int(size) for size in weight)  # type: ignore[arg-type]
        require(
            image[0] == group_in * self.groups,
            f"the weight {weight} in {self.groups} groups takes {group_in * self.groups} channels, "
            f"the image has {image[0]}",
        )
        require(channels % self.groups == 0, f"{self.groups} groups do not divide {channels}")
        check_bias(bias, channels)
        _, height, width = padded_shape(image, self.padding, self.padding_mode)
        return (
            channels,
            window_count(height, kernel_height, self.stride[0], self.dilation[0]),
            window_count(width, kernel_width, self.stride[1], self.dilation[1]),
        )

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Exact interval per output channel."""
        return weighted_sum(operands[0], operands[1], operands[2] if len(operands) > 2 else None)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Sum tap by tap and group by group."""
        image, weight = arrays[:2]
        _, height, width = self.shape(image.shape, weight.shape)
        padded = pad_oracle(image, self.padding, self.padding_mode)
        total = np.zeros((weight.shape[0], int(height), int(width)), np.int64)  # type: ignore[arg-type]
        inputs = np.split(padded, self.groups)
        for group, (sums, taps) in enumerate(
            zip(np.split(total, self.groups), np.split(weight, self.groups), strict=True)
        ):
            for row, column in np.ndindex(weight.shape[2:]):
                top, left = row * self.dilation[0], column * self.dilation[1]
                window = inputs[
                    group
                ][
                    :,
                    top : top + (int(height) - 1) * self.stride[0] + 1 : self.stride[0],  # type: ignore[arg-type]
                    left : left + (int(width) - 1) * self.stride[1] + 1 : self.stride[1],  # type: ignore[arg-type]
                ]
                sums += np.tensordot(taps[:, :, row, column], window, axes=1)
        return total if len(arrays) == 2 else total + arrays[2][:, None, None]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba convolution over gathered rows and columns."""
        weight = np.ascontiguousarray(
            constant_data(operands[1]).transpose(2, 3, 1, 0).astype(dtype)
        )
        bias = bias_or_zeros(operands, dtype)
        vertical, horizontal = (self._taps(operands, axis) for axis in (0, 1))

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
            rows = vertical.sources(first_row, last_row, source.height) - source.row
            columns = horizontal.sources(first_column, last_column, source.width) - source.column
            convolve(band, source.array, weight, bias, rows, columns, self.groups)

        return run

    def _taps(self, operands: Sequence[Operand], axis: int) -> TapPositions:
        """Rows (axis 0) or columns (axis 1) that the kernel reads."""
        return TapPositions(
            constant_data(operands[1]).shape[2 + axis],
            self.stride[axis],
            self.dilation[axis],
            self.padding[2 * axis],
            self.padding_mode,
        )

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Span of the kernel; leaves the image for zero padding."""
        return self._taps(operands, axis).reach(first, last, size)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.conv2d."""
        image, weight, *bias = tensors
        return double_convolution.conv2d(
            pad_torch(image, self.padding, self.padding_mode),
            weight,
            bias[0] if bias else None,
            self.stride,
            self.dilation,
            self.groups,
        )

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """One int64 MatMul (or Mul, depthwise) per tap: ONNX Runtime has no int64 Conv."""
        weight = constant_data(operands[1])
        channels, group_in, *kernel = weight.shape
        group_out = channels // self.groups
        padded = pad_onnx(emit, names[0], self.padding, self.padding_mode)
        taps = emit.windows(padded, (kernel[0], kernel[1]), self.stride, self.dilation)
        flat = weight.reshape(channels, group_in, -1)
        total = ""
        for index, tap in enumerate(taps):
            if group_in == group_out == 1:
                product = emit("Mul", tap, emit.constant(flat[:, 0, index].reshape(-1, 1, 1)))
            else:
                # (N, C, H, W) -> (N, groups, C/groups, H*W); the spatial shape comes back below.
                grouped = emit.reshape(tap, [0, self.groups, group_in, -1])
                matrix = emit.constant(flat[:, :, index].reshape(self.groups, group_out, group_in))
                product = emit("MatMul", matrix, grouped)
            total = product if not total else emit("Add", total, product)
        if group_in != 1 or group_out != 1:
            spatial = emit.slice(emit("Shape", taps[0]), 0, 2, None)
            head = emit.constant([-1, channels])
            total = emit("Reshape", total, emit("Concat", head, spatial, axis=0))
        if len(names) == 3:
            bias = emit.constant(constant_data(operands[2]).reshape(-1, 1, 1))
            total = emit("Add", total, bias)
        return total


@register
@dataclass(frozen=True)
class Linear(Op):
    """Matrix times vector. Inputs: vector ``(F,)``, weight ``(M, F)``, optional bias ``(M,)``."""

    name: ClassVar[str] = "linear"
    recordable: ClassVar[bool] = False
    arity: ClassVar[tuple[int, int]] = (2, 3)
    constant_roles: ClassVar[Mapping[int, Role]] = {1: "weight", 2: "bias"}

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule."""
        vector, weight, *bias = shapes
        require_vector(vector)
        require(
            len(weight) == 2 and weight[1] == vector[0],
            f"the weight {weight} does not fit a vector of {vector[0]}",
        )
        check_bias(bias, int(weight[0]))  # type: ignore[arg-type]
        return (weight[0],)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Exact interval per output feature."""
        return weighted_sum(operands[0], operands[1], operands[2] if len(operands) > 2 else None)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Matrix product of int64 arrays."""
        vector, weight, *bias = arrays
        return weight @ vector + (bias[0] if bias else 0)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Run as a 1×1 convolution on a 1×1 image."""
        weight = np.ascontiguousarray(constant_data(operands[1]).T.astype(dtype))[None, None]
        bias = bias_or_zeros(operands, dtype)
        origin = np.zeros((1, 1), np.int64)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            convolve(
                band, source.array, weight, bias, origin - source.row, origin - source.column, 1
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
        """Return the outputs' own positions: a vector is a pixel."""
        return first, last

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.linear."""
        return torch_functional.linear(*tensors)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """int64 MatMul."""
        product = emit("MatMul", names[0], emit.constant(constant_data(operands[1]).T))
        if len(names) == 3:
            product = emit("Add", product, emit.constant(constant_data(operands[2])))
        return product
