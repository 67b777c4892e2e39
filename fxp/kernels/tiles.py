"""Convolutions of int16 images by register tiles, finished while the sums are in registers.

Every function returns a kernel for one tile shape, compiled on first use and cached on disk. A row
is cut into tiles of neighbouring pixels; the last one overlaps the one before, so that none is cut:
a region has at least as many columns as a tile.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    INPUT,
    INTEGERS,
    OTHER,
    RESULT,
    ROWS,
    SCRATCH,
    kernel,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray
from fxp.kernels.pair_mac import FINGERPRINT, dense_tile, depthwise_tile
from fxp.kernels.records import DENSE, DENSE_SUMS, DEPTHWISE
from fxp.kernels.requantize import add, finish_one, multiply
from fxp.kernels.tile_store import COUNTED, PLUS_OTHER, SUMS, item_size, other_size, sum_size

WEIGHT_BYTES: Final = 1 << 18
"""More weights than these are read block by block, once for all pixels of a command: they do not
stay in the caches from one tile to the next."""


def value_types(stored: int) -> tuple[type, type]:
    """Types of results and of the other value, where these are not vectors."""
    return INTEGERS[item_size(stored)], INTEGERS[other_size(stored)]


@cache
def dense_kernel(pixels: int, vectors: int, lanes: int, stored: int) -> Any:
    """Return the dense convolution for one tile shape.

    Weights are packed ``(blocks, runs, pairs, vectors * lanes, 2)``.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    vectors, lanes
        Vectors of output channels of a tile, and channels in each.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    width = vectors * lanes
    size, beside_size, unit = item_size(stored), other_size(stored), sum_size(stored)

    record, fingerprint = DENSE, FINGERPRINT

    @kernel
    def convolve_dense(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        step, first_channel = block.result_step, block.first_channel
        blocks, runs, pairs = block.blocks, block.runs, block.pairs
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        offsets = np.empty(runs, np.int64)
        for run in range(runs):
            offsets[run] = taps[run, 0] * (command[INPUT + 2] // 2) + taps[run, 1]
        columns, pixel_step = command[COLUMNS], block.input_step
        block_bytes = runs * pairs * width * 4
        clipped = 0
        passes = blocks if blocks * block_bytes > WEIGHT_BYTES else 1
        for first in range(passes):
            for y in range(command[ROWS]):
                into = target + y * command[RESULT + 2]
                beside = other + y * command[OTHER + 2]
                row = source + y * block.row_step * command[INPUT + 2]
                done = 0
                while done < columns:
                    x = min(done, columns - pixels)
                    for number in range(first, first + blocks // passes):
                        channel = first_channel + number * width
                        clipped += dense_tile(
                            into + size * (x * step + channel),
                            step,
                            row + 2 * x * pixel_step,
                            pixel_step,
                            (offsets.ctypes.data, runs, pairs, block.weights + number * block_bytes,
                             block.start + unit * channel),
                            (block.shift + unit * channel, block.own + unit * channel, block.low,
                             block.high, block.count_low, block.count_high, done - x,
                             block.uncounted),
                            (beside + beside_size * (x * step + channel), step,
                             block.factor + unit * channel),
                            (pixels, vectors, lanes, stored, 1, fingerprint),
                        )  # fmt: skip
                    done = x + pixels
        return clipped

    return convolve_dense


@cache
def depthwise_kernel(pixels: int, width: int, stored: int) -> Any:
    """Return the depthwise convolution for one tile shape.

    Weights are packed ``(blocks, pairs, width in interleaved order, 2)``; block ``b`` stands for
    the channels from ``min(b * width, C - width)`` on: the last overlaps the one before.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    width
        Channels of a tile.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    size, beside_size, unit = item_size(stored), other_size(stored), sum_size(stored)

    record, fingerprint = DEPTHWISE, FINGERPRINT

    @kernel
    def convolve_depthwise(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        step, blocks, pairs, channels = block.result_step, block.blocks, block.pairs, block.channels
        taps = carray(pointer(block.taps), (2 * pairs, 2), np.int64)
        offsets = np.empty(2 * pairs, np.int64)
        for tap in range(2 * pairs):
            offsets[tap] = taps[tap, 0] * (command[INPUT + 2] // 2) + taps[tap, 1]
        columns, pixel_step = command[COLUMNS], block.input_step
        clipped = 0
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            beside = other + y * command[OTHER + 2]
            row = source + y * block.row_step * command[INPUT + 2]
            done = 0
            while done < columns:
                x = min(done, columns - pixels)
                for number in range(blocks):
                    channel = min(number * width, channels - width)
                    clipped += depthwise_tile(
                        into + size * (x * step + channel),
                        step,
                        row + 2 * (x * pixel_step + channel),
                        pixel_step,
                        (offsets.ctypes.data, pairs, block.weights + number * pairs * width * 4,
                         block.start + unit * channel),
                        (block.shift + unit * channel, block.own + unit * channel, block.low,
                         block.high, block.count_low, block.count_high, done - x,
                         number * width - channel),
                        (beside + beside_size * (x * step + channel), step,
                         block.factor + unit * channel),
                        (pixels, width, stored, fingerprint),
                    )  # fmt: skip
                done = x + pixels
        return clipped

    return convolve_depthwise


@cache
def dense_shuffled_kernel(pixels: int, lanes: int, factor: int, stored: int) -> Any:
    """Return the dense convolution to ``factor**2`` channels with a pixel shuffle behind it.

    As `dense_kernel` with one block, padded to the lanes; the result has one channel.

    Parameters
    ----------
    pixels
        Pixels of a tile, before the shuffle.
    lanes
        Channels of the only vector.
    factor
        Of the pixel shuffle.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    size, beside_size = item_size(stored), other_size(stored)

    record, fingerprint = DENSE, FINGERPRINT

    @kernel
    def convolve_dense_shuffled(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        runs, pairs = block.runs, block.pairs
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        offsets = np.empty(runs, np.int64)
        for run in range(runs):
            offsets[run] = taps[run, 0] * (command[INPUT + 2] // 2) + taps[run, 1]
        columns, pixel_step = command[COLUMNS], block.input_step
        row_step = command[RESULT + 2] // size
        other_row_step = command[OTHER + 2] // beside_size
        clipped = 0
        for y in range(command[ROWS]):
            into = target + y * factor * command[RESULT + 2]
            beside = other + y * factor * command[OTHER + 2]
            row = source + y * block.row_step * command[INPUT + 2]
            done = 0
            while done < columns:
                x = min(done, columns - pixels)
                clipped += dense_tile(
                    into + size * x * factor, row_step, row + 2 * x * pixel_step, pixel_step,
                    (offsets.ctypes.data, runs, pairs, block.weights, block.start),
                    (block.shift, block.own, block.low, block.high, block.count_low,
                     block.count_high, done - x, 0),
                    (beside + beside_size * x * factor, other_row_step, block.factor),
                    (pixels, 1, lanes, stored, factor, fingerprint),
                )  # fmt: skip
                done = x + pixels
        return clipped

    return convolve_dense_shuffled


@cache
def dense_sums_kernel(pixels: int, lanes: int, stored: int) -> Any:
    """Return the dense convolution that finishes a row of sums after it, for odd channel counts.

    As `dense_kernel`, but weights are padded to whole blocks, and the result may be shuffled: with
    factor ``f``, channel ``(c * f + i) * f + j`` goes to channel c of pixel ``(f*y + i, f*x + j)``.
    Needs scratch memory for a row of sums.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    lanes
        Channels of the only vector of a tile.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    result_type, added_type = value_types(stored)
    added_is_read, counted = bool(stored & PLUS_OTHER), bool(stored & COUNTED)

    record, fingerprint = DENSE_SUMS, FINGERPRINT

    @kernel
    def convolve_dense_sums(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        scratch = operand(command, bases, SCRATCH)
        blocks, runs, pairs, channels = block.blocks, block.runs, block.pairs, block.channels
        factor = block.shuffle
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        offsets = np.empty(runs, np.int64)
        for run in range(runs):
            offsets[run] = taps[run, 0] * (command[INPUT + 2] // 2) + taps[run, 1]
        columns, pixel_step, width = command[COLUMNS], block.input_step, blocks * lanes
        shifts = carray(pointer(block.shift), channels, np.int32)
        owns = carray(pointer(block.own), channels, np.int32)
        factors = carray(pointer(block.factor), channels, np.int32)
        sums = carray(pointer(scratch), columns * width, np.int32)
        low, high = np.int32(block.low), np.int32(block.high)
        count_low, count_high = np.int32(block.count_low), np.int32(block.count_high)
        outputs = channels // (factor * factor)
        step = block.result_step
        length = columns * step
        clipped = 0
        for y in range(command[ROWS]):
            row = source + y * block.row_step * command[INPUT + 2]
            done = 0
            while done < columns:
                x = min(done, columns - pixels)
                for number in range(blocks):
                    dense_tile(
                        scratch + 4 * (x * width + number * lanes),
                        width,
                        row + 2 * x * pixel_step,
                        pixel_step,
                        (offsets.ctypes.data, runs, pairs,
                         block.weights + number * runs * pairs * lanes * 4,
                         block.start + 4 * number * lanes),
                        (0, 0, low, high, low, high, 0, 0),
                        (other, 0, 0),
                        (pixels, 1, lanes, SUMS, 1, fingerprint),
                    )  # fmt: skip
                done = x + pixels
            for i in range(factor):
                at = y * factor + i
                result = carray(pointer(target + at * command[RESULT + 2]), length, result_type)
                added = carray(pointer(other + at * command[OTHER + 2]), length, added_type)
                for c in range(outputs):
                    for j in range(factor):
                        channel = (c * factor + i) * factor + j
                        shift, own, factor_of = shifts[channel], owns[channel], factors[channel]
                        first = j * outputs + c
                        for x in range(columns):
                            total = multiply(sums[x * width + channel], own)
                            if added_is_read:
                                value = np.int32(added[x * step + first])
                                total = add(total, multiply(value, factor_of))
                            if counted:
                                rounded = total >> shift
                                clipped += (rounded < count_low) | (rounded > count_high)
                            result[x * step + first] = finish_one(total, shift, low, high)
        return clipped

    return convolve_dense_sums
