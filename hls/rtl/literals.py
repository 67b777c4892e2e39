"""Numbers and names as SystemVerilog writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

LITERAL_BITS = 16_384
"""Longest literal; some readers of Verilog take no longer words than 16,384 characters."""


def packed(values: Sequence[int], width: int) -> str:
    """Hexadecimal literal of integers of `width` bits each, the first in the low bits.

    Long ones are several side by side.
    """
    mask = (1 << width) - 1
    digits = []
    for value in values:
        assert -(1 << (width - 1)) <= value <= mask, f"{value} does not fit {width} bits"
        digits.append(format(int(value) & mask, f"0{width}b"))
    # Digits of a power of two become a number in linear time; shifts and sums do not.
    total = int("".join(reversed(digits)) or "0", 2)
    bits = len(values) * width
    if bits <= LITERAL_BITS:
        return f"{bits}'h{total:x}"
    parts = []
    for first in range(0, bits, LITERAL_BITS):
        size = min(LITERAL_BITS, bits - first)
        parts.append(f"{size}'h{(total >> first) & ((1 << size) - 1):x}")
    return "{" + ", ".join(reversed(parts)) + "}"


def signed_literal(value: int, width: int) -> str:
    """Signed hexadecimal literal."""
    return f"{width}'sh{value & ((1 << width) - 1):x}"


def verilog_bit(flag: bool) -> str:
    """Literal of one bit."""
    return "1'b1" if flag else "1'b0"


def identifier(text: str) -> str:
    """Letters, digits and single underscores of a name."""
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_")
