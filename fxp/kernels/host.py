"""Register tiles that suit a processor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import llvmlite.binding as llvm

from fxp.kernels.quad_mac import quad_instruction


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
    quads
        Whether dense tiles multiply bytes four at a time, where inputs and weights fit.
    """

    name: str
    dense: tuple[tuple[int, int, int], ...]
    depthwise: tuple[tuple[int, int], ...]
    quads: bool = True


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
        tiles = MANY_WIDE
    elif features.get("neon") or features.get("asimd"):
        tiles = MANY_NARROW
    else:
        tiles = FEW
    return replace(tiles, quads=quad_instruction(tiles.dense[0][1]) is not None)
