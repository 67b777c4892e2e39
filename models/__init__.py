"""The systems: trained networks with their training, and the rooms that they share."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

_SYSTEMS = frozenset({"common", "events", "recognition", "sr"})


def __getattr__(name: str) -> ModuleType:
    """Import a system on first use, so that ``import fxp`` alone gives ``fxp.models.sr``."""
    if name not in _SYSTEMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
