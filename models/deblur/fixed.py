"""The shipped fixed-point models: loaded by name, and made from the trained weights.

``python -m fxp.models.deblur.fixed`` makes every file again, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fxp.models.common.shipped import ShippedModels

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
SHIPPED: Final[tuple[str, ...]] = ()
"""Names of the shipped networks: float weights, and the fixed-point model made from them."""

MODELS: Final = ShippedModels(WEIGHTS_FOLDER, SHIPPED)

load = MODELS.load
