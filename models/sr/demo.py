"""The ``fxp demo`` command: quantize KimSR, upscale a photograph, compare, and show the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

import fxp
from fxp.cli.console import output_console, progress_bar
from fxp.cli.targets import check_target
from fxp.imaging.colour import luma as luma_of
from fxp.imaging.files import read_image, write_image
from fxp.imaging.montage import side_by_side
from fxp.imaging.quality import compare, to_codes
from fxp.imaging.resize import imresize
from fxp.models import sr
from fxp.models.common.compare import MeasuredMethod, fixed_minus_float, method_table
from fxp.models.sr.data import downscale_pixels
from fxp.models.sr.fixed import quantize_shipped
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.data as skimage_data
    import torch
else:
    skimage_data = lazy_import("skimage.data", "cli")
    torch = lazy_import("torch", "torch")

RESULTS = ("kimsr_x2.fxp", "enlarged.png", "side_by_side.png")
"""What the folder of the results gets."""
SCALE = 2
CROP = 64
"""Side of the piece on which the oracle is run, low-resolution pixels."""


def demo(
    image: Annotated[
        Path | None,
        typer.Option(
            help="Photograph to downscale by two and upscale again; a shipped one if left."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo_output"),
    weight_bits: Annotated[int, typer.Option(min=2, max=16, help="Bits of every weight.")] = 10,
    activation_bits: Annotated[
        int, typer.Option(min=4, max=24, help="Bits of every activation.")
    ] = 14,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default all.")] = None,
) -> None:
    """Quantize a super-resolution network and upscale a photograph with integers.

    The photograph is downscaled by two and upscaled again, so that the result can be measured.
    A table compares bicubic, the float network and the fixed-point network. The engine is checked
    against the oracle, and the model, the upscaled image and a side-by-side picture are written.

    Example: fxp demo --image photo.jpg --out results
    """
    for name in RESULTS:
        check_target(out / name, reads=[] if image is None else [image], makes_folder=True)
    photograph = skimage_data.astronaut() if image is None else read_image(image)
    if min(photograph.shape[:2]) < 2 * SCALE:
        raise ArgumentError(f"the image is too small: {photograph.shape[1]}x{photograph.shape[0]}")
    with progress_bar("demo") as progress:

        def say(text: str) -> None:
            progress(0, 0, text)

        network = sr.load_float("kimsr_x2_bicubic")
        say(f"quantizing to {weight_bits}-bit weights and {activation_bits}-bit activations")
        model = quantize_shipped(
            "kimsr_x2_bicubic", weight_bits=weight_bits, activation_bits=activation_bits
        )
        rows, upscaled = _measure(photograph, network, model, threads, say)
        say("checking the engine against the oracle")
        pixels = _check(model, downscale_pixels(photograph), threads)
        say("writing the results")
        out.mkdir(parents=True, exist_ok=True)
        saved, enlarged, comparison = (out / name for name in RESULTS)
        model.save(saved)
        write_image(enlarged, upscaled)
        _write_comparison(comparison, photograph, upscaled)
    output_console().print(_table(rows, photograph, model))
    typer.echo(f"engine == oracle on all {pixels:,} pixels of a crop, bit for bit")
    typer.echo(f"wrote {saved}, {enlarged} and {comparison}")


def _measure(
    photograph: NDArray[np.uint8],
    network: torch.nn.Module,
    model: fxp.FixedModel,
    threads: int | None,
    say: Callable[[str], None],
) -> tuple[list[MeasuredMethod], NDArray[np.uint8]]:
    """Run bicubic, float and fixed on the luma; also returns the upscaled colour image."""
    small = downscale_pixels(photograph)
    luma = luma_of(small)
    height, width = (size // SCALE * SCALE for size in photograph.shape[:2])
    truth = photograph[:height, :width]
    truth = luma_of(truth)

    def float_network() -> NDArray[np.uint8]:
        with torch.inference_mode():
            tensor = torch.from_numpy(luma[None, None].astype(np.float32) / 255)
            return to_codes(network(tensor)[0, 0].numpy() * 255)

    model.run_raw(luma[:8, :8], threads=threads)  # compiles, outside the timing
    methods: list[tuple[str, str, Callable[[], NDArray[np.uint8]]]] = [
        ("bicubic", "float64", lambda: to_codes(imresize(luma, SCALE))),
        ("KimSR float", "float32", float_network),
        (
            "KimSR fixed",
            _bits_text(model),
            lambda: model.run_raw(luma, threads=threads).astype(np.uint8),
        ),
    ]
    rows = []
    for name, bits, upscale in methods:
        say(f"upscaling: {name}")
        started = time.perf_counter()
        result = upscale()
        seconds = time.perf_counter() - started
        rows.append(MeasuredMethod(name, bits, compare(truth, result, border=SCALE), seconds))
    rates = model.clipped(luma / 256.0)
    clipped = max(rates[name] for name in rates if name not in model.graph.outputs)
    rows[-1] = replace(rows[-1], clipped=clipped)
    return rows, sr.upscale(small, model, threads=threads)


def _bits_text(model: fxp.FixedModel) -> str:
    graph = model.graph
    weights = max(form.width for constant in graph.constants for form in constant.formats)
    bits = max(node.accumulator.bits for node in graph.nodes if node.accumulator)
    return f"{weights} bit weights, {bits} bit accumulators"


def _check(model: fxp.FixedModel, small: NDArray[np.uint8], threads: int | None) -> int:
    """Compare engine and oracle on the middle of the image; returns how many pixels agree."""
    luma = luma_of(small)
    top, left = (max(size - CROP, 0) // 2 for size in luma.shape)
    crop = luma[top : top + CROP, left : left + CROP]
    fast = model.run_raw(crop, threads=threads)
    slow = fxp.executors.oracle.run(model.graph, [crop[None]]).outputs[0][0]
    if not np.array_equal(fast, slow):
        raise RuntimeError("the engine and the oracle differ; please report this")
    return fast.size


def _table(
    rows: list[MeasuredMethod], photograph: NDArray[np.uint8], model: fxp.FixedModel
) -> Table:
    size = f"{photograph.shape[1] // SCALE}x{photograph.shape[0] // SCALE}"
    table = method_table(rows, f"x{SCALE} from {size}, luma, {model.parameters:,} parameters")
    table.caption = fixed_minus_float(rows[2].quality, rows[1].quality)
    return table


def _write_comparison(
    path: Path, photograph: NDArray[np.uint8], upscaled: NDArray[np.uint8]
) -> None:
    """Draw the middle of the image: nearest neighbour, bicubic, fixed point, original."""
    small = downscale_pixels(photograph)
    panels = {
        "input (pixels repeated)": small.repeat(SCALE, axis=0).repeat(SCALE, axis=1),
        "bicubic": to_codes(imresize(small, SCALE)),
        "KimSR, fixed point": upscaled,
        "original": photograph[: upscaled.shape[0], : upscaled.shape[1]],
    }
    write_image(path, side_by_side(panels))


if __name__ == "__main__":
    typer.run(demo)
