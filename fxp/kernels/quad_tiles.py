"""Convolutions of values of 8 bits by register tiles of quads of bytes."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    INPUT,
    OTHER,
    RESULT,
    ROWS,
    kernel,
    operand,
    pointer,
)
from fxp.kernels.compiler import I8, I16, I64, address, carray, code_generator, load, splat, store
from fxp.kernels.quad_mac import FINGERPRINT, quad_tile
from fxp.kernels.records import DENSE, TO_BYTES
from fxp.kernels.tile_store import item_size, other_size

CHUNK: Final = 64
"""Values that are stored as bytes at a time."""


@code_generator
def _store_chunk(typingctx, target, source, less):  # type: ignore[no-untyped-def]
    """Store a chunk of int16 values, less a constant, as bytes; addresses."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        target, source, less = arguments
        values = load(builder, address(builder, source, I64(0), I16), ir.VectorType(I16, CHUNK), 2)
        values = builder.sub(values, splat(builder, builder.trunc(less, I16), CHUNK))
        narrow = builder.trunc(values, ir.VectorType(I8, CHUNK))
        store(builder, narrow, address(builder, target, I64(0), I8), 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@cache
def to_bytes_kernel() -> Any:
    """Return the kernel that stores int16 values, less a constant, as bytes."""
    record = TO_BYTES

    @kernel
    def to_bytes(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        length = command[COLUMNS] * block.channels
        less = np.int16(block.less)
        for y in range(command[ROWS]):
            values = carray(pointer(source + y * command[INPUT + 2]), length, np.int16)
            stored = carray(pointer(target + y * command[RESULT + 2]), length, np.uint8)
            whole = length // CHUNK * CHUNK
            for i in range(0, whole, CHUNK):
                _store_chunk(stored.ctypes.data + i, values.ctypes.data + 2 * i, block.less)
            for i in range(whole, length):
                stored[i] = np.uint8(values[i] - less)
        return 0

    return to_bytes


@cache
def dense_quad_kernel(pixels: int, vectors: int, lanes: int, stored: int) -> Any:
    """Return the dense convolution of bytes for one tile shape.

    As `fxp.kernels.tiles.dense_kernel`; weights are packed ``(blocks, runs, quads,
    vectors * lanes, 4)``, and the steps of the record count bytes.

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
    size, beside_size = item_size(stored), other_size(stored)

    record, fingerprint = DENSE, FINGERPRINT

    @kernel
    def convolve_quads(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        step, first_channel = block.result_step, block.first_channel
        blocks, runs, quads = block.blocks, block.runs, block.pairs
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        offsets = np.empty(runs, np.int64)
        for run in range(runs):
            offsets[run] = taps[run, 0] * command[INPUT + 2] + taps[run, 1]
        columns, pixel_step = command[COLUMNS], block.input_step
        block_bytes = runs * quads * width * 4
        clipped = 0
        for y in range(command[ROWS]):
            into = target + y * command[RESULT + 2]
            beside = other + y * command[OTHER + 2]
            row = source + y * block.row_step * command[INPUT + 2]
            done = 0
            while done < columns:
                x = min(done, columns - pixels)
                for number in range(blocks):
                    channel = first_channel + number * width
                    clipped += quad_tile(
                        into + size * (x * step + channel),
                        step,
                        row + x * pixel_step,
                        pixel_step,
                        (offsets.ctypes.data, runs, quads, block.weights + number * block_bytes,
                         block.start + 4 * channel),
                        (block.shift + 4 * channel, block.own + 4 * channel, block.low,
                         block.high, block.count_low, block.count_high, done - x,
                         block.uncounted),
                        (beside + beside_size * (x * step + channel), step,
                         block.factor + 4 * channel),
                        (pixels, vectors, lanes, stored, 1, fingerprint),
                    )  # fmt: skip
                done = x + pixels
        return clipped

    return convolve_quads
