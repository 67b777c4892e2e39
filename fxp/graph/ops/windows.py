"""What the kernel of an op is given: images, or the parts of them that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an image that is in memory.

    Attributes
    ----------
    array
        ``(rows, columns, C)``, C-contiguous, in the storage dtype of the value's format.
    row, column
        Image row and column of ``array[0, 0]``; negative if the window begins before the image.
    height, width
        Size of the whole image.
    """

    array: NDArray
    row: int
    column: int
    height: int
    width: int

    @classmethod
    def whole(cls, array: NDArray) -> Window:
        """Window of a whole image."""
        return cls(array, 0, 0, array.shape[0], array.shape[1])

    def view(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray:
        """Pixels of the image rows and columns first…last-1, both given as ``(first, last)``."""
        (top, bottom), (left, right) = rows, columns
        return self.array[
            top - self.row : bottom - self.row, left - self.column : right - self.column
        ]

    def start(self, first_row: int, first_column: int) -> tuple[int, int, int, int]:
        """Where an element-wise op begins: row and column of the array, and their steps.

        The steps are 1, or 0 along an axis of size 1, which is read again and again.
        """
        row_step, column_step = int(self.height > 1), int(self.width > 1)
        return (
            first_row * row_step - self.row,
            first_column * column_step - self.column,
            row_step,
            column_step,
        )


Kernel = Callable[[NDArray, int, int, Sequence[Window]], None]
"""``kernel(band, first_row, first_column, inputs)`` fills a region of the accumulator.

`band` is C-contiguous, ``(rows, columns, C)``, of the accumulator's dtype, and holds the region
that begins at the given row and column. The windows cover at least what `Op.reach` names; they may
cover more, and what lies there is undefined. The kernel widens the inputs; an int32 accumulator may
wrap on the way, as the final sum is proved to fit.
"""


@dataclass(frozen=True)
class Summary:
    """What every result of an op needs to know of its whole first input.

    An engine summarizes parts of the image on several threads and hands the kernel all of them as a
    further window, one row for each part; or merged to one row.

    Attributes
    ----------
    fill
        Summarizes whole rows of the image, ``(rows, W, C)``; called with the int64 results
        ``(1, columns, channels)`` and the rows.
    shape
        Columns and channels of the summary of an image with so many.
    merge
        Makes one summary of an array of them, stacked along its first axis.
    """

    fill: Callable[[NDArray, NDArray], None]
    shape: Callable[[int, int], tuple[int, int]]
    merge: Callable[[NDArray], NDArray]

    def part(self, image: NDArray) -> NDArray[np.int64]:
        """Summarize rows of an image, ``(rows, W, C)``."""
        results = np.empty((1, *self.shape(*image.shape[1:])), np.int64)
        self.fill(results, image)
        return results
