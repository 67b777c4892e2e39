"""Adaptive computation: residual networks that do as much for a picture, or a place, as it needs.

`networks` has the networks in PyTorch, `fixed` and `exits` run them in integers, `train` trains
them, and `maps` draws what was computed where.
"""

from __future__ import annotations

from fxp.models.recognition.adaptive.exits import EarlyExits, ExitResult
from fxp.models.recognition.adaptive.fixed import AdaptiveModel, AdaptiveResult
from fxp.models.recognition.adaptive.maps import heat_map
from fxp.models.recognition.adaptive.networks import AdaptiveResNet, BranchyResNet

__all__ = [
    "AdaptiveModel",
    "AdaptiveResNet",
    "AdaptiveResult",
    "BranchyResNet",
    "EarlyExits",
    "ExitResult",
    "heat_map",
]
