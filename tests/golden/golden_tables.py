"""Integers written by hand: ops that read a table."""

from __future__ import annotations

from typing import Final

from golden_case import S8, Constant, Golden, Value, column, row, signed, to, unsigned

from fxp.graph.ops import LocalResponseNorm, Sigmoid, Softmax, StoredTable, Tanh

# A source of two signed bits has the codes -2 -1 0 1, which read the entries 0 1 2 3.
_SOURCE: Final = Value([1, -2, 0, -1], signed(2, 0))

TABLES: Final = (
    # 40 10 30 20 over 4.
    Golden(
        "entries in the order of the codes, ties up",
        StoredTable(),
        (_SOURCE, Constant([10, 20, 30, 40], signed(8, 3))),
        to(signed(8, 1)),
        [10, 3, 8, 5],
    ),
    # Unsigned codes 0 to 3 read the entries 0 to 3.
    Golden(
        "unsigned source",
        StoredTable(),
        (Value(row(3, 0, 1, 2), unsigned(2, 1)), Constant([-5, 6, 7, -8], signed(8, 0))),
        to(S8),
        row(-8, -5, 6, 7),
    ),
    # 1 / (1 + exp(-x)) at -2 -1 0 1 is 0.119 0.269 0.5 0.731: 0.95 2.15 4 5.85 eighths.
    Golden(
        "a stored table",
        Sigmoid(),
        (_SOURCE, Constant([1, 2, 4, 6], unsigned(4, 3))),
        to(unsigned(4, 3)),
        [6, 1, 4, 2],
    ),
    # tanh at -2 -1 0 1 is -0.964 -0.762 0 0.762: -7.7 -6.1 0 6.1 eighths. Halved, -8 -6 0 6.
    Golden(
        "a stored table, one bit less",
        Tanh(),
        (_SOURCE, Constant([-8, -6, 0, 6], signed(4, 3))),
        to(signed(4, 2)),
        [3, -4, 0, -3],
    ),
    # Distances from the largest, 5: 0, 1 and 5, which reads the last entry, 3. Entries 8 4 1,
    # sum 13. k = 16 + bitlength(3*8) = 21 and floor(2^21 / 13) = floor(161319.38).
    Golden(
        "distances, reciprocal rounded down",
        Softmax(),
        (Value(column(5, 4, 0), signed(4, 0)), Constant([8, 4, 2, 1], unsigned(4, 3))),
        to(unsigned(22, 21)),
        column(8 * 161319, 4 * 161319, 161319),
    ),
    # The same over 2^14: 78.77 39.38 9.85.
    Golden(
        "rounded",
        Softmax(),
        (Value([5, 4, 0], signed(4, 0)), Constant([8, 4, 2, 1], unsigned(4, 3))),
        to(unsigned(8, 7)),
        [79, 39, 10],
    ),
    # Largest sum of three squares 3*16 = 48; the table's last index is 6 = 48 >> 3. Sums 9 + 16,
    # 9 + 16 + 1, 16 + 1 read the entries 3, 3, 2: 3*10, -4*10, 1*12, halved.
    Golden(
        "three channels",
        LocalResponseNorm(size=3),
        (
            Value(column(3, -4, 1), signed(3, 0)),
            Constant([16, 14, 12, 10, 8, 6, 4], unsigned(5, 4)),
        ),
        to(signed(8, 3)),
        column(15, -20, 6),
    ),
    # Two channels, the one before and itself: sums 9, 9 + 16, 16 + 1, largest 32 = 4 << 3: entries
    # 1, 3, 2: 3*12, -4*4, 1*8.
    Golden(
        "an even size reaches back",
        LocalResponseNorm(size=2),
        (Value(column(3, -4, 1), signed(3, 0)), Constant([16, 12, 8, 4, 2], unsigned(5, 4))),
        to(signed(8, 4)),
        column(36, -16, 8),
    ),
)
