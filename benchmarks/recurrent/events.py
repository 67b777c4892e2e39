"""Voxel grids: events of a moving scene, as images with one channel per bin of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

BINS = 5


def voxel_grids(path: Path, *, size: int, events: int, grids: int) -> torch.Tensor:
    """Return grids of successive events in the middle of the picture, ``(T, 5, size, size)``.

    Every event counts in the two bins nearest to its time; what is not zero is scaled to mean 0 and
    standard deviation 1, as FireNet and CISTA-TC expect.

    Parameters
    ----------
    path
        An ``.npz`` file with times, rows, columns and polarities: t_us, x, y, p.
    size
        Height and width of the part that is cut out.
    events
        Events in every grid.
    grids
        Grids at most.
    """
    with np.load(path) as stored:
        x, y = stored["x"].astype(np.int64), stored["y"].astype(np.int64)
        left, top = (int(a.max() + 1 - size) // 2 for a in (x, y))
        inside = (x >= left) & (x < left + size) & (y >= top) & (y < top + size)
        x, y = x[inside] - left, y[inside] - top
        time, polarity = stored["t_us"][inside].astype(np.float64), stored["p"][inside] * 2.0 - 1
    count = min(grids, len(x) // events)
    parts = [slice(number * events, (number + 1) * events) for number in range(count)]
    found = [_grid(time[part], x[part], y[part], polarity[part], size) for part in parts]
    return torch.from_numpy(np.stack(found)).float()


def _grid(
    time: NDArray, x: NDArray, y: NDArray, polarity: NDArray, size: int
) -> NDArray[np.float64]:
    tau = (BINS - 1) * (time - time[0]) / max(time[-1] - time[0], 1)
    first = np.floor(tau).astype(np.int64)
    grid = np.zeros((BINS, size, size))
    np.add.at(grid, (first, y, x), polarity * (1 - (tau - first)))
    inside = first + 1 < BINS
    np.add.at(grid, (first[inside] + 1, y[inside], x[inside]), (polarity * (tau - first))[inside])
    used = grid != 0
    grid[used] = (grid[used] - grid[used].mean()) / (grid[used].std() + 1e-8)
    return grid
