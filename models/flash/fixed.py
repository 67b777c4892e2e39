"""The shipped fixed-point models: made from trained weights.

``python -m fxp.models.flash.fixed --data DIR`` makes every file again, byte for byte, from the
shipped weights; with ``--weights FILE`` the trained weights of that file, and the log beside it,
become the shipped ones first.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fxp
from fxp.models.common.borders import to_multiple
from fxp.models.common.data import data_folder
from fxp.models.common.pixels import PIXEL
from fxp.models.common.ship import ship
from fxp.models.common.weights import read_weights
from fxp.models.flash.data import FlashPair, training_pairs
from fxp.models.flash.shipped import MODELS, SHIPPED, WEIGHTS_FOLDER

CALIBRATED = 8
"""Photographs that formats are chosen on."""


def quantize_options(pairs: Sequence[FlashPair], multiple: int) -> dict[str, Any]:
    """Return the arguments of `fxp.quantize` that all networks here share.

    Parameters
    ----------
    pairs
        Whose flash photographs choose the formats; the first `CALIBRATED` do.
    multiple
        Height and width that the network takes are multiples of it.
    """
    planes = [to_multiple(pair.flash.transpose(2, 0, 1), multiple) for pair in pairs[:CALIBRATED]]
    return {
        "calibration": [item[None] / 256.0 for item in planes],
        "input_format": PIXEL,
        "output_format": PIXEL,
    }


def quantize_shipped(
    name: str,
    pairs: Sequence[FlashPair],
    *,
    weight_bits: int = 10,
    activation_bits: int = 14,
    **options: Any,
) -> fxp.FixedModel:
    """Quantize trained weights for 8-bit RGB.

    Parameters
    ----------
    name
        Name of shipped weights, or a ``.safetensors`` file.
    pairs
        Pairs that formats are chosen on; those that the weights were not trained on are left out.
    weight_bits, activation_bits
        Widths of every weight and of every activation.
    options
        Further options of `fxp.quantize`.
    """
    # Late, so that models are named and loaded without PyTorch.
    from fxp.models.flash.networks import load_float

    network = load_float(name)
    left_out = read_weights(MODELS.weights_path(name))[1].get("left_out", "").split(", ")
    trained = [pair for pair in pairs if pair.name not in left_out]
    return ship(
        network,
        **quantize_options(trained, network.multiple),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name=Path(name).stem,
        metadata={
            "divide_by": "256",
            "weights": Path(name).stem,
            "calibration": " ".join(pair.name for pair in trained[:CALIBRATED]),
        },
        **options,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every shipped fixed-point model."""
    parser = argparse.ArgumentParser(description="Make the shipped models from their weights.")
    parser.add_argument("--data", type=Path, help="Folder of the image sets; default: $FXP_DATA.")
    parser.add_argument("--weights", type=Path, help="Trained weights to ship, with their .log.")
    given = parser.parse_args(arguments)
    if given.weights is not None:
        for suffix in (".safetensors", ".log"):
            shutil.copyfile(
                given.weights.with_suffix(suffix), WEIGHTS_FOLDER / f"{SHIPPED[0]}{suffix}"
            )
    pairs = training_pairs(data_folder(given.data))
    for name in SHIPPED:
        path = WEIGHTS_FOLDER / f"{name}.fxp"
        quantize_shipped(name, pairs).save(path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
