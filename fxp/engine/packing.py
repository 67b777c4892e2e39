"""Weights in the order in which register tiles read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN
from fxp.engine.geometry import BLOCK, Geometry
from fxp.kernels.host import Tiles
from fxp.kernels.wide_mac import CARRIED, CARRIED_BITS, MOST_CHUNKS


def tap_positions(
    shape: Geometry, pixel: int | None = None, first_channel: int = 0
) -> NDArray[np.int64]:
    """``(row, element in the row)`` of every tap, ``(k_h * k_w, 2)``.

    Parameters
    ----------
    shape
        The convolution.
    pixel
        Channels that a pixel has in memory; those of the convolution by default.
    first_channel
        Of the elements.
    """
    pixel = shape.channels_in if pixel is None else pixel
    _, _, height, width = shape.weight.shape
    return np.array(
        [
            (
                row * shape.dilation[0],
                column * shape.dilation[1] * pixel + first_channel,
            )
            for row in range(height)
            for column in range(width)
        ],
        np.int64,
    )


def input_runs(
    shape: Geometry, group: int, stored: tuple[int, int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Find runs of contiguous inputs, and their weights ``(runs, inputs, C_out of the group)``.

    Parameters
    ----------
    shape
        The convolution, whose weights fit int16.
    group
        Which group of channels.
    stored
        Channels that a pixel has in memory, and the first of them that is read; those of the
        convolution if it is None.
    """
    per_group = len(shape.weight) // shape.groups
    weight = shape.weight[group * per_group : (group + 1) * per_group].astype(np.int16)
    _, channels, height, width = weight.shape
    pixel, first = (shape.channels_in, 0) if stored is None else stored
    taps = tap_positions(shape, pixel, first + group * channels)
    ordered = weight.transpose(2, 3, 1, 0)
    if pixel == channels and shape.dilation[1] == 1:
        # The taps of a row are neighbours in memory.
        return taps[::width].copy(), ordered.reshape(height, width * channels, per_group)
    return taps, ordered.reshape(height * width, channels, per_group)


@dataclass(frozen=True)
class Term:
    """Products of int16 that are summed together, and shifted left.

    Attributes
    ----------
    taps
        ``(row, element in the row)`` of runs of contiguous inputs, ``(runs, 2)``.
    weights
        ``(runs, inputs, C)``.
    limits
        Smallest and largest of every input of a run, ``(inputs, 2)``, or of all.
    shift
        Left shift of the sum.
    together
        Neighbouring pixels whose pairs of inputs are taken together; a run has an even number of
        inputs in so many pixels then.
    """

    taps: NDArray[np.int64]
    weights: NDArray[np.int16]
    limits: tuple[int, int] | NDArray[np.int64]
    shift: int = 0
    together: int = 1

    @property
    def pairs(self) -> NDArray[np.int16]:
        """Weights of pairs of inputs, ``(runs, pairs, 2, C)``; odd runs get a zero.

        With several pixels, ``(runs, pairs of a pixel, 2 * together, C)``.
        """
        return self._paired(self.weights)

    @property
    def pair_limits(self) -> NDArray[np.int64]:
        """Limits in the order of `pairs`, ``(runs * pairs, 2 or 2 * together, 2)``."""
        runs, inputs, _ = self.weights.shape
        paired = self._paired(np.broadcast_to(np.asarray(self.limits), (runs, inputs, 2)))
        return paired.reshape(-1, *paired.shape[2:])

    def _paired(self, runs: NDArray[Any]) -> NDArray[Any]:
        """Pair what belongs to the inputs of every run, ``(runs, inputs, n)``."""
        count, inputs, each = runs.shape
        if self.together > 1:
            apart = runs.reshape(count, self.together, -1, 2, each)
            return apart.swapaxes(1, 2).reshape(count, -1, 2 * self.together, each)
        if inputs % 2:
            even = np.zeros((count, inputs + 1, each), runs.dtype)
            even[:, :inputs] = runs
            runs = even
        return runs.reshape(count, -1, 2, each)


@dataclass(frozen=True)
class Chunks:
    """Sums cut into chunks that fit int32 each.

    Attributes
    ----------
    table
        Pieces, and left shift, of every chunk.
    taps
        ``(row, element in the row)`` of every piece, a run of contiguous inputs.
    lengths
        Pairs of inputs of every piece, in one of the pixels that are taken together.
    weights
        Of all pieces, one after the other, ``(pairs, 2, C)``.
    """

    table: NDArray[np.int64]
    taps: NDArray[np.int64]
    lengths: NDArray[np.int64]
    weights: NDArray[np.int16]

    @property
    def added(self) -> int:
        """How they are added up, as `fxp.kernels.wide_mac` names it."""
        return 0 if self.table[:, 1].any() or len(self.table) > MOST_CHUNKS else CARRIED


def chunks(terms: Sequence[Term]) -> Chunks | None:
    """Cut sums into as few chunks as the proof allows.

    Returns
    -------
    Chunks or None
        None if two products are too many already.
    """
    table, taps, lengths, weights = [], [], [], []
    for term in terms:
        pairs = term.pairs
        flat = pairs.reshape(-1, *pairs.shape[2:])
        # The first chunk may begin with the low part of a start.
        ends = chunk_ends(flat, term.pair_limits, first=False)
        if ends is None:
            return None
        begin, length = 0, pairs.shape[1]
        for end in ends:
            first = begin
            while first < end:
                run = first // length
                last = min(end, (run + 1) * length)
                row, element = term.taps[run]
                taps.append((row, element + 2 * (first - run * length)))
                lengths.append(last - first)
                first = last
            table.append((-(-end // length) - begin // length, term.shift))
            begin = end
        weights.append(flat.reshape(-1, 2, flat.shape[2]))
    return Chunks(
        np.array(table, np.int64),
        np.array(taps, np.int64),
        np.array(lengths, np.int64),
        np.concatenate(weights),
    )


STEPS: Final = 1024
"""Places, about, where long sums may be cut."""


def chunk_ends(
    pairs: NDArray[np.int16], limits: tuple[int, int] | NDArray[np.int64], *, first: bool = True
) -> list[int] | None:
    """Find the ends of the longest chunks whose sums fit int32.

    Parameters
    ----------
    pairs
        Weights of pairs of inputs, ``(pairs, 2, C)``.
    limits
        Smallest and largest of every input, ``(pairs, 2, 2)``, or of all; 0 lies between.
    first
        Whether the first chunk begins with 0; others begin with the low bits of the one before.

    Returns
    -------
    list or None
        Ends of the chunks, counted in pairs; None if one pair is too much.
    """
    step = max(1, len(pairs) // STEPS)
    firsts = np.arange(0, len(pairs), step)
    bounds = np.broadcast_to(np.asarray(limits, np.int64), (*pairs.shape[:2], 2))
    # Some steps at a time, as the weights of large layers fill no cache.
    some = step * max(1, BLOCK // (step * pairs.shape[1] * pairs.shape[2]))
    sums = []
    for begin in range(0, max(len(pairs), 1), some):
        part = slice(begin, begin + some)
        every = np.arange(0, len(pairs[part]), step)
        found = _pair_bounds(pairs[part], bounds[part])
        sums.append([np.add.reduceat(bound, every) for bound in found])
    most, least = map(np.concatenate, zip(*sums, strict=True))
    ends = _ends(most, least, first=first)
    if ends is None:
        return None if step == 1 else _finest_ends(pairs, bounds)
    return [*(int(firsts[end]) for end in ends[:-1]), len(pairs)]


def _pair_bounds(
    pairs: NDArray[np.int16], limits: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Largest and smallest sum of every pair of products, ``(pairs, C)``."""
    shape = pairs.shape[0], pairs.shape[2]
    most, least = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for number in range(pairs.shape[1]):
        low, high = limits[:, number, :1], limits[:, number, 1:]
        weight = pairs[:, number]
        above, below = np.maximum(weight, 0), np.minimum(weight, 0)
        most += high * above
        most += low * below
        least += high * below
        least += low * above
    return most, least


def _finest_ends(pairs: NDArray[np.int16], limits: NDArray[np.int64]) -> list[int] | None:
    """Find the ends where some steps of several pairs are too long."""
    found: list[int] = []
    for begin in range(0, len(pairs), STEPS):
        some = slice(begin, begin + STEPS)
        part = chunk_ends(pairs[some], limits[some], first=not begin)
        if part is None:
            return None
        found += [begin + end for end in part]
    return found


def _ends(most: NDArray[np.int64], least: NDArray[np.int64], *, first: bool) -> list[int] | None:
    """Find the ends of the longest chunks whose bounds ``(steps, C)`` fit int32 when added up.

    Parameters
    ----------
    most, least
        The bounds.
    first
        As in `chunk_ends`.
    """
    carried = (1 << CARRIED_BITS) - 1
    room = INT32_MAX if first else INT32_MAX - carried
    if most.sum(axis=0).max() <= room and least.sum(axis=0).min() >= INT32_MIN:
        return [len(most)]
    above, below = (np.cumsum(bound, axis=0) for bound in (most, least))
    ends: list[int] = []
    begin = 0
    used_above = used_below = np.zeros_like(most[0])
    while begin < len(most):
        low, high = begin, len(most)
        while low < high:  # Bounds grow from step to step.
            middle = (low + high + 1) // 2
            fits = (above[middle - 1] - used_above).max() <= room and (
                below[middle - 1] - used_below
            ).min() >= INT32_MIN
            low, high = (middle, high) if fits else (low, middle - 1)
        if low == begin:
            return None
        begin = low
        ends.append(begin)
        used_above, used_below = above[begin - 1], below[begin - 1]
        room = INT32_MAX - carried
    return ends


PASS_COST: Final = 0.25
"""What a tile takes besides its vectors, in the time of one: it loads every input again."""


def split_channels(channels: int, tiles: Tiles) -> list[tuple[tuple[int, int, int], int, int, int]]:
    """Cut channels into tiles: ``(tile, first channel, blocks, channels computed before)``.

    The last tile may begin before the end of the one before it, where that takes less time than
    narrower tiles.
    """
    found, done = [], 0
    for tile, blocks, again in _cheapest_split(channels, channels, tiles):
        width = tile[0] * tile[1]
        found.append((tile, done - again, blocks, again))
        done += blocks * width - again
    return found


def _cheapest_split(
    left: int, channels: int, tiles: Tiles
) -> list[tuple[tuple[int, int, int], int, int]]:
    """Cut the last channels into tiles: ``(tile, blocks, channels computed before)``.

    Parameters
    ----------
    left
        How many are left.
    channels
        How many there are.
    tiles
        Register tiles of the processor.
    """
    widths = [vectors * lanes for vectors, lanes, _ in tiles.dense]
    whole = next((number for number, width in enumerate(widths) if width <= left), None)
    splits = []
    if whole is not None:
        tile, (blocks, rest) = tiles.dense[whole], divmod(left, widths[whole])
        splits.append(
            [(tile, blocks, 0), *(_cheapest_split(rest, channels, tiles) if rest else [])]
        )
    splits += [
        [(tile, 1, width - left)]
        for tile, width in zip(reversed(tiles.dense), reversed(widths), strict=True)
        if left < width <= channels
    ]

    def cost(split: list[tuple[tuple[int, int, int], int, int]]) -> float:
        return sum(blocks * (tile[0] + PASS_COST) for tile, blocks, _ in split)

    return min(splits, key=cost)


def pack_chunks(weights: NDArray[np.int16], width: int) -> NDArray[np.int16]:
    """Turn ``(pairs, 2, C)`` into ``(blocks, pairs, width, 2)``."""
    pairs, _, channels = weights.shape
    blocks = weights.reshape(pairs, 2, channels // width, width)
    return np.ascontiguousarray(blocks.transpose(2, 0, 3, 1))


def pack_pairs(weights: NDArray[np.int16], width: int) -> NDArray[np.int16]:
    """Turn ``(runs, inputs, C)`` into ``(blocks, runs, pairs, width, 2)``; odd ones get a zero."""
    runs, inputs, channels = weights.shape
    even = np.zeros((runs, inputs + inputs % 2, channels), np.int16)
    even[:, :inputs] = weights
    pairs = even.reshape(runs, -1, 2, channels // width, width)
    return np.ascontiguousarray(pairs.transpose(3, 0, 1, 4, 2))
