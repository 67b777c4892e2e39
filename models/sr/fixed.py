"""The shipped fixed-point models: loaded by name, and made from the trained weights.

``python -m fxp.models.sr.fixed`` makes every file again, byte for byte.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

import fxp
from fxp.imaging.colour import luma
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.data as skimage_data
    import torch

    from fxp.models.sr.networks import KimSR
else:
    skimage_data = lazy_import("skimage.data", "cli")
    torch = lazy_import("torch", "torch")

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
CALIBRATION: Final = ("chelsea", "coffee", "rocket")
"""Photographs shipped with scikit-image on which the formats are chosen, besides `PAGE`."""
PAGE: Final = "page"
"""A scan of text shipped with scikit-image, made black and white: it has the contrast that
photographs lack, without which formats saturate on drawings and captions."""
SHIPPED: Final = ("kimsr_x2_bicubic", "kimsr_x2_compressed")
"""Names of the shipped networks: float weights ``NAME``, and those of the fixed-point model
``NAME_fixed``, trained on with its roundings."""


def load(name: str | Path) -> fxp.FixedModel:
    """Load a fixed-point model; needs no PyTorch.

    Parameters
    ----------
    name
        Name of a shipped model, such as ``"kimsr_x2"``, or the path of a file whose name ends in
        ``.fxp``. ``"kimsr_x2"`` means the one trained on bicubic shrinking;
        ``"kimsr_x2_compressed"`` is for blurred, JPEG-compressed and noisy pictures.

    Raises
    ------
    ValueError
        If there is no shipped model of that name; the message lists those there are.
    FormatError
        If the file is missing or no valid ``.fxp`` file.
    """
    if Path(name).suffix == ".fxp":
        return fxp.load(name)
    for candidate in (str(name), f"{name}_bicubic"):
        if candidate in SHIPPED:
            return fxp.load(WEIGHTS_FOLDER / f"{candidate}.fxp")
    raise ArgumentError(
        f"no shipped model {str(name)!r}, only {list(SHIPPED)}; or give a .fxp file"
    )


def low_resolution(image: NDArray[np.uint8], scale: int = 2) -> NDArray[np.uint8]:
    """Shrink an 8-bit image, antialiased, and round it as a camera delivers it."""
    height, width = (size // scale * scale for size in image.shape[:2])
    return to_codes(imresize(image[:height, :width], 1 / scale))


def calibration_images(scale: int = 2) -> list[NDArray[np.float64]]:
    """Luma of shipped pictures, shrunk, ``(1, 1, H, W)`` in steps of 1/256."""
    pictures = [getattr(skimage_data, name)() for name in CALIBRATION]
    scan = getattr(skimage_data, PAGE)()
    pictures.append(np.where(scan > scan.mean(), 255, 0).astype(np.uint8))
    return [luma(low_resolution(image, scale))[None, None] / 256.0 for image in pictures]


def formats(scale: int = 2) -> dict[str, Any]:
    """Return the arguments of `fxp.quantize` that all networks here share, by name."""
    # Late, so that models are named and loaded without PyTorch.
    from fxp.models.sr.pipeline import PIXEL

    return {
        "calibration": calibration_images(scale),
        "input_format": PIXEL,
        "output_format": PIXEL,
    }


def refined(network: KimSR, *, weight_bits: int, activation_bits: int) -> KimSR:
    """Return a network with the weights of its refined fixed-point model, as real numbers.

    Channels are equalized, and the rounding of every weight is learned; see
    `fxp.quantization.refinement`. A training with roundings that starts here starts from what is
    possible without it.
    """
    model = fxp.quantize(
        network,
        **formats(network.scale),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        equalization=True,
        weight_rounding="learned",
    )
    constants = model.graph.constants_by_name
    rounded = copy.deepcopy(network)
    rounded.load_state_dict(
        {name: torch.tensor(constants[name].values) for name in network.state_dict()}
    )
    return rounded


def quantize_network(
    network: KimSR, *, weight_bits: int = 10, activation_bits: int = 14, name: str = "kimsr"
) -> fxp.FixedModel:
    """Quantize a network for 8-bit luma, calibrated on the photographs of `CALIBRATION`."""
    return fxp.quantize(
        network,
        **formats(network.scale),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name=name,
    )


def quantize_shipped(
    name: str, *, weight_bits: int = 10, activation_bits: int = 14
) -> fxp.FixedModel:
    """Quantize shipped weights; see `quantize_network`."""
    from fxp.models.sr.weights_file import load_float

    model = quantize_network(
        load_float(name),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name="_".join(name.split("_")[:2]),
    )
    model.metadata |= {
        "divide_by": "256",
        "weights": name,
        "calibration": " ".join((*CALIBRATION, PAGE)),
    }
    return model


def main(folder: Path = WEIGHTS_FOLDER) -> None:
    """Write every shipped fixed-point model."""
    for name in SHIPPED:
        path = folder / f"{name}.fxp"
        quantize_shipped(f"{name}_fixed").save(path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
