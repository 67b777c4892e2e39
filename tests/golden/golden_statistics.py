"""Integers of reductions, statistics and normalization, written by hand."""

from __future__ import annotations

from typing import Final

from golden_case import S8, Golden, Value, column, row, signed, to

from fxp.graph.ops import (
    GroupNorm,
    L2Norm,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    StandardDeviation,
    Variance,
)

_TWO: Final = Value([[[1, 2]], [[3, -6]]], S8)

STATISTICS: Final = (
    Golden("channels", ReduceSum(True, False, False), (_TWO,), to(S8), row(4, -4)),
    Golden("image", ReduceSum(), (_TWO,), to(S8), column(3, -3)),
    Golden("channels", ReduceMean(True, False, False), (_TWO,), to(S8), row(2, -2)),
    Golden("channels", ReduceMax(), (_TWO,), to(S8), row(3, 2)),
    # Mean 2: squares 4 and 4; over n - 1 they give 8.
    Golden("mean square", Variance(), (Value(row(0, 4), S8),), to(S8), row(4)),
    Golden("over one less", Variance(correction=1), (Value(row(0, 4), S8),), to(S8), row(8)),
    Golden("root", StandardDeviation(), (Value(row(0, 4), S8),), to(S8), row(2)),
    # The root of 4 + 5 is 3.
    Golden("epsilon", StandardDeviation(epsilon=5.0), (Value(row(0, 4), S8),), to(S8), row(3)),
    Golden("three, four, five", L2Norm(), (Value(column(3, 4), S8),), to(S8), row(5)),
    # Each channel becomes -1 and 1, whatever its range; in quarters -4 and 4.
    Golden("instances", GroupNorm(2, epsilon=0.0), (Value([[[0, 2]], [[-4, 60]]], S8),),
           to(signed(8, 2)), [[[-4, 4]], [[-4, 4]]]),
    # Without the mean: 1 and 7 over 5 are 0.2 and 1.4, in eighths 1.6 and 11.2.
    Golden("root mean square", GroupNorm(1, "pixel", "root_mean_square", 0.0),
           (Value(column(1, 7), S8),), to(signed(8, 3)), column(2, 11)),
    # 3 and -4 over 5 are 0.6 and -0.8, in eighths 4.8 and -6.4.
    Golden("norm", GroupNorm(1, "pixel", "norm", 0.0), (Value(column(3, -4), S8),),
           to(signed(8, 3)), column(5, -6)),
)  # fmt: skip
