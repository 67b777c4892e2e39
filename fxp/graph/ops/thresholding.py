"""Soft thresholding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Accumulator, Operand, Role, channel_view, register, require
from fxp.graph.ops.elementwise import Elementwise
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
