"""The shipped classifiers in fixed point, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fxp.models.common.shipped import ShippedModels

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
SHIPPED: Final = ("cifar_resnet20", "cifar_vggs", "cifar_squeezenet", "cifar_mobilenetv2")
"""Names of the shipped networks: float weights, and the fixed-point model made from them."""

MODELS: Final = ShippedModels(
    WEIGHTS_FOLDER, SHIPPED, {name.removeprefix("cifar_"): name for name in SHIPPED}
)

load = MODELS.load
