"""Variance, standard deviation and norm of groups of values."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray, floor_sqrt
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Accumulator, Operand, register, require
from fxp.graph.ops.statistics import (
    VARIANCE_BITS,
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


class _Spread(Statistic):
    """One number for each group: ``(groups, 1, 1)``, ``(groups, H, W)`` or ``(groups,)``."""

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: groups in place of channels; one pixel in the scope of an image."""
        (source,) = shapes
        self._check(source)
        if self.scope == "image":
            return self.groups, 1, 1
        return self.groups, *source[1:]

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

    rooted: ClassVar[bool]
    """Whether the root of the variance is the result."""

    @abstractmethod
    def _bits(self, source: Operand) -> Precision:
        """Bits for an operand."""

    def accumulator(self, *operands: Operand) -> Accumulator:
        """From 0 to the largest variance, or its root."""
        source = operands[0]
        self._check(source.shape)
        bits = self._bits(source)
        high = 1 << bits.variance_bits
        frac = 2 * (source.format.frac + bits.mean) + bits.variance
        if self.rooted:
            high, frac = math.isqrt(high) + 1, frac // 2
        return Accumulator.uniform(self.groups, 0, high, frac)

    def _result(self, variance: IntArray, bits: Precision) -> IntArray:
        padded = variance + bits.epsilon
        return floor_sqrt(padded) if self.rooted else padded

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Variance of each group, or its root."""
        bits = self._bits(operands[0])
        _, variance = self._moments(operands[0], arrays[0], bits)
        return self._result(variance, bits).reshape(
            tuple(map(int, self.shape(arrays[0].shape)))  # type: ignore[arg-type]
        )

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba loops; the moments of an image come beforehand."""
        source = operands[0]
        bits = self._bits(source)
        members = source.channels // self.groups

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            if self.scope == "image":
                count = inputs[0].height * inputs[0].width * members
                statistics.image_spread(
                    band, self._image_moments(operands, inputs), bits.mean, self.centered, count,
                    self.divided_by(count), bits.variance, bits.epsilon, self.rooted,
                )  # fmt: skip
                return
            last_row, last_column = first_row + band.shape[0], first_column + band.shape[1]
            image = inputs[0].view((first_row, last_row), (first_column, last_column))
            statistics.pixel_spread(
                band, image, bits.mean, self.centered, self.divided_by(members), bits.variance,
                bits.epsilon, self.rooted,
            )  # fmt: skip

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the integers of the oracle; in a float graph the formula."""
        (tensor,) = tensors
        source = operands[0]
        shape = (len(tensor), *self.shape(tuple(tensor.shape[1:])))
        if not source.is_integer:
            variance = self._torch_real(tensor)[1] + self.offset
            return (variance.sqrt() if self.rooted else variance).reshape(shape)  # type: ignore[arg-type]
        bits = self._bits(source)
        padded = self._torch_moments(source, tensor, bits)[1] + bits.epsilon
        results = (torch_floor_sqrt(padded) if self.rooted else padded).reshape(shape)  # type: ignore[arg-type]
        frac = self.accumulator(source).frac
        return torch.ldexp(results.double(), torch.tensor(-frac, device=tensor.device))

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """ReduceSum and Div, and Sqrt in float64 with a correction."""
        source = operands[0]
        bits = self._bits(source)
        _, variance = self._onnx_moments(emit, source, names[0], bits)
        result = emit("Add", variance, emit.constant(bits.epsilon))
        if self.rooted:
            result = emit.floor_sqrt(result)
        if len(source.shape) == 1:
            return emit.reshape(result, [0, self.groups])
        if self.scope == "image":
            return emit.reshape(result, [0, self.groups, 1, 1])
        sizes = emit.slice(emit("Shape", names[0]), 0, 2, None)
        shape = emit("Concat", emit.constant([0, self.groups]), sizes, axis=0)
        return emit("Reshape", result, shape)


def _check_correction(correction: int) -> None:
    require(correction in (0, 1), f"correction must be 0 or 1, got {correction}")


@register
@dataclass(frozen=True)
class Variance(_Spread):
    """Variance of each group: mean squared deviation, or with `correction` 1 over ``n - 1``."""

    name: ClassVar[str] = "variance"
    rooted: ClassVar[bool] = False

    groups: int = 1
    scope: Scope = "image"
    correction: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_correction(self.correction)

    @property
    def missing(self) -> int:
        """Return the correction."""
        return self.correction

    def _bits(self, source: Operand) -> Precision:
        return self.precision(source, VARIANCE_BITS)


@register
@dataclass(frozen=True)
class StandardDeviation(_Spread):
    """Root of the variance of each group and epsilon."""

    name: ClassVar[str] = "standard_deviation"
    rooted: ClassVar[bool] = True

    groups: int = 1
    scope: Scope = "image"
    correction: int = 0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_correction(self.correction)
        require(
            0 <= self.epsilon < 1e100, f"epsilon must be finite and from 0 on, got {self.epsilon}"
        )

    @property
    def missing(self) -> int:
        """Return the correction."""
        return self.correction

    @property
    def offset(self) -> float:
        """Return epsilon."""
        return self.epsilon

    def _bits(self, source: Operand) -> Precision:
        return self.precision(source)


@register
@dataclass(frozen=True)
class L2Norm(_Spread):
    """Root of the sum of squares of each group."""

    name: ClassVar[str] = "l2_norm"
    rooted: ClassVar[bool] = True

    groups: int = 1
    scope: Scope = "pixel"

    @property
    def centered(self) -> bool:
        """No mean is subtracted."""
        return False

    @property
    def summed(self) -> bool:
        """Squares are summed."""
        return True

    def _bits(self, source: Operand) -> Precision:
        return self.precision(source)
