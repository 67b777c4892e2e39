"""Soft thresholding and signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import (
    Accumulator,
    Operand,
    Range,
    Role,
    channel_view,
    register,
    require,
)
from fxp.graph.ops.elementwise import Elementwise, joined_rows
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import elementwise
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

MAX_ALIGNED_BITS: Final = 62


@register
@dataclass(frozen=True)
class SoftThreshold(Elementwise):
    """``max(x - t, 0) - max(-x - t, 0)``, which moves ``x`` toward zero by ``t``.

    A negative ``t`` moves it away from zero, and doubles what is closer to zero than ``-t``.

    Inputs: value, threshold constant of shape ``(1,)`` or ``(C,)``.
    """

    name: ClassVar[str] = "soft_threshold"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    constant_roles: ClassVar[Mapping[int, Role]] = {1: "offset"}
    takes_accumulators: ClassVar[bool] = True

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        image, threshold = shapes
        require(
            len(threshold) == 1 and threshold[0] in (1, image[0]),
            f"needs one threshold or one per channel ({image[0]}), got {threshold}",
        )
        return image

    def aligned(self, operands: Sequence[Operand]) -> tuple[int, tuple[int, int], IntArray]:
        """Fraction bits of the result, range of the aligned values, aligned thresholds.

        A threshold beyond the largest magnitude acts like that magnitude, and is replaced by it.
        """
        source, threshold = operands
        assert threshold.constant is not None
        frac = max(source.format.frac, threshold.format.frac)
        low, high = (limit << (frac - source.format.frac) for limit in source.limits)
        largest = max(-low, high)
        # The difference of a value and a threshold needs one bit more.
        bits = largest.bit_length() + 2
        require(
            bits <= MAX_ALIGNED_BITS,
            f"the difference of value and threshold needs {bits} bits; at most {MAX_ALIGNED_BITS} "
            "are supported",
        )
        shift = frac - threshold.format.frac
        aligned = [min(max(int(t) << shift, -largest), largest) for t in threshold.constant]
        return frac, (low, high), np.broadcast_to(np.array(aligned, np.int64), source.channels)

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Results of the smallest and the largest value: the function never falls."""
        frac, limits, thresholds = self.aligned(operands)
        low, high = (
            tuple(max(limit - t, 0) - max(-limit - t, 0) for t in thresholds.tolist())
            for limit in limits
        )
        return Accumulator(low, high, (frac,) * len(low))

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Shift to align, then the formula."""
        frac, _, thresholds = self.aligned(operands)
        values = arrays[0] << (frac - operands[0].format.frac)
        t = channel_view(thresholds, values.ndim)
        return np.maximum(values - t, 0) - np.maximum(-values - t, 0)

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba formula in int64: the aligned values may be wider than the result."""
        frac, _, thresholds = self.aligned(operands)
        thresholds = np.ascontiguousarray(thresholds)
        factor = np.int64(1 << (frac - operands[0].format.frac))

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            start = source.start(first_row, first_column)
            elementwise.soft_threshold(band, source.array, start, thresholds, factor)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the formula on real values."""
        values, t = tensors
        if operands[0].is_integer:
            frac, _, thresholds = self.aligned(operands)
            t = torch.as_tensor(np.ldexp(thresholds.astype(np.float64), -frac), device=t.device)
        t = t.to(values.dtype).reshape(-1, *[1] * (values.ndim - 2))
        return torch.relu(values - t) - torch.relu(-values - t)

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Shift by multiplication, then the formula."""
        frac, _, thresholds = self.aligned(operands)
        values = emit.scaled(names[0], 1 << (frac - operands[0].format.frac))
        t = channel_view(thresholds, len(operands[0].shape))
        zero = emit.constant(0)
        above = emit.maximum(emit("Sub", values, emit.constant(t)), zero)
        below = emit.maximum(emit("Sub", emit.constant(-t), values), zero)
        return emit("Sub", above, below)


@register
@dataclass(frozen=True)
class Sign(Elementwise):
    """Sign of a value, -1, 0 or 1; that of zero is the attribute `at_zero`.

    Binary networks have signs as activations, with 1 at zero (Courbariaux et al., Binarized Neural
    Networks, 2016; Rastegari et al., XNOR-Net, ECCV 2016). ``torch.sign`` gives 0 there.
    """

    name: ClassVar[str] = "sign"
    takes_accumulators: ClassVar[bool] = True

    at_zero: int = 0

    def __post_init__(self) -> None:
        require(
            type(self.at_zero) is int and -1 <= self.at_zero <= 1,
            f"at_zero must be -1, 0 or 1, got {self.at_zero!r}",
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        return shapes[0]

    def real_range(self, *ranges: Range) -> Range:
        """From -1 to 1."""
        return -1.0, 1.0

    def accumulator(self, *operands: Operand) -> Accumulator:
        """From -1 to 1, without fraction bits."""
        return Accumulator.uniform(operands[0].channels, -1, 1, 0)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """numpy.sign, and the attribute at zero."""
        return np.where(arrays[0] == 0, self.at_zero, np.sign(arrays[0]))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Two comparisons in Numba."""
        at_zero = dtype.type(self.at_zero)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            band, (array,), (start,) = joined_rows(band, first_row, first_column, (source,))
            elementwise.sign(band, array, start, at_zero)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the sign; its gradient is that of ``clamp(x, -1, 1)``, straight through."""
        (values,) = tensors
        signs = torch.sign(values)
        if self.at_zero:
            signs = torch.where(values == 0, float(self.at_zero), signs)
        if not values.requires_grad:
            return signs
        clipped = torch.clamp(values, -1.0, 1.0)
        return signs.detach() + (clipped - clipped.detach())

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Sign of the integers, and the attribute at zero."""
        signs = emit("Sign", names[0])
        if not self.at_zero:
            return signs
        zero = emit("Equal", names[0], emit.constant(0))
        return emit("Where", zero, emit.constant(self.at_zero), signs)
