"""Symbolic heights and widths: what lets one graph run images of any size.

A shape rule is written once, with ordinary integer arithmetic (``+ - * //``). Called with integers
it gives a size; called with an `Extent` it gives a formula such as ``(H+1)//2``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd

from fxp.support.errors import ArgumentError

_FORMULA = re.compile(r"[\w+\-*/() ]{1,200}", re.ASCII)


@dataclass(frozen=True)
class Extent:
    """``(scale * base + offset) // divisor``, where `base` is a symbol or another extent.

    Kept in lowest terms, so that two formulas that reduce to the same terms compare equal.
    """

    base: str | Extent
    scale: int = 1
    offset: int = 0
    divisor: int = 1

    def __add__(self, other: int) -> Extent:
        if not isinstance(other, int):
            return NotImplemented
        return _reduced(self.base, self.scale, self.offset + other * self.divisor, self.divisor)

    __radd__ = __add__

    def __sub__(self, other: int) -> Extent:
        if not isinstance(other, int):
            return NotImplemented
        return self + -other

    def __mul__(self, other: int) -> Extent:
        if not isinstance(other, int) or other < 1:
            raise ValueError(f"an extent can only be multiplied by a positive integer, not {other}")
        if self.divisor == 1:
            return _reduced(self.base, self.scale * other, self.offset * other, 1)
        return _reduced(self, other, 0, 1)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> Extent:
        if not isinstance(other, int) or other < 1:
            raise ValueError(f"an extent can only be divided by a positive integer, not {other}")
        return _reduced(self.base, self.scale, self.offset, self.divisor * other)

    def __str__(self) -> str:
        base = self.base if isinstance(self.base, str) else f"({self.base})"
        text = base if self.scale == 1 else f"{self.scale}*{base}"
        if self.offset:
            text = f"{text}{self.offset:+d}"
        if self.divisor == 1:
            return text
        return f"({text})//{self.divisor}" if text != base else f"{text}//{self.divisor}"

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Return the size for given values of the symbols."""
        base = sizes[self.base] if isinstance(self.base, str) else self.base.evaluate(sizes)
        return (self.scale * base + self.offset) // self.divisor

    def smallest(self, size: int) -> int:
        """Return the smallest value of the symbol for which the formula reaches `size`."""
        # (s*b + o) // d >= size  <=>  b >= ceil((size*d - o) / s), and the formula never falls.
        base = -((self.offset - size * self.divisor) // self.scale)
        return base if isinstance(self.base, str) else self.base.smallest(base)

    @property
    def symbol(self) -> str:
        """The symbol the formula rests on."""
        return self.base if isinstance(self.base, str) else self.base.symbol

    @classmethod
    def parse(cls, text: str) -> Extent:
        """Read a formula of one symbol, integers and ``+ - * //``, such as ``str`` writes.

        Raises
        ------
        ArgumentError
            A ValueError, on anything else, and on formulas of more than 200 characters.
        """
        result = None
        if _FORMULA.fullmatch(text):
            try:
                result = _build(ast.parse(text, mode="eval").body)
            except (SyntaxError, RecursionError, MemoryError, TypeError, ValueError,
                    ZeroDivisionError):  # fmt: skip
                result = None
        if not isinstance(result, Extent):
            raise ArgumentError(f"cannot read {text[:200]!r} as an extent such as 2*H or (H+1)//2")
        return result


Dimension = int | Extent
Shape = tuple[Dimension, ...]
"""``(channels, height, width)`` of an image or ``(features,)`` of a vector."""


def evaluate_shape(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Replace every extent of a shape by its size."""
    return tuple(d.evaluate(sizes) if isinstance(d, Extent) else d for d in shape)


def fit_sizes(pairs: Iterable[tuple[Shape, tuple[int, ...]]]) -> dict[str, int]:
    """Return the smallest sizes with which every formula reaches its size.

    All sizes for which a formula gives one number lie side by side, so the largest of the smallest
    fits every formula if any size does.

    Parameters
    ----------
    pairs
        Shapes with formulas, and the concrete shapes they should give.
    """
    sizes: dict[str, int] = {}
    for shape, concrete in pairs:
        for want, got in zip(shape, concrete, strict=False):
            if isinstance(want, Extent):
                least = want.smallest(int(got))
                sizes[want.symbol] = max(sizes.get(want.symbol, least), least)
    return sizes


def shape_text(shape: Shape) -> str:
    """Print a shape, ``(32, H, W)``."""
    return f"({', '.join(str(dimension) for dimension in shape)}{',' * (len(shape) == 1)})"


def _reduced(base: str | Extent, scale: int, offset: int, divisor: int) -> Extent:
    common = gcd(scale, divisor)
    # (g*s*b + o) // (g*d) == (s*b + o//g) // d
    scale, offset, divisor = scale // common, offset // common, divisor // common
    if isinstance(base, Extent):
        if scale == divisor == 1:
            return base + offset
        if scale == 1 and base.divisor > 1:
            return (base + offset) // divisor
    return Extent(base, scale, offset, divisor)


def _build(node: ast.expr) -> Dimension:
    match node:
        case ast.Name(id=name):
            return Extent(name)
        case ast.Constant(value=int(value)) if not isinstance(node.value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return -value
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _build(left) + _build(right)  # type: ignore[operator]
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _build(left) - _build(right)  # type: ignore[operator]
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _build(left) * _build(right)  # type: ignore[operator]
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            return _build(left) // _build(right)  # type: ignore[operator]
    raise ValueError("not an extent formula")
