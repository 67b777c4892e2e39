"""Ops that look a value up in a stored table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, IntArray
from fxp.graph.extents import Shape
from fxp.graph.ops.base import Accumulator, Operand, Role, register, require
from fxp.graph.ops.elementwise import Elementwise, joined_rows
from fxp.graph.ops.windows import Kernel, Window
from fxp.kernels import elementwise
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

MAX_TABLE_BITS: Final = 16


class Table(Elementwise):
    """A function of one value, given by a stored table in an integer graph.

    Inputs: value; in an integer graph also the table, one raw integer per code of the value's
    format from the smallest to the largest. No executor evaluates the function itself.
    """

    constant_roles: ClassVar[Mapping[int, Role]] = {1: "table"}

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        return shapes[0]

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Range of the table's entries."""
        require(len(operands) == 2, "needs a stored table in an integer graph")
        source, table = operands
        check_table_bits(source.format)
        codes = 1 << source.format.width
        require(table.shape == (codes,), f"needs a table of {codes} entries, got {table.shape}")
        return Accumulator.uniform(source.channels, *table.limits, table.format.frac)

    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Index the table."""
        return arrays[1][arrays[0] - operands[0].format.min_raw]

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Numba table look-up."""
        constant = operands[1].constant
        assert constant is not None
        table = constant.astype(operands[1].format.dtype)  # small, to stay in cache
        smallest = operands[0].format.min_raw

        def run(band: NDArray, first_row: int, first_column: int, inputs: Sequence[Window]) -> None:
            (source,) = inputs
            band, (array,), (start,) = joined_rows(band, first_row, first_column, (source,))
            elementwise.look_up(band, array, start, table, smallest)

        return run

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Look the code up in the table."""
        source = operands[0].format
        codes = torch.ldexp(tensors[0], torch.tensor(source.frac)).long() - source.min_raw
        return tensors[1][codes]

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Gather."""
        assert operands[1].constant is not None
        table = emit.constant(operands[1].constant)
        smallest = emit.constant(operands[0].format.min_raw)
        return emit("Gather", table, emit("Sub", names[0], smallest))


def check_table_bits(source: Format) -> None:
    """Raise `GraphError` if a table would need more than 2**16 entries."""
    require(
        source.width <= MAX_TABLE_BITS,
        f"a table for {source} would have 2**{source.width} entries; "
        f"at most {MAX_TABLE_BITS} input bits are supported",
    )


@register
@dataclass(frozen=True)
class StoredTable(Table):
    """Any function of one value, such as gamma correction, by stored table.

    Only integer graphs have it: what a table means follows from the format of the codes it is
    entered with.
    """

    name: ClassVar[str] = "table"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    integer_only: ClassVar[bool] = True
