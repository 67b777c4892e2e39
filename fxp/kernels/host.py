"""Register tiles that suit a processor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm


@dataclass(frozen=True)
class Tiles:
    """Shapes of register tiles for one kind of vector registers.

    Attributes
    ----------
    name
        Of the instruction set.
    dense
        ``(vectors, lanes, pixels)`` of dense tiles, widest first; int32 lanes.
    depthwise
        ``(channels, pixels)`` of depthwise tiles, widest first.
    """

    name: str
    dense: tuple[tuple[int, int, int], ...]
    depthwise: tuple[tuple[int, int], ...]


MANY_WIDE = Tiles(
    "32 registers of 512 bits",
    ((2, 16, 14), (1, 16, 14), (1, 8, 14), (1, 4, 14)),
    ((32, 8), (16, 8), (8, 8)),
)
"""AVX-512."""
FEW = Tiles(
    "16 registers of 256 bits",
    ((2, 8, 6), (1, 8, 12), (1, 4, 12)),
    ((16, 4), (8, 4)),
)
"""AVX2."""
MANY_NARROW = Tiles(
    "32 registers of 128 bits",
    ((4, 4, 5), (2, 4, 10), (1, 4, 14)),
    ((8, 6),),
)
"""NEON."""


@cache
def host_tiles() -> Tiles:
    """Return the tiles for the processor that this runs on."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512bw"):
        return MANY_WIDE
    if features.get("neon") or features.get("asimd"):
        return MANY_NARROW
    return FEW
