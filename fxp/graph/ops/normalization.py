"""Normalization over channels: softmax and local response normalization, with stored tables.

The transcendental function of each is a table, computed once when a network is quantized; what is
left is integer arithmetic that every executor repeats exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
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
    TableUse,
    register,
    require,
    require_image,
)
from fxp.graph.ops.elementwise import Elementwise
from fxp.graph.ops.tables import MAX_TABLE_BITS
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import normalization
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")
    torch_functional = lazy_import("torch.nn.functional", "torch")

RECIPROCAL_BITS: Final = 16
"""The reciprocal of a softmax's sum has at least so many significant bits."""
MAX_SQUARE_BITS: Final = 62


class ChannelNormalization(Elementwise):
    """A result that depends on several channels of one pixel.

    Inputs: value; in an integer graph also a table of non-negative integers.
    """

    arity: ClassVar[tuple[int, int]] = (1, 2)
    constant_roles: ClassVar[Mapping[int, Role]] = {1: "table"}
    table_use: ClassVar[TableUse | None] = "factor"

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        return shapes[0]


def _table(operands: Sequence[Operand]) -> tuple[Operand, IntArray]:
    """Source and entries; raises `GraphError` if they are not there or negative."""
    require(len(operands) == 2, "needs a stored table in an integer graph")
    source, table = operands
    entries = table.constant
    assert entries is not None
    require(entries.ndim == 1, f"needs a table with one axis, got {entries.shape}")
    require(int(entries.min()) >= 0, "the entries of its table must not be negative")
    return source, entries


def _codes(source: Operand, tensor: torch.Tensor) -> torch.Tensor:
    """Raw integers of real values."""
    return torch.ldexp(tensor, torch.tensor(source.format.frac, device=tensor.device)).long()


@register
@dataclass(frozen=True)
class Softmax(ChannelNormalization):
    """``exp(x) / sum of exp(x)`` over channels, by a table of ``exp(-d)``.

    ``d``, how far a code lies below the largest of its pixel, is the index into the table; its last
    entry stands for all larger distances. Each entry is multiplied by the integer quotient of
    ``2**k`` and the sum of all, with ``k`` as `reciprocal_frac` says.
    """

    name: ClassVar[str] = "softmax"

    def real_range(self, *ranges: Range) -> Range:
        """Zero to one."""
        return 0.0, 1.0

    def table_values(self, source: Operand, bits: int) -> NDArray[np.float64]:
        """``exp(-d)`` for every distance, up to the first that rounds to zero."""
        _check_bits(source)
        largest = (1 << source.format.width) - 1
        vanishing = math.ceil((bits + 1) * math.log(2) * 2.0**source.format.frac)
        distances = np.arange(min(largest, vanishing) + 1, dtype=np.float64)
        return np.exp(-np.ldexp(distances, -source.format.frac))

    @staticmethod
    def reciprocal_frac(operands: Sequence[Operand]) -> int:
        """Fraction bits of the reciprocal: 16 more than the bits of the largest possible sum."""
        source, entries = _table(operands)
        return RECIPROCAL_BITS + (source.channels * int(entries.max())).bit_length()

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range 0 to 1, as an entry is at most the sum."""
        source, entries = _table(operands)
        _check_bits(source)
        codes = 1 << source.format.width
        require(len(entries) <= codes, f"a table of {len(entries)} entries exceeds {codes} codes")
        require(entries[0] > 0, "the first entry of its table, exp(0), must be positive")
        frac = self.reciprocal_frac(operands)
        return Accumulator.uniform(source.channels, 0, 1 << frac, frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Distances, entries, and the reciprocal of their sum."""
        values, table = arrays
        distances = values.max(axis=0) - values
        entries = table[np.minimum(distances, len(table) - 1)]
        return entries * ((1 << self.reciprocal_frac(operands)) // entries.sum(axis=0))

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba loop over pixels."""
        table = _table(operands)[1].astype(np.int64)
        one = np.int64(1 << self.reciprocal_frac(operands))

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            row, column = first_row - source.row, first_column - source.column
            normalization.softmax(band, source.array, row, column, table, one)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the integers of the oracle; without a table torch.softmax."""
        if len(tensors) == 1:
            return torch.softmax(tensors[0], 1)
        source, table = _table(operands)
        codes = _codes(source, tensors[0])
        distances = codes.amax(1, keepdim=True) - codes
        entries = torch.tensor(table, device=codes.device)[distances.clamp(max=len(table) - 1)]
        frac = self.reciprocal_frac(operands)
        one = torch.tensor(1 << frac, device=codes.device)
        products = entries * torch.div(one, entries.sum(1, keepdim=True), rounding_mode="floor")
        return torch.ldexp(products.double(), torch.tensor(-frac, device=codes.device))

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """ReduceMax, Gather, ReduceSum and Div, all below 2**53 but the last."""
        table = _table(operands)[1]
        axis = emit.constant([1])
        largest = emit("ReduceMax", names[0], axis, keepdims=1)
        distances = emit("Sub", largest, names[0])
        index = emit.minimum(distances, emit.constant(len(table) - 1))
        entries = emit("Gather", emit.constant(table), index)
        total = emit("ReduceSum", entries, axis, keepdims=1)
        one = emit.constant(1 << self.reciprocal_frac(operands))
        return emit("Mul", entries, emit("Div", one, total))


def _check_bits(source: Operand) -> None:
    require(
        source.format.width <= MAX_TABLE_BITS,
        f"needs an operand of at most {MAX_TABLE_BITS} bits, got {source.format}",
    )


@register
@dataclass(frozen=True)
class LocalResponseNorm(ChannelNormalization):
    """``x * (k + alpha / size * S) ** -beta`` (Krizhevsky et al., NIPS 2012).

    ``S`` is the sum of squares of `size` neighbouring channels, ``size // 2`` of them before the
    channel itself. In an integer graph the power is a table, indexed by ``S`` shifted to the right
    by what makes the largest possible sum the table's last index.
    """

    name: ClassVar[str] = "local_response_norm"

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        require(1 <= self.size <= 1 << 20, f"size must be 1 to 2**20, got {self.size}")
        finite = all(map(math.isfinite, (self.alpha, self.beta, self.k)))
        require(
            finite and self.alpha >= 0 and self.k > 0,
            f"needs k above 0, alpha from 0 on and a finite beta, got {self}",
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        require_image(shapes[0])
        return shapes[0]

    def _sides(self, channels: int) -> tuple[int, int]:
        """Neighbours before and behind a channel, as many as there can be."""
        return min(self.size // 2, channels - 1), min((self.size - 1) // 2, channels - 1)

    def _largest(self, source: Operand) -> int:
        """Largest possible sum of squares."""
        largest = min(self.size, source.channels) * max(limit**2 for limit in source.limits)
        require(
            largest.bit_length() <= MAX_SQUARE_BITS,
            f"the sum of squares needs {largest.bit_length()} bits; at most {MAX_SQUARE_BITS} are "
            "supported",
        )
        return largest

    def table_values(self, source: Operand, bits: int) -> NDArray[np.float64]:
        """Power at the middle of each index's range."""
        largest = self._largest(source)
        shift = max(largest.bit_length() - MAX_TABLE_BITS, 0)
        middles = np.arange((largest >> shift) + 1) + (0.5 - 0.5 ** (shift + 1))
        sums = np.ldexp(middles, shift - 2 * source.format.frac)
        return (self.k + self.alpha / self.size * sums) ** -self.beta

    def _shift(self, operands: Sequence[Operand]) -> int:
        """Shift from a sum of squares to an index, from the length of the table."""
        source, entries = _table(operands)
        largest, count = self._largest(source), len(entries)
        shift = max(largest.bit_length() - count.bit_length(), 0)
        shift += (largest >> shift) >= count
        require(
            (largest >> shift) + 1 == count,
            f"a table of {count} entries does not fit sums up to {largest}: shifted to the right "
            f"by {shift} bits they need {(largest >> shift) + 1}",
        )
        return shift

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Interval of value times entry."""
        self._shift(operands)
        source, table = operands
        bounds = [limit * entry for limit in source.limits for entry in table.limits]
        frac = source.format.frac + table.format.frac
        return Accumulator.uniform(source.channels, min(bounds), max(bounds), frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Sum of squares per channel, shift, table, product."""
        values, table = arrays
        before, behind = self._sides(len(values))
        padded = np.pad(values * values, ((before, behind), (0, 0), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, before + 1 + behind, axis=0)
        return values * table[windows.sum(axis=-1) >> self._shift(operands)]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba loop over pixels with a running sum."""
        table, shift = _table(operands)[1].astype(np.int64), self._shift(operands)
        before, behind = self._sides(operands[0].channels)

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            row, column = first_row - source.row, first_column - source.column
            normalization.local_response(
                band, source.array, row, column, table, shift, before, behind
            )

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the product with the table's value; without a table that of torch."""
        if len(tensors) == 1:
            return torch_functional.local_response_norm(
                tensors[0], self.size, self.alpha, self.beta, self.k
            )
        values, table = tensors
        squares = _codes(operands[0], values) ** 2
        before, behind = self._sides(operands[0].channels)
        padded = torch_functional.pad(squares, (0, 0, 0, 0, before, behind))
        sums = padded.unfold(1, before + 1 + behind, 1).sum(-1)
        return values * table[sums >> self._shift(operands)]

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Sum of slices along the channels, Div by the power of two, Gather, Mul."""
        before, behind = self._sides(operands[0].channels)
        squares = emit("Mul", names[0], names[0])
        if before:
            squares = emit("Pad", squares, emit.constant([0, before, 0, 0, 0, behind, 0, 0]))
        count = before + 1 + behind
        slices = [
            emit.slice(squares, 1, first, first + 1 - count or None) for first in range(count)
        ]
        sums = reduce(lambda a, b: emit("Add", a, b), slices)
        index = emit("Div", sums, emit.constant(1 << self._shift(operands)))
        return emit("Mul", names[0], emit("Gather", emit.constant(_table(operands)[1]), index))
