"""Recognition by features: nearest neighbours in integers, by a few components first.

The names below are loaded on first use, so that recognizing by a gallery needs neither scikit-learn
nor PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.models.recognition.sequential.classifier import SequentialClassifier, build_gallery
    from fxp.models.recognition.sequential.definition import Rule
    from fxp.models.recognition.sequential.features import FeatureExtractor
    from fxp.models.recognition.sequential.gallery import Gallery, GalleryError, Search, pooled

__all__ = [
    "FeatureExtractor",
    "Gallery",
    "GalleryError",
    "Rule",
    "Search",
    "SequentialClassifier",
    "build_gallery",
    "pooled",
]

_MODULE_OF = {
    name: f"{__name__}.{module}"
    for module, names in (
        ("classifier", ("SequentialClassifier", "build_gallery")),
        ("definition", ("Rule",)),
        ("features", ("FeatureExtractor",)),
        ("gallery", ("Gallery", "GalleryError", "Search", "pooled")),
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
