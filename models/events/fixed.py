"""The shipped models for events: loaded by name, and made from the trained weights.

``python -m fxp.models.events.fixed`` makes every fixed-point model again, byte for byte. With
``NAME=FILE`` it first takes over the float weights and the log of a training, for example
``firenet-small=runs/firenet.safetensors``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any, Final

import fxp
from fxp.imaging.colour import luma
from fxp.models.common.ship import ship
from fxp.models.common.shipped import ShippedModels
from fxp.models.events.sequences import simulated
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.data as skimage_data
    import torch

    from fxp.models.events.networks import StepNetwork
else:
    skimage_data = lazy_import("skimage.data", "cli")
    torch = lazy_import("torch", "torch")

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
CALIBRATION: Final = ("chelsea", "coffee", "rocket")
"""Photographs shipped with scikit-image over which the simulated camera moves for calibration."""
SIDE: Final = 48
"""Height and width of the sensor in calibration."""
STEPS: Final = 40
"""Frames of each sequence of calibration."""
IMAGES: Final = 4
"""Rendered images for each frame."""
MILLISECONDS: Final = 25
"""Time of a frame."""
SHIPPED: Final = ("cista-tc-small", "cista-tc-small-8-10", "firenet-small", "firenet-small-8-10")
"""Names of the shipped networks: float weights, and the fixed-point model made from them."""
BITS: Final = (10, 14)
"""Bits of weights and of activations."""
TRAINED_BITS: Final[dict[str, tuple[int, int]]] = {
    "cista-tc-small-8-10": (8, 10),
    "firenet-small-8-10": (8, 10),
}
"""The same, of networks that were trained with their roundings."""
DEFAULT: Final = SHIPPED[0]

MODELS: Final = ShippedModels(WEIGHTS_FOLDER, SHIPPED)

load = MODELS.load


def load_float(name: str | Path) -> StepNetwork:
    """Load shipped float weights, or those of a ``.safetensors`` file; needs PyTorch.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another network.
    """
    from fxp.models.common.weights import load_weights
    from fxp.models.events.networks import NETWORKS

    return load_weights(MODELS.weights_path(name), *NETWORKS.values())


def formats(network: StepNetwork) -> dict[str, Any]:
    """Return the arguments of `fxp.quantize` that all networks here share, by name.

    Parameters
    ----------
    network
        The network that is quantized.
    """
    sequences = (
        simulated(
            [luma(getattr(skimage_data, name)())],
            [number],
            side=SIDE,
            length=STEPS,
            images=IMAGES,
            milliseconds=MILLISECONDS,
        )
        for number, name in enumerate(CALIBRATION)
    )
    return {
        "calibration": fxp.Sequences(*(torch.from_numpy(item.grids) for item in sequences)),
        "states": network.state_pairs(),
        "initial_states": network.initial_states(SIDE, SIDE),
    }


def quantize_shipped(name: str | Path) -> fxp.FixedModel:
    """Quantize trained weights, calibrated on simulated sequences over the pictures `CALIBRATION`.

    Widths are those that the weights were trained for, or `BITS`. States, and what feeds them, get
    further bits, see `fxp.quantization.states`.

    Parameters
    ----------
    name
        Name of the weights, or a ``.safetensors`` file.
    """
    network = load_float(name)
    stem = Path(name).stem
    weight_bits, activation_bits = TRAINED_BITS.get(stem, BITS)
    return ship(
        network,
        **formats(network),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name=stem.replace("-", "_"),
        effort="fast",
        # Weights that were trained with roundings know those to nearest.
        weight_rounding="nearest" if stem in TRAINED_BITS else None,
        metadata={"weights": stem, "calibration": " ".join(CALIBRATION)},
    )


def take_over(name: str, weights: Path, folder: Path = WEIGHTS_FOLDER) -> None:
    """Copy float weights and the log of their training into the folder of shipped weights.

    Parameters
    ----------
    name
        One of `SHIPPED`.
    weights
        What a training wrote; its log lies beside it.
    folder
        Where to write.
    """
    folder.mkdir(exist_ok=True)
    for suffix in (".safetensors", ".log"):
        copyfile(weights.with_suffix(suffix), folder / f"{name}{suffix}")


def main(taken: list[str], folder: Path = WEIGHTS_FOLDER) -> None:
    """Write every shipped fixed-point model, after the weights that are taken over.

    Parameters
    ----------
    taken
        ``NAME=FILE`` each.
    folder
        Of the weights, and of the models.
    """
    for item in taken:
        name, _, file = item.partition("=")
        if name not in SHIPPED or not file:
            sys.exit(f"give NAME=FILE, NAME one of {', '.join(SHIPPED)}; not {item}")
        take_over(name, Path(file), folder)
    for name in SHIPPED:
        path = folder / f"{name}.fxp"
        quantize_shipped(folder / f"{name}.safetensors").save(path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
