"""SQNR and clipped shares of every value, as the text that a file holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from os import PathLike
from typing import Final

from fxp.formats import FormatError

# The names in a file stay, whatever the attributes are called.
CLIPPED_KEY: Final = "fxp.calibration_clipping"
ONE_STEP_KEY: Final = "fxp.calibration_clipped_by_one_step"
SQNR_KEY: Final = "fxp.calibration_sqnr"


def written_levels(levels: Mapping[str, float]) -> str:
    """Return the text of levels in dB; JSON has no infinity, so null stands for no noise."""
    finite = {
        name: round(level, 2) if math.isfinite(level) else None for name, level in levels.items()
    }
    return json.dumps(finite, sort_keys=True)


def read_levels(text: str, path: str | PathLike[str]) -> dict[str, float]:
    """Read them from a file's text; raises FormatError, naming the file, if it is damaged."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(map(_is_level, found.values())):
        raise FormatError(f"{path}: the SQNR of the values is damaged")
    return {name: math.inf if level is None else float(level) for name, level in found.items()}


def _is_level(level: object) -> bool:
    if isinstance(level, int | float) and not isinstance(level, bool):
        return abs(level) < 1e6
    return level is None


def read_shares(text: str, path: str | PathLike[str]) -> dict[str, float]:
    """Read shares of clipped values, 0 to 1; raises FormatError if they are damaged."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(map(_is_share, found.values())):
        raise FormatError(f"{path}: the shares of clipped values are damaged")
    return found


def _is_share(rate: object) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= 1
