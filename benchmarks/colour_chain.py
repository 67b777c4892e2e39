"""A whole colour frame through the core of a video chain, compared with the engine bit for bit.

``python -m benchmarks.colour_chain`` runs 480×270 to 960×540, RGB to RGB, in the compiled model and
writes the table to the docs: some minutes on two cores.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import skimage.data
import torch
import typer

from benchmarks import orderly
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp import FixedModel, quantize
from fxp.hls import emit_rtl
from fxp.imaging.colour import luma
from fxp.models import sr
from fxp.models.common.pixels import Chroma
from fxp.rtl_sim import FrameResult, find_simulator, full_frame

WIDTH, HEIGHT, FEATURES = 480, 270, 8
PIXELS_PER_BEAT: Final = 4
TITLE = "A colour video chain as a core"


def small_kimsr(features: int = FEATURES) -> FixedModel:
    """Return KimSR of few features, untrained: it starts from nearest-neighbour enlargement."""
    torch.manual_seed(0)
    network = sr.KimSR(features=features).eval()
    photographs = [
        torch.from_numpy(luma(getattr(skimage.data, name)()[:96, :128]) / np.float32(256))
        for name in ("chelsea", "coffee", "rocket")
    ]
    return quantize(
        network, [plane[None, None] for plane in photographs],
        input_format=sr.PIXEL, output_format=sr.PIXEL, weight_bits=8, activation_bits=12,
    )  # fmt: skip


def measure(width: int, height: int, features: int, chroma: Chroma) -> FrameResult:
    """Emit the core of a chain and run a photograph through it.

    Parameters
    ----------
    width, height
        Size of the frame, at most 512 each.
    features
        Feature maps of KimSR.
    chroma
        Interpolation of Cb and Cr.
    """
    chain = sr.colour_chain(small_kimsr(features), chroma=chroma)
    frame = skimage.data.astronaut()[:height, :width].transpose(2, 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "core"
        emit_rtl(
            chain, folder, max_width=width, max_height=height, multipliers="shift_add",
            pixels_per_beat=PIXELS_PER_BEAT, packing="ug934",
        )  # fmt: skip
        return full_frame(chain, frame, core=folder)


def page(result: FrameResult, features: int, chroma: Chroma) -> str:
    """Return the body of the page.

    Parameters
    ----------
    result
        What was measured.
    features
        Feature maps of KimSR.
    chroma
        Interpolation of Cb and Cr.
    """
    core = result.core
    rows = [
        ["RGB frames equal to the engine's", "all" if result.bit_exact else "NO"],
        ["Clocks from the first pixel in to the last beat out", f"{result.cycles:,}"],
        ["Clocks per pixel taken", f"{result.input_cycles / result.pixels:.4f}"],
        ["Latency, lines", f"{result.latency_cycles / core.max_width:.2f}"],
        ["Compiling, seconds", f"{result.compile_seconds:.0f}"],
        ["Simulating, seconds", f"{result.simulation_seconds:.0f}"],
        ["All, seconds", f"{result.seconds:.0f}"],
    ]
    size = f"{core.max_width}×{core.max_height}"
    larger = f"{core.scale * core.max_width}×{core.scale * core.max_height}"
    return (
        f"One frame of RGB, {size} to {larger}, through the core of "
        f"`sr.colour_chain(model, chroma={chroma!r})`, whose network is KimSR of {features} "
        "features with 8-bit weights and 12-bit values, untrained. Shared adders, "
        f'`packing="ug934"`, {core.pixels_per_beat} pixels in an output beat, in the model that '
        "Verilator compiles. The engine computes the same integer graph, from RGB to RGB.\n\n"
        f"{markdown_table(('', size), rows)}\n\n"
        f"{find_simulator('verilator')}. {environment('fxp', 'numpy')}"
    )


def main(
    width: Annotated[int, typer.Option(min=1, max=512, help="Pixels per line.")] = WIDTH,
    height: Annotated[int, typer.Option(min=1, max=512, help="Lines.")] = HEIGHT,
    features: Annotated[int, typer.Option(min=2, help="Feature maps, even.")] = FEATURES,
    bilinear: Annotated[bool, typer.Option("--bilinear", help="Chroma not bicubic.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = ROOT / "docs" / "benchmarks",
) -> None:
    """Run the frame, print the table, and publish it if the output is right."""
    chroma: Chroma = "bilinear" if bilinear else "bicubic"
    result = measure(width, height, features, chroma)
    body = page(result, features, chroma)
    print(body)
    if not result.bit_exact:
        raise typer.Exit(1)
    print(f"wrote {write_page(out, 'colour_chain', TITLE, body)}")


if __name__ == "__main__":
    orderly.run(partial(typer.run, main))
