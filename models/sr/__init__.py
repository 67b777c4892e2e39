"""Super-resolution networks: KimSR, its training code and trained weights, and its rivals.

The names below are loaded on first use, so ``import models.sr`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.models.sr.baselines import ESPCN, FSRCNN, SRCNN, VDSR
    from fxp.models.sr.data import DataError, degrade, modcrop, read_folder
    from fxp.models.sr.degradation import Degradation
    from fxp.models.sr.fixed import load
    from fxp.models.sr.measure import bicubic_scores, luma_scores, scores
    from fxp.models.sr.networks import KimSR
    from fxp.models.sr.patches import TrainingSet
    from fxp.models.sr.pipeline import PIXEL, Enlarger, enlarge, enlarge_float
    from fxp.models.sr.weights_file import WeightsError, load_float, read_metadata, save_float

__all__ = [
    "ESPCN",
    "FSRCNN",
    "PIXEL",
    "SRCNN",
    "VDSR",
    "DataError",
    "Degradation",
    "Enlarger",
    "KimSR",
    "TrainingSet",
    "WeightsError",
    "bicubic_scores",
    "degrade",
    "enlarge",
    "enlarge_float",
    "load",
    "load_float",
    "luma_scores",
    "modcrop",
    "read_folder",
    "read_metadata",
    "save_float",
    "scores",
]

_MODULE_OF = {
    "DataError": "data",
    "Degradation": "degradation",
    "ESPCN": "baselines",
    "FSRCNN": "baselines",
    "Enlarger": "pipeline",
    "KimSR": "networks",
    "PIXEL": "pipeline",
    "SRCNN": "baselines",
    "TrainingSet": "patches",
    "VDSR": "baselines",
    "WeightsError": "weights_file",
    "bicubic_scores": "measure",
    "degrade": "data",
    "enlarge": "pipeline",
    "enlarge_float": "pipeline",
    "load": "fixed",
    "load_float": "weights_file",
    "luma_scores": "measure",
    "modcrop": "data",
    "read_folder": "data",
    "read_metadata": "weights_file",
    "save_float": "weights_file",
    "scores": "measure",
}


def __getattr__(name: str) -> Any:
    """Import the submodule that defines a public name (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
