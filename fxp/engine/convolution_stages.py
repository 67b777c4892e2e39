"""Convolutions as command stages: dense, wide and depthwise register tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.geometry import Geometry
from fxp.engine.packing import input_runs, pack_pairs, split_channels, tap_positions
from fxp.engine.stages import CommandStage, Region
from fxp.graph import Graph
from fxp.kernels.finish import Finish
from fxp.kernels.host import Tiles
from fxp.kernels.pair_mac import interleaved_order
from fxp.kernels.records import DENSE, DEPTHWISE, filled
from fxp.kernels.tiles import dense_kernel, depthwise_kernel

SMALL_TILES: Final = (10, 7, 4, 1)
"""Pixels of tiles for regions narrower than the usual tile, or that this one does not divide."""


def tile_sizes(pixels: int) -> tuple[int, ...]:
    """Pixels of the tiles that a region may be cut into, the usual one first."""
    return pixels, *(size for size in SMALL_TILES if size < pixels)


def start_with_bias(finish: Finish, bias: NDArray[np.int64]) -> Finish:
    """Finish whose start holds the bias; wraps, as the sums do."""
    return replace(finish, start=(finish.start + bias).astype(finish.start.dtype))


def own_pixels(shape: Geometry, finish: Finish, item: int = 2) -> tuple[int, ...]:
    """Return `ConvolutionStage.pixel_bytes` of a convolution.

    Parameters
    ----------
    shape
        The convolution.
    finish
        What its sums become.
    item
        Bytes of an element of its input.
    """
    if shape.weight.shape[2:] != (1, 1) or shape.stride != (1, 1):
        return ()
    others = () if finish.other is None else (finish.other.itemsize,)
    result, *added = (item * len(shape.weight) for item in (finish.result.itemsize, *others))
    return result, item * shape.channels_in, *added


@dataclass(frozen=True)
class Part:
    """Some output channels: the kernel for them, by the pixels of its tiles and whether it counts.

    Attributes
    ----------
    sizes
        Pixels of tiles, most first; the last is 1.
    kernel
        ``kernel(pixels, counted)``, compiled on first use.
    record
        The kernel's parameters.
    """

    sizes: tuple[int, ...]
    kernel: Callable[[int, bool], Any]
    record: NDArray[np.void]

    def command(self, region: Region) -> list[int]:
        """Command for a region."""
        # A tile loads its weights once, which takes about as long as a pixel more.
        pixels = min(
            (size for size in self.sizes if region.columns >= size),
            key=lambda size: -(-region.columns // size) * (size + 1),
        )
        return region.command(self.kernel(pixels, region.counted), self.record)


class ConvolutionStage(CommandStage):
    """Shared by the convolutions: parts of the output channels one after the other."""

    parts: list[Part]
    pixel_bytes: tuple[int, ...] = ()
    """Bytes of a pixel of the result and of every input, if results read their own pixel only."""

    def commands(self, region: Region) -> list[list[int]]:
        """One command per part."""
        if self.pixel_bytes:
            # Short rows would leave tiles half empty.
            region = region.in_one_row(self.pixel_bytes[0], self.pixel_bytes[1:])
        return [part.command(region) for part in self.parts]

    def spread(self, step: int) -> None:
        """Store results to every so many columns."""
        self.pixel_bytes = ()
        for part in self.parts:
            part.record["result_step"] *= step


class DenseStage(ConvolutionStage):
    """Dense or grouped convolution by register tiles."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, "pair tiles")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        if finish.wide:
            self.accumulator_dtype = np.dtype(np.int64)
        self.pixel_bytes = own_pixels(shape, finish)
        self._keep: list[NDArray] = finish.arrays
        self.parts = []
        per_group = len(shape.weight) // shape.groups
        for group in range(shape.groups):
            first = group * per_group
            taps, packed = input_runs(shape, group)
            for tile, offset, blocks, again in split_channels(per_group, tiles):
                vectors, lanes, pixels = tile
                width = vectors * lanes
                weights = pack_pairs(packed[..., offset : offset + blocks * width], width)

                def kernel(
                    size: int, counted: bool, vectors: int = vectors, lanes: int = lanes
                ) -> Any:
                    return dense_kernel(size, vectors, lanes, finish.stored(counted))

                record = filled(
                    DENSE,
                    **self._dense_fields(finish, shape, weights, taps),
                    first_channel=first + offset,
                    blocks=blocks,
                    uncounted=again,
                )
                self.parts.append(Part(tile_sizes(pixels), kernel, record))

    def _dense_fields(
        self,
        finish: Finish,
        shape: Geometry,
        weights: NDArray[np.int16],
        taps: NDArray[np.int64],
    ) -> dict[str, int]:
        """Fields that the records of all dense kernels share; keeps the arrays alive."""
        self._keep += [weights, taps]
        return {
            **finish.fields(),
            "result_step": len(shape.weight) // shape.factor,
            "runs": len(taps),
            "pairs": weights.shape[2],
            "weights": weights.ctypes.data,
            "taps": taps.ctypes.data,
            "input_step": shape.stride[1] * shape.channels_in,
            "row_step": shape.stride[0],
            "channels": len(shape.weight),
        }


class DepthwiseStage(ConvolutionStage):
    """Depthwise convolution by register tiles."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, "depthwise tiles")
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        channels = len(shape.weight)
        if finish.wide:
            self.accumulator_dtype = np.dtype(np.int64)
        width, pixels = next(tile for tile in tiles.depthwise if tile[0] <= channels)
        taps, packed, _ = depthwise_blocks(shape, width)
        self._keep = [*finish.arrays, taps, packed]
        record = filled(
            DEPTHWISE,
            **finish.fields(),
            result_step=channels,
            blocks=len(packed),
            pairs=len(taps) // 2,
            weights=packed.ctypes.data,
            taps=taps.ctypes.data,
            input_step=shape.stride[1] * channels,
            row_step=shape.stride[0],
            channels=channels,
        )

        def kernel(size: int, counted: bool) -> Any:
            return depthwise_kernel(size, width, finish.stored(counted))

        self.parts = [Part((pixels, 2, 1), kernel, record)]


def depthwise_blocks(
    shape: Geometry, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16]]:
    """Taps and weights of a depthwise convolution, in pairs.

    Parameters
    ----------
    shape
        The convolution, of at least as many channels as a tile.
    width
        Channels of a tile.

    Returns
    -------
    tuple
        ``(row, element in the row)`` of every tap; the weights of every tile,
        ``(blocks, pairs, width in interleaved order, 2)``; all weights ``(pairs, C, 2)``.
    """
    channels = len(shape.weight)
    taps = tap_positions(shape)
    weight = shape.weight[:, 0].reshape(channels, -1).T.astype(np.int16)
    if len(taps) % 2:
        taps = np.concatenate([taps, taps[-1:]])
        weight = np.concatenate([weight, np.zeros_like(weight[:1])])
    pairs = weight.reshape(-1, 2, channels).transpose(0, 2, 1)
    order = interleaved_order(width)
    firsts = [min(first, channels - width) for first in range(0, channels, width)]
    packed = np.stack([pairs[:, first : first + width][:, order] for first in firsts])
    return taps, np.ascontiguousarray(packed), pairs
