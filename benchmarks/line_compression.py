"""What compressed line memories save, and what they cost: bits of memory and PSNR.

``python -m benchmarks.line_compression --data DIR`` measures the shipped fixed-point network with
and without `fxp.hls.compress_lines` and writes the table to the docs: some minutes on two cores.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from benchmarks.psnr import methods, pictures
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp import FixedModel, hls
from fxp.cli.messages import one_line
from fxp.graph import Graph
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import ModuleInstance
from fxp.models import sr
from fxp.models.common.compare import Picture
from fxp.models.common.data import data_folder
from fxp.models.common.measure import pair_quality

SETS = ("Set5", "Set14", "B100")
WIDTH = 1920
TITLE = "Compressed line memories"
LINE_MEMORIES, CODECS, RESIDUALS = "fxp_window", "fxp_line_codec", "fxp_lag_buffer"
"""Modules of a core that hold memory before the output FIFO."""


def memory(graph: Graph, width: int = WIDTH) -> Counter[str]:
    """Return the bits of memory of a core by module."""
    plan, _ = plan_graph(graph, max_width=width)
    bits: Counter[str] = Counter()
    for item in plan.items:
        if isinstance(item, ModuleInstance):
            bits[item.module] += item.cost.memory_bits
    return bits


def variants(model: str) -> dict[str, Graph]:
    """Return the network as it is, with every codec, and with each codec alone."""
    plain = sr.load(model)
    whole = hls.compress_lines(plain).graph
    names = [
        node.name
        for node in whole.nodes
        if any(name.endswith(".stored") for name in node.inputs)
    ]  # fmt: skip
    alone = {f"`{name}` compressed": hls.compress_lines(plain, [name]).graph for name in names}
    return {"as shipped": plain.graph, "compressed": whole, **alone}


def psnrs(graphs: Mapping[str, Graph], images: Sequence[Picture]) -> dict[str, list[float]]:
    """Return the PSNR of every picture by variant, 8-bit input and output."""
    found: dict[str, list[float]] = {name: [] for name in graphs}
    for picture in track(images, "upscaling", transient=True):
        low = pictures.EIGHT_BITS(picture)
        for name, graph in graphs.items():
            method = methods.fixed_pixels(FixedModel(graph))
            found[name].append(pair_quality((low, picture.truth), method, pictures.SCALE).psnr)
    return found


def page(model: str, graphs: Mapping[str, Graph], sets: Mapping[str, Sequence[Picture]]) -> str:
    """Measure; returns the body of the page.

    Parameters
    ----------
    model
        Name of the shipped network.
    graphs
        Its graphs by the heading of their rows, without and with compressed lines.
    sets
        Pictures by the name of their set.
    """
    header = ["", *(f"Mbit, {what}" for what in ("lines", "codecs", "residual paths"))]
    bits = {name: memory(graph) for name, graph in graphs.items()}
    rows = {
        name: [name, *(f"{bits[name][m] / 1e6:.3f}" for m in (LINE_MEMORIES, CODECS, RESIDUALS))]
        for name in graphs
    }
    for title, images in sets.items():
        header += [f"{title}, dB", "loss", "largest loss"]
        found = psnrs(graphs, images)
        plain = np.array(next(iter(found.values())))
        for name, scores in found.items():
            losses = plain - np.array(scores)
            rows[name] += [f"{np.mean(scores):.3f}", f"{losses.mean():.4f}", f"{losses.max():.4f}"]
    return (
        f"`{model}` as a streaming core for lines of {WIDTH} pixels, before and after "
        "`fxp.hls.compress_lines`: memory as in the data sheet, and PSNR of the upscaled 8-bit "
        "images, which engine and core compute alike. *Loss* is that of the mean, *largest loss* "
        f"that of the worst picture.\n\n{markdown_table(header, list(rows.values()))}\n\n"
        f"{environment('fxp', 'numpy')}"
    )


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data sets; FXP_DATA by default.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Pieces of shipped photographs; only printed.")
    ] = False,
    model: Annotated[str, typer.Option(help="Shipped network.")] = "kimsr_x2",
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = ROOT / "docs" / "benchmarks",
) -> None:
    """Measure, print, and publish."""
    sets = pictures.quick_sets() if quick else pictures.read_sets(data_folder(data), SETS)
    body = page(model, variants(model), sets)
    print(body)
    if not quick:
        print(f"wrote {write_page(out, 'line_compression', TITLE, body)}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
