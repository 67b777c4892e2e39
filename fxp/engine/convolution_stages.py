"""Convolutions as command stages: packed weights and the tiles they run in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN, Chain
from fxp.engine.stages import CommandStage, Region
from fxp.graph import Graph
from fxp.kernels.finish import Finish
from fxp.kernels.host import Tiles
from fxp.kernels.pair_mac import interleaved_order
from fxp.kernels.tiles import (
    TILE_FIELDS,
    dense_kernel,
    dense_shuffled_kernel,
    dense_sums_kernel,
    dense_wide_kernel,
    depthwise_kernel,
)
from fxp.ops import Conv2d, ConvTranspose2d, Linear
from fxp.ops.transposed import phases

MAX_LANES = 16
"""Longest vector that is shuffled."""
SMALL_TILES = (4, 1)
"""Pixels of tiles for regions narrower than the usual tile."""


@dataclass(frozen=True)
class Geometry:
    """A convolution without its borders.

    Attributes
    ----------
    weight
        ``(C_out, C_in / groups, k_h, k_w)``.
    bias
        ``(C_out,)``.
    stride, dilation, groups
        As usual.
    factor
        Of the pixel shuffle behind it: that of the chain, or of a transposed convolution, whose
        phases are channels that are shuffled.
    """

    weight: NDArray[np.int64]
    bias: NDArray[np.int64]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    factor: int = 1

    @property
    def channels_in(self) -> int:
        """Channels of the image."""
        return self.weight.shape[1] * self.groups

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel reads the input channel of its own number only."""
        return self.weight.shape[1] == 1 and self.groups == len(self.weight)


def geometry(graph: Graph, chain: Chain) -> Geometry | None:
    """Geometry of a chain's head, if it is a convolution that tiles can run."""
    op, operands = chain.head.op, graph.operands[chain.head.name]
    if not isinstance(op, Conv2d | ConvTranspose2d | Linear):
        return None
    weight = operands[1].constant
    assert weight is not None
    bias = operands[2].constant if len(operands) == 3 else None
    if bias is None:
        bias = np.zeros(len(weight), np.int64)
    if isinstance(op, ConvTranspose2d):
        return _of_phases(op, weight, bias) if chain.factor == 1 else None
    if isinstance(op, Linear):
        return Geometry(weight[:, :, None, None], bias, (1, 1), (1, 1), 1)
    if op.padding_mode != "zero" and any(op.padding):
        return None
    return Geometry(weight, bias, op.stride, op.dilation, op.groups, chain.factor)


def _of_phases(
    op: ConvTranspose2d, weight: NDArray[np.int64], bias: NDArray[np.int64]
) -> Geometry | None:
    """A transposed convolution as one convolution with a channel per phase.

    Taps that a phase does not have are zero. None if the phases' sizes would differ.
    """
    factor, columns = op.stride
    added = [
        op.dilation[axis] * (weight.shape[2 + axis] - 1)
        + 1
        - 2 * op.padding[axis]
        + op.output_padding[axis]
        for axis in (0, 1)
    ]
    found = phases(weight, op.stride, op.padding, op.dilation)
    if (
        factor != columns
        or op.groups != 1
        or any(size % factor for size in added)
        or len(found) != factor**2
        or any((phase.row_step, phase.column_step) != (1, 1) for phase in found)
    ):
        return None
    top = min(phase.first_row for phase in found)
    left = min(phase.first_column for phase in found)
    height = max(phase.first_row + phase.weight.shape[0] for phase in found) - top
    width = max(phase.first_column + phase.weight.shape[1] for phase in found) - left
    channels, inputs = weight.shape[:2]
    merged = np.zeros((channels, factor, factor, inputs, height, width), np.int64)
    for phase in found:
        rows, cols = phase.weight.shape[:2]
        y, x = phase.first_row - top, phase.first_column - left
        merged[:, phase.row, phase.column, :, y : y + rows, x : x + cols] = (
            phase.weight.transpose(3, 2, 0, 1)
        )
    return Geometry(
        merged.reshape(-1, inputs, height, width),
        np.repeat(bias, factor**2),
        (1, 1),
        (1, 1),
        1,
        factor,
    )


def fits_pairs(graph: Graph, chain: Chain) -> bool:
    """Whether inputs, weights and the finished sums of a chain fit int16 and int32."""
    source, weight = graph.operands[chain.head.name][:2]
    assert weight.constant is not None
    return (
        chain.finish is not None
        and source.format.dtype == np.int16
        and -(2**15) <= weight.constant.min()
        and weight.constant.max() < 2**15
    )


def start_with_bias(finish: Finish, bias: NDArray[np.int64]) -> Finish:
    """Finish whose start holds the bias; wraps, as the sums do."""
    return replace(finish, start=(finish.start + bias).astype(finish.start.dtype))


@dataclass(frozen=True)
class _Part:
    """Some output channels, and the kernels for them by the columns they need."""

    kernels: tuple[tuple[int, Any, Any], ...]
    """``(columns at least, kernel, counting kernel)``, widest first."""
    block: NDArray[np.int64]

    def kernel(self, columns: int, counted: bool) -> Any:
        """The kernel for a region of so many columns."""
        for least, plain, counting in self.kernels:
            if columns >= least:
                return (counting if counted else plain)()
        raise AssertionError("tiles of one pixel fit every region")


class _ConvolutionStage(CommandStage):
    """Shared by the convolutions: parts of the output channels one after the other."""

    parts: list[_Part]

    def commands(self, region: Region) -> list[list[int]]:
        """One command per part."""
        return [
            region.command(part.kernel(region.columns, region.counted), part.block)
            for part in self.parts
        ]


class DenseStage(_ConvolutionStage):
    """Dense or grouped convolution by register tiles."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, "pair tiles")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        self._keep: list[NDArray] = [finish.start, finish.shift]
        self.parts = []
        channels = len(shape.weight)
        per_group = channels // shape.groups
        for group in range(shape.groups):
            first = group * per_group
            taps, packed = _runs(shape, group)
            for (vectors, lanes, pixels), offset, blocks, again in _split(per_group, tiles):
                width = vectors * lanes
                weights = _pack(packed[..., offset : offset + blocks * width], width)
                self.parts.append(
                    self._part(
                        [
                            (
                                size,
                                lambda s=size, v=vectors, w=lanes: dense_kernel(
                                    s, v, w, finish.stored(False)
                                ),
                                lambda s=size, v=vectors, w=lanes: dense_kernel(
                                    s, v, w, finish.stored(True)
                                ),
                            )
                            for size in (pixels, *SMALL_TILES)
                        ],
                        finish,
                        shape,
                        [channels, first + offset, blocks, len(taps), weights.shape[2]],
                        weights,
                        taps,
                        again,
                    )
                )

    def _part(
        self,
        kernels: list[tuple[int, Any, Any]],
        finish: Finish,
        shape: Geometry,
        counts: list[int],
        weights: NDArray[np.int16],
        taps: NDArray[np.int64],
        *extra: int,
    ) -> _Part:
        self._keep += [weights, taps]
        block = np.array(
            [
                *finish.fields(),
                *counts,
                weights.ctypes.data,
                taps.ctypes.data,
                shape.stride[1] * shape.channels_in,
                shape.stride[0],
                len(shape.weight),
                *extra,
            ],
            np.int64,
        )
        return _Part(tuple(kernels), block)


class WideStage(DenseStage):
    """Dense convolution whose sums need int64, in chunks that are proved to fit int32."""

    accumulator_dtype = np.dtype(np.int64)

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        shape: Geometry,
        tiles: Tiles,
        pieces: tuple[int, list[list[int]]],
    ) -> None:
        CommandStage.__init__(self, graph, chain, "pair tiles in chunks")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        self._keep = [finish.start, finish.shift]
        self._counting: tuple[list[_Part], list[_Part]] = ([], [])
        channels = len(shape.weight)
        per_group = channels // shape.groups
        length, ends = pieces
        for group in range(shape.groups):
            taps, packed = _cut_runs(*_runs(shape, group), length)
            chunk_ends = np.array(ends[group], np.int64)
            self._keep.append(chunk_ends)
            for (vectors, lanes, pixels), offset, blocks, again in _split(per_group, tiles):
                width = vectors * lanes
                weights = _pack(packed[..., offset : offset + blocks * width], width)
                kernels = [
                    (size, *[lambda s=size, v=vectors, w=lanes: dense_wide_kernel(s, v, w)] * 2)
                    for size in (pixels, *SMALL_TILES)
                ]
                first = group * per_group + offset
                counts = [channels, first, blocks, len(taps), weights.shape[2]]
                for counted in (False, True):
                    self._counting[int(counted)].append(
                        self._part(
                            kernels, finish, shape, counts, weights, taps, again,
                            chunk_ends.ctypes.data, len(chunk_ends), int(counted),
                        )  # fmt: skip
                    )

    def commands(self, region: Region) -> list[list[int]]:
        """Commands that count or do not."""
        self.parts = self._counting[int(region.counted)]
        return super().commands(region)


def _cut_runs(
    taps: NDArray[np.int64], weights: NDArray[np.int16], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Cut runs into pieces of so many inputs, which divides their length made even."""
    runs, inputs, channels = weights.shape
    even = np.zeros((runs, inputs + inputs % 2, channels), np.int16)
    even[:, :inputs] = weights
    count = even.shape[1] // length
    cut = np.repeat(taps, count, axis=0)
    cut[:, 1] += np.tile(np.arange(count) * length, runs)
    return cut, even.reshape(runs * count, length, channels)


def chunks(shape: Geometry, limits: tuple[int, int]) -> tuple[int, list[list[int]]] | None:
    """Cut the sum of a convolution into chunks that fit int32 each.

    Parameters
    ----------
    shape
        The convolution.
    limits
        Smallest and largest input.

    Returns
    -------
    tuple or None
        Inputs in a run, an even divisor of the runs' length, and for every group the ends of the
        chunks, counted in runs; None if two inputs are too many already.
    """
    low, high = limits
    groups = [_runs(shape, group) for group in range(shape.groups)]
    inputs = groups[0][1].shape[1]
    total = inputs + inputs % 2
    for count in range(1, total // 2 + 1):
        if (total // 2) % count:
            continue
        length = total // count
        found = []
        for taps, weights in groups:
            _, pieces = _cut_runs(taps, weights, length)
            wide = pieces.astype(np.int64)
            positive, negative = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
            ends = _ends(
                high * positive + low * negative, high * negative + low * positive
            )
            if ends is None:
                break
            found.append(ends)
        if len(found) == shape.groups:
            return length, found
    return None


def _ends(most: NDArray[np.int64], least: NDArray[np.int64]) -> list[int] | None:
    """Ends of the longest chunks of runs whose bounds ``(runs, C)`` fit int32."""
    ends: list[int] = []
    above, below = np.zeros_like(most[0]), np.zeros_like(least[0])
    for run, (high, low) in enumerate(zip(most, least, strict=True)):
        if high.max() > INT32_MAX or low.min() < INT32_MIN:
            return None
        if (above + high).max() > INT32_MAX or (below + low).min() < INT32_MIN:
            ends.append(run)
            above, below = np.zeros_like(high), np.zeros_like(low)
        above, below = above + high, below + low
    return [*ends, len(most)]


class _PaddedStage(DenseStage):
    """Dense convolution to a few channels, padded to whole vectors."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, kernel: str) -> None:
        CommandStage.__init__(self, graph, chain, kernel)
        assert chain.finish is not None
        self._finish = start_with_bias(chain.finish, shape.bias)

    def _padded(self, shape: Geometry, lanes: int) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """Taps and packed weights, with start and shift of the finish padded alike."""
        channels = len(shape.weight)
        width = -(-channels // lanes) * lanes
        finish = self._finish
        start, shift = np.zeros(width, np.int32), np.zeros(width, np.int32)
        start[:channels], shift[:channels] = finish.start, finish.shift
        self._finish = replace(finish, start=start, shift=shift)
        self._keep = [start, shift]
        taps, weights = _runs(shape, 0)
        padded = np.zeros((*weights.shape[:-1], width), weights.dtype)
        padded[..., :channels] = weights
        return taps, _pack(padded, lanes)

    def commands(self, region: Region) -> list[list[int]]:
        """One command, whose region is that of the image before the shuffle."""
        return super().commands(_before_shuffle(region, self.multiple))


def _before_shuffle(region: Region, factor: int) -> Region:
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
        kernels = [
            (
                size,
                *[
                    lambda s=size, k=self._finish.stored(counted): dense_shuffled_kernel(
                        s, lanes, factor, k
                    )
                    for counted in (False, True)
                ],
            )
            for size in (pixels, *SMALL_TILES)
        ]
        counts = [1, 0, 1, len(taps), weights.shape[2]]
        # Lanes beyond the channels hold zeros; their count must not matter.
        self.parts = [self._part(kernels, self._finish, shape, counts, weights, taps, 0)]


class BlockedStage(CommandStage):
    """Convolution to few channels that computes blocks of neighbouring pixels as channels.

    A block's kernel is a little larger and has zeros, but fills the vectors: four channels, or one,
    leave most lanes of a register empty. What is left over at the ends goes to another stage.
    """

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        shape: Geometry,
        tiles: Tiles,
        block: int,
        plain: CommandStage,
    ) -> None:
        super().__init__(graph, chain, f"pair tiles, blocks of {block}x{block}")
        assert chain.finish is not None
        self.multiple, self._plain = shape.factor, plain
        self._pixel_bytes = 2 * shape.channels_in
        blocked, order = in_blocks(shape, block)
        wide = replace(chain, finish=chain.finish.taken(order))
        self._blocked = ShuffledStage(graph, wide, blocked, tiles)

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

    def _part_of(
        self, region: Region, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Region:
        source, *others = region.inputs
        down, right = rows[0] // self.multiple, columns[0] // self.multiple
        return replace(
            region,
            rows=rows[1] - rows[0],
            columns=columns[1] - columns[0],
            first_row=region.first_row + rows[0],
            first_column=region.first_column + columns[0],
            result=region.result.moved(rows[0], 2 * columns[0]),
            inputs=(
                source.moved(down, right * self._pixel_bytes),
                *(other.moved(rows[0], 2 * columns[0]) for other in others),
            ),
        )

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """What the other stage needs."""
        return self._plain.scratch_bytes(rows, columns)


def in_blocks(shape: Geometry, block: int) -> tuple[Geometry, NDArray[np.int64]]:
    """A convolution whose channels are the pixels of a block, and the channel each stands for.

    The convolution has ``factor**2`` channels, stride and dilation 1.
    """
    factor, total = shape.factor, shape.factor * block
    _, inputs, height, width = shape.weight.shape
    weight = np.zeros(
        (total, total, inputs, height + block - 1, width + block - 1), shape.weight.dtype
    )
    order = np.empty((total, total), np.int64)
    for row, column in np.ndindex(total, total):
        channel = row % factor * factor + column % factor
        y, x = row // factor, column // factor
        order[row, column] = channel
        weight[row, column, :, y : y + height, x : x + width] = shape.weight[channel]
    merged = weight.reshape(total**2, inputs, height + block - 1, width + block - 1)
    bias = shape.bias[order.reshape(-1)]
    return Geometry(merged, bias, (block, block), (1, 1), 1, total), order.reshape(-1)


def best_block(shape: Geometry) -> int:
    """The size of blocks that needs the fewest vector operations per pixel."""
    _, _, height, width = shape.weight.shape

    def cost(block: int) -> float:
        return (height + block - 1) * (width + block - 1) / block**2

    sizes = [block for block in (1, 2, 4) if (shape.factor * block) ** 2 <= MAX_LANES]
    return min(sizes, key=cost)


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
        kernels = [
            (size, *[lambda s=size: dense_sums_kernel(s, lanes)] * 2)
            for size in (pixels, *SMALL_TILES)
        ]
        counts = [0, 0, weights.shape[0], len(taps), weights.shape[2]]
        self._counting = [
            self._part(
                kernels, self._finish, shape, counts, weights, taps, 0, shape.factor, int(counted)
            )
            for counted in (False, True)
        ]

    def commands(self, region: Region) -> list[list[int]]:
        """One command, which counts or not."""
        self.parts = [self._counting[int(region.counted)]]
        return super().commands(region)

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for a row of sums."""
        return 4 * self._width * columns


class DepthwiseStage(_ConvolutionStage):
    """Depthwise convolution by register tiles."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, "depthwise tiles")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        channels = len(shape.weight)
        width, pixels = next(tile for tile in tiles.depthwise if tile[0] <= channels)
        taps = _tap_positions(shape)
        weight = shape.weight[:, 0].reshape(channels, -1).T.astype(np.int16)
        if len(taps) % 2:
            taps = np.concatenate([taps, taps[-1:]])
            weight = np.concatenate([weight, np.zeros_like(weight[:1])])
        pairs = weight.reshape(-1, 2, channels).transpose(0, 2, 1)
        order = interleaved_order(width)
        blocks = -(-channels // width)
        firsts = [min(number * width, channels - width) for number in range(blocks)]
        packed = np.ascontiguousarray(
            np.stack([pairs[:, first : first + width][:, order] for first in firsts])
        )
        self._keep = [finish.start, finish.shift, taps, packed]
        block = np.array(
            [
                *finish.fields(),
                channels,
                0,
                blocks,
                len(taps) // 2,
                1,
                packed.ctypes.data,
                taps.ctypes.data,
                shape.stride[1] * channels,
                shape.stride[0],
                channels,
                0,
            ],
            np.int64,
        )
        assert len(block) == TILE_FIELDS
        kernels = tuple(
            (
                size,
                lambda s=size: depthwise_kernel(s, width, finish.stored(False)),
                lambda s=size: depthwise_kernel(s, width, finish.stored(True)),
            )
            for size in (pixels, 2, 1)
        )
        self.parts = [_Part(kernels, block)]


def _tap_positions(shape: Geometry, first_channel: int = 0) -> NDArray[np.int64]:
    """``(row, element in the row)`` of every tap, ``(k_h * k_w, 2)``."""
    _, _, height, width = shape.weight.shape
    return np.array(
        [
            (row * shape.dilation[0], column * shape.dilation[1] * shape.channels_in + first_channel)
            for row in range(height)
            for column in range(width)
        ],
        np.int64,
    )


def _runs(shape: Geometry, group: int) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Runs of contiguous inputs, and their weights ``(runs, inputs, C_out of the group)``."""
    per_group = len(shape.weight) // shape.groups
    weight = shape.weight[group * per_group : (group + 1) * per_group].astype(np.int16)
    _, channels, height, width = weight.shape
    taps = _tap_positions(shape, group * channels)
    ordered = weight.transpose(2, 3, 1, 0)
    if shape.groups == 1 and shape.dilation[1] == 1:
        # The taps of a row are neighbours in memory.
        return taps[::width].copy(), ordered.reshape(height, width * channels, per_group)
    return taps, ordered.reshape(height * width, channels, per_group)


def _split(channels: int, tiles: Tiles) -> list[tuple[tuple[int, int, int], int, int, int]]:
    """Cut channels into tiles: ``(tile, first channel, blocks, channels computed before)``."""
    found, done = [], 0
    while done < channels:
        left = channels - done
        tile = next((t for t in tiles.dense if t[0] * t[1] <= left), tiles.dense[-1])
        width = tile[0] * tile[1]
        if left < width:
            found.append((tile, channels - width, 1, width - left))
            break
        found.append((tile, done, left // width, 0))
        done += left // width * width
    return found


def _pack(weights: NDArray[np.int16], width: int) -> NDArray[np.int16]:
    """``(runs, inputs, C)`` to ``(blocks, runs, pairs, width, 2)``; odd inputs get a zero."""
    runs, inputs, channels = weights.shape
    even = np.zeros((runs, inputs + inputs % 2, channels), np.int16)
    even[:, :inputs] = weights
    pairs = even.reshape(runs, -1, 2, channels // width, width)
    return np.ascontiguousarray(pairs.transpose(3, 0, 1, 4, 2))


def direct_stage(graph: Graph, chain: Chain, tiles: Tiles) -> CommandStage | None:
    """The stage that runs a convolution directly, if its channels suit some tile."""
    shape = geometry(graph, chain)
    if shape is None or not fits_pairs(graph, chain):
        return None
    assert chain.finish is not None
    channels = len(shape.weight)
    per_group = channels // shape.groups
    if shape.factor > chain.factor:
        # Every channel of the chain stands for all its phases.
        order = np.arange(channels) // shape.factor**2
        chain = replace(chain, finish=chain.finish.taken(order))
    if chain.finish.wide:
        if shape.factor > 1 or per_group < tiles.dense[-1][1]:
            return None
        pieces = chunks(shape, graph.operands[chain.head.name][0].limits)
        return pieces and WideStage(graph, chain, shape, tiles, pieces)
    if shape.factor == 1 and per_group >= tiles.dense[-1][1]:
        return DenseStage(graph, chain, shape, tiles)
    if shape.factor == 1 and shape.is_depthwise and channels >= tiles.depthwise[-1][0]:
        return DepthwiseStage(graph, chain, shape, tiles)
    if shape.groups > 1:
        return None
    if channels != shape.factor**2 or channels > MAX_LANES:
        return SumsStage(graph, chain, shape, tiles)
    plain = (ShuffledStage if shape.factor > 1 else SumsStage)(graph, chain, shape, tiles)
    block = best_block(shape)
    if block == 1 or (shape.stride, shape.dilation) != ((1, 1), (1, 1)):
        return plain
    return BlockedStage(graph, chain, shape, tiles, block, plain)
