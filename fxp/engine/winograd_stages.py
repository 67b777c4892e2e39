"""Winograd convolutions as command stages, where they are proved exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN, Chain
from fxp.engine.convolution_stages import ConvolutionStage, start_with_bias
from fxp.engine.direct import direct_stage
from fxp.engine.geometry import Geometry, InputLimits, fits_pairs, geometry, input_limits, sums_fit
from fxp.engine.packing import chunk_ends
from fxp.engine.stages import Region
from fxp.formats import EXACT_FLOAT64
from fxp.graph import Graph
from fxp.kernels.cook_toom import CUTS, enlargement_bits, matrices
from fxp.kernels.host import Tiles
from fxp.kernels.records import WINOGRAD, filled
from fxp.kernels.wide_mac import MOST_CHUNKS
from fxp.kernels.winograd import (
    EXACT,
    TOTALS,
    WRAPPING,
    scratch_bytes,
    tile_grid,
    winograd_kernel,
)

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
MIN_CHANNELS: Final = 32
"""Fewer channels than this, in or out, are faster without."""
SCRATCH_BYTES: Final = 1 << 19
"""As many tiles are transformed together as fit this, about half a second-level cache; or, if that
is more, as many bytes as weights, which are read again for every such group of tiles."""
MIN_TILES, MOST_TILES = 14, 56
TRANSFORM_COST: Final = 6.0
"""Pairs of multiply-accumulates that cost as much as the transforms of one product."""
EXACT_COST: Final = 1.5
"""How many times as much they cost if outputs are int64."""
WORTH_WHILE: Final = 0.85
"""Winograd must cost less than this share of the direct convolution."""


@dataclass(frozen=True)
class Transformed:
    """A convolution in the transformed domain, proved exact.

    Attributes
    ----------
    cuts
        How the rows and the columns of the kernel are cut.
    weights
        ``(n_y, n_x, C_in, C_out)``, int16.
    offsets
        Subtracted from every transformed input so that it fits int16, ``(n_y, n_x)``.
    ends
        Where the sums of every product are cut, counted in pairs of channels.
    proved
        What is proved of products, as `fxp.kernels.winograd` names it.
    """

    cuts: tuple[int, int]
    weights: NDArray[np.int16]
    offsets: NDArray[np.int64]
    ends: list[list[int]]
    proved: int

    @property
    def cost(self) -> float:
        """Multiplications per output and input channel, with the transforms."""
        rows, columns, channels, _ = self.weights.shape
        return _cost(rows * columns, channels, 1 if self.proved == WRAPPING else EXACT_COST)

    def chunks(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Chunks of the sums of all products.

        Returns
        -------
        tuple
            First chunk of every product, and how many; ``(first channel, pairs)`` of every chunk;
            what undoes the offsets in its sums, ``(chunks, C_out)``.
        """
        channels, outputs = self.weights.shape[2:]
        flat, offsets = self.weights.reshape(-1, channels, outputs), self.offsets.reshape(-1)
        counts, pieces, starts = [], [], []
        for weights, offset, ends in zip(flat, offsets, self.ends, strict=True):
            counts.append((len(pieces), len(ends)))
            for begin, end in pairwise([0, *ends]):
                pieces.append((2 * begin, end - begin))
                starts.append(weights[2 * begin : 2 * end].sum(axis=0, dtype=np.int64) * offset)
        # Wraps, as the sums do.
        return np.array(counts), np.array(pieces), np.array(starts).astype(np.int32)


def _cost(products: int, channels: int, factor: float) -> float:
    return products / 4 * (1 + factor * TRANSFORM_COST * 2 / channels)


def cheapest(shape: Geometry, limits: InputLimits) -> Transformed | None:
    """Transform weights by the cheapest cuts that are exact.

    Parameters
    ----------
    shape, limits
        As in `transform`.
    """
    _, channels, height, width = shape.weight.shape

    def least_cost(cuts: tuple[int, int]) -> float:
        rows, columns = (len(matrices(cut)[0]) for cut in cuts)
        return _cost(rows * columns, channels, 1)

    best: Transformed | None = None
    # Transforming many weights takes long; most layers need only the first cuts.
    for cuts in sorted(product(CUTS[height], CUTS[width]), key=least_cost):
        if best is not None and best.cost <= least_cost(cuts):
            break
        found = transform(shape, limits, cuts)
        if found is not None and (best is None or found.cost < best.cost):
            best = found
    return best


def transform(shape: Geometry, limits: InputLimits, cuts: tuple[int, int]) -> Transformed | None:
    """Transform weights, if that is exact.

    Proved are: every transformed input, less a constant, fits int16; every transformed weight fits
    int16; and either the enlarged sum fits int32, or each of the chunks into which the products are
    cut.

    Parameters
    ----------
    shape
        The convolution; stride, dilation and groups must be 1.
    limits
        Its inputs.
    cuts
        Of the kernel's rows and columns.

    Returns
    -------
    Transformed or None
        None where the proof fails.
    """
    (weights_y, inputs_y, _), (weights_x, inputs_x, _) = map(matrices, cuts)
    signs = np.multiply.outer(inputs_y, inputs_x)  # (n_y, d_y, n_x, d_x)
    positive = (signs > 0).sum(axis=(1, 3))
    negative = (signs < 0).sum(axis=(1, 3))
    # Of every product and channel; an offset is the same for all channels.
    low, high = (
        np.multiply.outer(positive, one) - np.multiply.outer(negative, other)
        for one, other in ((limits.low, limits.high), (limits.high, limits.low))
    )
    least, most = low.min(axis=2), high.max(axis=2)
    fits = (least >= INT16_MIN) & (most <= INT16_MAX)
    offsets = np.where(fits, 0, least - INT16_MIN)
    if (most - offsets).max() > INT16_MAX:
        return None
    weights = _transformed_weights(shape.weight, weights_y, weights_x)
    if weights is None:
        return None
    channels = shape.weight.shape[1]
    if sums_fit(shape, limits, sum(map(enlargement_bits, cuts))):
        return Transformed(cuts, weights, offsets, [[channels // 2]] * offsets.size, WRAPPING)
    bounds = np.stack([low, high], axis=3).reshape(*offsets.shape, channels // 2, 2, 2)
    whole = _sums_fit_int32(weights, low, high)
    ends = [
        [channels // 2]
        if whole[y, x]
        else chunk_ends(weights[y, x].reshape(channels // 2, 2, -1), bounds[y, x])
        for y, x in np.ndindex(offsets.shape)
    ]
    cut = [item for item in ends if item is not None]
    if len(cut) < len(ends) or max(map(len, cut)) > MOST_CHUNKS:
        return None
    return Transformed(cuts, weights, offsets, cut, TOTALS if max(map(len, cut)) > 1 else EXACT)


def _transformed_weights(
    weight: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int16] | None:
    """Transform kernels ``(O, I, k, l)`` to ``(y, x, I, O)``; None where one does not fit int16.

    Parameters
    ----------
    weight
        The kernels.
    rows, columns
        What transforms their rows, ``(y, k)``, and their columns, ``(x, l)``.
    """
    factor = np.abs(rows).sum(axis=1).max() * np.abs(columns).sum(axis=1).max()
    largest = max(int(weight.max(initial=0)), -int(weight.min(initial=0)))
    if int(factor) * largest > EXACT_FLOAT64:
        return None
    # Whole numbers in float64 are multiplied by a library, and those in int64 by a loop.
    first = np.tensordot(rows.astype(np.float64), weight.astype(np.float64), (1, 2))
    found = np.tensordot(first, columns.astype(np.float64), (3, 1))  # (y, O, I, x)
    if found.min(initial=0) < INT16_MIN or found.max(initial=0) > INT16_MAX:
        return None
    return np.ascontiguousarray(found.transpose(0, 3, 2, 1), np.int16)


def _sums_fit_int32(
    weights: NDArray[np.int16], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return for every product whether its sums over all channels fit int32, ``(y, x)``.

    Parameters
    ----------
    weights
        Transformed, ``(y, x, I, O)``.
    low, high
        Smallest and largest transformed inputs, ``(y, x, I)``; 0 lies between.
    """
    above, below = (clip(weights, 0).astype(np.float64) for clip in (np.maximum, np.minimum))
    least, most = (
        (one[:, :, None].astype(np.float64) @ above + other[:, :, None].astype(np.float64) @ below)
        for one, other in ((low, high), (high, low))
    )
    return (most.max(axis=(2, 3)) <= INT32_MAX) & (least.min(axis=(2, 3)) >= INT32_MIN)


class WinogradStage(ConvolutionStage):
    """Winograd convolution; regions too small for it, and counting, go to another stage.

    Parameters
    ----------
    graph, chain
        What is computed.
    shape
        The convolution.
    tiles
        Register tiles of the processor.
    transformed
        The convolution in the transformed domain.
    make_plain
        Makes the other stage when it is first needed, because most runs never do.
    """

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        shape: Geometry,
        tiles: Tiles,
        transformed: Transformed,
        make_plain: Callable[[], ConvolutionStage],
    ) -> None:
        rows, columns, channels_in, channels = transformed.weights.shape
        self._transformed, self._make_plain = transformed, make_plain
        cut_y, cut_x = transformed.cuts
        exact = ("", ", exact products", ", products in chunks")[transformed.proved]
        super().__init__(graph, chain, f"winograd {cut_y}x{cut_x}{exact}")
        assert chain.finish is not None
        if chain.finish.wide:
            self.accumulator_dtype = np.dtype(np.int64)
        finish = start_with_bias(chain.finish, shape.bias)
        self._stored = finish.stored(False)
        self._tile = next(tile for tile in tiles.dense if channels % (tile[0] * tile[1]) == 0)
        width = self._tile[0] * self._tile[1]
        packed = np.ascontiguousarray(
            transformed.weights.reshape(rows, columns, channels_in // 2, 2, -1, width)
            .transpose(4, 0, 1, 2, 5, 3)
        )  # fmt: skip
        chunks, pieces, starts = transformed.chunks()
        offsets = np.ascontiguousarray(transformed.offsets)
        zeros = np.zeros(max(rows, columns), np.int64)
        table = np.tile(np.array([1, 0], np.int64), (chunks[:, 1].max(), 1))
        budget = max(SCRATCH_BYTES, packed.nbytes // 2)
        self._channels = channels_in, width
        self._tiles = next(
            count
            for count in (MOST_TILES, 28, MIN_TILES)
            if self._scratch(count, 1) <= budget or count == MIN_TILES
        )
        self._lanes = next(
            size for size in (32, 16, 8) if channels_in % size == 0 and size <= 2 * self._tile[1]
        )
        self._keep = [*finish.arrays, packed, chunks, pieces, starts, offsets, zeros, table]
        self._record = filled(
            WINOGRAD,
            **finish.fields(),
            channels_in=channels_in,
            channels_out=channels,
            weights=packed.ctypes.data,
            offsets=offsets.ctypes.data,
            starts=starts.ctypes.data,
            chunks=chunks.ctypes.data,
            pieces=pieces.ctypes.data,
            table=table.ctypes.data,
            tiles=self._tiles,
            zeros=zeros.ctypes.data,
        )

    @cached_property
    def _plain(self) -> ConvolutionStage:
        plain = self._make_plain()
        # It needs no memory of its own, which `scratch_bytes` would have to know of.
        assert plain.scratch_bytes(1, 1) == 0
        return plain

    def _scratch(self, tiles: int, rows_of_tiles: int) -> int:
        """Memory for so many tiles."""
        cuts, proved = self._transformed.cuts, self._transformed.proved
        return scratch_bytes(*cuts, tiles, rows_of_tiles, self._channels, proved)

    def commands(self, region: Region) -> list[list[int]]:
        """One command where the region is large enough."""
        vectors, lanes, pixels = self._tile
        if region.counted or min(region.rows, region.columns) < 2:
            return self._plain.commands(region)
        rows, columns = -(-region.rows // 2), -(-region.columns // 2)
        count = prod(tile_grid.py_func(self._tiles, rows, columns))
        sizes = [size for size in (pixels, 8, 4) if size <= pixels]
        kernel = winograd_kernel(
            *self._transformed.cuts,
            # The fewest products; of tiles alike, the larger reads weights less often.
            min(sizes, key=lambda size: (-(-count // size) * (size + 1), -size)),
            vectors,
            lanes,
            self._lanes,
            self._stored,
            self._transformed.proved,
        )
        return [region.command(kernel, self._record)]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for transformed inputs and products."""
        rows_of_tiles, columns_of_tiles = -(-rows // 2), -(-columns // 2)
        tiles = min(self._tiles, rows_of_tiles * columns_of_tiles)
        return self._scratch(tiles, rows_of_tiles)


def winograd_stage(graph: Graph, chain: Chain, tiles: Tiles) -> WinogradStage | None:
    """Make the Winograd stage of a convolution, if it is exact and worth while.

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
    if shape is None or not fits_pairs(graph, chain):
        return None
    assert chain.finish is not None
    channels, group_in, height, width = shape.weight.shape
    if (
        height not in CUTS
        or width not in CUTS
        or shape.factor > 1
        or (shape.groups, shape.stride, shape.dilation) != (1, (1, 1), (1, 1))
        or min(channels, group_in) < MIN_CHANNELS
        or group_in % 8
        or channels % 4
    ):
        return None
    best = cheapest(shape, input_limits(graph, chain))
    if best is None or best.cost > height * width * WORTH_WHILE:
        return None

    def make_plain() -> ConvolutionStage:
        plain = direct_stage(graph, chain, tiles)
        assert isinstance(plain, ConvolutionStage)
        return plain

    return WinogradStage(graph, chain, shape, tiles, best, make_plain)
