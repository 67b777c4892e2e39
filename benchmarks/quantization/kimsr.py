"""KimSR at several widths and calibration rules, on photographs that ship with scikit-image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from rich.progress import track

import fxp
from benchmarks.report import Summary, markdown_table
from fxp.imaging.colour import luma
from fxp.imaging.quality import compare, to_codes
from fxp.imaging.resize import imresize
from fxp.models import sr
from fxp.models.sr.data import downscale_pixels
from fxp.models.sr.demo import SCALE
from fxp.models.sr.fixed import calibration_images

PHOTOGRAPHS = ("astronaut", "camera")
"""Not among the photographs that `calibration_images` returns."""
REFINEMENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("equalization", {"equalization": True}),
    ("bias correction", {"bias_correction": True}),
    ("learned rounding", {"weight_rounding": "learned"}),
    (
        "all three",
        {"equalization": True, "bias_correction": True, "weight_rounding": "learned"},
    ),
)
EFFORTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("effort balanced", {"effort": "balanced"}),
    ("effort best", {"effort": "best"}),
)
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("10/14, mse", {}),
    ("10/14, minmax", {"method": "minmax"}),
    ("10/14, percentile", {"method": "percentile"}),
    ("10/14, search", {"method": "search"}),
    ("10/14, mse, one weight format per layer", {"per_channel": False}),
    ("10/14, mse, no headroom", {"headroom": 0}),
    ("10/14, mse, rounded after every op", {"wide_bits": 0}),
    ("8/12, mse", {"weight_bits": 8, "activation_bits": 12}),
    ("6/10, mse", {"weight_bits": 6, "activation_bits": 10}),
    (
        "6/10, mse, one weight format per layer",
        {"weight_bits": 6, "activation_bits": 10, "per_channel": False},
    ),
    ("6/10, mse, refined", {"weight_bits": 6, "activation_bits": 10, **REFINEMENTS[-1][1]}),
    ("6/10, search", {"weight_bits": 6, "activation_bits": 10, "method": "search"}),
)

WIDTHS = ((10, 14), (6, 10), (4, 8))
REFINED: tuple[tuple[str, dict[str, Any]], ...] = tuple(
    (f"{weights}/{values}, {name}", {"weight_bits": weights, "activation_bits": values, **options})
    for weights, values in WIDTHS
    for name, options in (("nothing", {}), *REFINEMENTS, *EFFORTS)
)
"""By the rule mse, unless the effort chooses; see docs/quantization-refinements.md."""


@dataclass(frozen=True)
class Photograph:
    """Luma of one test picture: 8-bit input and 8-bit truth."""

    small: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def photographs() -> list[Photograph]:
    """Return the test pictures."""
    images = [getattr(skimage.data, name)() for name in PHOTOGRAPHS]
    return [Photograph(luma(downscale_pixels(image)), luma(image)) for image in images]


def psnrs(pictures: list[Photograph], enlarged: list[NDArray[np.uint8]]) -> list[str]:
    """PSNR in dB of every picture, as text."""
    return [
        f"{compare(picture.truth, image, border=SCALE).psnr:.3f}"
        for picture, image in zip(pictures, enlarged, strict=True)
    ]


def summary(rows: Sequence[Sequence[str]]) -> Summary:
    """Return the rows of the README: what the default widths and six bits cost.

    Parameters
    ----------
    rows
        Rows of the first table: name, then PSNR of every photograph, then other cells.
    """
    cells = {name: [float(psnr) for psnr in row[: len(PHOTOGRAPHS)]] for name, *row in rows}
    found = []
    for bits, name in (
        ("10-bit weights and 14-bit activations", "10/14, mse"),
        ("6-bit weights and 10-bit activations, refined", "6/10, mse, refined"),
    ):
        if name in cells:
            losses = zip(cells[name], cells["float32"], strict=True)
            found.append(
                (
                    f"PSNR with {bits}, against float32, {len(PHOTOGRAPHS)} photographs",
                    ", ".join(f"{fixed - real:+.3f}" for fixed, real in losses) + " dB",
                )
            )
    return found


def measured() -> dict[str, list[list[str]]]:
    """Return the rows of the two tables, by name."""
    pictures = photographs()
    network = sr.load_float("kimsr_x2_bicubic")
    with torch.inference_mode():
        floats = [
            network(torch.from_numpy(p.small[None, None].astype(np.float32) / 255))[0, 0].numpy()
            for p in pictures
        ]
    bicubic = [to_codes(imresize(picture.small, SCALE)) for picture in pictures]
    calibration = calibration_images()

    def measure(variants: tuple[tuple[str, dict[str, Any]], ...]) -> list[list[str]]:
        found = []
        for name, options in track(variants, "quantizing"):
            named: dict[str, Any] = {"effort": "fast", **options}
            model = fxp.quantize(
                network, calibration, input_format=sr.PIXEL, output_format=sr.PIXEL, **named
            )
            images = [model.run_raw(picture.small).astype(np.uint8) for picture in pictures]
            rates = [max(model.clipped(picture.small / 256).values()) for picture in pictures]
            bits = max(node.accumulator.bits for node in model.graph.nodes if node.accumulator)
            found.append([name, *psnrs(pictures, images), f"{max(rates):.4%}", str(bits)])
        return found

    rows = [
        ["bicubic", *psnrs(pictures, bicubic), "", ""],
        ["float32", *psnrs(pictures, [to_codes(image * 255) for image in floats]), "", ""],
    ]
    return {"rules": [*rows, *measure(VARIANTS)], "refinements": measure(REFINED)}


def body(tables: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Return the Markdown of what `measured` gave."""
    header = (
        "weights/activations, rule",
        *(f"{name} dB" for name in PHOTOGRAPHS),
        "clipped",
        "accumulator bits",
    )
    columns = ("weights/activations, refinement", *header[1:])
    return "\n\n".join((
        "KimSR ×2 on luma, 8 bits in and out, PSNR against the photograph; *clipped* is the "
        "highest share of any one value that saturates.",
        markdown_table(header, tables["rules"]),
        "The same by the rule mse, with [refinements](../quantization-refinements.md):",
        markdown_table(columns, tables["refinements"]),
    ))  # fmt: skip
