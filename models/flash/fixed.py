"""The shipped fixed-point models, and others, made from trained weights.

``python -m fxp.models.flash.fixed --data DIR`` makes every shipped file again, byte for byte.
``--weights FILE --out FILE.fxp`` quantizes other weights, and ``--weights FILE --ship`` makes them,
with the log beside them, the shipped ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import fxp
from fxp.cli.messages import one_line
from fxp.cli.targets import check_target
from fxp.models.common.borders import to_multiple
from fxp.models.common.data import data_folder
from fxp.models.common.pixels import PIXEL
from fxp.models.common.ship import ship
from fxp.models.common.weights import read_weights
from fxp.models.flash.data import FlashPair, training_pairs
from fxp.models.flash.shipped import MODELS, SHIPPED, WEIGHTS_FOLDER
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file

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
    name: str | Path,
    pairs: Sequence[FlashPair],
    *,
    label: str = "",
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
    label
        What the model and its metadata call the weights; by default the name without its suffix.
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
    label = label or Path(name).stem
    return ship(
        network,
        **quantize_options(trained, network.multiple),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        name=label,
        metadata={
            "divide_by": "256",
            "weights": label,
            "calibration": " ".join(pair.name for pair in trained[:CALIBRATED]),
        },
        **options,
    )


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of the image sets; default: $FXP_DATA.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained weights, .safetensors.")] = None,
    out: Annotated[Path | None, typer.Option(help="The .fxp file to write.")] = None,
    shipping: Annotated[
        bool, typer.Option("--ship", help="Make the weights, with their .log, the shipped ones.")
    ] = False,
    weight_bits: Annotated[int, typer.Option(min=2, max=24, help="Of every weight.")] = 10,
    activation_bits: Annotated[int, typer.Option(min=2, max=24, help="Of every value.")] = 14,
    effort: Annotated[str, typer.Option(help="fast, balanced or best.")] = "balanced",
) -> None:
    """Quantize weights, without options those that ship with the package."""
    try:
        if (weights is not None) != (out is not None) + shipping:
            raise ArgumentError("give --weights with either --out or --ship, or none of the three")
        name = SHIPPED[0]
        target = out or WEIGHTS_FOLDER / f"{name}.fxp"
        check_target(target, reads=[weights] if weights else [], suffixes=(".fxp",))
        log = weights.with_suffix(".log").read_bytes() if weights and shipping else b""
        model = quantize_shipped(
            weights or name,
            training_pairs(data_folder(data)),
            label="" if out else name,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            effort=effort,
        )
        if weights and shipping:
            replace_file(target.with_suffix(".safetensors"), weights.read_bytes())
            replace_file(target.with_suffix(".log"), log)
        model.save(target)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {one_line(error)}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"wrote {target}")


if __name__ == "__main__":
    typer.run(main)
