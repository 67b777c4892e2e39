"""Values of more than 16 bits as several int16 each."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fxp.kernels.commands import (
    BLOCK,
    COLUMNS,
    FIELDS,
    INPUT,
    RESULT,
    ROWS,
    kernel,
    operand,
    pointer,
)
from fxp.kernels.compiler import carray
from fxp.kernels.records import SPLIT


@cache
def split_kernel() -> Any:
    """Return the kernel that stores the parts of 16 bits of int32 values one after the other.

    Pixels of C channels become pixels of all lowest parts, then all parts above.
    """
    record = SPLIT

    @kernel
    def split_values(command_at: Any, bases_at: Any) -> int:
        command = carray(command_at, FIELDS)
        bases = carray(bases_at, 1 << 16)
        block = carray(pointer(command[BLOCK]), 1, record)[0]
        target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
        channels, parts, columns = block.channels, block.parts, command[COLUMNS]
        least = block.least
        less = carray(pointer(block.less), parts, np.int64)
        for y in range(command[ROWS]):
            values = carray(pointer(source + y * command[INPUT + 2]), (columns, channels), np.int32)
            stored = carray(
                pointer(target + y * command[RESULT + 2]), (columns, parts, channels), np.int16
            )
            for part in range(parts):
                shift, below = 16 * part, less[part]
                for x in range(columns):
                    for channel in range(channels):
                        bits = ((values[x, channel] - least) >> shift) & 0xFFFF
                        stored[x, part, channel] = np.int16(bits - below)
        return 0

    return split_values
