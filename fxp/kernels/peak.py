"""The machine's own limit: how fast it multiplies pairs of int16 and adds them up."""

from __future__ import annotations

import threading
import time

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit
from fxp.kernels.host import host_tiles
from fxp.kernels.pair_mac import FINGERPRINT, dense_tile
from fxp.kernels.tile_store import SUMS

PAIRS = 64
REPEATS = 20_000


@njit(cache=True, nogil=True)
def _wide(values: NDArray[np.int16], sums: NDArray[np.int32], repeats: int) -> None:
    run = np.zeros(1, np.int64)
    at = values.ctypes.data
    taps = (run.ctypes.data, 1, PAIRS, at, sums.ctypes.data)
    for _ in range(repeats):
        dense_tile(sums.ctypes.data, 32, at, 0, taps, (at, 0, 0, 0, 0, 0, 0, 0), (at, 0, 0),
                   (14, 2, 16, SUMS, 1, FINGERPRINT))  # fmt: skip


@njit(cache=True, nogil=True)
def _narrow(values: NDArray[np.int16], sums: NDArray[np.int32], repeats: int) -> None:
    run = np.zeros(1, np.int64)
    at = values.ctypes.data
    taps = (run.ctypes.data, 1, PAIRS, at, sums.ctypes.data)
    for _ in range(repeats):
        dense_tile(sums.ctypes.data, 16, at, 0, taps, (at, 0, 0, 0, 0, 0, 0, 0), (at, 0, 0),
                   (6, 2, 8, SUMS, 1, FINGERPRINT))  # fmt: skip


def pair_multiply_rate(threads: int = 1) -> float:
    """Measure the peak rate of int16 pair multiply-accumulates.

    A register tile whose operands stay in the first-level cache runs over and over.

    Parameters
    ----------
    threads
        How many run at the same time.

    Returns
    -------
    float
        10**9 multiply-accumulates per second, of all threads together; the best of several runs.
    """
    vectors, lanes, pixels = host_tiles().dense[0]
    kernel = _wide if lanes == 16 else _narrow
    pixels, width = (14, 32) if lanes == 16 else (6, 16)
    del vectors

    def work(repeats: int) -> None:
        values = np.zeros(PAIRS * width * 2, np.int16)
        kernel(values, np.zeros(pixels * width, np.int32), repeats)

    work(1)
    best = float("inf")
    for _ in range(5):
        helpers = [threading.Thread(target=work, args=(REPEATS,)) for _ in range(threads)]
        begin = time.perf_counter()
        for helper in helpers:
            helper.start()
        for helper in helpers:
            helper.join()
        best = min(best, time.perf_counter() - begin)
    return threads * REPEATS * PAIRS * 2 * pixels * width / best / 1e9
