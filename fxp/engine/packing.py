"""Weights in the order in which register tiles read them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN
from fxp.engine.geometry import Geometry
from fxp.kernels.host import Tiles


def tap_positions(shape: Geometry, first_channel: int = 0) -> NDArray[np.int64]:
    """``(row, element in the row)`` of every tap, ``(k_h * k_w, 2)``."""
    _, _, height, width = shape.weight.shape
    return np.array(
        [
            (
                row * shape.dilation[0],
                column * shape.dilation[1] * shape.channels_in + first_channel,
            )
            for row in range(height)
            for column in range(width)
        ],
        np.int64,
    )


def input_runs(shape: Geometry, group: int) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Find runs of contiguous inputs, and their weights ``(runs, inputs, C_out of the group)``."""
    per_group = len(shape.weight) // shape.groups
    weight = shape.weight[group * per_group : (group + 1) * per_group].astype(np.int16)
    _, channels, height, width = weight.shape
    taps = tap_positions(shape, group * channels)
    ordered = weight.transpose(2, 3, 1, 0)
    if shape.groups == 1 and shape.dilation[1] == 1:
        # The taps of a row are neighbours in memory.
        return taps[::width].copy(), ordered.reshape(height, width * channels, per_group)
    return taps, ordered.reshape(height * width, channels, per_group)


def cut_runs(
    taps: NDArray[np.int64], weights: NDArray[np.int16], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Cut runs into pieces of so many inputs, which divides their length made even.

    Parameters
    ----------
    taps
        ``(row, element in the row)`` of every run, ``(runs, 2)``.
    weights
        ``(runs, inputs, C)``.
    length
        Inputs of a piece, an even number.
    """
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
    groups = [input_runs(shape, group) for group in range(shape.groups)]
    inputs = groups[0][1].shape[1]
    total = inputs + inputs % 2
    for count in range(1, total // 2 + 1):
        if (total // 2) % count:
            continue
        length = total // count
        found = []
        for taps, weights in groups:
            _, pieces = cut_runs(taps, weights, length)
            wide = pieces.astype(np.int64)
            positive, negative = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
            ends = _ends(high * positive + low * negative, high * negative + low * positive)
            if ends is None:
                break
            found.append(ends)
        if len(found) == shape.groups:
            return length, found
    return None


def _ends(most: NDArray[np.int64], least: NDArray[np.int64]) -> list[int] | None:
    """Find the ends of the longest chunks of runs whose bounds ``(runs, C)`` fit int32."""
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


def split_channels(channels: int, tiles: Tiles) -> list[tuple[tuple[int, int, int], int, int, int]]:
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


def pack_pairs(weights: NDArray[np.int16], width: int) -> NDArray[np.int16]:
    """Turn ``(runs, inputs, C)`` into ``(blocks, runs, pairs, width, 2)``; odd ones get a zero."""
    runs, inputs, channels = weights.shape
    even = np.zeros((runs, inputs + inputs % 2, channels), np.int16)
    even[:, :inputs] = weights
    pairs = even.reshape(runs, -1, 2, channels // width, width)
    return np.ascontiguousarray(pairs.transpose(3, 0, 1, 4, 2))
