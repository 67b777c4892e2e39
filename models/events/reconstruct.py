"""From windows of events to frames, by a fixed-point network and integers from end to end."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp import Extent, FixedModel
from fxp.formats import Format
from fxp.models.events.events import Events, Size
from fxp.models.events.voxel import fixed_grid
from fxp.support.errors import ArgumentError

WHITE: Final = 255
LOWEST, HIGHEST = 1, 99
"""Percentiles of a frame that become black and white when it is stretched."""


class Reconstructor:
    """A recurrent network that turns windows of events into frames, one after the other.

    Parameters
    ----------
    model
        Takes a voxel grid ``(bins, H, W)`` and returns a picture of one channel, or several whose
        mean is the picture; 0 is black and 1 is white.
    size
        Width and height of the sensor. Grids are reflected at their borders to a size that the
        network takes, and pictures are cut to the sensor.
    hot
        Limit of hot pixels, see `fxp.models.events.voxel`; None keeps them.
    stretch
        Whether each frame is stretched so that its 1st and 99th percentile are black and white.

    Attributes
    ----------
    stream : fxp.model.stream.RecurrentStream
        The sequence, with its state.

    Raises
    ------
    ArgumentError
        If the model takes or returns anything else, or does not take such a size.
    """

    def __init__(
        self, model: FixedModel, size: Size, *, hot: int | None = None, stretch: bool = False
    ) -> None:
        graph = model.graph
        ends = [*graph.inputs, *(graph.values[name] for name in graph.outputs)]
        if len(ends) != 2 or any(len(end.shape) != 3 for end in ends):
            raise ArgumentError(
                f"model {graph.name} must take one voxel grid and return one picture; it takes "
                f"{len(graph.inputs)} and returns {len(graph.outputs)} values"
            )
        source, result = ends
        bins, *sides = source.shape
        channels = result.shape[0]
        assert isinstance(bins, int)
        assert isinstance(channels, int)
        assert source.format is not None
        assert result.format is not None
        if not 0 <= source.format.frac <= 16:
            raise ArgumentError(
                f"the input of model {graph.name} has the format {source.format}; a voxel grid "
                "needs 0 to 16 fraction bits"
            )
        self.bins, self.channels, self.size = bins, channels, size
        self.taken: Format = source.format
        self.given: Format = result.format
        self.hot, self.stretch = hot, stretch
        width, height = size
        self._borders = (
            (0, 0),
            _borders(height, sides[0], "rows"),
            _borders(width, sides[1], "columns"),
        )
        self.stream = model.stream(count_clipped=False)

    def frame(self, events: Events, *, threads: int | None = None) -> NDArray[np.uint8]:
        """Return the frame after a window of events, ``(H, W)``.

        Parameters
        ----------
        events
            In the order of time, and on the sensor. None at all are an empty grid, by which the
            network's state goes on.
        threads
            Threads of the engine, all processors by default.
        """
        grid = fixed_grid(events, self.size, self.taken, bins=self.bins, hot=self.hot)
        larger = np.pad(grid, self._borders, "reflect")
        picture = np.asarray(self.stream.step_raw(larger[None], threads=threads))[0]
        (_, (top, _), (left, _)), (width, height) = self._borders, self.size
        return self._pixels(picture[:, top : top + height, left : left + width].astype(np.int64))

    def _pixels(self, picture: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Round a picture to 8 bits, half up."""
        low, span = 0, self.channels << self.given.frac
        summed = picture.sum(0)
        if self.stretch:
            low, high = (
                int(np.percentile(summed, share, method="nearest")) for share in (LOWEST, HIGHEST)
            )
            span = max(high - low, 1)
        pixels = (2 * WHITE * (summed - low) + span) // (2 * span)
        return np.clip(pixels, 0, WHITE).astype(np.uint8)


def _borders(length: int, side: int | Extent, what: str) -> tuple[int, int]:
    """Return by how much a side is continued before and behind."""
    if isinstance(side, Extent):
        if side.offset or side.divisor != 1:
            raise ArgumentError(f"the model takes {side} {what}, and not multiples of a number")
        missing = -length % side.scale
    else:
        missing = side - length
        if missing < 0:
            raise ArgumentError(f"the model takes {side} {what}, but the sensor has {length}")
    before = (missing + 1) // 2
    if before >= length:
        raise ArgumentError(f"a sensor of {length} {what} is too small for the model")
    return before, missing - before
