"""What the compiled kernels of the search compute, in NumPy: the definition they are tested by.

Rows are components of vectors of length 1, see `fxp.models.recognition.sequential.transformation`,
and have `FRAC` fraction bits. Squared distances have 28.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.distances import (
    CHI_BITS,
    CLASSES,
    DIFFERENCE,
    FACTOR,
    LARGEST,
    POSTERIOR,
    RATIO_BITS,
    STEP,
    TABLE,
)
from fxp.support.errors import ArgumentError

FRAC: Final = 14
"""Fraction bits of normalized features, of the axes and of components."""
MOST_FEATURES: Final = 1 << 15
"""Features of a vector, at most: sums of squares then fit into int64."""
RULES: Final = {
    "classes": CLASSES,
    "posteriors": POSTERIOR,
    "bayes_factor": DIFFERENCE,
    "distance_factor": FACTOR,
}
"""Kinds of rules by name."""


def distances(
    queries: NDArray[np.int16], gallery: NDArray[np.int16], metric: str = "l2"
) -> NDArray[np.int64]:
    """Return the distances of all queries to all rows, ``(queries, rows)``.

    Parameters
    ----------
    queries, gallery
        ``(N, components)``.
    metric
        ``"l2"`` for squared Euclidean distances; ``"chi2"`` for sums of
        ``(x - y)**2 / (x + y)``, each rounded half up to 14 fraction bits more.
    """
    left, right = queries[:, None].astype(np.int64), gallery[None].astype(np.int64)
    squares = (left - right) ** 2
    if metric == "l2":
        return squares.sum(axis=2)
    divisor = np.maximum(left + right, 1)
    return (((squares << CHI_BITS) + (divisor >> 1)) // divisor).sum(axis=2)


@dataclass(frozen=True)
class Rule:
    """When a decision needs no more components.

    Attributes
    ----------
    name
        ``"classes"``: classes farther than `threshold` times the nearest are dropped, until one is
        left. The others keep all classes until they stop: ``"posteriors"`` when the share of the
        nearest in the softmax of ``-sharpness * distance`` is `threshold` at least,
        ``"bayes_factor"`` when it is so many times the second share, ``"distance_factor"`` when the
        second distance is so many times the nearest, and not equal to it.
    threshold
        Above 1; a share is above 0 and at most 1. Infinity, for the classes, drops none.
    sharpness
        Factor of the distances in the softmax.

    Raises
    ------
    ArgumentError
        If there is no such rule, or a number is out of range.
    """

    name: str = "classes"
    threshold: float = 1.4
    sharpness: float = 100.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in RULES:
            raise ArgumentError(f"no rule {self.name!r}, only {', '.join(RULES)}")
        for name in ("threshold", "sharpness"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise ArgumentError(f"{name}={value!r} is no number")
        if self.name == "posteriors":
            if not 0 < self.threshold <= 1:
                raise ArgumentError(
                    f"threshold={self.threshold} is no share of the posteriors; give one above 0 "
                    "and at most 1"
                )
        elif not self.threshold > 1:
            raise ArgumentError(
                f"threshold={self.threshold} is not above 1: at 1 the nearest class alone would be "
                "left after the first granule"
            )
        if not 1e-6 <= self.sharpness < 1e6:
            raise ArgumentError(
                f"sharpness={self.sharpness} must be at least 0.000001 and below 1000000"
            )

    @property
    def shift(self) -> int:
        """Right shift of a difference of distances to an index of the table."""
        # The table reaches a weight below 2**-17, which is 0.
        return max(0, math.ceil(math.log2(12 / self.sharpness * 2 ** (2 * FRAC) / TABLE)))

    @property
    def integers(self) -> tuple[int, int, int]:
        """Kind, threshold and shift, as the kernel takes them."""
        kind = RULES[self.name]
        if kind == DIFFERENCE:
            real = math.log(self.threshold) / self.sharpness * 2 ** (2 * FRAC)
        else:
            real = self.threshold * 2**RATIO_BITS
        threshold = LARGEST if real >= LARGEST else math.ceil(real)
        return kind, threshold, self.shift

    @property
    def table(self) -> NDArray[np.int64]:
        """Weights ``exp(-sharpness * difference)`` in 16 fraction bits, rounded half up."""
        steps = np.arange(TABLE) * 2.0 ** (self.shift - 2 * FRAC)
        return np.floor(np.exp(-self.sharpness * steps) * 2**16 + 0.5).astype(np.int64)


def is_integer(value: object) -> bool:
    """Whether a count is a whole number of Python or NumPy."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_granule(granule: int) -> None:
    """Raise `ArgumentError` unless a granule can be computed."""
    if not is_integer(granule) or granule < 1 or granule % STEP:
        raise ArgumentError(f"granule={granule} must be a multiple of {STEP}, such as 32 or 64")


def decide(
    frames: NDArray[np.int16],
    gallery: NDArray[np.int16],
    starts: NDArray[np.int64],
    granule: int,
    rule: Rule,
    metric: str = "l2",
) -> tuple[int, int, dict[int, int]]:
    """Decide for a class by the distances recomputed for every number of components.

    Parameters
    ----------
    frames
        Components of one or more pictures of the same thing, ``(frames, components)``.
    gallery
        Components in the order of the classes.
    starts
        First row of every class, and the number of rows.
    granule
        Components that are added at a time.
    rule
        When to stop.
    metric
        As for `distances`.

    Returns
    -------
    class, granules, distances
        The answer, of equal ones the lowest; granules that were looked at; and the distances of the
        classes that are left.
    """
    kind, threshold, shift = rule.integers
    table = rule.table
    levels = -(-gallery.shape[1] // granule)
    left = list(range(len(starts) - 1))
    for level in range(1, levels + 1):
        part = slice(level * granule)
        each = distances(frames[:, part], gallery[:, part], metric)
        found = {
            number: int(each[:, starts[number] : starts[number + 1]].min(axis=1).sum())
            for number in left
        }
        best = min(left, key=lambda number: (found[number], number))
        least, second = [*sorted(found.values()), LARGEST][:2]
        # An infinite threshold is above all, a distance of 0 too.
        bound = LARGEST if threshold == LARGEST else threshold * least
        if kind == CLASSES and level < levels:
            left = [c for c in left if found[c] << RATIO_BITS <= bound]
            found = {number: found[number] for number in left}
        stop = {
            CLASSES: len(left) == 1,
            POSTERIOR: threshold * sum(
                int(table[(value - least) >> shift]) if (value - least) >> shift < TABLE else 0
                for value in found.values()
            ) <= 1 << 32,
            DIFFERENCE: second - least >= threshold,
            # Equal distances decide nothing, not even where all are 0.
            FACTOR: second > least and second << RATIO_BITS >= bound,
        }[kind]  # fmt: skip
        if stop or level == levels:
            return best, level, found
    raise AssertionError
