"""Integers written by hand: interpolation by any ratio, other pools, and padding with a number."""

from __future__ import annotations

from typing import Final

from golden_case import S8, Golden, Value, row, signed, to

from fxp.graph.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    ConstantPad,
    DilatedMaxPool,
    Interpolate,
    SumPool,
)

RESAMPLING: Final = (
    # Results lie at 0, 1/2, 1, 3/2, 2 and 5/2, rounded down.
    Golden(
        "nearest to a size",
        Interpolate("nearest", size=(1, 6)),
        (Value(row(1, 2, 3), S8),),
        to(S8),
        row(1, 1, 2, 2, 3, 3),
    ),
    # The corners stay, and halfway between 0 and 8 is 4.
    Golden(
        "corners aligned",
        Interpolate(size=(1, 3), align_corners=True),
        (Value(row(0, 8), S8),),
        to(S8),
        row(0, 4, 8),
    ),
    # Results lie at -1/3, 0 + 1/3 and so on; a picture of one value keeps it.
    Golden(
        "one value by 3/2",
        Interpolate("bicubic", (3, 3), (2, 2)),
        (Value([[[7, 7], [7, 7]]], S8),),
        to(S8),
        [[[7, 7, 7]] * 3],
    ),
    # Windows of three pixels in two: the first two, and the last two.
    Golden(
        "maxima of windows that overlap",
        AdaptiveMaxPool((1, 2)),
        (Value(row(5, 1, 2), S8),),
        to(S8),
        row(5, 2),
    ),
    # (4 + 2) / 2 and (2 + 8) / 2.
    Golden(
        "means of windows that overlap",
        AdaptiveAveragePool((1, 2)),
        (Value(row(4, 2, 8), S8),),
        to(S8),
        row(3, 5),
    ),
    Golden("sums", SumPool((1, 2), (1, 2)), (Value(row(1, 2, 3, 4), S8),), to(S8), row(3, 7)),
    # 3/4 is 0.75 and 7/4 is 1.75; in halves 1.5 and 3.5, which go up.
    Golden(
        "over four, rounded",
        SumPool((1, 2), (1, 2), divisor=4),
        (Value(row(1, 2, 3, 4), S8),),
        to(signed(8, 1)),
        row(2, 4),
    ),
    # Two apart: 1 and 3, 5 and 2.
    Golden(
        "every other pixel",
        DilatedMaxPool((1, 2), (1, 1), dilation=(1, 2)),
        (Value(row(1, 5, 3, 2), S8),),
        to(S8),
        row(3, 5),
    ),
    # 1.25 in halves is 2.5, which goes up to 3.
    Golden(
        "a number around",
        ConstantPad((0, 0, 1, 2), 1.25),
        (Value(row(2, 4), signed(8, 1)),),
        to(signed(8, 1)),
        row(3, 2, 4, 3, 3),
    ),
)
