"""Pictures of the page: large charts, drawn by Matplotlib, and crops of output images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.diagnosis.findings import CropReport, ValueReport
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import matplotlib
    from matplotlib import figure as figures
    from matplotlib import image as images
else:
    matplotlib = lazy_import("matplotlib", "report")
    figures = lazy_import("matplotlib.figure", "report")
    images = lazy_import("matplotlib.image", "report")

SETTINGS: Final[dict[Any, Any]] = {"svg.fonttype": "none", "svg.hashsalt": "fxp", "font.size": 8,
                   "axes.spines.top": False, "axes.spines.right": False,
                   "font.family": "sans-serif"}  # fmt: skip
BLUE, ORANGE, GREEN = "#1f5a99", "#c2410c", "#15803d"
CEILING: Final = 120.0
"""Level in dB at which charts show what is exact or better."""
DIFFERENCE: Final = 16


def levels_figure(values: Sequence[ValueReport]) -> figures.Figure:
    """Draw the SQNR of every value in order: cumulative, local, and of the output."""
    drawn = [item for item in values if not item.op.startswith("state")]
    with matplotlib.rc_context(SETTINGS):
        figure = figures.Figure(figsize=(10, 2.8))
        axes = figure.add_subplot()
        places = range(len(drawn))
        for label, colour, name in (
            ("cumulative", BLUE, "sqnr_db"),
            ("local: this value alone quantized", GREEN, "local_sqnr_db"),
            ("alone: output, this value alone quantized", ORANGE, "alone_sqnr_db"),
        ):
            heights = [_shown(getattr(item, name)) for item in drawn]
            axes.plot(places, heights, ".-", color=colour, label=label, linewidth=1, markersize=4)
        axes.set_ylabel("SQNR, dB")
        if len(drawn) <= 60:
            axes.set_xticks(list(places), [item.name for item in drawn], rotation=90)
        axes.grid(axis="y", color="0.9")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        return figure


def steps_figure(steps: Sequence[float | None]) -> figures.Figure:
    """Draw the output SQNR of every step."""
    with matplotlib.rc_context(SETTINGS):
        figure = figures.Figure(figsize=(10, 2))
        axes = figure.add_subplot()
        axes.plot(range(1, len(steps) + 1), [_shown(level) for level in steps], ".-", color=BLUE)
        axes.set_xlabel("step")
        axes.set_ylabel("output SQNR, dB")
        axes.grid(axis="y", color="0.9")
        return figure


def crop_images(crop: CropReport) -> Mapping[str, str]:
    """Return pictures of the worst crop: float, fixed, and the difference times 16."""
    wanted, found = crop.wanted, crop.found
    if len(wanted) != 3:
        worst = int(np.argmax(((found - wanted) ** 2).sum(axis=(1, 2))))
        wanted, found = wanted[worst : worst + 1], found[worst : worst + 1]
    low, high = float(wanted.min()), float(wanted.max())
    span = high - low or 1.0
    difference = 0.5 + DIFFERENCE * (found - wanted) / span
    return {
        "float": _png((wanted - low) / span),
        "fixed": _png((found - low) / span),
        f"difference × {DIFFERENCE}": _png(difference),
    }


def _png(planes: NDArray) -> str:
    pixels = (np.clip(planes, 0, 1) * 255).round().astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels
    stream = io.BytesIO()
    images.imsave(stream, np.ascontiguousarray(pixels.transpose(1, 2, 0)), format="png")

    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def svg(figure: figures.Figure) -> str:
    """Return a figure as an address that holds it."""
    stream = io.BytesIO()
    facts: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata=facts)
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _shown(level: float | None) -> float:
    return CEILING if level is None else min(level, CEILING)
