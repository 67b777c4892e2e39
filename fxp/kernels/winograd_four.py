"""Exact integer Winograd convolution with four outputs per axis, for values of few bits.

`fxp.kernels.four_transforms` has its transforms, and says why they are exact.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

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
from fxp.kernels.compiler import carray, njit
from fxp.kernels.four_transforms import (
    FINGERPRINT,
    OUTPUTS,
    axis,
    transform_four_inputs,
    transform_four_outputs,
)
from fxp.kernels.pair_mac import dense_tile
from fxp.kernels.records import WINOGRAD_FOUR
from fxp.kernels.tile_store import SUMS, item_size, other_size

ALIGNMENT: Final = 64


@njit(cache=True, nogil=True)
def tiles_together(rows: int, columns: int, most: int) -> tuple[int, int, int]:
    """Tiles that are transformed together: side by side, below each other, and their columns.

    As many tiles of a row as fit, in equal parts; several rows of tiles if they are short. The last
    tile of a row overlaps the one before if the columns are no multiple of four.

    Parameters
    ----------
    rows, columns
        Size of the region; at least `OUTPUTS` each.
    most
        Tiles that fit.
    """
    across, down = (columns + 3) // 4, (rows + 3) // 4
    parts = (across + most - 1) // most
    if parts > 1:
        across = (across + parts - 1) // parts
        return across, 1, 4 * across
    return across, max(1, min(down, most // across)), columns


@njit(cache=True, nogil=True)
def _aligned(size: int) -> int:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def scratch_bytes(
    cut_y: int, cut_x: int, together: tuple[int, int, int], channels_in: int, channels_out: int
) -> int:
    """Scratch memory that `winograd_four_kernel` needs.

    Parameters
    ----------
    cut_y, cut_x
        How the kernel's rows and columns are cut.
    together
        What `tiles_together` returns.
    channels_in, channels_out
        Channels.
    """
    across, down, columns = together
    axis_y, axis_x = axis(cut_y), axis(cut_x)
    span = columns - OUTPUTS + axis_x.reads
    lines = axis_y.products * down * span * channels_in * 2
    inputs = axis_x.products * across * down * channels_in * 2
    products = axis_y.products * axis_x.products * across * down * channels_out * 4
    return lines + inputs + products + 2 * ALIGNMENT


@cache
def winograd_four_kernel(
    cut_y: int,
    cut_x: int,
    pixels: int,
    vectors: int,
    lanes: int,
    input_lanes: int,
    stored: int,
    read: int = 2,
) -> Any:
    """Return the convolution for one cut and tile shape; it does not count.

    A region has at least four rows and columns, and `pixels` tiles; where its sizes are no
    multiples of four, the last tiles overlap the ones before them.

    Parameters
    ----------
    cut_y, cut_x
        How the kernel's rows and columns are cut.
    pixels, vectors, lanes
        Register tile of the products, as for `fxp.kernels.tiles.dense_kernel`.
    input_lanes
        Channels of a vector in the transform of inputs.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    read
        Bytes of an input.
    """
    width = vectors * lanes
    count_y, count_x = axis(cut_y).products, axis(cut_x).products
    reads_x = axis(cut_x).reads
    item, beside_item = item_size(stored), other_size(stored)

    record, fingerprint = WINOGRAD_FOUR, FINGERPRINT

    @kernel
    def convolve_winograd_four(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        channels_in, channels = block.channels_in, block.channels_out
        rows, columns = command[ROWS], command[COLUMNS]
        pitch, result_pitch = command[INPUT + 2] // read, command[RESULT + 2] // item
        other_pitch = command[OTHER + 2] // beside_item
        across, together, span = tiles_together(rows, columns, block.tiles)
        tiles = across * together
        line_length = (span + reads_x - 4) * channels_in
        lines = operand(command, bases, SCRATCH)
        inputs = lines + _aligned(2 * count_y * together * line_length)
        products = inputs + _aligned(2 * count_x * tiles * channels_in)
        plane = tiles * channels
        pairs, blocks = channels_in // 2, channels // width
        weight_bytes = pairs * width * 4
        rule = (
            block.shift, block.own, block.low, block.high, block.count_low, block.count_high, 0, 0,
        )  # fmt: skip
        no_rule = (0, 0, 0, 0, 0, 0, 0, 0)
        done_rows = 0
        while done_rows < rows:
            first_row = done_rows
            done_rows += 4 * together
            done = 0
            while done < columns:
                x = min(done, columns - span)
                done = x + span
                for band in range(together):
                    y = min(first_row + 4 * band, rows - 4)
                    transform_four_inputs(
                        lines + 2 * band * line_length, (together * line_length, 0),
                        source + read * (y * pitch + x * channels_in), (pitch, 0), (1, line_length),
                        (cut_y, input_lanes, read, fingerprint),
                    )  # fmt: skip
                for fy in range(count_y):
                    for piece in range(2 * together):
                        # All tiles of a row but the last, and then the last one.
                        band, last = piece // 2, piece % 2
                        count = 1 if last else across - 1
                        if count == 0:
                            continue
                        tile = last * (across - 1)
                        column = last * (span - 4)
                        transform_four_inputs(
                            inputs + 2 * (band * across + tile) * channels_in,
                            (tiles * channels_in, channels_in),
                            lines + 2 * ((fy * together + band) * line_length
                                         + column * channels_in),
                            (channels_in, 4 * channels_in), (count, channels_in),
                            (cut_x, input_lanes, 2, fingerprint),
                        )  # fmt: skip
                    for fx in range(count_x):
                        number = fy * count_x + fx
                        for part in range(blocks):
                            ready = 0
                            while ready < tiles:
                                t = min(ready, tiles - pixels)
                                ready = t + pixels
                                dense_tile(
                                    products
                                    + 4 * (number * plane + t * channels + part * width),
                                    channels,
                                    inputs + 2 * (fx * tiles + t) * channels_in,
                                    channels_in,
                                    (block.zeros, 1, pairs,
                                     block.weights + (number * blocks + part) * weight_bytes,
                                     block.zeros),
                                    no_rule,
                                    (other, 0, 0),
                                    (pixels, vectors, lanes, SUMS, 1, fingerprint),
                                )  # fmt: skip
                for piece in range(2 * together):
                    band, last = piece // 2, piece % 2
                    count = 1 if last else across - 1
                    if count == 0:
                        continue
                    y = min(first_row + 4 * band, rows - 4)
                    tile = last * (across - 1)
                    column = x + last * (span - 4)
                    transform_four_outputs(
                        target + item * (y * result_pitch + column * channels),
                        (result_pitch, channels),
                        products + 4 * (band * across + tile) * channels,
                        (count, channels, plane), block.start, rule,
                        (other + beside_item * (y * other_pitch + column * channels), other_pitch,
                         block.factor),
                        (cut_y, cut_x, lanes, stored, fingerprint),
                    )  # fmt: skip
        return 0

    return convolve_winograd_four
