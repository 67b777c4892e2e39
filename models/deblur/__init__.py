"""Deblurring of photographs of moving scenes: DeepDeblur, its training and trained weights.

The names below are loaded on first use, so ``import fxp.models.deblur`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.models.deblur.blur import averaged, blurred_pairs, camera_shake, interpolated
    from fxp.models.deblur.data import folder_pairs, gopro_pairs, kohler_items
    from fxp.models.deblur.fixed import load
    from fxp.models.deblur.measure import multi_scale_similarity, score_kohler, score_pairs
    from fxp.models.deblur.networks import Discriminator, Generator, load_float, preset
    from fxp.models.deblur.pipeline import Deblurrer
    from fxp.models.deblur.release import load_release

__all__ = [
    "Deblurrer",
    "Discriminator",
    "Generator",
    "averaged",
    "blurred_pairs",
    "camera_shake",
    "folder_pairs",
    "gopro_pairs",
    "interpolated",
    "kohler_items",
    "load",
    "load_float",
    "load_release",
    "multi_scale_similarity",
    "preset",
    "score_kohler",
    "score_pairs",
]

_MODULE_OF = {
    name: f"{__name__}.{module}"
    for module, names in (
        ("blur", ("averaged", "blurred_pairs", "camera_shake", "interpolated")),
        ("data", ("folder_pairs", "gopro_pairs", "kohler_items")),
        ("fixed", ("load",)),
        ("measure", ("multi_scale_similarity", "score_kohler", "score_pairs")),
        ("networks", ("Discriminator", "Generator", "load_float", "preset")),
        ("pipeline", ("Deblurrer",)),
        ("release", ("load_release",)),
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
