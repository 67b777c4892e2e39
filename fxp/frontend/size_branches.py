"""Image sizes for which the model's own code would take another path than the traced one.

An export follows one path. Where the model compares an image size, torch notes the comparison; the
sizes found here break it, so that the graph is checked where it may be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Final

import sympy

from fxp.frontend.trace import SizeBranch
from fxp.graph.extents import Extent

MAX_PIXELS: Final = 1 << 20
"""Larger images are not tried, as the model itself runs on them."""
FOUND_PER_BRANCH: Final = 2
"""Sizes tried for every comparison: the nearest to the example."""


def other_paths(
    branches: Sequence[SizeBranch], extents: Mapping[str, Extent], example: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Yield sizes near the example that break a comparison of the model.

    Parameters
    ----------
    branches
        Comparisons that hold for the example.
    extents
        Size of each of torch's symbols, as a formula of the graph's.
    example
        Sizes of the example, by symbol of the graph.

    Yields
    ------
    dict
        Sizes by symbol of the graph.
    """
    for branch in branches:
        formulas = {
            symbol: extents[str(symbol)]
            for symbol in branch.condition.free_symbols
            if str(symbol) in extents
        }
        if len(formulas) < len(branch.condition.free_symbols):
            continue
        names = sorted({formula.symbol for formula in formulas.values()})
        choices = [_choices(branch.condition, formulas, name, example[name]) for name in names]
        combinations = sorted(
            product(*choices),
            key=lambda sizes: sum(
                abs(math.log(size / example[name])) for name, size in zip(names, sizes, strict=True)
            ),
        )
        found = 0
        for combination in combinations:
            sizes = {**example, **dict(zip(names, combination, strict=True))}
            values = {symbol: formula.evaluate(sizes) for symbol, formula in formulas.items()}
            small = math.prod(values.values()) <= MAX_PIXELS and min(values.values()) > 0
            numbers = {symbol: sympy.Integer(value) for symbol, value in values.items()}
            if small and branch.condition.xreplace(numbers) == sympy.false:
                yield sizes
                found += 1
                if found == FOUND_PER_BRANCH:
                    break


def same_path(
    branches: Sequence[SizeBranch], extents: Mapping[str, Extent], sizes: Mapping[str, int]
) -> bool:
    """Whether every comparison of the model is known to hold at some sizes.

    Parameters
    ----------
    branches, extents
        As for `other_paths`.
    sizes
        By symbol of the graph.
    """
    for branch in branches:
        numbers = {
            symbol: sympy.Integer(extents[str(symbol)].evaluate(sizes))
            for symbol in branch.condition.free_symbols
            if str(symbol) in extents
        }
        if branch.condition.xreplace(numbers) != sympy.true:
            return False
    return True


def _choices(
    condition: sympy.Basic, formulas: Mapping[sympy.Basic, Extent], name: str, example: int
) -> list[int]:
    """Values of a symbol to try: around every number of the comparison, and around the example."""
    numbers = {abs(int(number)) for number in condition.atoms(sympy.Integer)}
    numbers |= {math.isqrt(number) for number in numbers}
    bases = {
        formula.smallest(max(number, 1))
        for number in numbers
        for formula in formulas.values()
        if formula.symbol == name
    }
    around = {base + step for base in bases for step in (-1, 0, 1)}
    around |= {example + step for step in range(-2, 3)}
    around |= {example // 2, example * 2, example * 3}
    return sorted(value for value in around if 0 < value <= MAX_PIXELS)
