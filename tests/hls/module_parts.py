"""What the tests of modules share."""

from __future__ import annotations

import numpy as np

VALID, REAL, FIRST_ROW, LAST_ROW, FIRST_COLUMN, LAST_COLUMN = (1 << bit for bit in range(6))


def known(values: list[int | None]) -> list[int]:
    """The same, if no bit is unknown."""
    assert None not in values
    return values  # type: ignore[return-value]


def raster(sizes: list[tuple[int, int]], flush_rows: int, seed: int) -> list[tuple[int, int]]:
    """Tags and 6-bit pixels of frames of one width, then rows that are not real."""
    random = np.random.default_rng(seed)
    beats = []
    for width, height in sizes:
        for row, column in np.ndindex(height, width):
            tags = VALID | REAL | FIRST_ROW * (row == 0) | LAST_ROW * (row == height - 1)
            tags |= FIRST_COLUMN * (column == 0) | LAST_COLUMN * (column == width - 1)
            beats.append((int(tags), int(random.integers(0, 64))))
    width = sizes[-1][0]
    for _ in range(flush_rows):
        for column in range(width):
            tags = VALID | FIRST_COLUMN * (column == 0) | LAST_COLUMN * (column == width - 1)
            beats.append((int(tags), int(random.integers(0, 64))))
    return beats


def spread(beats: list[tuple[int, int]], gaps: float, seed: int) -> list[tuple[int, int]]:
    """Put clocks without a beat in between."""
    random = np.random.default_rng(seed)
    clocks = []
    for beat in beats:
        while random.random() < gaps:
            clocks.append((int(random.integers(0, 32)) << 1, int(random.integers(0, 64))))
        clocks.append(beat)
    return clocks


FRAMES = [
    [(1, 1)] * 5,
    [(1, 4), (1, 1), (1, 3)],
    [(2, 3), (2, 3)],
    [(5, 1), (5, 1), (5, 2)],
    [(7, 4), (7, 3)],
    [(9, 9)],
]
