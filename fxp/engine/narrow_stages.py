"""Convolutions of values and weights of 8 bits: four products a lane."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.engine.byte_values import ByteStage
from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import (
    ConvolutionStage,
    Part,
    own_pixels,
    start_with_bias,
    tile_sizes,
)
from fxp.engine.geometry import Geometry, fits_pairs, geometry, input_limits
from fxp.engine.packing import input_runs, split_channels
from fxp.engine.schedule import ALIGNMENT
from fxp.engine.stages import Place, Region
from fxp.graph import Graph
from fxp.kernels.depthwise_rows import STEPS, TAPS
from fxp.kernels.host import Tiles
from fxp.kernels.quad_depthwise import quad_depthwise_kernel, quad_order
from fxp.kernels.quad_mac import FIRST_BYTE
from fxp.kernels.quad_tiles import dense_quad_kernel, to_bytes_kernel
from fxp.kernels.records import DENSE, DEPTHWISE_ROWS, TO_BYTES, filled

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

    repack: tuple[Any, NDArray[np.void]] | None
    """Kernel that stores the inputs, and its record; None where they are stored so already."""
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
        if self.repack is None:
            return self.of_stored(region)
        rows, columns, pitch = self._read(region.rows, region.columns)
        stored = Place(*region.scratch, pitch)
        first = replace(region, rows=rows, columns=columns, result=stored, inputs=region.inputs[:1])
        of_stored = replace(region, inputs=(stored, *region.inputs[1:]))
        return [first.command(*self.repack), *self.of_stored(of_stored)]

    def of_stored(self, region: Region) -> list[list[int]]:
        """Commands for a region whose inputs are stored."""
        return [part.command(region) for part in self.parts]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the stored inputs; a tile may load a little beyond the last."""
        if self.repack is None:
            return 0
        count, width, pitch = self._read(rows, columns)
        return count * (pitch + width * self.count_bytes) + ALIGNMENT


class _ByteConvolution(RepackedStage, ByteStage):
    """Convolution of bytes, which are inputs less a constant, to begin at `FIRST_BYTE`.

    The bias makes up for the constant.
    """

    def __init__(
        self, graph: Graph, chain: Chain, kernel: str, shape: Geometry, limits: tuple[int, int]
    ) -> None:
        super().__init__(graph, chain, kernel, shape)
        assert chain.finish is not None
        less = limits[0] - FIRST_BYTE
        total = shape.weight.sum(axis=(1, 2, 3))
        self.finish = start_with_bias(chain.finish, shape.bias + less * total)
        self.bytes_are_inputs = less == 0
        self.stored_bytes = shape.channels_in
        self.repack = to_bytes_kernel(), filled(TO_BYTES, channels=shape.channels_in, less=less)
        self.parts = []
        self._keep: list[NDArray] = self.finish.arrays

    def take_bytes(self, name: str) -> None:
        """From now on, a value that it stores or reads is bytes."""
        super().take_bytes(name)
        if self.reads_bytes:
            self.repack = None


class QuadStage(_ByteConvolution):
    """Dense or grouped convolution of bytes."""

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: tuple[int, int]
    ) -> None:
        super().__init__(graph, chain, "quad tiles", shape, limits)
        self.pixel_bytes = own_pixels(shape, self.finish)
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
                    return dense_quad_kernel(size, vectors, lanes, self.finish.stored(counted))

                record = filled(
                    DENSE,
                    **self.finish.fields(),
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

    def take_bytes(self, name: str) -> None:
        """From now on, a value that it stores or reads is bytes."""
        super().take_bytes(name)
        self.pixel_bytes = own_pixels(self._shape, self.finish, 1 if self.reads_bytes else 2)


class QuadDepthwiseStage(_ByteConvolution):
    """Depthwise convolution of bytes whose kernel has three rows or more."""

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: tuple[int, int]
    ) -> None:
        super().__init__(graph, chain, "depthwise quads", shape, limits)
        channels = len(shape.weight)
        widths = quad_widths(tiles)
        width = next(width for width in widths if width <= channels)
        self._single = self._part(shape, width, together=1)
        self._joint: Part | None = None
        self._together = widths[0] // gcd(widths[0], channels)
        if channels < widths[0] and self._together in STEPS and shape.stride[1] == 1:
            self._joint = self._part(shape, widths[0], self._together)

    @staticmethod
    def takes(shape: Geometry, tiles: Tiles) -> bool:
        """Whether the kernels are made for a convolution."""
        rows, columns = shape.weight.shape[2:]
        return (
            shape.is_depthwise
            and rows in TAPS
            and columns in TAPS
            and shape.stride[1] in STEPS
            and shape.dilation[1] == 1
            and len(shape.weight) >= quad_widths(tiles)[-1]
        )

    def _part(self, shape: Geometry, width: int, together: int) -> Part:
        """Make the kernel and its parameters for vectors of so many bytes.

        Parameters
        ----------
        shape
            The convolution.
        width
            Bytes of a vector.
        together
            Pixels whose channels fill whole vectors together.
        """
        channels, _, rows, columns = shape.weight.shape
        repeated = self.finish.taken(np.tile(np.arange(channels), together))
        weights = pack_columns(np.tile(shape.weight[:, 0], (together, 1, 1)), width)
        self._keep += [*repeated.arrays, weights]
        record = filled(
            DEPTHWISE_ROWS,
            **repeated.fields(),
            blocks=len(weights),
            rows=rows,
            weights=weights.ctypes.data,
            channels=channels,
            together=together,
            pixel_step=channels,
            stride=shape.stride[1],
            row_step=shape.stride[0],
            dilation=shape.dilation[0],
        )

        def kernel(_: int, counted: bool) -> Any:
            step = shape.stride[1] * together
            return quad_depthwise_kernel(width, rows, columns, step, self.finish.stored(counted))

        return Part((1,), kernel, record)

    def of_stored(self, region: Region) -> list[list[int]]:
        """One command."""
        joint = self._joint
        if joint is not None and region.columns >= self._together and not region.counted:
            return [joint.command(region)]
        return [self._single.command(region)]


def quad_widths(tiles: Tiles) -> list[int]:
    """Bytes of the vectors of depthwise tiles, widest first."""
    return sorted({4 * lanes for _, lanes, _ in tiles.dense}, reverse=True)


def pack_columns(weights: NDArray[np.int64], width: int) -> NDArray[np.int8]:
    """Turn weights ``(C, rows, columns)`` into ``(blocks, rows / 4, columns, width, 4)``.

    The channels of a block are in the order of `quad_order`. The last block overlaps the one
    before it.

    Parameters
    ----------
    weights
        One kernel per channel.
    width
        Channels of a block.
    """
    channels, rows, columns = weights.shape
    whole = np.zeros((channels, -(-rows // 4) * 4, columns), np.int8)
    whole[:, :rows] = weights
    quads = whole.reshape(channels, -1, 4, columns).transpose(1, 3, 0, 2)
    order = np.concatenate(quad_order(width))
    firsts = [min(first, channels - width) for first in range(0, channels, width)]
    return np.ascontiguousarray(np.stack([quads[:, :, first + order] for first in firsts]))


def quad_stage(graph: Graph, chain: Chain, tiles: Tiles) -> QuadStage | QuadDepthwiseStage | None:
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
    limits = input_limits(graph, chain).ends
    if (
        chain.finish.wide
        or shape.factor > 1
        or limits[1] - limits[0] >= BYTE_VALUES
        or shape.weight.min() < INT8_MIN
        or shape.weight.max() > INT8_MAX
    ):
        return None
    if QuadDepthwiseStage.takes(shape, tiles):
        return QuadDepthwiseStage(graph, chain, shape, tiles, limits)
    if shape.is_depthwise or len(shape.weight) // shape.groups < tiles.dense[-1][1]:
        return None
    return QuadStage(graph, chain, shape, tiles, limits)
