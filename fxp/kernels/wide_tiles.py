"""Convolutions of int16 images whose sums need int64; as `fxp.kernels.tiles`, chunk by chunk."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    INPUT,
    OTHER,
    RESULT,
    ROWS,
    SCRATCH,
    kernel,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray
from fxp.kernels.records import DENSE_WIDE, DEPTHWISE_WIDE
from fxp.kernels.tile_store import COUNTED, PLUS_OTHER, SUMS, item_size, other_size, sum_size
from fxp.kernels.tiles import WEIGHT_BYTES, value_types
from fxp.kernels.wide_mac import FINGERPRINT, wide_depthwise_tile, wide_tile


@cache
def dense_wide_kernel(
    pixels: int, vectors: int, lanes: int, stored: int, chunking: int, together: int
) -> Any:
    """Return the dense convolution for one tile shape.

    Weights are packed ``(blocks, pairs of all pieces, vectors * lanes, 2)``.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    vectors, lanes
        Vectors of output channels of a tile, and channels in each.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    chunking
        How chunks are added up; see `fxp.kernels.wide_mac`.
    together
        Columns of the kernel that meet an input when it is loaded; 1 for one after the other.
    """
    width = vectors * lanes
    size, beside_size, unit = item_size(stored), other_size(stored), sum_size(stored)

    record, fingerprint = DENSE_WIDE, FINGERPRINT

    @kernel
    def convolve_dense_wide(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        step, first_channel = block.result_step, block.first_channel
        blocks, runs = block.blocks, block.runs
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        lengths = carray(pointer(block.piece_pairs), runs, np.int64)
        pieces = np.empty((runs, 2), np.int64)
        for run in range(runs):
            pieces[run, 0] = taps[run, 0] * (command[INPUT + 2] // 2) + taps[run, 1]
            pieces[run, 1] = lengths[run]
        totals = np.empty(pixels * width, np.int64)
        columns, pixel_step = command[COLUMNS], block.input_step
        block_bytes = block.pairs * width * 4
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
                        clipped += wide_tile(
                            into + size * (x * step + channel),
                            step,
                            row + 2 * x * pixel_step,
                            pixel_step,
                            (block.chunk_table, block.chunks, pieces.ctypes.data,
                             block.weights + number * block_bytes,
                             block.low_starts + 4 * channel, 0,
                             block.start + unit * channel),
                            (totals.ctypes.data, width),
                            (block.shift + unit * channel, block.own + unit * channel, block.low,
                             block.high, block.count_low, block.count_high, done - x,
                             block.uncounted),
                            (beside + beside_size * (x * step + channel), step,
                             block.factor + unit * channel),
                            (pixels, vectors, lanes, stored, chunking, together, fingerprint),
                        )  # fmt: skip
                    done = x + pixels
        return clipped

    return convolve_dense_wide


@cache
def dense_wide_sums_kernel(pixels: int, lanes: int, stored: int, chunking: int) -> Any:
    """Return the dense convolution that finishes a row of sums after it, for odd channel counts.

    As `fxp.kernels.tiles.dense_sums_kernel`; the row of sums in scratch memory is int64.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    lanes
        Channels of the only vector of a tile.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    chunking
        How chunks are added up; see `fxp.kernels.wide_mac`.
    """
    result_type, added_type = value_types(stored)
    added_is_read, counted = bool(stored & PLUS_OTHER), bool(stored & COUNTED)

    record, fingerprint = DENSE_WIDE, FINGERPRINT

    @kernel
    def convolve_dense_wide_sums(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        scratch = operand(command, bases, SCRATCH)
        blocks, runs, channels = block.blocks, block.runs, block.channels
        factor = block.shuffle
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        lengths = carray(pointer(block.piece_pairs), runs, np.int64)
        pieces = np.empty((runs, 2), np.int64)
        for run in range(runs):
            pieces[run, 0] = taps[run, 0] * (command[INPUT + 2] // 2) + taps[run, 1]
            pieces[run, 1] = lengths[run]
        columns, pixel_step, width = command[COLUMNS], block.input_step, blocks * lanes
        starts = carray(pointer(block.start), channels, np.int64)
        shifts = carray(pointer(block.shift), channels, np.int64)
        owns = carray(pointer(block.own), channels, np.int64)
        factors = carray(pointer(block.factor), channels, np.int64)
        sums = carray(pointer(scratch), columns * width, np.int64)
        low, high = block.low, block.high
        count_low, count_high = block.count_low, block.count_high
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
                    wide_tile(
                        0,
                        0,
                        row + 2 * x * pixel_step,
                        pixel_step,
                        (block.chunk_table, block.chunks, pieces.ctypes.data,
                         block.weights + number * block.pairs * lanes * 4, 0, 0, 0),
                        (scratch + 8 * (x * width + number * lanes), width),
                        (0, 0, 0, 0, 0, 0, 0, 0),
                        (other, 0, 0),
                        (pixels, 1, lanes, SUMS, chunking, 1, fingerprint),
                    )  # fmt: skip
                done = x + pixels
            for i in range(factor):
                at = y * factor + i
                result = carray(pointer(target + at * command[RESULT + 2]), length, result_type)
                added = carray(pointer(other + at * command[OTHER + 2]), length, added_type)
                for c in range(outputs):
                    for j in range(factor):
                        channel = (c * factor + i) * factor + j
                        start, own = starts[channel], owns[channel]
                        shift, factor_of = shifts[channel], factors[channel]
                        first = j * outputs + c
                        for x in range(columns):
                            total = (sums[x * width + channel] + start) * own
                            if added_is_read:
                                total += np.int64(added[x * step + first]) * factor_of
                            total >>= shift
                            if counted:
                                clipped += (total < count_low) | (total > count_high)
                            result[x * step + first] = min(max(total, low), high)
        return clipped

    return convolve_dense_wide_sums


@cache
def depthwise_wide_kernel(pixels: int, width: int, stored: int) -> Any:
    """Return the depthwise convolution for one tile shape.

    As `fxp.kernels.tiles.depthwise_kernel`.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    width
        Channels of a tile.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    """
    size, beside_size = item_size(stored), other_size(stored)

    record, fingerprint = DEPTHWISE_WIDE, FINGERPRINT

    @kernel
    def convolve_depthwise_wide(command_at: Any, bases_at: Any) -> int:
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
        totals = np.empty(pixels * width, np.int64)
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
                    clipped += wide_depthwise_tile(
                        into + size * (x * step + channel),
                        step,
                        row + 2 * (x * pixel_step + channel),
                        pixel_step,
                        (block.chunk_table, block.chunks, offsets.ctypes.data,
                         block.weights + number * pairs * width * 4, block.start + 8 * channel),
                        (totals.ctypes.data, width),
                        (block.shift + 8 * channel, block.own + 8 * channel, block.low,
                         block.high, block.count_low, block.count_high, done - x,
                         number * width - channel),
                        (beside + beside_size * (x * step + channel), step,
                         block.factor + 8 * channel),
                        (pixels, width, stored, fingerprint),
                    )  # fmt: skip
                done = x + pixels
        return clipped

    return convolve_depthwise_wide
