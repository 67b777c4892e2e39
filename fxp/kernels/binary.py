"""Convolutions of signs: values and weights of -1, 0 and 1, by counting bits.

An input is two bits: whether it is not zero, and whether it is negative. 32 of them are a *word*:
the first bits in its lower half, the second in its upper half. Weights are ``scale`` times a sign,
with a scale per output channel. Where no weight is zero

    Σ x*w = scale * (inputs that are not zero - 2 * those whose sign differs from the weight's),

and padding, being zero, adds nothing. The inputs that are not zero are counted once for all output
channels. Where some weights are zero, those whose signs agree and those whose signs differ are
counted apart (Rastegari et al., XNOR-Net, ECCV 2016; Li et al., Ternary Weight Networks, 2016).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

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
from fxp.kernels.compiler import (
    I16,
    I32,
    I64,
    address,
    carray,
    code_generator,
    literals,
    load,
    loop,
    splat,
)
from fxp.kernels.pair_mac import FINGERPRINT as PAIR_FINGERPRINT
from fxp.kernels.records import BINARY, TO_SIGNS
from fxp.kernels.tile_store import Store, item_size, other_size

WORD: Final = 32
"""Inputs in a word."""
FINGERPRINT: Final = PAIR_FINGERPRINT ^ crc32(Path(__file__).read_bytes())
"""Of the code generators, as `fxp.kernels.pair_mac.FINGERPRINT`."""


@code_generator
def _word(typingctx, source):  # type: ignore[no-untyped-def]
    """Word of the 32 int16 values at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(I16, WORD)
        values = load(builder, address(builder, arguments[0], I64(0), I16), vector, 2)
        zeros = ir.Constant(vector, [0] * WORD)
        used, negative = (
            builder.zext(builder.bitcast(builder.icmp_signed(order, values, zeros), I32), I64)
            for order in ("!=", "<")
        )
        return builder.or_(used, builder.shl(negative, I64(WORD)))

    return types.int64(types.int64), codegen


@code_generator
def _count_bits(typingctx, word):  # type: ignore[no-untyped-def]
    """How many bits of the lower half of a word are set."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(builder.and_(arguments[0], I64(2**WORD - 1)))

    return types.int64(types.int64), codegen


@cache
def to_signs_kernel() -> Any:
    """Return the kernel that stores int16 values from -1 to 1 as words.

    The words of all rows come first, and behind them, row by row, how many values of each pixel
    are not zero, as int32.
    """
    record, fingerprint = TO_SIGNS, FINGERPRINT

    @kernel
    def to_signs(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        rows, columns, channels = command[ROWS], command[COLUMNS], block.channels
        words = (channels + WORD - 1) // WORD
        counts = carray(pointer(target + rows * command[RESULT + 2]), (rows, columns), np.int32)
        rest = np.zeros(WORD, np.int16)
        for y in range(rows):
            at = source + y * command[INPUT + 2]
            row = carray(pointer(target + y * command[RESULT + 2]), (columns, words), np.int64)
            values = carray(pointer(at), (columns, channels), np.int16)
            for x in range(columns):
                count = 0
                for number in range(words):
                    first = number * WORD
                    if first + WORD <= channels:
                        word = _word(at + 2 * (x * channels + first))
                    else:
                        for channel in range(first, channels):
                            rest[channel - first] = values[x, channel]
                        word = _word(rest.ctypes.data)
                    row[x, number] = word
                    count += _count_bits(word)
                counts[y, x] = count
        return 0 * fingerprint

    return to_signs


def _counted(builder: ir.IRBuilder, vector: Any) -> Any:
    """Count the bits of every int32 of a vector."""
    kind = vector.type
    name = f"llvm.ctpop.v{kind.count}i32"
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind]), name)
    return builder.call(function, [vector])


@code_generator
def sign_tile(typingctx, output, output_step, image, image_step, taps, rule, other, form):  # type: ignore[no-untyped-def]
    """Accumulate one tile of ``pixels × (vectors * lanes)`` outputs of signs and store it.

    Parameters
    ----------
    output, output_step, rule, other
        As in `fxp.kernels.pair_mac.dense_tile`.
    image, image_step
        Address of words, and words from one pixel of the tile to the next.
    taps
        ``(runs, run_count, words, weights, start, scale, counts)``: address of the int64 offsets of
        runs of words, how many there are, words in each; address of the weights, of the int32 start
        and scale per channel, and of the int32 counts of the pixels' inputs that are not zero.
    form
        Literals ``(pixels, vectors, lanes, stored, zeros, FINGERPRINT)``. Weights are packed
        ``[run][word][channel]``: 32 signs each. If `zeros` is set, they are packed
        ``[run][word][2][channel]``: which are not zero, then the signs; and counts are not used.

    Returns
    -------
    int
        How many results overflowed; 0 if not counted.
    """
    values = literals(form)
    if values is None:
        return None
    pixels, vectors, lanes, stored, zeros, _ = values
    signature = types.int64(output, output_step, image, image_step, taps, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        out, out_step, img, img_step, tap_pack, rule_pack, other_pack, _ = arguments
        runs, run_count, words, weights, start, scale, counts = cgutils.unpack_tuple(
            builder, tap_pack
        )
        vector = ir.VectorType(I32, lanes)
        width = vectors * lanes
        stride = width * (2 if zeros else 1)

        def of_channels(base: Any, first: Any) -> list[Any]:
            return [
                load(
                    builder,
                    address(builder, base, builder.add(first, I64(v * lanes)), I32),
                    vector,
                    4,
                )
                for v in range(vectors)
            ]

        def run_body(run: Any, totals: list[Any]) -> list[Any]:
            offset = load(builder, address(builder, runs, run, I64), I64, 8)
            behind = builder.mul(builder.mul(run, words), I64(stride))

            def word_body(word: Any, totals: list[Any]) -> list[Any]:
                at = builder.add(behind, builder.mul(word, I64(stride)))
                used = of_channels(weights, at) if zeros else []
                signs = of_channels(weights, builder.add(at, I64(width * zeros)))
                results = []
                for p in range(pixels):
                    place = builder.add(builder.add(offset, word), builder.mul(img_step, I64(p)))
                    mask, negative = (
                        splat(
                            builder,
                            load(
                                builder,
                                address(
                                    builder,
                                    img,
                                    builder.add(builder.mul(place, I64(2)), I64(half)),
                                    I32,
                                ),
                                I32,
                                4,
                            ),
                            lanes,
                        )
                        for half in (0, 1)
                    )
                    for v in range(vectors):
                        total = totals[p * vectors + v]
                        differ = builder.xor(negative, signs[v])
                        both = builder.and_(mask, used[v]) if zeros else mask
                        apart = _counted(builder, builder.and_(both, differ))
                        if zeros:
                            agree = _counted(builder, builder.and_(both, builder.not_(differ)))
                            total = builder.add(total, agree)
                            results.append(builder.sub(total, apart))
                        else:
                            results.append(builder.add(total, apart))
                return results

            return loop(builder, words, totals, word_body)

        nothing = ir.Constant(vector, [0] * lanes)
        totals = loop(builder, run_count, [nothing] * (pixels * vectors), run_body)
        begin, scales = (of_channels(base, I64(0)) for base in (start, scale))
        finish = Store(builder, out, out_step, rule_pack, other_pack, lanes, stored)
        for p in range(pixels):
            count = load(builder, address(builder, counts, I64(p), I32), I32, 4)
            used = splat(builder, count, lanes)
            for v in range(vectors):
                total = totals[p * vectors + v]
                if not zeros:
                    total = builder.sub(used, builder.add(total, total))
                total = builder.add(builder.mul(total, scales[v]), begin[v])
                finish(total, p, v * lanes)
        return finish.clipped()

    return signature, codegen


@cache
def binary_kernel(pixels: int, vectors: int, lanes: int, stored: int, zeros: int) -> Any:
    """Return the convolution of signs for one tile shape.

    Parameters
    ----------
    pixels
        Pixels of a tile.
    vectors, lanes
        Vectors of output channels of a tile, and channels in each.
    stored
        What is stored; see `fxp.kernels.finish.Finish.stored`.
    zeros
        1 if some weights are zero, else 0.
    """
    width = vectors * lanes
    size, beside_size = item_size(stored), other_size(stored)

    record, fingerprint = BINARY, FINGERPRINT

    @kernel
    def convolve_signs(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        other = operand(command, bases, OTHER) if command[OTHER] >= 0 else 0
        step, first_channel = block.result_step, block.first_channel
        blocks, runs, words = block.blocks, block.runs, block.pairs
        pitch = command[INPUT + 2] // 8
        taps = carray(pointer(block.taps), (runs, 2), np.int64)
        offsets = np.empty(runs, np.int64)
        for run in range(runs):
            offsets[run] = taps[run, 0] * pitch + taps[run, 1]
        rows, columns, pixel_step = command[ROWS], command[COLUMNS], block.input_step
        read_rows = (rows - 1) * block.row_step + block.kernel_rows
        read_columns = (columns - 1) * block.column_step + block.kernel_columns
        used = carray(
            pointer(source + read_rows * command[INPUT + 2]), (read_rows, read_columns), np.int32
        )
        counts = np.zeros(columns, np.int32)
        block_bytes = runs * words * width * 4 * (1 + zeros)
        clipped = 0
        for y in range(rows):
            if not zeros:
                counts[:] = 0
                for down in range(0, block.kernel_rows, block.tap_rows):
                    for right in range(0, block.kernel_columns, block.tap_columns):
                        for x in range(columns):
                            counts[x] += used[
                                y * block.row_step + down, x * block.column_step + right
                            ]
            into = target + y * command[RESULT + 2]
            beside = other + y * command[OTHER + 2]
            row = source + y * block.row_step * command[INPUT + 2]
            done = 0
            while done < columns:
                x = min(done, columns - pixels)
                for number in range(blocks):
                    channel = first_channel + number * width
                    clipped += sign_tile(
                        into + size * (x * step + channel),
                        step,
                        row + 8 * x * pixel_step,
                        pixel_step,
                        (offsets.ctypes.data, runs, words, block.weights + number * block_bytes,
                         block.start + 4 * channel, block.scale + 4 * channel,
                         counts.ctypes.data + 4 * x),
                        (block.shift + 4 * channel, block.own + 4 * channel, block.low,
                         block.high, block.count_low, block.count_high, done - x,
                         block.uncounted),
                        (beside + beside_size * (x * step + channel), step,
                         block.factor + 4 * channel),
                        (pixels, vectors, lanes, stored, zeros, fingerprint),
                    )  # fmt: skip
                done = x + pixels
        return clipped

    return convolve_signs
