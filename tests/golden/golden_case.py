"""What a case of integers written by hand is; nothing in the tables is computed by the package.

A case is one node: its operands as literals, and the raw integers that every executor must give.
The comment above each case derives them on paper from the definition of the op in docs/graph.md and
docs/number-semantics.md. Fraction bits are written ``f``; "12/4" reads: the exact accumulator is
12, and the format of the result drops two bits of it.

To cover a new op, add a line to one of the tables that `golden_ops` joins;
`tests/golden/test_golden_ops.py` fails until there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fxp.formats import Format, Quantization, Rounding
from fxp.graph.ops import Op

Nested = Any
"""Raw integers as nested lists, ``[channel][row][column]`` or ``[feature]``."""


@dataclass(frozen=True)
class Value:
    """Raw integers of an operand that is passed to the graph, and their format."""

    raw: Nested
    format: Format


@dataclass(frozen=True)
class Constant:
    """Raw integers of an operand that the graph stores, and their format or one per channel."""

    raw: Nested
    formats: Format | tuple[Format, ...]


@dataclass(frozen=True)
class Golden:
    """A node and what it gives.

    Attributes
    ----------
    name
        What the case shows; unique among the cases of an op.
    op
        The op with its attributes.
    operands
        Its operands, in order.
    result
        Format and modes of the result.
    expected
        Raw integers of the result.
    """

    name: str
    op: Op
    operands: tuple[Value | Constant, ...]
    result: Quantization
    expected: Nested

    def __str__(self) -> str:
        return f"{self.op.name}, {self.name}"


def signed(width: int, frac: int) -> Format:
    """Two's complement with so many bits and fraction bits."""
    return Format(width, frac)


def unsigned(width: int, frac: int) -> Format:
    """Unsigned with so many bits and fraction bits."""
    return Format(width, frac, signed=False)


def to(form: Format, rounding: Rounding = Rounding.HALF_UP) -> Quantization:
    """Rounded as said, then saturated."""
    return Quantization(form, rounding)


def row(*raw: int) -> Nested:
    """Image of one channel and one row."""
    return [[list(raw)]]


def column(*raw: int) -> Nested:
    """Image of one pixel with so many channels."""
    return [[[item]] for item in raw]


S8, S16 = signed(8, 0), signed(16, 0)
HALF_DOWN, HALF_AWAY, HALF_EVEN = Rounding.HALF_DOWN, Rounding.HALF_AWAY, Rounding.HALF_EVEN
