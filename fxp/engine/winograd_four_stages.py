"""Winograd convolutions with four outputs per axis, where they are proved exact."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.byte_values import ByteStage
from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import start_with_bias
from fxp.engine.direct import direct_stage
from fxp.engine.geometry import Geometry, InputLimits, fits_pairs, geometry, input_limits, sums_fit
from fxp.engine.narrow_stages import quad_stage
from fxp.engine.stages import CommandStage, Region
from fxp.engine.winograd_stages import winograd_stage
from fxp.graph import Graph
from fxp.kernels.four_transforms import CUTS, EVEN_BITS, OUTPUTS, axis
from fxp.kernels.host import Tiles
from fxp.kernels.records import WINOGRAD_FOUR, filled
from fxp.kernels.winograd_four import scratch_bytes, tiles_together, winograd_four_kernel

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
MANY_LANES: Final = 16
"""int32 lanes of the vectors in which costs are counted."""
MIN_CHANNELS: Final = 32
"""Fewer channels than this, in or out, are faster without."""
SCRATCH_BYTES: Final = 1 << 19
"""As many tiles are transformed together as fit this, about half a second-level cache."""
MOST_TILES: Final = (56, 28, 14)
TRANSFORM_COST: Final = 1.25
"""What the multiplications and transforms of a product cost, in multiplications of pairs."""
CACHED_BYTES: Final = 1 << 20
"""Weights of more bytes than about a second-level cache are read anew for every few tiles."""
STREAMED_BYTES: Final = 10
"""Bytes of these that are read in the time of a vector of pair multiplications."""


def four_weights(shape: Geometry, limits: InputLimits) -> NDArray[np.int16] | None:
    """Transform weights to ``(n_y, n_x, C_in, C_out)``, if that is exact.

    Proved are: transformed inputs and weights fit int16, and the sums, with the bits by which they
    are enlarged, fit int32.

    Parameters
    ----------
    shape
        The convolution.
    limits
        Its inputs.
    """
    channels, group_in, *kernel = shape.weight.shape
    if (
        any(taps not in CUTS for taps in kernel)
        or shape.factor > 1
        or (shape.groups, shape.stride, shape.dilation) != (1, (1, 1), (1, 1))
        or min(channels, group_in) < MIN_CHANNELS
        or group_in % 8
        or channels % 4
    ):
        return None
    low, high = limits.ends
    axis_y, axis_x = (axis(CUTS[taps]) for taps in kernel)
    factors = np.multiply.outer(axis_y.inputs, axis_x.inputs)
    positive = np.maximum(factors, 0).sum(axis=(1, 3))
    negative = np.minimum(factors, 0).sum(axis=(1, 3))
    if (high * positive + low * negative).max() > INT16_MAX or (
        low * positive + high * negative
    ).min() < INT16_MIN:
        return None
    weights = np.einsum("yk,xl,oikl->yxio", axis_y.weights, axis_x.weights, shape.weight)
    if weights.min() < INT16_MIN or weights.max() > INT16_MAX:
        return None
    return weights.astype(np.int16) if sums_fit(shape, limits, 2 * EVEN_BITS) else None


class WinogradFourStage(ByteStage):
    """Winograd convolution with tiles of 4x4 outputs; what it does not suit goes to another stage.

    These are regions too small for it, and counting.
    """

    def __init__(
        self,
        graph: Graph,
        chain: Chain,
        shape: Geometry,
        tiles: Tiles,
        weights: NDArray[np.int16],
        plain: CommandStage,
        plain_cost: float,
    ) -> None:
        rows, columns, channels_in, channels = weights.shape
        self._cuts = CUTS[shape.weight.shape[2]], CUTS[shape.weight.shape[3]]
        super().__init__(graph, chain, "winograd {}x{}, four outputs".format(*self._cuts))
        assert chain.finish is not None
        self._plain, self._plain_cost = plain, plain_cost
        self._channels = channels_in, channels
        self.finish = finish = start_with_bias(chain.finish, shape.bias)
        if isinstance(plain, ByteStage):
            self.bytes_are_inputs = plain.bytes_are_inputs
        self._tile = next(tile for tile in tiles.dense if channels % (tile[0] * tile[1]) == 0)
        width = self._tile[0] * self._tile[1]
        self._packed = packed = np.ascontiguousarray(
            weights.reshape(rows, columns, channels_in // 2, 2, -1, width)
            .transpose(0, 1, 4, 2, 5, 3)
        )  # fmt: skip
        zeros = np.zeros(width, np.int32)
        self._most = next(
            count
            for count in MOST_TILES
            if scratch_bytes(*self._cuts, (count, 1, 4 * count), channels_in, channels)
            <= SCRATCH_BYTES
            or count == MOST_TILES[-1]
        )
        self._lanes = next(
            size for size in (32, 16, 8) if channels_in % size == 0 and size <= 2 * self._tile[1]
        )
        self._keep = [*finish.arrays, packed, zeros]
        self._record = filled(
            WINOGRAD_FOUR,
            **finish.fields(),
            channels_in=channels_in,
            channels_out=channels,
            weights=packed.ctypes.data,
            tiles=self._most,
            zeros=zeros.ctypes.data,
        )

    def may_store_bytes(self) -> bool:
        """Whether every result is an unsigned byte, and the other stage stores such."""
        return isinstance(self._plain, ByteStage) and super().may_store_bytes()

    def may_read_bytes(self, name: str) -> bool:
        """Whether a value that it reads may be bytes."""
        return isinstance(self._plain, ByteStage) and super().may_read_bytes(name)

    def take_bytes(self, name: str) -> None:
        """From now on, a value that it, and the other stage, stores or reads is bytes."""
        super().take_bytes(name)
        assert isinstance(self._plain, ByteStage)
        self._plain.take_bytes(name)

    def _pays(self, rows: int, columns: int) -> bool:
        """Whether this costs less for a region than the other stage, in vector operations."""
        if min(rows, columns) < OUTPUTS:
            return False
        vectors = self._channels[0] * self._channels[1] / (2 * MANY_LANES)
        across, down, span = tiles_together(rows, columns, self._most)
        batches = -(-columns // span) * -(-rows // (OUTPUTS * down))
        products = len(self._packed) * self._packed.shape[1]
        streamed = max(0, self._packed.nbytes - CACHED_BYTES)
        cost = across * down * products * vectors * TRANSFORM_COST + streamed / STREAMED_BYTES
        return batches * cost < rows * columns * self._plain_cost * vectors

    def commands(self, region: Region) -> list[list[int]]:
        """One command where the region is large enough."""
        if region.counted or not self._pays(region.rows, region.columns):
            return self._plain.commands(region)
        vectors, lanes, pixels = self._tile
        across, down, _ = tiles_together(region.rows, region.columns, self._most)
        size = next(size for size in (pixels, 4, 1) if across * down >= size)
        forms = self.finish.stored(False), 1 if self.reads_bytes else 2
        kernel = winograd_four_kernel(*self._cuts, size, vectors, lanes, self._lanes, *forms)
        return [region.command(kernel, self._record)]

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory for transformed inputs and products, or what the other stage needs."""
        needed = self._plain.scratch_bytes(rows, columns)
        if min(rows, columns) < OUTPUTS:
            return needed
        most = max(
            scratch_bytes(*self._cuts, tiles_together(height, columns, self._most), *self._channels)
            for height in range(OUTPUTS, rows + 1)
        )
        return max(needed, most)


def winograd_four_stage(graph: Graph, chain: Chain, tiles: Tiles) -> WinogradFourStage | None:
    """Make the stage of a convolution with four outputs per axis, if it is exact.

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
    if shape is None or not fits_pairs(graph, chain) or (chain.finish and chain.finish.wide):
        return None
    weights = four_weights(shape, input_limits(graph, chain))
    if weights is None:
        return None
    taps = shape.weight[0, 0].size
    if (plain := quad_stage(graph, chain, tiles)) is not None:
        return WinogradFourStage(graph, chain, shape, tiles, weights, plain, taps / 2)
    if (plain := winograd_stage(graph, chain, tiles)) is not None:
        return WinogradFourStage(graph, chain, shape, tiles, weights, plain, taps / 2)
    plain = direct_stage(graph, chain, tiles)
    return plain and WinogradFourStage(graph, chain, shape, tiles, weights, plain, taps)
