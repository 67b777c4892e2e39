"""Convolutions whose sums need int64, or whose operands have more than 16 bits.

Sums are cut into chunks that are proved to fit int32, and added up in int64. Operands of more than
16 bits are sums of int16 parts, shifted: every part of the inputs meets every part of the weights,
and each product of parts is a chunk of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN, Chain
from fxp.engine.convolution_stages import (
    ConvolutionStage,
    Part,
    depthwise_blocks,
    own_pixels,
    start_with_bias,
    tile_sizes,
)
from fxp.engine.few_channels import before_shuffle
from fxp.engine.geometry import Geometry, InputLimits, merge_groups
from fxp.engine.packing import (
    Chunks,
    Term,
    chunk_ends,
    chunks,
    input_runs,
    pack_chunks,
    split_channels,
)
from fxp.engine.schedule import ALIGNMENT
from fxp.engine.stages import Place, Region
from fxp.graph import Graph
from fxp.kernels.finish import Finish
from fxp.kernels.host import Tiles
from fxp.kernels.records import DENSE_WIDE, DEPTHWISE_WIDE, SPLIT, filled
from fxp.kernels.split import split_kernel
from fxp.kernels.wide_mac import CARRIED, CARRIED_BITS, HIGH
from fxp.kernels.wide_tiles import (
    dense_wide_kernel,
    dense_wide_sums_kernel,
    depthwise_wide_kernel,
)

PART_BITS: Final = 16
"""Of a part of the inputs."""
FEW_BITS: Final = 9
"""Of a part of weights, of which int32 holds hundreds of products; those below have a bit less."""
CHUNK_COST: Final = 2.5
"""Pairs of products that take as long as the end of a chunk."""


def weight_parts(
    weight: NDArray[np.int64], most: int = PART_BITS
) -> list[tuple[NDArray[np.int64], int]]:
    """Write weights as a sum of int16 parts and their left shifts.

    Parameters
    ----------
    weight
        The weights.
    most
        Bits of the highest part, at most 16. Those below have one less, so that two products of
        such a part fit int32.
    """
    parts: list[tuple[NDArray[np.int64], int]] = []
    bits, limit, shift = most - 1, 1 << (most - 1), 0
    half = limit // 2
    while weight.min() < -limit or weight.max() >= limit:
        low = ((weight + half) & (limit - 1)) - half
        parts.append((low, shift))
        weight = (weight - low) >> bits
        shift += bits
    return [*parts, (weight, shift)]


def _cost(chunked: Chunks) -> float:
    """Time of chunks, in that of a pair of products."""
    return len(chunked.weights) + CHUNK_COST * len(chunked.table)


def _are_short(chunked: Chunks) -> bool:
    """Whether the ends of chunks take longer than their products."""
    return CHUNK_COST * len(chunked.table) > len(chunked.weights)


class InputParts:
    """How inputs of more than 16 bits are stored as several int16 each.

    ``x = least + Σ (part + less) << shift``, with a part and a constant for every 16 bits; the
    constants keep parts around 0, and the bias makes up for them.

    Attributes
    ----------
    least
        The smallest input.
    less
        The constants.
    limits
        Smallest and largest value of every part.
    """

    def __init__(self, limits: tuple[int, int]) -> None:
        self.least, most = limits
        span = most - self.least
        count = -(-max(span.bit_length(), 1) // PART_BITS)
        tops = [min(span >> (PART_BITS * p), 2**PART_BITS - 1) for p in range(count)]
        self.less = [(top + 1) // 2 for top in tops]
        self.limits = [(-less, top - less) for top, less in zip(tops, self.less, strict=True)]

    def __len__(self) -> int:
        return len(self.limits)

    def shift(self, part: int) -> int:
        """Left shift of a part."""
        return PART_BITS * part

    @property
    def constant(self) -> int:
        """What is missing from the sum of the stored parts."""
        return self.least + sum(less << self.shift(p) for p, less in enumerate(self.less))


class _WideStage(ConvolutionStage):
    """Shared by all: int64 sums, and inputs that are stored as parts first."""

    accumulator_dtype = np.dtype(np.int64)

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, kernel: str, limits: InputLimits
    ) -> None:
        source = graph.operands[chain.head.name][0].format.dtype
        self._shape = shape
        self._split = None if source == np.int16 else InputParts(limits.ends)
        super().__init__(graph, chain, kernel + ("" if self._split is None else ", inputs split"))
        assert chain.finish is not None
        bias = shape.bias
        self._pixel, self._keep = shape.channels_in, []
        self._limits: list[NDArray[np.int64]] = [limits.pairs]
        if self._split is not None:
            bias = bias + self._split.constant * shape.weight.sum(axis=(1, 2, 3))
            self._pixel = shape.channels_in * len(self._split)
            self._limits = [np.tile(ends, (shape.channels_in, 1)) for ends in self._split.limits]
            less = np.array(self._split.less, np.int64)
            self._keep.append(less)
            self._record = filled(
                SPLIT,
                channels=shape.channels_in,
                parts=len(self._split),
                least=self._split.least,
                less=less.ctypes.data,
            )
        self._finish = start_with_bias(_wide(chain.finish), bias)
        self._keep += self._finish.arrays
        self.parts = []

    def _chunks(self, group: int) -> Chunks:
        """Products of a group of channels, cut into chunks."""
        found = self._chunks_of_parts(group, PART_BITS)
        if found is None or _are_short(found):
            # Chunks of a few products take longer than twice as many products in long chunks.
            parts = self._chunks_of_parts(group, FEW_BITS)
            assert parts is not None, "products of few bits fit"
            found = parts if found is None else min(found, parts, key=_cost)
        return found

    def _chunks_of_parts(self, group: int, most: int) -> Chunks | None:
        """Products with parts of the weights of at most so many bits, if they fit."""
        return chunks(
            [
                self._term(
                    *input_runs(
                        replace(self._shape, weight=weight),
                        group,
                        (self._pixel, number * self._shape.channels_in),
                    ),
                    group,
                    limits,
                    shift=PART_BITS * number + shift,
                )
                for number, limits in enumerate(self._limits)
                for weight, shift in weight_parts(self._shape.weight, most)
            ]
        )

    def _chunks_together(self, group: int, together: int) -> Chunks | None:
        """Products of which those with so many neighbouring pixels are taken together, if any."""
        parts = weight_parts(self._shape.weight)
        if together == 1 or len(parts) > 1:
            return None
        taps, weights = input_runs(self._shape, group, (self._pixel, 0))
        if len(taps) > self._shape.weight.shape[2]:
            # Runs of single pixels become rows of the kernel.
            taps, weights = (
                taps[::together],
                weights.reshape(-1, together * weights.shape[1], weights.shape[2]),
            )
        return chunks([self._term(taps, weights, group, self._limits[0], together=together)])

    def _term(
        self,
        taps: NDArray[np.int64],
        weights: NDArray[np.int16],
        group: int,
        limits: NDArray[np.int64],
        **options: int,
    ) -> Term:
        """Products whose runs take all channels of a group, once or several times."""
        channels = self._shape.weight.shape[1]
        own = limits[group * channels : (group + 1) * channels]
        return Term(taps, weights, np.tile(own, (weights.shape[1] // channels, 1)), **options)

    def _fields(self, chunked: Chunks, weights: NDArray[np.int16]) -> dict[str, int]:
        """Fields of the record of dense kernels; keeps the arrays alive."""
        self._keep += [chunked.table, chunked.taps, chunked.lengths, weights]
        return {
            **self._finish.fields(),
            "result_step": len(self._shape.weight) // self._shape.factor,
            "runs": len(chunked.taps),
            "pairs": len(chunked.weights),
            "weights": weights.ctypes.data,
            "taps": chunked.taps.ctypes.data,
            "input_step": self._shape.stride[1] * self._pixel,
            "row_step": self._shape.stride[0],
            "channels": len(self._shape.weight),
            "shuffle": self._shape.factor,
            "chunks": len(chunked.table),
            "chunk_table": chunked.table.ctypes.data,
            "piece_pairs": chunked.lengths.ctypes.data,
            "low_starts": 0,
        }

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
        pitch = -(-2 * spans[1] * self._pixel // ALIGNMENT) * ALIGNMENT
        return spans[0], spans[1], pitch

    def commands(self, region: Region) -> list[list[int]]:
        """Store the inputs as parts, if they are; then one command per part of the channels."""
        if self._split is None:
            return super().commands(region)
        rows, columns, pitch = self._read(region.rows, region.columns)
        stored = Place(*region.scratch, pitch)
        first = replace(region, rows=rows, columns=columns, result=stored, inputs=region.inputs[:1])
        size = rows * pitch + ALIGNMENT
        base, offset = region.scratch
        after = replace(region, scratch=(base, offset + size), inputs=(stored, *region.inputs[1:]))
        return [first.command(split_kernel(), self._record), *super().commands(after)]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the inputs as parts; the last pair may reach a little beyond."""
        if self._split is None:
            return 0
        count, _, pitch = self._read(rows, columns)
        return count * pitch + 2 * ALIGNMENT


def _wide(finish: Finish) -> Finish:
    """Return a finish in int64."""
    if finish.wide:
        return finish
    return replace(finish, **{
        name: getattr(finish, name).astype(np.int64)
        for name in ("start", "own", "factor", "shift")
    })  # fmt: skip


class WideStage(_WideStage):
    """Dense or grouped convolution in chunks."""

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: InputLimits
    ) -> None:
        super().__init__(graph, chain, shape, "pair tiles in chunks", limits)
        if self._split is None:
            self.pixel_bytes = own_pixels(shape, self._finish)
        per_group = len(shape.weight) // shape.groups
        for group in range(shape.groups):
            for tile, offset, blocks, again in split_channels(per_group, tiles):
                vectors, lanes, pixels = tile
                width = vectors * lanes
                together = self._together(tile, tiles)
                chunked = self._chunks_together(group, together)
                if chunked is None or _are_short(chunked):
                    together, chunked = 1, self._chunks(group)
                finish, low, chunking = self._finish, 0, chunked.added
                cut = _cut(finish, chunked)
                if cut is not None:
                    finish, low_starts = cut
                    self._keep += [*finish.arrays, low_starts]
                    low, chunking = low_starts.ctypes.data, CARRIED | HIGH
                weights = pack_chunks(chunked.weights[..., offset : offset + blocks * width], width)
                kernel = partial(_dense_kernel, vectors, lanes, finish, chunking, together)
                record = filled(
                    DENSE_WIDE,
                    **self._fields(chunked, weights) | finish.fields() | {"low_starts": low},
                    first_channel=group * per_group + offset,
                    blocks=blocks,
                    uncounted=again,
                )
                self.parts.append(Part(tile_sizes(pixels), kernel, record))

    def _together(self, tile: tuple[int, int, int], tiles: Tiles) -> int:
        """Columns of the kernel that share each load of an input, where loads are the limit.

        Parameters
        ----------
        tile
            Vectors, lanes and pixels of the register tile.
        tiles
            All tiles of the processor, which tell how many registers there are.
        """
        (vectors, _, pixels), shape = tile, self._shape
        columns = shape.weight.shape[3]
        registers = max(count * size for count, _, size in tiles.dense)
        possible = (
            vectors == 1
            and self._split is None
            and (shape.stride[1], shape.dilation[1]) == (1, 1)
            and shape.weight.shape[1] % 2 == 0
            and pixels + columns < registers
        )
        return columns if possible else 1


def _dense_kernel(
    vectors: int, lanes: int, finish: Finish, chunking: int, together: int, size: int, counted: bool
) -> Any:
    return dense_wide_kernel(size, vectors, lanes, finish.stored(counted), chunking, together)


def _cut(finish: Finish, chunked: Chunks) -> tuple[Finish, NDArray[np.int32]] | None:
    """Finish of the high parts of sums alone, and the low parts of the start.

    None where results need the low parts as well, or int32 might not hold the high parts.

    Parameters
    ----------
    finish
        In int64.
    chunked
        The products.
    """
    high, low = finish.start >> CARRIED_BITS, finish.start & ((1 << CARRIED_BITS) - 1)
    most = int(np.abs(high).max()) + (len(chunked.table) << (31 - CARRIED_BITS))
    shift = finish.shift - CARRIED_BITS
    if (
        chunked.added != CARRIED
        or finish.other is not None
        or finish.scaled
        or shift.min() < 0
        or shift.max() > 31
        or most > INT32_MAX
    ):
        return None
    counts = (max(finish.count_low, INT32_MIN), min(finish.count_high, INT32_MAX))
    narrow = replace(
        finish,
        start=high.astype(np.int32),
        own=finish.own.astype(np.int32),
        factor=finish.factor.astype(np.int32),
        shift=shift.astype(np.int32),
        count_low=counts[0],
        count_high=counts[1],
    )
    return narrow, low.astype(np.int32)


class WideSumsStage(_WideStage):
    """Convolution in chunks whose sums are finished row by row: few channels, pixel shuffle."""

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: InputLimits
    ) -> None:
        super().__init__(graph, chain, shape, "pair tiles in chunks, sums", limits)
        self.multiple = shape.factor
        channels = len(shape.weight)
        _, lanes, pixels = next(
            (tile for tile in tiles.dense if tile[0] == 1 and tile[1] <= max(4, channels)),
            tiles.dense[-1],
        )
        self._width = -(-channels // lanes) * lanes
        chunked = self._chunks(0)
        padded = np.zeros((*chunked.weights.shape[:2], self._width), np.int16)
        padded[..., :channels] = chunked.weights
        weights = pack_chunks(padded, lanes)

        def kernel(size: int, counted: bool) -> Any:
            return dense_wide_sums_kernel(size, lanes, self._finish.stored(counted), chunked.added)

        record = filled(
            DENSE_WIDE,
            **self._fields(chunked, weights),
            first_channel=0,
            blocks=len(weights),
            uncounted=0,
        )
        self.parts = [Part(tile_sizes(pixels), kernel, record)]

    def commands(self, region: Region) -> list[list[int]]:
        """One command, whose region is that of the image before the shuffle."""
        return super().commands(before_shuffle(region, self.multiple))

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for the inputs, and for a row of sums."""
        rows, columns = -(-rows // self.multiple), -(-columns // self.multiple)
        return super().scratch_bytes(rows, columns) + 8 * self._width * columns


class WideDepthwiseStage(_WideStage):
    """Depthwise convolution in chunks."""

    def __init__(
        self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: InputLimits
    ) -> None:
        super().__init__(graph, chain, shape, "depthwise tiles in chunks", limits)
        channels = len(shape.weight)
        width, pixels = next(tile for tile in tiles.depthwise if tile[0] <= channels)
        taps, packed, pairs = depthwise_blocks(shape, width)
        ends = chunk_ends(pairs.transpose(0, 2, 1), limits.ends)
        assert ends is not None
        table = np.array([(count, 0) for count in np.diff([0, *ends])], np.int64)
        self._keep += [taps, packed, table]
        record = filled(
            DEPTHWISE_WIDE,
            **self._finish.fields(),
            result_step=channels,
            blocks=len(packed),
            pairs=len(taps) // 2,
            weights=packed.ctypes.data,
            taps=taps.ctypes.data,
            input_step=shape.stride[1] * channels,
            row_step=shape.stride[0],
            channels=channels,
            chunks=len(table),
            chunk_table=table.ctypes.data,
        )

        def kernel(size: int, counted: bool) -> Any:
            return depthwise_wide_kernel(size, width, self._finish.stored(counted))

        self.parts = [Part((pixels, 2, 1), kernel, record)]


def wide_stage(
    graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles, limits: InputLimits
) -> ConvolutionStage:
    """Make the stage of a convolution whose operands or sums are wide.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute, with a finish.
    shape
        The convolution.
    tiles
        Register tiles of the processor.
    limits
        Its inputs.
    """
    channels = len(shape.weight)
    source = graph.operands[chain.head.name][0].format.dtype
    fits = source == np.int16 and -(2**15) <= shape.weight.min() <= shape.weight.max() < 2**15
    if fits and shape.is_depthwise and shape.factor == 1 and channels >= tiles.depthwise[-1][0]:
        _, _, pairs = depthwise_blocks(shape, tiles.depthwise[-1][0])
        if chunk_ends(pairs.transpose(0, 2, 1), limits.ends) is not None:
            return WideDepthwiseStage(graph, chain, shape, tiles, limits)
    shape = merge_groups(shape, tiles.dense[0][1])
    if shape.factor > 1 or channels // shape.groups < tiles.dense[-1][1]:
        return WideSumsStage(graph, chain, merge_groups(shape, channels), tiles, limits)
    return WideStage(graph, chain, shape, tiles, limits)
