"""Convolutions to few output channels as command stages, and pixel shuffles behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import DenseStage, Part, start_with_bias, tile_sizes
from fxp.engine.geometry import Geometry, in_blocks
from fxp.engine.packing import input_runs, pack_pairs
from fxp.engine.stages import CommandStage, Region
from fxp.graph import Graph
from fxp.kernels.host import Tiles
from fxp.kernels.records import DENSE, DENSE_SUMS, filled
from fxp.kernels.tiles import dense_shuffled_kernel, dense_sums_kernel


class _PaddedStage(DenseStage):
    """Dense convolution to a few channels, padded to whole vectors."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, kernel: str) -> None:
        CommandStage.__init__(self, graph, chain, kernel)
        assert chain.finish is not None
        self._finish = start_with_bias(chain.finish, shape.bias)
        if self._finish.wide:
            self.accumulator_dtype = np.dtype(np.int64)

    def _padded(self, shape: Geometry, lanes: int) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Taps and packed weights, with start and shift of the finish padded alike."""
        channels = len(shape.weight)
        width = -(-channels // lanes) * lanes
        self._finish = self._finish.padded(width)
        self._keep = self._finish.arrays
        taps, weights = input_runs(shape, 0)
        padded = np.zeros((*weights.shape[:-1], width), weights.dtype)
        padded[..., :channels] = weights
        return taps, pack_pairs(padded, lanes)

    def commands(self, region: Region) -> list[list[int]]:
        """One command, whose region is that of the image before the shuffle."""
        return super().commands(before_shuffle(region, self.multiple))


def before_shuffle(region: Region, factor: int) -> Region:
    """Region of the smaller image whose pixels are blocks of this one."""
    return replace(
        region,
        rows=region.rows // factor,
        columns=region.columns // factor,
        first_row=region.first_row // factor,
        first_column=region.first_column // factor,
    )


class ShuffledStage(_PaddedStage):
    """Dense convolution to ``factor**2`` channels, shuffled to one as they are stored."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, shape, "pair tiles, shuffled")
        self.multiple = factor = shape.factor
        lanes = max(4, 1 << (factor**2 - 1).bit_length())
        pixels = next((tile[2] for tile in reversed(tiles.dense) if tile[1] >= lanes), 6)
        taps, weights = self._padded(shape, lanes)

        def kernel(size: int, counted: bool) -> Any:
            return dense_shuffled_kernel(size, lanes, factor, self._finish.stored(counted))

        fields = self._dense_fields(self._finish, shape, weights, taps)
        fields["result_step"] = 1
        record = filled(DENSE, **fields, first_channel=0, blocks=1, uncounted=0)
        self.parts = [Part(tile_sizes(pixels), kernel, record)]


class SumsStage(_PaddedStage):
    """Dense convolution whose sums are finished row by row: odd channel counts, pixel shuffle."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, shape, "pair tiles, sums")
        self.multiple = shape.factor
        _, lanes, pixels = next(
            (tile for tile in tiles.dense if tile[0] == 1 and tile[1] <= max(4, len(shape.weight))),
            tiles.dense[-1],
        )
        taps, weights = self._padded(shape, lanes)
        self._width = weights.shape[0] * lanes

        def kernel(size: int, counted: bool) -> Any:
            return dense_sums_kernel(size, lanes, self._finish.stored(counted))

        record = filled(
            DENSE_SUMS,
            **self._dense_fields(self._finish, shape, weights, taps),
            first_channel=0,
            blocks=weights.shape[0],
            uncounted=0,
            shuffle=shape.factor,
        )
        self.parts = [Part(tile_sizes(pixels), kernel, record)]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for a row of sums."""
        return 4 * self._width * columns


class BlockedStage(CommandStage):
    """Convolution to few channels that computes blocks of neighbouring pixels as channels.

    A block's kernel is a little larger and has zeros, but fills the vectors: four channels, or one,
    leave most lanes of a register empty. What is left over at the ends goes to another stage.

    Parameters
    ----------
    graph, chain, shape
        What is computed; the inputs are int16.
    block
        Height and width of a block.
    make
        Makes the stage of a convolution whose channels are shuffled to one.
    plain
        The other stage.
    """

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        shape: Geometry,
        block: int,
        make: Callable[[Chain, Geometry], CommandStage],
        plain: CommandStage,
    ) -> None:
        assert chain.finish is not None
        self._pixel_bytes = 2 * shape.channels_in
        self._item = chain.finish.result.itemsize
        self._other_item = chain.finish.other.itemsize if chain.finish.other else 0
        blocked, order = in_blocks(shape, block)
        self._blocked = make(replace(chain, finish=chain.finish.taken(order)), blocked)
        name = self._blocked.kernel.split(",")[0]
        super().__init__(graph, chain, f"{name}, blocks of {block}x{block}")
        self.multiple, self._plain = shape.factor, plain
        self.accumulator_dtype = plain.accumulator_dtype

    def commands(self, region: Region) -> list[list[int]]:
        """Commands for whole blocks, and for the columns and rows beyond."""
        size = self._blocked.multiple
        rows, columns = region.rows // size * size, region.columns // size * size
        pieces = [
            (self._blocked, (0, rows), (0, columns)),
            (self._plain, (0, rows), (columns, region.columns)),
            (self._plain, (rows, region.rows), (0, region.columns)),
        ]
        return [
            command
            for stage, row_span, column_span in pieces
            if row_span[1] > row_span[0] and column_span[1] > column_span[0]
            for command in stage.commands(self._part_of(region, row_span, column_span))
        ]

    def _part_of(self, region: Region, rows: tuple[int, int], columns: tuple[int, int]) -> Region:
        source, *others = region.inputs
        down, right = rows[0] // self.multiple, columns[0] // self.multiple
        return replace(
            region,
            rows=rows[1] - rows[0],
            columns=columns[1] - columns[0],
            first_row=region.first_row + rows[0],
            first_column=region.first_column + columns[0],
            result=region.result.moved(rows[0], self._item * columns[0]),
            inputs=(
                source.moved(down, right * self._pixel_bytes),
                *(other.moved(rows[0], self._other_item * columns[0]) for other in others),
            ),
        )

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Return what either stage needs."""
        return max(stage.scratch_bytes(rows, columns) for stage in (self._plain, self._blocked))
