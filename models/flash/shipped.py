"""The models that come with the package, by name; needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fxp.models.common.shipped import ShippedModels

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
SHIPPED: Final = ("flash_small",)
"""Names of the shipped networks: float weights, and the fixed-point model made from them."""
MODELS: Final = ShippedModels(WEIGHTS_FOLDER, SHIPPED)

load = MODELS.load
