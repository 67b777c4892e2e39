"""Convolutions of values and weights of 8 bits: four products a lane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import (
    ConvolutionStage,
    Part,
    own_pixels,
    start_with_bias,
    tile_sizes,
)
from fxp.engine.geometry import Geometry, fits_pairs, geometry, proved_limits
from fxp.engine.packing import input_runs, split_channels
from fxp.engine.schedule import ALIGNMENT
from fxp.engine.stages import Place, Region
from fxp.graph import Graph
from fxp.kernels.host import Tiles
from fxp.kernels.quad_mac import FIRST_BYTE
from fxp.kernels.quad_tiles import dense_quad_kernel, to_bytes_kernel
from fxp.kernels.records import DENSE, TO_BYTES, filled

BYTE_VALUES = 256
INT8_MIN, INT8_MAX = -128, 127


def pack_quads(weights: NDArray[np.int16], width: int) -> NDArray[np.int8]:
    """Turn ``(runs, inputs, C)`` into ``(blocks, runs, quads, width, 4)``, filled with zeros."""
    runs, inputs, channels = weights.shape
    whole = np.zeros((runs, -(-inputs // 4) * 4, channels), np.int8)
    whole[:, :inputs] = weights
    quads = whole.reshape(runs, -1, 4, channels // width, width)
    return np.ascontiguousarray(quads.transpose(3, 0, 1, 4, 2))


class RepackedStage(ConvolutionStage):
    """Convolution whose inputs are stored otherwise, in its scratch memory, before it reads them.

    Values between stages are int16. Every command of this stage comes after one that stores the
    rows that it reads; padding is stored like any other zero.
    """

    repack: tuple[Any, NDArray[np.void]]
    """Kernel that stores the inputs, and its record."""
    stored_bytes: int
    """Bytes of a stored pixel."""
    count_bytes = 0
    """Bytes of another number that is stored per pixel, behind all rows."""

    def __init__(self, graph: Graph, chain: Chain, kernel: str, shape: Geometry) -> None:
        super().__init__(graph, chain, kernel)
        self._shape = shape

    def _read(self, rows: int, columns: int) -> tuple[int, int, int]:
        """Rows and columns that a region reads, and bytes from one stored row to the next."""
        spans = [
            (outputs - 1) * step + dilation * (taps - 1) + 1
            for outputs, step, dilation, taps in zip(
                (rows, columns),
                self._shape.stride,
                self._shape.dilation,
                self._shape.weight.shape[2:],
                strict=True,
            )
        ]
        pitch = -(-spans[1] * self.stored_bytes // ALIGNMENT) * ALIGNMENT
        return spans[0], spans[1], pitch

    def commands(self, region: Region) -> list[list[int]]:
        """Store the inputs otherwise; then one command per part."""
        if self.pixel_bytes:
            region = region.in_one_row(self.pixel_bytes[0], self.pixel_bytes[1:])
        rows, columns, pitch = self._read(region.rows, region.columns)
        stored = Place(*region.scratch, pitch)
        first = replace(region, rows=rows, columns=columns, result=stored, inputs=region.inputs[:1])
        of_stored = replace(region, inputs=(stored, *region.inputs[1:]))
        parts = [part.command(of_stored) for part in self.parts]
        return [first.command(*self.repack), *parts]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the stored inputs; a tile may load a little beyond the last."""
        count, width, pitch = self._read(rows, columns)
        return count * (pitch + width * self.count_bytes) + ALIGNMENT


class QuadStage(RepackedStage):
    """Dense or grouped convolution of bytes.

    Stored bytes are less a constant, to begin at `FIRST_BYTE`; the bias makes up for it.
    """

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: tuple[int, int]
    ) -> None:
        super().__init__(graph, chain, "quad tiles", shape)
        assert chain.finish is not None
        less = limits[0] - FIRST_BYTE
        total = shape.weight.sum(axis=(1, 2, 3))
        finish = start_with_bias(chain.finish, shape.bias + less * total)
        self._keep: list[NDArray] = finish.arrays
        self.stored_bytes = shape.channels_in
        self.pixel_bytes = own_pixels(shape, finish)
        self.repack = to_bytes_kernel(), filled(TO_BYTES, channels=shape.channels_in, less=less)
        self.parts = []
        per_group = len(shape.weight) // shape.groups
        for group in range(shape.groups):
            taps, ordered = input_runs(shape, group)
            for tile, offset, blocks, again in split_channels(per_group, tiles):
                vectors, lanes, pixels = tile
                width = vectors * lanes
                weights = pack_quads(ordered[..., offset : offset + blocks * width], width)
                self._keep += [weights, taps]

                def kernel(
                    size: int, counted: bool, vectors: int = vectors, lanes: int = lanes
                ) -> Any:
                    return dense_quad_kernel(size, vectors, lanes, finish.stored(counted))

                record = filled(
                    DENSE,
                    **finish.fields(),
                    result_step=len(shape.weight),
                    blocks=blocks,
                    pairs=weights.shape[2],
                    weights=weights.ctypes.data,
                    taps=taps.ctypes.data,
                    input_step=shape.stride[1] * shape.channels_in,
                    row_step=shape.stride[0],
                    channels=len(shape.weight),
                    first_channel=group * per_group + offset,
                    runs=len(taps),
                    uncounted=again,
                )
                self.parts.append(Part(tile_sizes(pixels), kernel, record))


def quad_stage(graph: Graph, chain: Chain, tiles: Tiles) -> QuadStage | None:
    """Make the stage of a convolution whose inputs and weights fit bytes.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute.
    tiles
        Register tiles of the processor.
    """
    shape = geometry(graph, chain)
    if shape is None or not tiles.quads or not fits_pairs(graph, chain):
        return None
    assert chain.finish is not None
    limits = proved_limits(graph, chain)
    if (
        chain.finish.wide
        or shape.factor > 1
        or shape.is_depthwise
        or len(shape.weight) // shape.groups < tiles.dense[-1][1]
        or limits[1] - limits[0] >= BYTE_VALUES
        or shape.weight.min() < INT8_MIN
        or shape.weight.max() > INT8_MAX
    ):
        return None
    return QuadStage(graph, chain, shape, tiles, limits)
