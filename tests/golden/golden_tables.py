"""Integers written by hand: ops that read a table."""

from __future__ import annotations

from typing import Final

from golden_case import S8, Constant, Golden, Value, column, row, signed, to, unsigned

from fxp.graph.ops import REGISTRY, LocalResponseNorm, Softmax, StoredTable, Tanh

# A source of two signed bits has the codes -2 -1 0 1, which read the entries 0 1 2 3.
_SOURCE: Final = Value([1, -2, 0, -1], signed(2, 0))

FUNCTIONS: Final = {
    # Each function at -2 -1 0 1, in eighths and rounded half up.
    "sigmoid": [1, 2, 4, 6],  # 0.119 0.269 0.5 0.731: 0.95 2.15 4 5.85
    "tanh": [-8, -6, 0, 6],  # -0.964 -0.762 0 0.762: -7.71 -6.09 0 6.09
    "hardsigmoid": [1, 3, 4, 5],  # 1/6 2/6 3/6 4/6: 1.33 2.67 4 5.33
    "hardswish": [-3, -3, 0, 5],  # -2/6 -2/6 0 4/6: -2.67 -2.67 0 5.33
    "silu": [-2, -2, 0, 6],  # -0.238 -0.269 0 0.731: -1.91 -2.15 0 5.85
    "mish": [-2, -2, 0, 7],  # -0.2525 -0.3034 0 0.8651: -2.02 -2.43 0 6.92
    "gelu": [0, -1, 0, 7],  # -0.0455 -0.1587 0 0.8413: -0.36 -1.27 0 6.73
    "elu": [-7, -5, 0, 8],  # -0.8647 -0.6321 0 1: -6.92 -5.06 0 8
    "softplus": [1, 3, 6, 11],  # 0.1269 0.3133 0.6931 1.3133: 1.02 2.51 5.55 10.51
    "exp": [1, 3, 8, 22],  # 0.1353 0.3679 1 2.7183: 1.08 2.94 8 21.7
    "log": [0, 0, 0, 0],  # up to 0 that of 1
    "power": [0, 0, 0, 8],  # roots; below 0 that of 0
    "erf": [-8, -7, 0, 7],  # -0.9953 -0.8427 0 0.8427: -7.96 -6.74 0 6.74
    "sin": [-7, -7, 0, 7],  # -0.9093 -0.8415 0 0.8415: -7.27 -6.73 0 6.73
    "cos": [-3, 4, 8, 4],  # -0.4161 0.5403 1 0.5403: -3.33 4.32 8 4.32
    "log_sigmoid": [-17, -11, -6, -3],  # -2.1269 -1.3133 -0.6931 -0.3133
}
"""Functions that quantization tabulates; a new one is a line."""

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
    # Whatever a table holds is read; the entries stand for no value of the function.
    Golden(
        "a stored table, one bit less",
        Tanh(),
        (_SOURCE, Constant([-7, 5, 0, 2], signed(4, 3))),
        to(signed(4, 2)),
        [1, -3, 0, 3],  # 1 -3.5 0 2.5
    ),
    *(
        Golden(
            "the function in eighths",
            REGISTRY[name](),
            (_SOURCE, Constant(entries, signed(8, 3))),
            to(signed(8, 3)),
            [entries[3], entries[0], entries[2], entries[1]],
        )
        for name, entries in FUNCTIONS.items()
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
