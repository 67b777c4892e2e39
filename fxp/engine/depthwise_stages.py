"""Depthwise convolutions as command stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import start_with_bias
from fxp.engine.geometry import Geometry
from fxp.engine.stages import CommandStage, Region
from fxp.graph import Graph
from fxp.kernels.depthwise_rows import STEPS, TAPS, depthwise_rows_kernel, row_pairs
from fxp.kernels.finish import Finish
from fxp.kernels.host import Tiles
from fxp.kernels.pair_mac import interleaved_order
from fxp.kernels.records import DEPTHWISE_ROWS, filled


class DepthwiseRowsStage(CommandStage):
    """Depthwise convolution whose taps are neighbours: odd rows of up to seven, stride up to four.

    Where the channels do not fill vectors, blocks of several pixels do; what is left over at the
    end of a narrow row, and overflows that are counted, take the channels of one pixel at a time.
    """

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, "depthwise rows")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        channels = len(shape.weight)
        self._keep: list[NDArray] = []
        width, vectors = next(tile for tile in tiles.depthwise if tile[0] <= channels)
        self._single = self._part(shape, finish, width, vectors, together=1)
        self._joint: _Vectors | None = None
        widest, vectors = tiles.depthwise[0]
        together = widest // gcd(widest, channels)
        if together > 1 and together in STEPS and shape.stride[1] == 1:
            self._joint = self._part(shape, finish, widest, vectors, together=together)

    @staticmethod
    def takes(shape: Geometry) -> bool:
        """Whether the kernels are made for a convolution."""
        return (
            shape.is_depthwise
            and shape.weight.shape[3] in TAPS
            and shape.stride[1] in STEPS
            and shape.dilation[1] == 1
        )

    def _part(
        self, shape: Geometry, finish: Finish, width: int, vectors: int, together: int
    ) -> _Vectors:
        """Make the kernels and parameters for vectors that hold so many pixels.

        Parameters
        ----------
        shape
            The convolution.
        finish
            How its sums become results.
        width
            Elements of a vector.
        vectors
            Vectors of a tile, at most.
        together
            Pixels whose channels fill whole vectors together.
        """
        channels, _, rows, columns = shape.weight.shape
        step = shape.stride[1] * together
        repeated = finish.taken(np.tile(np.arange(channels), together))
        packed = pack_rows(np.tile(shape.weight[:, 0], (together, 1, 1)), width, step)
        self._keep += [*repeated.arrays, packed]
        record = filled(
            DEPTHWISE_ROWS,
            **repeated.fields(),
            blocks=len(packed),
            rows=rows,
            weights=packed.ctypes.data,
            channels=channels,
            together=together,
            pixel_step=channels,
            stride=shape.stride[1],
            row_step=shape.stride[0],
            dilation=shape.dilation[0],
        )

        def kernel(vectors: int, counted: bool) -> Any:
            stored = finish.stored(counted)
            return depthwise_rows_kernel(vectors, width, columns, step, stored)

        return _Vectors(kernel, record, vectors, together)

    def commands(self, region: Region) -> list[list[int]]:
        """One command."""
        joint = self._joint
        if joint is not None and region.columns >= joint.together and not region.counted:
            return [joint.command(region)]
        return [self._single.command(region)]


@dataclass(frozen=True)
class _Vectors:
    """What runs vectors of one kind.

    Attributes
    ----------
    kernel
        ``kernel(vectors, counted)``, compiled on first use.
    record
        The kernel's parameters.
    vectors
        Vectors of a tile, at most.
    together
        Pixels in a vector.
    """

    kernel: Callable[[int, bool], Any]
    record: NDArray[np.void]
    vectors: int
    together: int

    def command(self, region: Region) -> list[int]:
        """Command for a region at least as wide as a vector."""
        needed = -(-region.columns // self.together)
        fitting = [
            size
            for size in (self.vectors, self.vectors - 1, self.vectors // 2, 2, 1)
            if size and size * self.together <= region.columns
        ]
        # The last tile overlaps the one before; every tile costs about one vector more.
        best = min(fitting, key=lambda size: (-(-needed // size) * (size + 1), -size))
        return region.command(self.kernel(best, region.counted), self.record)


def pack_rows(weights: NDArray[np.int64], width: int, step: int) -> NDArray[np.int16]:
    """Turn weights ``(C, rows, taps)`` into ``(blocks, rows, pairs, width, 2)``.

    The channels of a block are in interleaved order. The last block overlaps the one before it.

    Parameters
    ----------
    weights
        One kernel per channel.
    width
        Channels of a block.
    step
        Pixels from the inputs of one vector to those of the next.
    """
    channels, rows, taps = weights.shape
    pairs = row_pairs(taps, step)
    paired = np.zeros((channels, rows, len(pairs), 2), np.int16)
    for number, (first, is_new) in enumerate(pairs):
        if is_new:
            paired[:, :, number, 0] = weights[:, :, first]
        if not is_new or first + 1 < taps:
            paired[:, :, number, 1] = weights[:, :, first + 1]
    order = interleaved_order(width)
    blocks = -(-channels // width)
    firsts = [min(number * width, channels - width) for number in range(blocks)]
    taken = [paired[first : first + width][order].transpose(1, 2, 0, 3) for first in firsts]
    return np.ascontiguousarray(np.stack(taken))
