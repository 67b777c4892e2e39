"""Super-resolution networks: KimSR, its training code and trained weights, and its rivals.

The names below are loaded on first use, so ``import fxp.models.sr`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.models.common.data import DataError, modcrop, read_folder
    from fxp.models.common.pixels import PIXEL
    from fxp.models.common.weights import WeightsError, save_weights
    from fxp.models.sr.baselines import ESPCN, FSRCNN, SRCNN, VDSR, PlainSR
    from fxp.models.sr.chain import colour_chain
    from fxp.models.sr.data import TrainingSet, downscale, downscale_pixels
    from fxp.models.sr.degradation import Degradation
    from fxp.models.sr.fixed import at_quality, load
    from fxp.models.sr.jpeg import estimated_quality
    from fxp.models.sr.measure import bicubic_scores, luma_scores, scores
    from fxp.models.sr.networks import KimSR, load_float, read_metadata
    from fxp.models.sr.pipeline import Upscaler, upscale, upscale_float

__all__ = [
    "ESPCN",
    "FSRCNN",
    "PIXEL",
    "SRCNN",
    "VDSR",
    "DataError",
    "Degradation",
    "KimSR",
    "PlainSR",
    "TrainingSet",
    "Upscaler",
    "WeightsError",
    "at_quality",
    "bicubic_scores",
    "colour_chain",
    "downscale",
    "downscale_pixels",
    "estimated_quality",
    "load",
    "load_float",
    "luma_scores",
    "modcrop",
    "read_folder",
    "read_metadata",
    "save_weights",
    "scores",
    "upscale",
    "upscale_float",
]

_COMMON, _OWN = "fxp.models.common", __name__
_MODULE_OF = {
    name: f"{package}.{module}"
    for package, module, names in (
        (_COMMON, "data", ("DataError", "modcrop", "read_folder")),
        (_COMMON, "pixels", ("PIXEL",)),
        (_COMMON, "weights", ("WeightsError", "save_weights")),
        (_OWN, "baselines", ("ESPCN", "FSRCNN", "PlainSR", "SRCNN", "VDSR")),
        (_OWN, "chain", ("colour_chain",)),
        (_OWN, "data", ("TrainingSet", "downscale", "downscale_pixels")),
        (_OWN, "degradation", ("Degradation",)),
        (_OWN, "fixed", ("at_quality", "load")),
        (_OWN, "jpeg", ("estimated_quality",)),
        (_OWN, "measure", ("bicubic_scores", "luma_scores", "scores")),
        (_OWN, "networks", ("KimSR", "load_float", "read_metadata")),
        (_OWN, "pipeline", ("Upscaler", "upscale", "upscale_float")),
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
