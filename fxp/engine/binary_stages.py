"""Convolutions of signs as command stages: values from -1 to 1, weights of one size per channel."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import Part, own_pixels, start_with_bias, tile_sizes
from fxp.engine.geometry import Geometry, fits_pairs, geometry, input_limits
from fxp.engine.narrow_stages import RepackedStage
from fxp.engine.packing import split_channels
from fxp.graph import Graph
from fxp.kernels.binary import WORD, binary_kernel, to_signs_kernel
from fxp.kernels.host import Tiles
from fxp.kernels.records import BINARY, TO_SIGNS, filled

MIN_CHANNELS: Final = 16
"""With fewer input channels, a word is mostly empty."""


def scales(weight: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Size of the weights of every output channel, if they are 0 or of that size.

    Parameters
    ----------
    weight
        ``(C_out, C_in, k_h, k_w)``.
    """
    sizes = np.abs(weight).reshape(len(weight), -1)
    largest = sizes.max(axis=1)
    return largest if ((sizes == largest[:, None]) | (sizes == 0)).all() else None


def _words(bits: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Pack ``(runs, taps, C_in, C_out)`` to 32 inputs a word, ``(runs, taps * words, C_out)``."""
    runs, taps, channels, outputs = bits.shape
    words = -(-channels // WORD)
    whole = np.zeros((runs, taps, words * WORD, outputs), np.int64)
    whole[:, :, :channels] = bits
    powers = np.int64(1) << np.arange(WORD)
    packed = np.einsum("rtwbo,b->rtwo", whole.reshape(runs, taps, words, WORD, outputs), powers)
    return packed.astype(np.uint32).view(np.int32).reshape(runs, taps * words, outputs)


class BinaryStage(RepackedStage):
    """Convolution of signs, whose inputs are stored as words in scratch memory."""

    def __init__(self, graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> None:
        super().__init__(graph, chain, "bit counts", shape)
        assert chain.finish is not None
        finish = start_with_bias(chain.finish, shape.bias)
        channels, channels_in, height, width = shape.weight.shape
        words = -(-channels_in // WORD)
        self.stored_bytes, self.count_bytes = 8 * words, 4
        self.pixel_bytes = own_pixels(shape, finish)
        self.repack = to_signs_kernel(), filled(TO_SIGNS, channels=channels_in)
        scale = np.abs(shape.weight).reshape(channels, -1).max(axis=1).astype(np.int32)
        zeros = bool((shape.weight[scale > 0] == 0).any())
        # The taps of a row are neighbours in memory unless they are dilated.
        joined = shape.dilation[1] == 1
        runs = (height, width) if joined else (height * width, 1)
        ordered = shape.weight.transpose(2, 3, 1, 0).reshape(*runs, channels_in, channels)
        taps = np.array(
            [
                (row * shape.dilation[0], column * shape.dilation[1] * words)
                for row in range(height)
                for column in range(1 if joined else width)
            ],
            np.int64,
        )
        parts = [ordered != 0, ordered < 0] if zeros else [ordered < 0]
        packed = np.stack([_words(part) for part in parts], axis=2)
        self._keep: list[NDArray] = [*finish.arrays, taps, scale]
        self.parts = []
        for tile, offset, blocks, again in split_channels(channels, tiles):
            vectors, lanes, pixels = tile
            block = vectors * lanes
            chosen = packed[..., offset : offset + blocks * block]
            weights = np.ascontiguousarray(
                chosen.reshape(*chosen.shape[:3], blocks, block).transpose(3, 0, 1, 2, 4)
            )
            self._keep.append(weights)

            def kernel(size: int, counted: bool, vectors: int = vectors, lanes: int = lanes) -> Any:
                return binary_kernel(size, vectors, lanes, finish.stored(counted), int(zeros))

            record = filled(
                BINARY,
                **finish.fields(),
                result_step=channels,
                blocks=blocks,
                pairs=packed.shape[1],
                weights=weights.ctypes.data,
                taps=taps.ctypes.data,
                input_step=shape.stride[1] * words,
                row_step=shape.stride[0],
                channels=channels,
                first_channel=offset,
                runs=len(taps),
                uncounted=again,
                scale=scale.ctypes.data,
                column_step=shape.stride[1],
                kernel_rows=shape.dilation[0] * (height - 1) + 1,
                kernel_columns=shape.dilation[1] * (width - 1) + 1,
                tap_rows=shape.dilation[0],
                tap_columns=shape.dilation[1],
            )
            # A pixel takes more registers than in a dense tile.
            self.parts.append(Part(tile_sizes(pixels // 2), kernel, record))


def binary_stage(graph: Graph, chain: Chain, tiles: Tiles) -> BinaryStage | None:
    """Make the stage of a convolution of signs, if inputs and weights are.

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
    if shape is None or not tiles.bits or not fits_pairs(graph, chain):
        return None
    assert chain.finish is not None
    low, high = input_limits(graph, chain).ends
    if (
        chain.finish.wide
        or shape.factor > 1
        or shape.groups > 1
        or shape.channels_in < MIN_CHANNELS
        or len(shape.weight) < tiles.dense[-1][1]
        or low < -1
        or high > 1
        or scales(shape.weight) is None
    ):
        return None
    return BinaryStage(graph, chain, shape, tiles)
