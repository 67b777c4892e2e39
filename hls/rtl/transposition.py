"""A transposed convolution as one matrix: all pixels of a block from one window."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fxp.graph.ops import ConvTranspose2d
from fxp.graph.ops.transposed import phases


class PhaseMatrix(NamedTuple):
    """What computes a block of pixels from a window.

    Attributes
    ----------
    matrix
        ``(outputs, taps * inputs)``, tap by tap. Outputs come group by group, as weighted sums need
        them; in a group the pixels of the block vary before the channels.
    bias
        One number for each output, or None.
    kernel
        Rows and columns of the window.
    before
        Rows above the pixel, and columns to its left, that the window has.
    """

    matrix: NDArray[np.int64]
    bias: NDArray[np.int64] | None
    kernel: tuple[int, int]
    before: tuple[int, int]


def phase_matrix(
    op: ConvTranspose2d, weight: NDArray[np.int64], bias: NDArray[np.int64] | None
) -> PhaseMatrix:
    """Put the phases of a transposed convolution side by side.

    Parameters
    ----------
    op
        The convolution.
    weight
        ``(channels, inputs of a group, rows, columns)``.
    bias
        ``(channels,)``, or None.
    """
    parts = phases(weight, op.stride, op.padding, op.dilation)
    rows = [(p.first_row, p.first_row + p.row_step * (p.weight.shape[0] - 1)) for p in parts]
    columns = [
        (p.first_column, p.first_column + p.column_step * (p.weight.shape[1] - 1)) for p in parts
    ]
    top, bottom = -min(0, *(low for low, _ in rows)), max(0, *(high for _, high in rows))
    left, right = -min(0, *(low for low, _ in columns)), max(0, *(high for _, high in columns))
    kernel = (top + bottom + 1, left + right + 1)
    channels, inputs = weight.shape[:2]
    matrix = np.zeros((op.groups, *op.stride, channels // op.groups, *kernel, inputs), np.int64)
    for part in parts:
        for row, column in np.ndindex(part.weight.shape[:2]):
            y = top + part.first_row + row * part.row_step
            x = left + part.first_column + column * part.column_step
            taps = part.weight[row, column].T.reshape(op.groups, -1, inputs)
            matrix[:, part.row, part.column, :, y, x] = taps
    block = op.stride[0] * op.stride[1]
    if bias is not None:
        grouped = bias.reshape(op.groups, 1, -1)
        bias = np.broadcast_to(grouped, (op.groups, block, grouped.shape[2])).reshape(-1)
    return PhaseMatrix(matrix.reshape(channels * block, -1), bias, kernel, (top, left))
