"""Super-resolution networks: KimSR, its training code, exact resamplers and trained weights.

The names below are loaded on first use, so ``import models.sr`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import DataError, TrainingSet, degrade, modcrop, read_folder, read_luma, rgb_to_luma
    from .measure import Score, bicubic_scores, luma_scores, scores
    from .networks import KimSR
    from .resize import imresize, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
    from .weights_file import WeightsError, load_float, read_metadata, save_float

__all__ = [
    "DataError",
    "KimSR",
    "Score",
    "TrainingSet",
    "WeightsError",
    "bicubic_scores",
    "degrade",
    "imresize",
    "load_float",
    "luma_scores",
    "modcrop",
    "read_folder",
    "read_luma",
    "read_metadata",
    "rgb_to_luma",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "save_float",
    "scores",
    "ycbcr_to_rgb",
]

_MODULE_OF = {
    "DataError": "data",
    "KimSR": "networks",
    "Score": "measure",
    "TrainingSet": "data",
    "WeightsError": "weights_file",
    "bicubic_scores": "measure",
    "degrade": "data",
    "imresize": "resize",
    "load_float": "weights_file",
    "luma_scores": "measure",
    "modcrop": "data",
    "read_folder": "data",
    "read_luma": "data",
    "read_metadata": "weights_file",
    "rgb_to_luma": "data",
    "rgb_to_y": "resize",
    "rgb_to_ycbcr": "resize",
    "save_float": "weights_file",
    "scores": "measure",
    "ycbcr_to_rgb": "resize",
}


def __getattr__(name: str) -> Any:
    """Import the submodule that defines a public name (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
