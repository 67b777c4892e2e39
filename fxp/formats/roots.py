"""Exact integer square roots."""

from __future__ import annotations

from typing import Final

import numpy as np

from fxp.formats.format import IntArray

MAX_SQUARE_BITS: Final = 62
"""Numbers whose root is taken have at most so many bits, so that the squares beside it fit 63."""


def floor_sqrt(values: IntArray) -> IntArray:
    """Return the largest integers whose squares do not exceed the values.

    Parameters
    ----------
    values
        int64, from 0 to ``2**62 - 1``.
    """
    # float64 has 53 bits, so its root is off by one at most. Other executors: floor_sqrt in
    # fxp/kernels/statistics.py (engine), in fxp/graph/ops/statistics.py (PyTorch), and in
    # fxp/graph/onnx_emitter.py (ONNX).
    roots = np.sqrt(values.astype(np.float64)).astype(np.int64)
    roots = roots - (roots * roots > values)
    return roots + ((roots + 1) * (roots + 1) <= values)
