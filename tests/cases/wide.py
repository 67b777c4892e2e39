"""Cases whose accumulators are at the bounds of int32, of float64 and of 63 bits."""

from __future__ import annotations

from typing import Final

from cases.templates import Case, Template, bits, constant, image, vector
from fxp.graph.ops import (
    Add,
    Clamp,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Multiply,
    Relu,
    Requantize,
    Subtract,
)
from fxp.graph.ops.base import Op


def wide(name: str, op: Op, left: Template, right: Template) -> Case:
    """Case of a combination at a bound of some executor."""
    return Case(f"wide_{name}", op, (left, right))


def product(left: int, right: int) -> Case:
    """Case of a product of signed operands, whose accumulator has ``left + right`` bits."""
    return wide(f"multiply_{left}x{right}", Multiply(), image(2, **bits(left)),
                image(2, **bits(right)))  # fmt: skip


WIDE_CASES: Final[dict[int, tuple[Case, ...]]] = {
    31: (
        product(16, 15),
        wide("add_30", Add(), image(2, **bits(30)), image(2, **bits(30))),
        wide("subtract_30", Subtract(), image(2, **bits(30)), image(2, **bits(30))),
    ),
    32: (
        product(16, 16),
        wide("add_31", Add(), image(2, **bits(31)), image(2, **bits(31))),
        wide("subtract_unsigned_31", Subtract(), image(2, **bits(31, False)),
             image(2, **bits(31, False))),
    ),
    33: (
        product(17, 16),
        wide("add_32", Add(), image(2, **bits(32)), image(1, **bits(32))),
        wide("add_unsigned_31", Add(), image(2, **bits(31, False)), image(2, **bits(31, False))),
    ),
    40: (
        Case("wide_relu_40", Relu(), (image(2, **bits(40)),)),
        Case("wide_clamp_39", Clamp(-3e11, 4e11), (image(2, **bits(40)),)),
        Case("wide_max_pool_40", MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), (image(2, **bits(40)),)),
        Case("wide_global_max_pool_40", GlobalMaxPool(), (image(2, **bits(40)),)),
        Case("wide_global_max_pool_39", GlobalMaxPool(), (image(2, **bits(39, False)),)),
        Case("wide_requantize_39", Requantize(), (image(2, **bits(39, False)),)),
    ),
    48: (product(24, 24),),
    52: (product(26, 26), wide("add_51", Add(), image(2, **bits(51)), image(2, **bits(51)))),
    53: (product(27, 26),),
    61: (Case("wide_global_max_pool_61", GlobalMaxPool(), (image(2, **bits(61)),)),),
    62: (product(31, 31), wide("add_61", Add(), image(2, **bits(61)), image(2, **bits(61)))),
    63: (
        product(32, 31),
        wide("add_62", Add(), image(2, **bits(62)), image(2, **bits(62))),
        wide("subtract_62", Subtract(), image(2, **bits(62)), image(2, **bits(62))),
        Case("wide_linear_48x12", Linear(), (vector(8, **bits(48)),
             constant("weight", 3, 8, **bits(12)))),
        wide("multiply_constant_47x16", Multiply(), image(2, **bits(47)),
             constant("factor", 2, 1, 1, **bits(16))),
    ),
}  # fmt: skip
"""Cases by the bits of their accumulator, at the bounds of int32, of float64 and of 63 bits."""
