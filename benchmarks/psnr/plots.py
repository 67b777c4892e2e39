"""The pictures of the page, as PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import skimage.data
from matplotlib.figure import Figure

from benchmarks.psnr.pictures import SCALE, jpeg
from benchmarks.psnr.tables import COMPRESSED, HEATMAP, PARETO, Record, pareto_front
from fxp.imaging.files import write_image
from fxp.imaging.montage import side_by_side
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models import sr
from fxp.support.files import replace_file

PHOTOGRAPH: Final = "astronaut"
QUALITY: Final = 70
CAPTION: Final = (
    f"Middle of the photograph *{PHOTOGRAPH}* of scikit-image, downscaled by {SCALE}, through JPEG "
    f"of quality {QUALITY}, and upscaled again in integers."
)


def draw(record: Record, folder: Path) -> None:
    """Write every picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(heat_map(record["sweep"]), folder / HEATMAP)
    _save(pareto_plot(record["sweep"]), folder / PARETO)
    models = [item["model"] for item in record["methods"] if item["arithmetic"] == "float"]
    compressed_picture(folder / COMPRESSED, models)


def heat_map(sweep: Record) -> Figure:
    """PSNR over weight bits and activation bits."""
    points = {(item["weight_bits"], item["activation_bits"]): item["psnr"]
              for item in sweep["points"]}  # fmt: skip
    weights, activations = (sorted({pair[axis] for pair in points}) for axis in (0, 1))
    grid = np.array([[points[row, column] for column in activations] for row in weights])
    figure = Figure(figsize=(1.5 + 0.6 * len(activations), 1.2 + 0.4 * len(weights)), dpi=120)
    axes = figure.subplots()
    # Widths worse than bicubic are all of one colour, so that the others can be told apart.
    lowest = min(sweep["bicubic_psnr"], sweep["float_psnr"] - 1.0)
    image = axes.imshow(grid, vmin=lowest, vmax=sweep["float_psnr"], aspect="auto", origin="lower")
    middle = (lowest + sweep["float_psnr"]) / 2
    for row, column in np.ndindex(grid.shape):
        value = grid[row, column]
        colour = "black" if value > middle else "white"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(len(activations)), [str(bits) for bits in activations])
    axes.set_yticks(range(len(weights)), [str(bits) for bits in weights])
    axes.set_xlabel("activation bits")
    axes.set_ylabel("weight bits")
    axes.set_title(f"PSNR dB on {sweep['set']}, float {sweep['float_psnr']:.2f}", fontsize=10)
    figure.colorbar(image, extend="min")
    figure.tight_layout()
    return figure


def pareto_plot(sweep: Record) -> Figure:
    """PSNR over the bits of all multipliers, with the best widths joined."""
    figure = Figure(figsize=(7, 4.2), dpi=120)
    axes = figure.subplots()
    points, front = sweep["points"], pareto_front(sweep["points"])
    axes.scatter(*_coordinates(points), s=9, color="0.6")
    axes.plot(*_coordinates(front), "o-", markersize=4, label="best for their cost")
    lowest = min(sweep["bicubic_psnr"], sweep["float_psnr"] - 1.0)
    labelled = lowest
    for point in front:
        if point["psnr"] < labelled:
            continue
        labelled = point["psnr"] + 0.05  # closer ones would be written over each other
        axes.annotate(
            f"{point['weight_bits']}/{point['activation_bits']}",
            (point["multiplier_bits"] / 1000, point["psnr"]),
            xytext=(4, -9), textcoords="offset points", fontsize=7,
        )  # fmt: skip
    for name, style in (("float", "--"), ("bicubic", ":")):
        axes.axhline(sweep[f"{name}_psnr"], linestyle=style, color="0.3", linewidth=1, label=name)
    axes.set_ylim(lowest - 0.1, sweep["float_psnr"] + 0.2)
    axes.set_xlabel("thousand multiplier bits for one input pixel")
    axes.set_ylabel(f"PSNR dB on {sweep['set']}")
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def _coordinates(points: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return (
        [point["multiplier_bits"] / 1000 for point in points],
        [point["psnr"] for point in points],
    )


def compressed_picture(path: Path, models: list[str]) -> None:
    """Write a compressed photograph upscaled by bicubic and every model, and the truth."""
    truth = getattr(skimage.data, PHOTOGRAPH)()
    small = jpeg(QUALITY)(truth, SCALE, seed=0)
    panels = {
        f"bicubic, JPEG {QUALITY}": to_codes(imresize(small, SCALE)),
        **{name: sr.upscale(small, sr.load(name)) for name in models},
        "original": truth,
    }
    write_image(path, side_by_side(panels))


def _save(figure: Figure, path: Path) -> None:
    stream = io.BytesIO()
    # Without the version of Matplotlib the same figures give the same file.
    figure.savefig(stream, format="png", metadata={"Software": None})
    replace_file(path, stream.getvalue())
