"""The shipped classifiers in fixed point: loaded by name, and made from the trained weights.

``python -m fxp.models.recognition.fixed`` makes every file again, byte for byte, from the float
weights beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

import fxp
from fxp.models.common.pixels import PIXEL
from fxp.models.common.ship import ship
from fxp.models.common.shipped import ShippedModels
from fxp.models.recognition.data import fitted, planes
from fxp.models.recognition.recognizer import CLASSES, SIDE
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.data as skimage_data
else:
    skimage_data = lazy_import("skimage.data", "cli")

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
SHIPPED: Final = tuple(sorted(path.stem for path in WEIGHTS_FOLDER.glob("*.safetensors")))
"""Names of the shipped networks: float weights, and the fixed-point model made from them."""
PREFIX: Final = "cifar_"
CALIBRATION: Final = (
    "astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina",
    "rocket",
)  # fmt: skip
"""Colour photographs shipped with scikit-image on which the formats are chosen."""
PARTS: Final = (1, 2, 3)
"""Each photograph is taken whole, in 2x2 and in 3x3 parts."""

MODELS: Final = ShippedModels(
    WEIGHTS_FOLDER, SHIPPED, {name.removeprefix(PREFIX): name for name in SHIPPED}
)

load = MODELS.load


def calibration_images(side: int = 32) -> NDArray[np.float32]:
    """Return parts of shipped photographs.

    Parameters
    ----------
    side
        Height and width of each, pixels.

    Returns
    -------
    ndarray
        ``(98, 3, side, side)``, pixels divided by 256.
    """
    found = []
    for name in CALIBRATION:
        photograph = getattr(skimage_data, name)()
        height, width = photograph.shape[:2]
        for count in PARTS:
            for row in range(count):
                for column in range(count):
                    part = photograph[
                        row * height // count : (row + 1) * height // count,
                        column * width // count : (column + 1) * width // count,
                    ]
                    found.append(fitted(np.ascontiguousarray(part), side))
    return planes(np.stack(found))


def quantize_shipped(
    name: str | Path, *, weight_bits: int = 10, activation_bits: int = 14
) -> fxp.FixedModel:
    """Quantize trained weights for 8-bit pixels, calibrated on the photographs of `CALIBRATION`.

    Parameters
    ----------
    name
        Name of the weights, or a ``.safetensors`` file.
    weight_bits, activation_bits
        Widths of every weight and of every activation.
    """
    # Late, so that models are named and loaded without PyTorch.
    from fxp.models.common.weights import read_weights
    from fxp.models.recognition.checkpoints import load_float

    network = load_float(name)
    path = MODELS.weights_path(name)
    trained = read_weights(path)[1]
    metadata = {"divide_by": "256", SIDE: str(network.side), "weights": path.stem}
    if CLASSES in trained:
        metadata[CLASSES] = trained[CLASSES]
    return ship(
        network,
        [calibration_images(network.side)],
        input_format=PIXEL,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name=path.stem,
        metadata={**metadata, "calibration": " ".join(CALIBRATION)},
    )


def main(folder: Path = WEIGHTS_FOLDER) -> None:
    """Write the fixed-point model of all trained weights."""
    for name in SHIPPED:
        path = folder / f"{name}.fxp"
        quantize_shipped(name).save(path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
