"""Video from event cameras: networks, readers of recordings, voxel grids and a simulator.

The names below are loaded on first use; only those of networks and of their weights need PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.models.events.checkpoints import load_released
    from fxp.models.events.events import Events, EventsError
    from fxp.models.events.fixed import load, load_float
    from fxp.models.events.networks import (
        E2VID,
        NETWORKS,
        Cista,
        CistaD,
        CistaTC,
        FireNet,
        SpadeE2VID,
    )
    from fxp.models.events.reading import EventReader, read_events
    from fxp.models.events.reconstruct import Reconstructor
    from fxp.models.events.simulator import Camera, moving_image, simulate, video_images
    from fxp.models.events.voxel import fixed_grid, float_grid, voxel_sums
    from fxp.models.events.windows import Window, between, by_count, by_time

__all__ = [
    "E2VID",
    "NETWORKS",
    "Camera",
    "Cista",
    "CistaD",
    "CistaTC",
    "EventReader",
    "Events",
    "EventsError",
    "FireNet",
    "Reconstructor",
    "SpadeE2VID",
    "Window",
    "between",
    "by_count",
    "by_time",
    "fixed_grid",
    "float_grid",
    "load",
    "load_float",
    "load_released",
    "moving_image",
    "read_events",
    "simulate",
    "video_images",
    "voxel_sums",
]

_MODULE_OF = {
    name: f"{__name__}.{module}"
    for module, names in (
        ("checkpoints", ("load_released",)),
        ("events", ("Events", "EventsError")),
        ("fixed", ("load", "load_float")),
        (
            "networks",
            ("E2VID", "NETWORKS", "Cista", "CistaD", "CistaTC", "FireNet", "SpadeE2VID"),
        ),
        ("reading", ("EventReader", "read_events")),
        ("reconstruct", ("Reconstructor",)),
        ("simulator", ("Camera", "moving_image", "simulate", "video_images")),
        ("voxel", ("fixed_grid", "float_grid", "voxel_sums")),
        ("windows", ("Window", "between", "by_count", "by_time")),
    )
    for name in names
}


def __getattr__(name: str) -> Any:
    """Import the submodule that defines a public name (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
