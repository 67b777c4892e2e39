"""Recognition: classifiers of pictures, their training, and their models in fixed point.

The names below are loaded on first use, so ``import fxp.models.recognition`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.models.recognition.checkpoints import load_float
    from fxp.models.recognition.data import LabelledImages, read_labelled
    from fxp.models.recognition.fixed import load
    from fxp.models.recognition.recognizer import Prediction, Recognizer, classify
    from fxp.models.recognition.zoo.state_dicts import load_state

__all__ = [
    "LabelledImages",
    "Prediction",
    "Recognizer",
    "classify",
    "load",
    "load_float",
    "load_state",
    "read_labelled",
]

_MODULE_OF = {
    name: f"{__name__}.{module}"
    for module, names in (
        ("checkpoints", ("load_float",)),
        ("recognizer", ("Prediction", "Recognizer", "classify")),
        ("data", ("LabelledImages", "read_labelled")),
        ("fixed", ("load",)),
        ("zoo.state_dicts", ("load_state",)),
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
