"""The charts of the page, as images that stand in it; drawn by Matplotlib without its global state."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.diagnosis.findings import CropReport, ValueReport, WeightsReport
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import matplotlib
    from matplotlib import figure as figures
    from matplotlib import image as images
else:
    matplotlib = lazy_import("matplotlib", "report")
    figures = lazy_import("matplotlib.figure", "report")
    images = lazy_import("matplotlib.image", "report")

SETTINGS: Final = {"svg.fonttype": "none", "svg.hashsalt": "fxp", "font.size": 8,
                   "axes.spines.top": False, "axes.spines.right": False,
                   "font.family": "sans-serif"}  # fmt: skip
BLUE, ORANGE, GREEN, GREY = "#1f5a99", "#c2410c", "#15803d", "#9ca3af"
CEILING: Final = 120.0
"""Level in dB at which charts show what is exact or better."""
MOST_CHANNELS: Final = 512
DIFFERENCE: Final = 16
BARS: Final = " ▁▂▃▄▅▆▇█"


def levels_chart(values: Sequence[ValueReport]) -> str:
    """Draw the SQNR of every value in order: cumulative, local, and of the output."""
    drawn = [item for item in values if not item.op.startswith("state")]
    with matplotlib.rc_context(SETTINGS):
        figure = figures.Figure(figsize=(10, 2.8), layout="constrained")
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
            axes.set_xticks(list(places), [_plain(item.name) for item in drawn], rotation=90)
        axes.grid(axis="y", color="0.9")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        return _svg(figure)


def steps_chart(steps: Sequence[float | None]) -> str:
    """Draw the output SQNR of every step."""
    with matplotlib.rc_context(SETTINGS):
        figure = figures.Figure(figsize=(10, 2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(range(1, len(steps) + 1), [_shown(level) for level in steps], ".-", color=BLUE)
        axes.set_xlabel("step")
        axes.set_ylabel("output SQNR, dB")
        axes.grid(axis="y", color="0.9")
        return _svg(figure)


def value_chart(item: ValueReport) -> str:
    """Draw a value's histogram, the SQNR of its channels, and its layer's weights."""
    several = len(item.channel_sqnr_db) > 1
    panels = 1 + several + (item.weights is not None)
    with matplotlib.rc_context(SETTINGS):
        figure = figures.Figure(figsize=(3.3 * panels, 1.9), layout="constrained")
        _, *rest = all_axes = list(figure.subplots(1, panels, squeeze=False)[0])
        _histogram(all_axes[0], item)
        if several:
            channels, levels = _thinned([_shown(level) for level in item.channel_sqnr_db], np.min)
            rest[0].plot(channels, levels, ".", color=BLUE, markersize=3)
            rest[0].set_title("SQNR of channels, dB", fontsize=8)
            rest[0].set_xlabel("channel")
        if item.weights is not None:
            _weights(rest[-1], item.weights)
        return _svg(figure)


def _histogram(axes: Any, item: ValueReport) -> None:
    """Magnitudes by power of two, with the format's grid from its step to its end behind them."""
    exponents = np.array(list(item.histogram)) if item.histogram else np.array([0])
    counts = np.array(list(item.histogram.values())) if item.histogram else np.array([0])
    axes.bar(exponents - 0.5, counts, width=0.9, color=BLUE)
    first, last = math.log2(item.step), math.log2(max(item.format_high, item.step))
    axes.axvspan(first, last, color=GREEN, alpha=0.12, linewidth=0)
    axes.axvline(first, color=GREEN, linewidth=0.8)
    axes.axvline(last, color=ORANGE, linewidth=0.8)
    axes.set_yscale("symlog")
    axes.set_xlim(min(first - 3, last - 1), max(last + 2, float(exponents.max()) + 1))
    axes.set_title("magnitudes, log2; shaded: the format", fontsize=8)


def _weights(axes: Any, weights: WeightsReport) -> None:
    """Largest weight, end and step of the format of every output channel."""
    sizes = np.maximum(np.abs(weights.low), np.abs(weights.high))
    channels, largest = _thinned(np.where(sizes > 0, sizes, np.nan), np.max)
    _, limit = _thinned(weights.limit, np.max)
    _, step = _thinned(weights.step, np.min)
    axes.fill_between(channels, step, limit, color=GREEN, alpha=0.12, linewidth=0, step="mid")
    axes.plot(channels, largest, ".", color=BLUE, markersize=3)
    axes.set_yscale("log", base=2)
    axes.set_title("largest weight of channels; shaded: the format", fontsize=8)
    axes.set_xlabel("output channel")


def _thinned(values: Any, join: Any) -> tuple[NDArray, NDArray]:
    """Join neighbours where there are more channels than a chart can show."""
    array = np.asarray(values, np.float64)
    parts = np.array_split(np.arange(len(array)), min(len(array), MOST_CHANNELS))
    return np.array([part[0] for part in parts]), np.array([join(array[part]) for part in parts])


def sparkline(item: ValueReport) -> str:
    """Return the histogram as text, and where in it the format begins and ends, in brackets."""
    first = round(math.log2(item.step)) + 1
    last = max(round(math.log2(max(item.format_high, item.step))), first)
    below = sum(count for exponent, count in item.histogram.items() if exponent < first)
    above = sum(count for exponent, count in item.histogram.items() if exponent > last)
    width = last - first + 1
    group = max(1, -(-width // 16))
    inside = [
        sum(
            item.histogram.get(exponent, 0)
            for exponent in range(start, min(start + group, last + 1))
        )
        for start in range(first, last + 1, group)
    ]
    top = math.log1p(max([below, above, *inside, 1]))
    bar = lambda count: BARS[math.ceil(math.log1p(count) / top * (len(BARS) - 1))]  # noqa: E731
    return f"{bar(below)}[{''.join(map(bar, inside))}]{bar(above)}"


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
    images.imsave(stream, np.ascontiguousarray(pixels.transpose(1, 2, 0)), format="png",
                  metadata={"Software": None})  # fmt: skip
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _svg(figure: Any) -> str:
    stream = io.BytesIO()
    figure.savefig(
        stream,
        format="svg",
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _shown(level: float | None) -> float:
    return CEILING if level is None else min(level, CEILING)


def _plain(name: str) -> str:
    """Return a name without the marks that Matplotlib takes for mathematics."""
    return name.replace("$", r"\$").replace("_", r"_")
