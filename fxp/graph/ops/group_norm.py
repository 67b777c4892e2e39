"""Group, instance, layer and root mean square normalization, and division by the norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray, floor_sqrt
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Accumulator, Operand, register, require
from fxp.graph.ops.reduction import MAX_COUNT
from fxp.graph.ops.statistics import (
    RECIPROCAL_FRAC,
    Precision,
    Scope,
    Statistic,
    torch_floor_sqrt,
)
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import statistics
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")


Divisor = Literal["deviation", "root_mean_square", "norm"]
"""What values are divided by, after the mean is subtracted for a deviation."""


@register
@dataclass(frozen=True)
class GroupNorm(Statistic):
    """``(x - mean) / sqrt(variance + epsilon)`` of groups of channels (Wu and He, ECCV 2018).

    Instance normalization has a group for each channel, layer normalization of images one group;
    that of channels, as in ConvNeXt, has the scope ``pixel``. With the divisor
    ``root_mean_square`` no mean is subtracted (Zhang and Sennrich, NeurIPS 2019). With ``norm``
    values are divided by ``max(sqrt(sum of x*x), epsilon)``.
    """

    name: ClassVar[str] = "group_norm"

    groups: int = 1
    scope: Scope = "image"
    divisor: Divisor = "deviation"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.divisor in ("deviation", "root_mean_square", "norm"),
            f"divisor must be deviation, root_mean_square or norm, got {self.divisor!r}",
        )
        require(
            0 <= self.epsilon < 1e100, f"epsilon must be finite and from 0 on, got {self.epsilon}"
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        self._check(shapes[0])
        return shapes[0]

    @property
    def keeps_place(self) -> bool:  # type: ignore[reportIncompatibleVariableOverride]
        """Whether a strip of the image is enough for a strip of the result."""
        return self.scope == "pixel"

    @property
    def centered(self) -> bool:
        """Whether the mean is subtracted."""
        return self.divisor == "deviation"

    @property
    def summed(self) -> bool:
        """Whether squares are summed."""
        return self.divisor == "norm"

    @property
    def offset(self) -> float:
        """Epsilon, squared for a norm."""
        return self.epsilon**2 if self.summed else self.epsilon

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Return the outputs' own positions, or the whole image."""
        return (first, last) if self.scope == "pixel" else (0, size)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Bound by the largest deviation and smallest divisor, and by the count.

        A deviation is at most the root of the sum of squares, so that a normalized value is at most
        the root of the count, if the divisor is not rounded down.
        """
        source = operands[0]
        self._check(source.shape)
        bits = self.precision(source)
        smallest = max(math.isqrt(bits.epsilon), 1)
        bound = bits.largest * ((1 << RECIPROCAL_FRAC) // smallest)
        if bits.variance >= 0:
            count = MAX_COUNT if self.scope == "image" else source.channels // self.groups
            root = 1 if self.summed else math.isqrt(count - 1) + 1
            most = root << (RECIPROCAL_FRAC - bits.variance // 2)
            bound = min(bound, most + most // smallest)
        frac = RECIPROCAL_FRAC - bits.variance // 2
        return Accumulator.uniform(source.channels, -bound, bound, frac)

    def _roots(self, variance: IntArray, bits: Precision) -> IntArray:
        padded = np.maximum(variance, bits.epsilon) if self.summed else variance + bits.epsilon
        return np.maximum(floor_sqrt(padded), 1)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Deviations times the reciprocal of the root."""
        bits = self.precision(operands[0])
        deviations, variance = self._moments(operands[0], arrays[0], bits)
        factors = (1 << RECIPROCAL_FRAC) // self._roots(variance, bits)
        return (deviations * factors).reshape(arrays[0].shape)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba loops; the moments of an image come before its first row."""
        source = operands[0]
        bits = self.precision(source)
        members = source.channels // self.groups

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
            image = inputs[0].view((first_row, last_row), (first_column, last_column))
            if self.scope == "pixel":
                statistics.normalize_pixels(
                    band, image, self.groups, bits.mean, self.centered,
                    self.divided_by(members), bits.variance, bits.epsilon, self.summed,
                    1 << RECIPROCAL_FRAC,
                )  # fmt: skip
                return
            pixels = inputs[0].height * inputs[0].width
            statistics.normalize_image(
                band, image, self._image_moments(operands, inputs), self.groups, bits.mean,
                self.centered, pixels * members, self.divided_by(pixels * members), bits.variance,
                bits.epsilon, self.summed, 1 << RECIPROCAL_FRAC,
            )  # fmt: skip

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the integers of the oracle; in a float graph the formula."""
        (tensor,) = tensors
        if not operands[0].is_integer:
            deviations, variance = self._torch_real(tensor)
            if self.summed:
                divisor = variance.sqrt().clamp_min(self.epsilon)
            else:
                divisor = (variance + self.epsilon).sqrt()
            return (deviations / divisor).reshape(tensor.shape)
        bits = self.precision(operands[0])
        deviations, variance = self._torch_moments(operands[0], tensor, bits)
        padded = variance.clamp_min(bits.epsilon) if self.summed else variance + bits.epsilon
        roots = torch_floor_sqrt(padded).clamp_min(1)
        one = torch.tensor(1 << RECIPROCAL_FRAC, device=tensor.device)
        products = (deviations * torch.div(one, roots, rounding_mode="floor")).double()
        frac = RECIPROCAL_FRAC - bits.variance // 2
        scale = torch.tensor(-frac, device=tensor.device)
        return torch.ldexp(products.reshape(tensor.shape), scale)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """ReduceSum, Sqrt in float64 with a correction, and Div."""
        bits = self.precision(operands[0])
        deviations, variance = self._onnx_moments(emit, operands[0], names[0], bits)
        epsilon = emit.constant(bits.epsilon)
        padded = emit.maximum(variance, epsilon) if self.summed else emit("Add", variance, epsilon)
        roots = emit.maximum(emit.floor_sqrt(padded), emit.constant(1))
        factors = emit("Div", emit.constant(1 << RECIPROCAL_FRAC), roots)
        return emit("Reshape", emit("Mul", deviations, factors), emit("Shape", names[0]))
