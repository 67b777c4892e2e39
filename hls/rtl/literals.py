"""Numbers and names as SystemVerilog writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def packed(values: Sequence[int], width: int) -> str:
    """Hexadecimal literal of integers of `width` bits each, the first in the low bits."""
    total = 0
    mask = (1 << width) - 1
    for index, value in enumerate(values):
        assert -(1 << (width - 1)) <= value <= mask, f"{value} does not fit {width} bits"
        total |= (int(value) & mask) << (index * width)
    return f"{len(values) * width}'h{total:x}"


def signed_literal(value: int, width: int) -> str:
    """Signed hexadecimal literal."""
    return f"{width}'sh{value & ((1 << width) - 1):x}"


def verilog_bit(flag: bool) -> str:
    """Literal of one bit."""
    return "1'b1" if flag else "1'b0"


def identifier(text: str) -> str:
    """Letters, digits and single underscores of a name."""
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_")
