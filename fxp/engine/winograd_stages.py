"""Winograd convolutions as command stages, where they are proved exact."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, Chain
from fxp.engine.convolution_stages import DenseStage, start_with_bias
from fxp.engine.geometry import Geometry, fits_pairs, geometry
from fxp.engine.stages import Region
from fxp.graph import Graph
from fxp.kernels.host import Tiles
from fxp.kernels.records import WINOGRAD, filled
from fxp.kernels.winograd import (
    CUTS,
    enlargement_bits,
    matrices,
    scratch_bytes,
    winograd_kernel,
)

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
MAX_GROUPS: Final = 8
"""More groups of input channels than this cost more than Winograd saves."""
MIN_CHANNELS: Final = 32
"""Fewer channels than this, in or out, are faster without."""
SCRATCH_BYTES: Final = 1 << 19
"""As many tiles are transformed together as fit this, about half a second-level cache."""
MIN_TILES: Final = 14
TRANSFORM_COST: Final = 6.0
"""Pairs of multiply-accumulates that cost as much as the transforms of one product."""
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
        ``(groups, n_y, n_x, C_in / groups, C_out)``, int16.
    offsets
        Subtracted from every transformed input so that it fits int16, ``(n_y, n_x)``.
    starts
        What undoes the offsets in the sums, ``(groups, n_y, n_x, C_out)``, int32.
    """

    cuts: tuple[int, int]
    weights: NDArray[np.int16]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int32]

    @property
    def cost(self) -> float:
        """Multiplications per output and input channel, with the transforms of every group."""
        _, rows, columns, group_in, _ = self.weights.shape
        return rows * columns / 4 * (1 + TRANSFORM_COST * 2 / group_in)


def transform(
    shape: Geometry, limits: tuple[int, int], cuts: tuple[int, int]
) -> Transformed | None:
    """Transform weights, if that is exact.

    Proved are: every transformed input, less a constant, fits int16; every transformed weight fits
    int16; and the enlarged sum over each group of input channels fits int32, with as few groups as
    that takes.

    Parameters
    ----------
    shape
        The convolution; stride, dilation and groups must be 1.
    limits
        Smallest and largest input; 0 lies between.
    cuts
        Of the kernel's rows and columns.

    Returns
    -------
    Transformed or None
        None where the proof fails.
    """
    (weights_y, inputs_y, _), (weights_x, inputs_x, _) = map(matrices, cuts)
    low, high = limits
    signs = np.multiply.outer(inputs_y, inputs_x)  # (n_y, d_y, n_x, d_x)
    positive = (signs > 0).sum(axis=(1, 3))
    negative = (signs < 0).sum(axis=(1, 3))
    most = positive * high - negative * low
    least = positive * low - negative * high
    fits = (least >= INT16_MIN) & (most <= INT16_MAX)
    offsets = np.where(fits, 0, least - INT16_MIN)
    if (most - offsets).max() > INT16_MAX:
        return None
    weights = np.einsum("yk,xl,oikl->yxio", weights_y, weights_x, shape.weight)
    if weights.min() < INT16_MIN or weights.max() > INT16_MAX:
        return None
    groups = _groups(shape.weight, limits, sum(map(enlargement_bits, cuts)))
    if groups is None:
        return None
    rows, columns, channels, _ = weights.shape
    split = weights.reshape(rows, columns, groups, channels // groups, -1).transpose(2, 0, 1, 3, 4)
    starts = split.sum(axis=3) * offsets[None, :, :, None]
    return Transformed(cuts, split.astype(np.int16), offsets, starts.astype(np.int32))


def _groups(weight: NDArray[np.int64], limits: tuple[int, int], bits: int) -> int | None:
    """Fewest equal groups of input channels whose sums, enlarged by some bits, fit int32."""
    low, high = limits
    channels = weight.shape[1]
    positive = np.maximum(weight, 0).sum(axis=(2, 3))
    negative = np.minimum(weight, 0).sum(axis=(2, 3))
    most = high * positive + low * negative
    least = high * negative + low * positive
    for groups in range(1, MAX_GROUPS + 1):
        if channels % (8 * groups):
            continue
        above, below = (
            int(bound.reshape(len(weight), groups, -1).sum(axis=2).max())
            for bound in (most, -least)
        )
        if above << bits <= INT32_MAX and below << bits <= INT32_MAX + 1:
            return groups
    return None


class WinogradStage(DenseStage):
    """Winograd convolution; regions too small for it, and counting, go to the dense tiles."""

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        shape: Geometry,
        tiles: Tiles,
        transformed: Transformed,
    ) -> None:
        super().__init__(graph, chain, shape, tiles)
        groups, rows, columns, group_in, channels = transformed.weights.shape
        self._transformed = transformed
        cut_y, cut_x = transformed.cuts
        self.kernel = f"winograd {cut_y}x{cut_x}" + (f" in {groups} groups" if groups > 1 else "")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        self._stored = finish.stored(False)
        self._tile = next(tile for tile in tiles.dense if channels % (tile[0] * tile[1]) == 0)
        width = self._tile[0] * self._tile[1]
        packed = np.ascontiguousarray(
            transformed.weights.reshape(groups, rows, columns, group_in // 2, 2, -1, width)
            .transpose(0, 1, 2, 5, 3, 6, 4)
        )  # fmt: skip
        starts = np.ascontiguousarray(transformed.starts)
        offsets = np.ascontiguousarray(transformed.offsets)
        zeros = np.zeros(max(rows, columns), np.int64)
        self._tiles = next(
            count
            for count in (56, 28, 14, 0)
            if scratch_bytes(cut_y, cut_x, count, shape.channels_in, channels) <= SCRATCH_BYTES
            or count == MIN_TILES
        )
        self._lanes = next(
            size for size in (32, 16, 8) if group_in % size == 0 and size <= 2 * self._tile[1]
        )
        self._keep += [*finish.arrays, packed, starts, offsets, zeros]
        self._record = filled(
            WINOGRAD,
            **finish.fields(),
            channels_in=shape.channels_in,
            channels_out=channels,
            groups=groups,
            weights=packed.ctypes.data,
            starts=starts.ctypes.data,
            offsets=offsets.ctypes.data,
            tiles=self._tiles,
            zeros=zeros.ctypes.data,
        )

    def commands(self, region: Region) -> list[list[int]]:
        """One command where the region is large enough."""
        vectors, lanes, pixels = self._tile
        sizes = [size for size in (pixels, 4, 1) if region.columns >= 2 * size]
        if region.counted or region.rows < 2 or not sizes:
            return super().commands(region)
        kernel = winograd_kernel(
            *self._transformed.cuts,
            sizes[0],
            vectors,
            lanes,
            self._lanes,
            self._stored,
            len(self._transformed.weights) > 1,
        )
        return [region.command(kernel, self._record)]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for transformed inputs, products and totals."""
        _, _, _, group_in, channels = self._transformed.weights.shape
        tiles = min(self._tiles, max(1, columns // 2))
        channels_in = group_in * len(self._transformed.weights)
        return scratch_bytes(*self._transformed.cuts, tiles, channels_in, channels)


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
        chain.finish.wide
        or height not in CUTS
        or width not in CUTS
        or shape.factor > 1
        or (shape.groups, shape.stride, shape.dilation) != (1, (1, 1), (1, 1))
        or min(channels, group_in) < MIN_CHANNELS
        or group_in % 8
        or channels % 4
    ):
        return None
    limits = graph.operands[chain.head.name][0].limits
    found = [
        transformed
        for cuts in product(CUTS[height], CUTS[width])
        if (transformed := transform(shape, limits, cuts)) is not None
    ]
    best = min(found, key=lambda transformed: transformed.cost, default=None)
    if best is None or best.cost > height * width * WORTH_WHILE:
        return None
    return WinogradStage(graph, chain, shape, tiles, best)
