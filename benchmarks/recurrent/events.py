"""Voxel grids of the middle of a recording, for networks that are measured step by step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from fxp.models.events.events import Events
from fxp.models.events.events import Size as SensorSize
from fxp.models.events.reading import EventReader
from fxp.models.events.voxel import float_grid
from fxp.models.events.windows import by_count


def voxel_grids(
    path: Path, sensor: SensorSize, *, size: int, events: int, grids: int
) -> torch.Tensor:
    """Return grids of successive events in the middle of the picture, ``(T, 5, size, size)``.

    Parameters
    ----------
    path
        The recording.
    sensor
        Width and height of its sensor.
    size
        Height and width of the part that is cut out.
    events
        Events in every grid.
    grids
        Grids at most.
    """
    left, top = ((side - size) // 2 for side in sensor)

    def middle(parts: Iterator[Events]) -> Iterator[Events]:
        for part in parts:
            moved = Events(part.t, part.x - left, part.y - top, part.p)
            inside = (moved.x >= 0) & (moved.x < size) & (moved.y >= 0) & (moved.y < size)
            yield moved[inside]

    with EventReader(path, size=sensor) as reader:
        windows = islice(by_count(middle(iter(reader)), events), grids)
        found = [float_grid(window.events, (size, size)) for window in windows]
    return torch.from_numpy(np.stack(found))
