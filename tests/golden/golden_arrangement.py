"""Integers written by hand: what chooses channels, and cuts, joins, mirrors and exchanges axes."""

from __future__ import annotations

from typing import Final

from golden_case import S8, Golden, Value, column, row, signed, to

from fxp.graph.ops import Flip, GatherChannels, Part, SpatialConcat, Transpose, Unflatten

_THREE_BY_TWO: Final = Value([[[1, 2, 3], [4, 5, 6]]], S8)
_ROW_OF_FOUR: Final = Value(row(1, 2, 3, 4), S8)
_COLUMN_OF_FOUR: Final = Value([[[1], [2], [3], [4]]], S8)

ARRANGEMENT: Final = (
    # Two groups of three take turns: a1 a2 a3 b1 b2 b3 becomes a1 b1 a2 b2 a3 b3.
    Golden(
        "channel shuffle",
        GatherChannels((0, 3, 1, 4, 2, 5)),
        (Value(column(1, 2, 3, -1, -2, -3), S8),),
        to(S8),
        column(1, -1, 2, -2, 3, -3),
    ),
    Golden(
        "repeated, dropped and padded with zeros",
        GatherChannels((-1, 2, 2, 0, -1)),
        (Value([[[1, 2]], [[3, 4]], [[5, 6]]], S8),),
        to(S8),
        [[[0, 0]], [[5, 6]], [[5, 6]], [[1, 2]], [[0, 0]]],
    ),
    # 5/2 is 2.5 and -5/2 is -2.5.
    Golden(
        "features, rounded",
        GatherChannels((1, -1, 0)),
        (Value([5, -5], signed(8, 1)),),
        to(S8),
        [-2, 0, 3],
    ),
    Golden("the lower half", Part("row", 1, 2, 2), (_COLUMN_OF_FOUR,), to(S8), [[[3], [4]]]),
    Golden("two quarters in the middle", Part("column", 1, 3, 4), (_ROW_OF_FOUR,), to(S8),
           row(2, 3)),
    # 5/4 is 1.25, -7/4 is -1.75; in halves 2.5 and -3.5.
    Golden("rounded", Part("column", 0, 1, 2), (Value(row(5, -7, 9, 9), signed(8, 2)),),
           to(signed(8, 1)), row(3, -3)),
    Golden(
        "one below the other",
        SpatialConcat(),
        (_THREE_BY_TWO, Value([[[7, 8, 9]]], S8)),
        to(S8),
        [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]],
    ),
    # 1 and -2 are 4 and -8 quarters; beside 3 and -6 quarters, in halves 2 -4 1.5 -3.
    Golden(
        "side by side, aligned",
        SpatialConcat("column"),
        (Value(row(1, -2), S8), Value(row(3, -6), signed(8, 2))),
        to(signed(8, 1)),
        row(2, -4, 2, -3),
    ),
    Golden("upside down", Flip(), (_THREE_BY_TWO,), to(S8), [[[4, 5, 6], [1, 2, 3]]]),
    Golden("mirrored", Flip("column"), (_THREE_BY_TWO,), to(S8), [[[3, 2, 1], [6, 5, 4]]]),
    Golden(
        "rows become columns",
        Transpose(),
        (Value([[[1, 2, 3], [4, 5, 6]], [[-1, -2, -3], [-4, -5, -6]]], S8),),
        to(S8),
        [[[1, 4], [2, 5], [3, 6]], [[-1, -4], [-2, -5], [-3, -6]]],
    ),
    Golden("a pixel", Unflatten(), (Value([1, -2, 3], S8),), to(S8), column(1, -2, 3)),
    Golden(
        "channel by channel, row by row",
        Unflatten(2, 3),
        (Value([1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6], S8),),
        to(S8),
        [[[1, 2, 3], [4, 5, 6]], [[-1, -2, -3], [-4, -5, -6]]],
    ),
)  # fmt: skip
