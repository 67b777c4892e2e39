"""Lossy compression of image lines to half their bits, as a hardware line memory stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import (
    Accumulator,
    GraphError,
    Op,
    Operand,
    moved,
    register,
    require,
    require_image,
)
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import line_codec
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

GROUP: Final = 8
"""Neighbouring pixels that share a base and a shift."""
SHIFT_BITS: Final = 4
WIDTHS: Final = (6, 24)
"""Fewest bits, which leave two for a pixel, and most, which `SHIFT_BITS` allow."""


@dataclass(frozen=True)
class CodeLayout:
    """Bits of the code of a group: half of the ``GROUP * width`` of its values, or fewer.

    Attributes
    ----------
    width
        Bits of a value.
    delta_bits
        Bits of each pixel's own part, three eighths of `width`.
    base_bits
        High bits of the group's smallest value: what is left, besides `SHIFT_BITS`.
    """

    width: int
    delta_bits: int
    base_bits: int

    @classmethod
    def of(cls, form: Format) -> CodeLayout:
        """Return the layout for a format.

        Raises
        ------
        GraphError
            If the format is too narrow or too wide.
        """
        fewest, most = WIDTHS
        if not fewest <= form.width <= most:
            raise GraphError(f"the line codec takes formats of {fewest} to {most} bits, got {form}")
        deltas = 3 * form.width // GROUP
        left = GROUP * form.width // 2 - SHIFT_BITS - GROUP * deltas
        return cls(form.width, deltas, min(form.width, left))

    @property
    def levels(self) -> int:
        """Values of a pixel's own part."""
        return 1 << self.delta_bits

    @property
    def base_step(self) -> int:
        """Distance of possible bases."""
        return 1 << (self.width - self.base_bits)

    @property
    def largest_shift(self) -> int:
        """Shift of a group with the whole range of the format."""
        return self.width - self.delta_bits


@register
@dataclass(frozen=True)
class LineCodec(Op):
    """Values after compression to half their bits and back.

    Groups of eight neighbouring pixels of a line, from its left end, the last one shorter, store
    for each channel a base, which is the smallest value rounded down; a shift; and for each pixel
    its distance from the base in steps of ``2**shift``. So any pixel can be decoded by itself, from
    its group's base and shift and its own bits. Base and deltas are those of base-delta-immediate
    compression (Pekhimenko et al., PACT 2012), the fixed rate and the shared exponent those of
    block truncation coding (Delp and Mitchell, 1979) and block floating point.

    Inputs: image of a format of 6 to 24 bits.
    """

    name: ClassVar[str] = "line_codec"
    integer_only: ClassVar[bool] = True

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        require_image(shapes[0])
        return shapes[0]

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Return the operand's range."""
        (source,) = operands
        require(source.constant is None, "takes a value")
        CodeLayout.of(source.format)
        return moved(source, source.channels)

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Return the outputs' own rows; the columns of their groups."""
        if axis == 0:
            return first, last
        return first // GROUP * GROUP, min(-(-last // GROUP) * GROUP, size)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Group by group."""
        (values,) = arrays
        form = operands[0].format
        layout = CodeLayout.of(form)
        result = np.empty_like(values)
        for start in range(0, values.shape[2], GROUP):
            group = values[:, :, start : start + GROUP] - form.min_raw
            base = group.min(axis=2, keepdims=True) // layout.base_step * layout.base_step
            span = group.max(axis=2, keepdims=True) - base
            shift = np.zeros_like(span)
            while (wide := span >> shift >= layout.levels).any():
                shift += wide
            half = (1 << shift) >> 1
            delta = np.minimum((group - base + half) >> shift, layout.levels - 1)
            decoded = np.minimum(base + (delta << shift), form.max_raw - form.min_raw)
            result[:, :, start : start + GROUP] = decoded + form.min_raw
        return result

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba loops in int64."""
        form = operands[0].format
        layout = CodeLayout.of(form)
        limits = (form.min_raw, form.max_raw)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            line_codec.encode_decode(
                band,
                first_column,
                source.array,
                first_row - source.row,
                first_column // GROUP * GROUP - source.column,
                source.width,
                GROUP,
                limits,
                layout.base_step,
                layout.levels,
            )

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Compute on integers; gradients pass straight through."""
        (values,) = tensors
        form = operands[0].format
        layout = CodeLayout.of(form)
        frac = torch.tensor(form.frac, device=values.device)
        columns = values.shape[3]
        whole = torch.arange(-(-columns // GROUP) * GROUP, device=values.device)
        raw = torch.ldexp(values.detach(), frac).to(torch.int64) - form.min_raw
        group = raw[..., whole.clamp(max=columns - 1)].unflatten(3, (-1, GROUP))
        low, high = group.amin(4, keepdim=True), group.amax(4, keepdim=True)
        base = low // layout.base_step * layout.base_step
        shift = torch.zeros_like(base)
        for bits in range(layout.delta_bits, layout.width):
            shift += high - base >= 1 << bits
        half = (torch.ones_like(shift) << shift) >> 1
        delta = ((group - base + half) >> shift).clamp(max=layout.levels - 1)
        decoded = (base + (delta << shift)).clamp(max=form.max_raw - form.min_raw) + form.min_raw
        result = torch.ldexp(decoded.flatten(3)[..., :columns].to(values.dtype), -frac)
        # Exact: both are multiples of a step and fit the significand, as does their difference.
        return values + (result - values.detach())

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Repeat the last column, split the columns into groups, and compute powers as sums."""
        form = operands[0].format
        layout = CodeLayout.of(form)
        smallest = emit.constant(form.min_raw)
        filled = emit(
            "Pad",
            emit("Sub", names[0], smallest),
            emit.constant([0, 0, 0, 0, 0, 0, 0, GROUP - 1]),
            mode="edge",
        )
        columns = emit.slice(emit("Shape", names[0]), 0, 3, 4)
        groups = emit("Div", emit("Add", columns, emit.constant(GROUP - 1)), emit.constant(GROUP))
        start, axis = emit.constant([0]), emit.constant([3])
        end = emit("Mul", groups, emit.constant([GROUP]))
        whole = emit("Slice", filled, start, end, axis)
        group = emit.reshape(whole, (0, 0, 0, -1, GROUP))
        last = emit.constant([4])
        low, high = (emit(kind, group, last, keepdims=1) for kind in ("ReduceMin", "ReduceMax"))
        base = emit("Sub", low, emit("Mod", low, emit.constant(layout.base_step)))
        span = emit("Sub", high, base)
        step = one = emit.constant(1)
        for shift in range(layout.largest_shift):
            larger = emit("Less", emit.constant((layout.levels << shift) - 1), span)
            step = emit("Where", larger, emit.constant(2 << shift), step)
        half = emit("Div", step, emit("Add", one, one))
        delta = emit("Div", emit("Add", emit("Sub", group, base), half), step)
        delta = emit.minimum(delta, emit.constant(layout.levels - 1))
        decoded = emit("Add", base, emit("Mul", delta, step))
        decoded = emit.minimum(decoded, emit.constant(form.max_raw - form.min_raw))
        flat = emit.reshape(emit("Add", decoded, smallest), (0, 0, 0, -1))
        return emit("Slice", flat, start, columns, axis)
