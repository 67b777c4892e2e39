"""The table of op cases that every executor runs, and the builder of one-node graphs from it.

A `Case` is an op with templates of its operands. `build` fills the templates: it draws formats,
constants, modes, sizes and data, either from a NumPy generator (`RandomChoices`) or from hypothesis
(`DrawnChoices`), so that one table serves enumerated and shrinking tests alike.

To add an op, add it to the table of its family; every executor then runs it. Rows of
`fxp.graph.ops.functions` have a case without more.
"""

from __future__ import annotations

import itertools
from typing import Final

from hypothesis import strategies as st

from cases.arithmetic import ARITHMETIC
from cases.building import (
    MODES,
    PATTERNS,
    Choices,
    DrawnChoices,
    Example,
    Pattern,
    RandomChoices,
    build,
    enumerated,
    examples,
    fill,
    pick_constant,
)
from cases.comparison import COMPARISONS, assert_same
from cases.convolutions import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from cases.movement import MOVEMENT
from cases.statistics import STATISTICS
from cases.templates import Case, Template, constant, image, vector
from cases.wide import WIDE_CASES, product

__all__ = [
    "CASES",
    "COMPARISONS",
    "MODES",
    "PATTERNS",
    "WIDE_CASES",
    "Case",
    "Choices",
    "DrawnChoices",
    "Example",
    "Pattern",
    "RandomChoices",
    "Template",
    "any_example",
    "assert_same",
    "build",
    "constant",
    "enumerated",
    "examples",
    "fill",
    "image",
    "pick_constant",
    "product",
    "vector",
]

CASES: Final[tuple[Case, ...]] = (
    *CONVOLUTIONS,
    *ARITHMETIC,
    *MOVEMENT,
    *STATISTICS,
    *TRANSPOSED_CONVOLUTIONS,
)


def any_example() -> st.SearchStrategy[Example]:
    """Hypothesis strategy of examples of any case, wide ones included."""
    cases = (*CASES, *itertools.chain.from_iterable(WIDE_CASES.values()))
    return st.sampled_from(cases).flatmap(examples)
