"""Transform matrices of exact integer Winograd convolution; see `fxp.kernels.winograd`."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

FINGERPRINT: Final = crc32(Path(__file__).read_bytes())
"""Of the matrices, which compiled code contains; see `fxp.kernels.pair_mac.FINGERPRINT`."""
CUTS: Final[dict[int, tuple[int, ...]]] = {3: (3, 21), 5: (32, 221)}
"""Cuts of an axis by its taps: the fewest products first, then those that do not enlarge."""

_WEIGHTS: Final = {
    3: ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    2: ((1, 0), (1, 1), (0, 1)),
    1: ((1,), (1,)),
}
_INPUTS: Final = {
    3: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    2: ((1, -1, 0), (0, 1, 0), (0, 1, -1)),
    1: ((1, 0), (0, 1)),
}
_OUTPUTS: Final = {
    3: ((1, 1, 1, 0), (0, 1, -1, -1)),
    2: ((1, 1, 0), (0, 1, -1)),
    1: ((1, 0), (0, 1)),
}


def parts_of(cut: int) -> tuple[int, ...]:
    """Taps of each part."""
    return tuple(int(digit) for digit in str(cut))


def enlargement_bits(cut: int) -> int:
    """How many bits larger than the convolution the outputs of an axis are."""
    return int(3 in parts_of(cut))


def matrices(cut: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Transform matrices of weights ``(n, taps)``, inputs ``(n, taps + 1)``, outputs ``(2, n)``.

    For weights ``g`` and inputs ``d``, ``outputs @ ((weights @ g) * (inputs @ d))`` is the
    correlation of d with g, shifted left by `enlargement_bits`.
    """
    parts = parts_of(cut)
    count, taps = sum(len(_WEIGHTS[part]) for part in parts), sum(parts)
    weights = np.zeros((count, taps), np.int64)
    inputs = np.zeros((count, taps + 1), np.int64)
    outputs = np.zeros((2, count), np.int64)
    row = tap = 0
    for part in parts:
        rows = slice(row, row + len(_WEIGHTS[part]))
        factor = 1 << (enlargement_bits(cut) - int(part == 3))
        weights[rows, tap : tap + part] = factor * np.array(_WEIGHTS[part])
        inputs[rows, tap : tap + part + 1] = _INPUTS[part]
        outputs[:, rows] = _OUTPUTS[part]
        row, tap = rows.stop, tap + part
    return weights, inputs, outputs
