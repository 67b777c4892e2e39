"""The comparison of an executor with the oracle."""

from __future__ import annotations

from collections import Counter

import numpy as np

COMPARISONS: Counter[str] = Counter()
"""How many arrays each executor had compared with the oracle; printed when the tests end."""


def assert_same(executor: str, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
    """Fail unless two arrays are equal element by element; counts the comparison."""
    COMPARISONS[executor] += 1
    assert actual.shape == expected.shape, f"{executor}, {name}: {actual.shape}, {expected.shape}"
    different = np.argwhere(actual != expected)
    if len(different):
        where = tuple(int(index) for index in different[0])
        raise AssertionError(
            f"{executor}, {name}: {len(different)} of {expected.size} elements differ, first at "
            f"{where}: {actual[where]} instead of {expected[where]}"
        )
