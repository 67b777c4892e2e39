"""The shipped fixed-point models: loaded by name, and made from the trained weights.

``python -m fxp.models.sr.fixed`` makes every file again, byte for byte, or those named.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

import fxp
from fxp.graph import Constant
from fxp.imaging.colour import luma
from fxp.models.common.pixels import PIXEL
from fxp.models.common.ship import ship
from fxp.models.common.shipped import ShippedModels
from fxp.models.sr.data import downscale_pixels
from fxp.models.sr.jpeg import jpeg_level
from fxp.quantization.options import Effort
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.data as skimage_data
else:
    skimage_data = lazy_import("skimage.data", "cli")

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
CALIBRATION: Final = ("chelsea", "coffee", "rocket")
"""Photographs shipped with scikit-image on which the formats are chosen, besides `PAGE`."""
PAGE: Final = "page"
"""A scan of text shipped with scikit-image, made black and white: it has the contrast that
photographs lack, without which formats saturate on drawings and captions."""
WEIGHT_BITS, ACTIVATION_BITS = 10, 14
"""Widths of the shipped models of weights that were trained without roundings."""
SHIPPED: Final = (
    "kimsr_x2_bicubic",
    "kimsr_x2_compressed",
    "kimsr_x2_noisy",
    "kimsr_x2_hardware",
    "kimsr_x2_8_10",
    "kimsr_x3_bicubic",
    "kimsr_x4_bicubic",
    "kimsr8_x2_bicubic",
    "kimsr8_x2_8_10",
    "kimsr16_x2_bicubic",
    "kimsr24_x2_bicubic",
    "kimsr24_x2_8_10",
)
"""Names of the shipped networks: float weights, and the fixed-point model made from them. A number
after ``kimsr`` is that of the feature maps, 32 without one; two at the end are the bits of weights
and activations that the network was trained for."""


MODELS: Final = ShippedModels(
    WEIGHTS_FOLDER,
    SHIPPED,
    {name.removesuffix("_bicubic"): name for name in SHIPPED if name.endswith("_bicubic")},
)
"""A name without a degradation means the network trained on bicubic downscaling;
``"kimsr_x2_compressed"`` is for clean and JPEG-compressed pictures, ``"kimsr_x2_noisy"`` for those
that are blurred, compressed and noisy."""

STORED: Final = 50
"""JPEG quality for which the biases of a model stand in its file."""
TAKES_QUALITY: Final = "biases_for_jpeg_quality"
"""Entry of the metadata of models whose biases follow the quality."""
CLEAN_WEIGHTS: Final = "weights_of_clean_images"
"""Entry that names the shipped model whose weights such a model has for clean images."""
COMPARED: Final = {"ECBSR-M4C8": "ecbsr_x2_bicubic", "ABPN of 8 maps": "abpn8_x2_bicubic"}
"""Float weights of chains of convolutions, by what tables call them: for comparison alone."""
CLEAN_MODELS: Final = {"kimsr_x2_compressed": "kimsr_x2_bicubic"}
"""The shipped models of that kind, and the one they name."""
NEARLY_CLEAN: Final = 96
"""Quality from which images count as clean: weights trained on clean ones are better there."""

load = MODELS.load


def calibration_images(scale: int = 2) -> list[NDArray[np.float64]]:
    """Luma of shipped pictures, downscaled, ``(1, 1, H, W)`` in steps of 1/256."""
    pictures = [getattr(skimage_data, name)() for name in CALIBRATION]
    scan = getattr(skimage_data, PAGE)()
    pictures.append(np.where(scan > scan.mean(), 255, 0).astype(np.uint8))
    return [luma(downscale_pixels(image, scale))[None, None] / 256.0 for image in pictures]


def formats(scale: int = 2) -> dict[str, Any]:
    """Return the arguments of `fxp.quantize` that all networks here share, by name."""
    return {
        "calibration": calibration_images(scale),
        "input_format": PIXEL,
        "output_format": PIXEL,
    }


def quantize_shipped(
    name: str,
    *,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    effort: Effort = "balanced",
) -> fxp.FixedModel:
    """Quantize shipped weights for 8-bit luma, calibrated on the pictures of `CALIBRATION`.

    Weights that were trained with roundings are rounded to nearest, as in their training.

    Parameters
    ----------
    name
        Name of the weights, or a ``.safetensors`` file.
    weight_bits, activation_bits
        Widths of every weight and of every activation; by default those of the training with
        roundings, or else 10 and 14.
    effort
        As for `fxp.quantize`.
    """
    # Late, so that models are named and loaded without PyTorch.
    from fxp.models.sr.networks import load_float, read_metadata

    network, known = load_float(name), read_metadata(name)
    options, entries = {**formats(network.scale), "effort": effort}, {}
    trained = known.get("weight_bits")
    if weight_bits is None:
        weight_bits = int(trained or WEIGHT_BITS)
    if activation_bits is None:
        activation_bits = int(known.get("activation_bits", ACTIVATION_BITS))
    if trained == str(weight_bits):
        options["effort"] = "fast"
    if getattr(network, "quality", None) is not None:
        network = network.at_level(jpeg_level(STORED))
        # A correction is the same for all qualities, and these biases are not.
        options["bias_correction"] = False
        entries = {TAKES_QUALITY: str(STORED)}
        if name in CLEAN_MODELS:
            entries[CLEAN_WEIGHTS] = CLEAN_MODELS[name]
    return ship(
        network,
        **options,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name="_".join(name.split("_")[:2]),
        metadata={
            "divide_by": "256",
            "weights": name,
            "calibration": " ".join((*CALIBRATION, PAGE)),
            **entries,
        },
    )


def at_quality(model: fxp.FixedModel, quality: int) -> fxp.FixedModel:
    """Return a fixed-point model for images of a JPEG quality: the same graph, other constants.

    The biases are those of the file times ``2 * (100 - quality) / 100``, rounded half up, and those
    of the file below quality 50. From quality `NEARLY_CLEAN` on, the model may have the weights of
    another shipped one, which its metadata names.

    Parameters
    ----------
    model
        One whose biases follow the quality, such as ``"kimsr_x2_compressed"``.
    quality
        1 to 100.

    Raises
    ------
    ArgumentError
        If the quality is no such number, or the model has nothing that follows it.
    """
    if TAKES_QUALITY not in model.metadata:
        raise ArgumentError("the model is for one kind of image and takes no JPEG quality")
    if isinstance(quality, bool) or quality not in range(1, 101):
        raise ArgumentError(f"a JPEG quality is a whole number from 1 to 100, not {quality!r}")
    metadata = {**model.metadata, TAKES_QUALITY: str(quality)}
    if quality >= NEARLY_CLEAN and CLEAN_WEIGHTS in model.metadata:
        return fxp.FixedModel(load(model.metadata[CLEAN_WEIGHTS]).graph, metadata=metadata)
    share = 100 - max(int(quality), STORED)
    graph = model.graph
    constants = tuple(
        _scaled(item, share) if item.name.endswith(".bias") else item for item in graph.constants
    )
    return fxp.FixedModel(replace(graph, constants=constants), metadata=metadata)


def _scaled(bias: Constant, share: int) -> Constant:
    """Scale integers by ``share / STORED``; they get smaller, so that their formats still hold."""
    return replace(bias, data=(2 * bias.data * share + STORED) // (2 * STORED))


def main(folder: Path = WEIGHTS_FOLDER, names: Sequence[str] = SHIPPED) -> None:
    """Write shipped fixed-point models.

    Parameters
    ----------
    folder
        Where to write.
    names
        Which; all by default.
    """
    for name in names:
        path = folder / f"{name}.fxp"
        quantize_shipped(name).save(path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main(names=sys.argv[1:] or SHIPPED)
