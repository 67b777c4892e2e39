"""Integers written by hand: what moves, pools and enlarges pixels."""

from __future__ import annotations

from typing import Final

from golden_case import S8, Golden, Value, column, row, signed, to, unsigned

from fxp.graph.ops import (
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Concat,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    LineCodec,
    MaxPool,
    MaxPoolIndices,
    MaxUnpool,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Slice,
)

_THREE_BY_TWO: Final = Value([[[1, 2, 3], [4, 5, 6]]], S8)

MOVEMENT: Final = (
    # 1*4 and 3, -3 with f = 2, halved: 2, 1.5, -1.5.
    Golden(
        "alignment, ties up",
        Concat(),
        (Value([1], S8), Value([3, -3], signed(8, 2))),
        to(signed(8, 1)),
        [2, 2, -1],
    ),
    Golden(
        "every second column from the second",
        Slice("column", 1, None, 2),
        (Value([[[1, 2, 3, 4], [5, 6, 7, 8]]], S8),),
        to(S8),
        [[[2, 4], [6, 8]]],
    ),
    Golden(
        "all rows but the last",
        Slice("row", 0, -1),
        (_THREE_BY_TWO,),
        to(S8),
        [[[1, 2, 3]]],
    ),
    # -3/2 is -1.5.
    Golden(
        "the last channel, rounded",
        Slice("channel", -1),
        (Value(column(1, 2, -3), signed(8, 1)),),
        to(S8),
        column(-1),
    ),
    Golden(
        "zero",
        Pad((1, 0, 0, 2)),
        (_THREE_BY_TWO,),
        to(S8),
        [[[0, 0, 0, 0, 0], [1, 2, 3, 0, 0], [4, 5, 6, 0, 0]]],
    ),
    Golden(
        "reflect does not repeat the edge",
        Pad((1, 0, 0, 2), "reflect"),
        (_THREE_BY_TWO,),
        to(S8),
        [[[4, 5, 6, 5, 4], [1, 2, 3, 2, 1], [4, 5, 6, 5, 4]]],
    ),
    Golden(
        "replicate repeats the edge",
        Pad((1, 0, 0, 2), "replicate"),
        (_THREE_BY_TWO,),
        to(S8),
        [[[1, 2, 3, 3, 3], [1, 2, 3, 3, 3], [4, 5, 6, 6, 6]]],
    ),
    Golden(
        "symmetric mirrors the edge too",
        Pad((1, 0, 0, 2), "symmetric"),
        (_THREE_BY_TWO,),
        to(S8),
        [[[1, 2, 3, 3, 2], [1, 2, 3, 3, 2], [4, 5, 6, 6, 5]]],
    ),
    # ...1 2 2 1 | 1 2: five pixels to the left are 1 1 2 2 1.
    Golden(
        "symmetric, again and again",
        Pad((0, 0, 5, 0), "symmetric"),
        (Value(row(1, 2), S8),),
        to(S8),
        row(1, 1, 2, 2, 1, 1, 2),
    ),
    Golden(
        "channel by channel, row by row",
        Flatten(),
        (Value([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], S8),),
        to(S8),
        [1, 2, 3, 4, 5, 6, 7, 8],
    ),
    Golden(
        "four channels become a block",
        PixelShuffle(2),
        (Value(column(1, 2, 3, 4, 5, 6, 7, 8), S8),),
        to(S8),
        [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
    ),
    Golden(
        "pixels side by side",
        PixelShuffle(2),
        (Value([[[1, 2]], [[3, 4]], [[5, 6]], [[7, 8]]], S8),),
        to(S8),
        [[[1, 3, 2, 4], [5, 7, 6, 8]]],
    ),
    Golden(
        "a block becomes four channels",
        PixelUnshuffle(2),
        (Value([[[1, 3, 2, 4], [5, 7, 6, 8]]], S8),),
        to(S8),
        [[[1, 2]], [[3, 4]], [[5, 6]], [[7, 8]]],
    ),
    Golden(
        "blocks below each other",
        PixelUnshuffle(2),
        (Value([[[1, 2], [3, 4], [5, 6], [7, 8]]], S8),),
        to(S8),
        [[[1], [5]], [[2], [6]], [[3], [7]], [[4], [8]]],
    ),
    # 1/2 and -3/2, ties up.
    Golden(
        "blocks of nine, rounded",
        Nearest(3),
        (Value(row(1, -3), signed(8, 1)),),
        to(S8),
        [[[1, 1, 1, -1, -1, -1]] * 3],
    ),
    # Eight pixels of 8 bits: d = 3 bits each, a base of p = 4. Base 16; 100 - 16 = 84 needs s = 4
    # (84 >> 4 = 5). (x - 16 + 8) >> 4: 0 1 1 2 3 4 5 1. Second group: base 32; 255 - 32 = 223 needs
    # s = 5; (8 + 16) >> 5 = 0 and (223 + 16) >> 5 = 7; 32 + 7*32 = 256 is cut to 255.
    Golden(
        "groups of eight, the last one shorter",
        LineCodec(),
        (Value(row(20, 25, 30, 40, 60, 80, 100, 33, 40, 255), unsigned(8, 0)),),
        to(unsigned(8, 0)),
        row(16, 32, 32, 48, 64, 80, 96, 32, 32, 255),
    ),
    # q = x + 128 = 28 29 30, base 16; 14 needs s = 1; (q - 16 + 1) >> 1: 6 7 7, so q = 28 30 30.
    # In the second row q = 0 to 2 fits 3 bits: unchanged.
    Golden(
        "signed; a narrow group is unchanged",
        LineCodec(),
        (Value([[[-100, -99, -98], [-128, -126, -127]]], S8),),
        to(S8),
        [[[-100, -98, -98], [-128, -126, -127]]],
    ),
)

POOLING: Final = (
    # Each window sees one pixel; were padding zero, it would win over -5 and -7.
    Golden(
        "padding never wins",
        MaxPool(padding=(1, 1, 1, 1)),
        (Value([[[-5, 2], [3, -7]]], S8),),
        to(S8),
        [[[-5, 2], [3, -7]]],
    ),
    # 5/2 and 5/2.
    Golden(
        "overlapping windows, rounded",
        MaxPool(stride=(1, 1)),
        (Value([[[1, -2, 3], [-4, 5, -6]]], signed(8, 1)),),
        to(S8),
        [[[3, 3]]],
    ),
    # 65536 stands for a quarter: 11/4 = 2.75 and -11/4, in halves 5.5 and -5.5.
    Golden(
        "two by two",
        AveragePool(),
        (Value([[[1, 2, -1, -2], [3, 5, -3, -5]]], S8),),
        to(signed(8, 1)),
        [[[6, -5]]],
    ),
    # m = 116508 with f = 20; the sum of nine ones is 9.
    Golden(
        "three by three, the exact accumulator",
        AveragePool(window=(3, 3), stride=(1, 1)),
        (Value([[[1, 1, 1]] * 3], S8),),
        to(signed(32, 20)),
        [[[1048572]]],
    ),
    # f = 16 + ceil(log2 3) = 18. Two pixels: 2^17; three: floor((2^19 + 3)/6) = floor(87381.8).
    Golden(
        "padding that does not count",
        AveragePool(window=(1, 3), stride=(1, 1), padding=(0, 0, 1, 1), count_padding=False),
        (Value(row(1, 2, 3), S8),),
        to(signed(32, 18)),
        row(3 * 131072, 6 * 87381, 5 * 131072),
    ),
    Golden(
        "padding that counts",
        AveragePool(window=(1, 3), stride=(1, 1), padding=(0, 0, 1, 1)),
        (Value(row(1, 2, 3), S8),),
        to(signed(32, 18)),
        row(3 * 87381, 6 * 87381, 5 * 87381),
    ),
    Golden(
        "negative",
        GlobalMaxPool(),
        (Value([[[-7, -3]], [[2, 1]]], S8),),
        to(S8),
        column(-3, 2),
    ),
    # Three pixels: m = floor((2^35 + 3)/6) = 5726623061 with f = 34; 7 and -7 thirds.
    Golden(
        "the exact accumulator",
        GlobalAveragePool(),
        (Value([[[1, 2, 4]], [[-1, -2, -4]]], S8),),
        to(signed(48, 34)),
        column(7 * 5726623061, -7 * 5726623061),
    ),
    # 7/3 in quarters is 9.33.
    Golden(
        "rounded",
        GlobalAveragePool(),
        (Value([[[1, 2, 4]], [[-1, -2, -4]]], S8),),
        to(signed(8, 2)),
        column(9, -9),
    ),
    # Rows by columns of a window: 0 1 | 2 3. Of equal values the first counts.
    Golden(
        "the first of equals",
        MaxPoolIndices(),
        (Value([[[1, 5, -3, -9], [5, 2, -8, -3]]], S8),),
        to(unsigned(2, 0)),
        [[[1, 0]]],
    ),
    # The one pixel of each window lies at 3, 2, 1, 0, even if it is the smallest of its format.
    Golden(
        "padding never counts",
        MaxPoolIndices(padding=(1, 1, 1, 1)),
        (Value([[[-8, 2], [3, -8]]], signed(4, 0)),),
        to(unsigned(2, 0)),
        [[[3, 2], [1, 0]]],
    ),
    Golden(
        "zero elsewhere",
        MaxUnpool(),
        (Value(row(7, -3), S8), Value(row(3, 1), unsigned(3, 0))),
        to(S8),
        [[[0, 0, 0, -3], [0, 7, 0, 0]]],
    ),
    # 4 names no tap of four. The second index, 1, lies in the row that is cropped away.
    Golden(
        "an index that names no tap or lies outside",
        MaxUnpool(padding=(1, 0, 1, 0)),
        (
            Value([[[7, -3]], [[7, -3]]], S8),
            Value([[[3, 1]], [[4, 2]]], unsigned(3, 0)),
        ),
        to(S8),
        [[[7, 0, 0]], [[0, -3, 0]]],
    ),
)

UPSAMPLING: Final = (
    # Columns: 4 + 3*4, 3*4 - 6, 4 - 3*6, -6 - 3*6 = 16 6 -14 -24; rows: times 4. Over 16 that is
    # 4 1.5 -3.5 -6.
    Golden(
        "ties up",
        BilinearUpsample(),
        (Value(row(4, -6), S8),),
        to(S8),
        [[[4, 2, -3, -6]] * 2],
    ),
    # A column: the same, so rows and columns have the same taps.
    Golden(
        "down a column",
        BilinearUpsample(),
        (Value([[[4], [-6]]], S8),),
        to(S8),
        [[[4, 4], [2, 2], [-3, -3], [-6, -6]]],
    ),
    # The taps of an impulse, -9 111 29 -3 and mirrored, by outputs; rows times 128.
    Golden(
        "the taps of -0.5",
        BicubicUpsample(),
        (Value(row(0, 0, 1, 0, 0), S8),),
        to(signed(16, 7)),
        [[[0, -3, -9, 29, 111, 111, 29, -9, -3, 0]] * 2],
    ),
    # An eighth of it: -0.375 -1.125 3.625 13.875.
    Golden(
        "rounded",
        BicubicUpsample(),
        (Value(row(0, 0, 1, 0, 0), S8),),
        to(signed(16, 4)),
        [[[0, 0, -1, 4, 14, 14, 4, -1, 0, 0]] * 2],
    ),
    # Around 1 0 stand 0 1 and 0 1: 29 + 111, 111 - 9, 29 - 3, -9 - 3.
    Golden(
        "symmetric border",
        BicubicUpsample(),
        (Value(row(1, 0), S8),),
        to(signed(16, 7)),
        [[[140, 102, 26, -12]] * 2],
    ),
    # Around 1 0 stand 1 1 and 0 0: 29 + 111 - 3, 111 - 9, 29 - 3, -9.
    Golden(
        "replicated border",
        BicubicUpsample(border="replicate"),
        (Value(row(1, 0), S8),),
        to(signed(16, 7)),
        [[[137, 102, 26, -9]] * 2],
    ),
    # With the taps -27 225 67 -9: 67 + 225 - 9, 225 - 27, 67 - 9, -27; rows: times 256.
    Golden(
        "the taps of -0.75, down a column",
        BicubicUpsample(-0.75, "replicate"),
        (Value([[[1], [0]]], S8),),
        to(signed(16, 8)),
        [[[283, 283], [198, 198], [58, 58], [-27, -27]]],
    ),
)
