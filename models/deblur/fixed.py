"""The shipped fixed-point models: loaded by name, and made from the trained weights.

``python -m fxp.models.deblur.fixed`` makes every file again, byte for byte.
``python -m fxp.models.deblur.fixed --weights FILE --out FILE.fxp`` quantizes other weights: a
``.safetensors`` file of a training, or a ``.pt`` file of the authors' release.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

import fxp
from fxp.cli.messages import one_line
from fxp.cli.targets import check_target
from fxp.models.common.pixels import PIXEL
from fxp.models.common.ship import ship
from fxp.models.common.shipped import ShippedModels
from fxp.models.deblur.blur import averaged
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.data as skimage_data
    from torch import nn
else:
    skimage_data = lazy_import("skimage.data", "cli")

WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"
CALIBRATION: Final = ("astronaut", "chelsea", "coffee", "rocket")
"""Photographs shipped with scikit-image on which the formats are chosen: as they are, and blurred
by a camera that moves to the right."""
SIDE: Final = 128
"""Of the middle of each photograph, pixels."""
MOVED: Final = 15
"""Pixels of the motion."""
SHIPPED: Final[tuple[str, ...]] = ("deepdeblur_small",)
"""Names of the shipped networks: float weights, and the fixed-point model made from them."""

MODELS: Final = ShippedModels(WEIGHTS_FOLDER, SHIPPED, {"small": "deepdeblur_small"})

load = MODELS.load


def calibration_images() -> list[NDArray[np.float64]]:
    """Shipped photographs, ``(1, 3, H, W)`` in steps of 1/256: sharp ones, then blurred ones."""
    sharp, blurred = [], []
    for name in CALIBRATION:
        picture = getattr(skimage_data, name)()
        top, left = ((size - SIDE) // 2 for size in picture.shape[:2])
        rows = picture[top : top + SIDE]
        moving = [rows[:, left + step : left + step + SIDE] for step in range(MOVED)]
        sharp.append(moving[MOVED // 2])
        blurred.append(averaged(moving))
    return [picture.transpose(2, 0, 1)[None] / 256.0 for picture in (*sharp, *blurred)]


def formats() -> dict[str, Any]:
    """Return the arguments of `fxp.quantize` that all networks here share, by name."""
    return {
        "calibration": calibration_images(),
        "input_format": PIXEL,
        "output_format": PIXEL,
    }


def quantize_weights(
    network: nn.Module,
    name: str,
    *,
    weight_bits: int = 10,
    activation_bits: int = 14,
    **others: Any,
) -> fxp.FixedModel:
    """Quantize a generator for 8-bit RGB, calibrated on the photographs of `CALIBRATION`.

    Parameters
    ----------
    network
        In eval mode.
    name
        Name of the weights, for the metadata.
    weight_bits, activation_bits
        Widths of every weight and of every activation.
    others
        Further arguments of `fxp.quantize`.
    """
    return ship(
        network,
        **formats(),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name="deepdeblur",
        **others,
        metadata={"divide_by": "256", "weights": name, "calibration": " ".join(CALIBRATION)},
    )


def main(
    weights: Annotated[
        Path | None, typer.Option(help="Weights: .safetensors, or .pt of the authors' release.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The .fxp file to write.")] = None,
    weight_bits: Annotated[int, typer.Option(min=2, max=24, help="Of every weight.")] = 10,
    activation_bits: Annotated[int, typer.Option(min=2, max=24, help="Of every value.")] = 14,
    effort: Annotated[str, typer.Option(help="fast, balanced or best.")] = "balanced",
) -> None:
    """Quantize weights, without options those that ship with the package."""
    # Late, so that models are named and loaded without PyTorch.
    from fxp.models.deblur.networks import load_float
    from fxp.models.deblur.release import load_release

    try:
        if weights is None and out is None:
            for name in SHIPPED:
                path = WEIGHTS_FOLDER / f"{name}.fxp"
                quantize_weights(load_float(name), name).save(path)
                typer.echo(f"wrote {path}")
            return
        if weights is None or out is None:
            raise ValueError("give both --weights and --out, or neither")
        check_target(out, reads=[weights], suffixes=(".fxp",))
        released = weights.suffix in (".pt", ".pth")
        network = load_release(weights) if released else load_float(weights)
        quantize_weights(
            network,
            weights.name,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            effort=effort,
        ).save(out)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {one_line(error)}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
