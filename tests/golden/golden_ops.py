"""All cases of integers written by hand; each op of the registry has one at least."""

from __future__ import annotations

from typing import Final

from golden_arrangement import ARRANGEMENT
from golden_case import Golden
from golden_images import MOVEMENT, POOLING, UPSAMPLING
from golden_resampling import RESAMPLING
from golden_statistics import STATISTICS
from golden_sums import ARITHMETIC, CONVOLUTIONS
from golden_tables import TABLES

GOLDEN: Final[tuple[Golden, ...]] = (
    *CONVOLUTIONS,
    *ARITHMETIC,
    *TABLES,
    *MOVEMENT,
    *ARRANGEMENT,
    *POOLING,
    *STATISTICS,
    *UPSAMPLING,
    *RESAMPLING,
)
