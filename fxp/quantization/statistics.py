"""What a value of a network looks like on calibration data: its extremes and its histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.support.errors import ArgumentError

BIN_BITS: Final = 6
"""A bin holds the float64 numbers of equal sign, exponent and first bits of the mantissa: so many.

An octave has ``2**BIN_BITS`` bins of equal width, and every power of two is an edge."""
_SHIFT: Final = 52 - BIN_BITS
_SORTED_SIZE: Final = 1 << 13
"""Up to so many values, sorting their bins is faster than counting in an array of all bins."""


@dataclass(eq=False)
class Statistics:
    """Extremes and histogram of one value of a network, gathered batch by batch from every element.

    The bins are logarithmic (`BIN_BITS`), so that their number is bounded, a few thousand, however
    much data went in and however far apart its magnitudes are. All counts are exact: in which
    batches the data came makes no difference.

    Attributes
    ----------
    count
        Number of elements seen.
    lows, highs
        Smallest and largest element of every image, in the order in which they came. The steps of
        a sequence count as one image (`update`).
    rare
        What pictures of rare kinds hold, see `fxp.quantization.refinement.extreme_pictures`. It is
        part of `low` and `high`, and of nothing else.
    """

    count: int = 0
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    rare: Statistics | None = None
    _keys: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    @classmethod
    def of(cls, values: NDArray) -> Statistics:
        """Return the statistics of one array, which counts as one image."""
        statistics = cls()
        statistics.update(np.asarray(values, dtype=np.float64)[None])
        return statistics

    def without_rare(self) -> Statistics:
        """Return the same without pictures of rare kinds."""
        return replace(self, rare=None)

    @property
    def low(self) -> float:
        """Smallest element seen; infinity before the first."""
        return min([*self.lows, *(self.rare.lows if self.rare else ())], default=math.inf)

    @property
    def high(self) -> float:
        """Largest element seen; minus infinity before the first."""
        return max([*self.highs, *(self.rare.highs if self.rare else ())], default=-math.inf)

    def update(self, values: NDArray[np.float64], *, continues: bool = False) -> None:
        """Take in more elements.

        Parameters
        ----------
        values
            A batch of images: the first axis is that of the batch.
        continues
            Whether all of them belong to the last image seen, such as the next step of a sequence,
            so that their extremes are no further independent observation.

        Raises
        ------
        ArgumentError
            A `ValueError`: there are no elements, or one is NaN or infinite.
        """
        if values.size == 0:
            raise ArgumentError("no values")
        rows = np.ascontiguousarray(values, dtype=np.float64).reshape(len(values), -1)
        lows, highs = rows.min(axis=1), rows.max(axis=1)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            raise ArgumentError("NaN or infinity")
        self.count += rows.size
        self._add_extremes(lows.tolist(), highs.tolist(), continues)
        # Zero has two representations; adding zero leaves the positive one.
        bits = (rows.reshape(-1) + 0.0).view(np.uint64)
        keys = np.right_shift(bits, _SHIFT, out=bits).view(np.int64)
        if keys.size > _SORTED_SIZE:
            dense = np.bincount(keys)
            (found,) = np.nonzero(dense)
            self._add_counts(found, dense[found])
        else:
            self._add_counts(*np.unique(keys, return_counts=True))

    def merge(self, other: Statistics) -> None:
        """Take in what other statistics have seen, as later images."""
        self.count += other.count
        self._add_extremes(other.lows, other.highs, continues=False)
        self._add_counts(other._keys, other._counts)

    def histogram(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return lower edges, upper edges and counts of the bins that hold something, ascending.

        A bin is closed at the edge of smaller magnitude and open at the other. The edges of the
        outermost bins are the extremes.
        """
        near = (self._keys.view(np.uint64) << _SHIFT).view(np.float64)
        far = ((self._keys + 1).view(np.uint64) << _SHIFT).view(np.float64)
        # Negative numbers have larger keys the further they are from zero.
        lower, upper = np.minimum(near, far), np.maximum(near, far)
        order = np.argsort(lower)
        lower, upper = np.maximum(lower, min(self.lows)), np.minimum(upper, max(self.highs))
        return lower[order], upper[order], self._counts[order]

    @property
    def exponents(self) -> dict[int, int]:
        """How many elements have a magnitude in ``[2**(e-1), 2**e)``, by ``e``; zeros left out.

        Subnormal numbers count as the smallest normal ones, or below a 64th of these as zeros.
        """
        result: dict[int, int] = {}
        magnitudes = self._keys & ((1 << (BIN_BITS + 11)) - 1)
        for magnitude, count in zip(magnitudes.tolist(), self._counts, strict=True):
            if magnitude:
                place = max(magnitude >> BIN_BITS, 1) - 1022
                result[place] = result.get(place, 0) + int(count)
        return result

    def __eq__(self, other: object) -> bool:
        """Whether the same elements were seen in the same images, to within a bin."""
        return (
            isinstance(other, Statistics)
            and (self.count, self.lows, self.highs) == (other.count, other.lows, other.highs)
            and np.array_equal(self._keys, other._keys)
            and np.array_equal(self._counts, other._counts)
        )

    __hash__ = None  # type: ignore[assignment]

    def _add_extremes(self, lows: list[float], highs: list[float], continues: bool) -> None:
        if continues and self.lows:
            self.lows[-1] = min(self.lows[-1], *lows)
            self.highs[-1] = max(self.highs[-1], *highs)
        elif continues:
            self.lows, self.highs = [min(lows)], [max(highs)]
        else:
            self.lows += lows
            self.highs += highs

    def _add_counts(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Add counts of bins, whose keys are ascending."""
        if np.array_equal(keys, self._keys):
            self._counts = self._counts + counts
            return
        merged, places = np.unique(np.concatenate((self._keys, keys)), return_inverse=True)
        total = np.zeros(merged.size, np.int64)
        np.add.at(total, places, np.concatenate((self._counts, counts)))
        self._keys, self._counts = merged, total
