"""What a search of widths found: the model, its widths, and all that was tried."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fxp.model import FixedModel
from fxp.quantization.mixed.trials import Bits, Point
from fxp.quantization.options import QuantizeOptions
from fxp.support.lazy import lazy_import

matplotlib_figure: Any = lazy_import("matplotlib.figure", "search")


@dataclass(frozen=True, eq=False)
class MixedPrecision:
    """The cheapest model found whose quality is at the floor or above.

    Attributes
    ----------
    model
        The model, `cost` and `quality` being its own.
    options
        The options it was made with, `bits` being the widths found; `fxp.prepare_qat` takes the
        whole result instead.
    bits
        Widths chosen, by weight and value name.
    cost, cost_name
        What is saved.
    quality, quality_name, floor
        What is kept, and the least of it that was asked for.
    uniform
        The cheapest model tried that has one width for all weights and one for all values and
        reaches the floor, if there is one.
    points
        All models measured, in order.
    complete
        Whether the search came to its end; False if `max_trials` ended it.
    """

    model: FixedModel
    options: QuantizeOptions = field(repr=False)
    bits: Bits
    cost: float
    cost_name: str
    quality: float
    quality_name: str
    floor: float
    uniform: Point | None = field(repr=False)
    points: tuple[Point, ...] = field(repr=False)
    complete: bool = True

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that no other beats in both cost and quality, by rising cost."""
        return pareto_front(self.points)

    def to_json(self) -> str:
        """Return widths, cost, quality and all points as a JSON document."""
        document = {
            "bits": dict(self.bits),
            "cost": {self.cost_name: self.cost},
            "quality": {self.quality_name: _number(self.quality)},
            "floor": self.floor,
            "complete": self.complete,
            "uniform": self.uniform and _point_document(self.uniform),
            "front": [_point_document(point) for point in self.front],
            "points": [_point_document(point) for point in self.points],
        }
        return json.dumps(document, indent=1, allow_nan=False)

    def save_picture(self, path: str | os.PathLike[str]) -> Path:
        """Draw quality over cost of all points, with the Pareto front and the model chosen.

        Parameters
        ----------
        path
            File to write; its ending says which kind, such as ``.png`` or ``.svg``.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed; the message says how to.
        """
        figure = matplotlib_figure.Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        finite = [point for point in self.points if _number(point.quality) is not None]
        front = pareto_front(finite)
        axes.plot(*_columns(finite), ".", color="0.7", label="tried")
        axes.step(*_columns(front), where="post", color="C0", label="Pareto front")
        axes.plot(*_columns(front), "o", color="C0", markersize=4)
        if self.uniform is not None:
            axes.plot(*_columns([self.uniform]), "s", color="C1", label="best uniform widths")
        axes.plot([self.cost], [self.quality], "*", color="C3", markersize=12, label="chosen")
        axes.axhline(self.floor, color="0.4", linestyle="--", linewidth=1, label="floor")
        axes.set(xlabel=self.cost_name, ylabel=self.quality_name, title=self.model.graph.name)
        axes.legend(loc="lower right")
        figure.savefig(path)
        return Path(path)

    def __str__(self) -> str:
        lines = [
            f"{self.model.graph.name}: {self.quality:.2f} {self.quality_name}, floor "
            f"{self.floor:g}; {self.cost:,.0f} {self.cost_name}"
        ]
        if self.uniform is not None:
            lines[0] += (
                f", {1 - self.cost / self.uniform.cost:.1%} less than the best uniform widths"
                if self.uniform.cost
                else ""
            )
        if not self.complete:
            lines.append(
                f"  the search ended early, after {len(self.points)} models: with a larger "
                "max_trials it may find a cheaper one"
            )
        size = max(map(len, self.bits), default=0)
        lines += [f"  {name:<{size}}  {width:>2} bits" for name, width in self.bits.items()]
        return "\n".join(lines)


def pareto_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other beats in both cost and quality, by rising cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda item: (item.cost, -item.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return tuple(front)


def options_with(options: QuantizeOptions, widths: tuple[int, int], bits: Bits) -> QuantizeOptions:
    """Return options that give these widths again.

    Parameters
    ----------
    options
        What the search began with.
    widths
        Of the weights and values that are no choice.
    bits
        The widths chosen.
    """
    weight_bits, activation_bits = widths
    return replace(
        options,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        min_sqnr=None,
        bits={**(options.bits or {}), **bits},
    )


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.cost for point in points], [point.quality for point in points]


def _number(value: float) -> float | None:
    """Return a finite number; JSON has no others."""
    return value if abs(value) < float("inf") else None


def _point_document(point: Point) -> dict[str, Any]:
    return {"bits": dict(point.bits), "cost": point.cost, "quality": _number(point.quality)}
