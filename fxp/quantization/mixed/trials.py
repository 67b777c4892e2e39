"""The choices of widths that a network has, and models of chosen widths, measured once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from numbers import Real
from typing import Any, Literal

from fxp.formats import FormatError
from fxp.graph import Graph, Node
from fxp.model import FixedModel
from fxp.quantization.calibrate import Statistics
from fxp.quantization.lowering import Remembered, lower
from fxp.quantization.mixed.costs import Cost
from fxp.quantization.settings import LoweringSettings
from fxp.support.errors import ArgumentTypeError, FxpError
from fxp.support.progress import Progress

Bits = Mapping[str, int]
"""Widths by name of weight or value."""


@dataclass(frozen=True)
class Choice:
    """A weight or a value whose width is to be chosen.

    Attributes
    ----------
    name, kind
        What it is.
    widths
        The widths to choose from, rising.
    """

    name: str
    kind: Literal["weight", "value"]
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """Widths that were tried, what they cost, and how good the model is."""

    bits: Bits
    cost: float
    quality: float


def choices(
    graph: Graph,
    lowered: Graph,
    settings: LoweringSettings,
    weight_bits: Sequence[int],
    activation_bits: Sequence[int],
) -> tuple[Choice, ...]:
    """Return the weights and values whose width is a choice, in the order of the network.

    Left out are values whose exact result is kept, those whose formats are given, and the names
    whose widths are.

    Parameters
    ----------
    graph, lowered
        The float graph, and the integer graph of the widest widths.
    settings
        What `lowered` was made with.
    weight_bits, activation_bits
        Widths to choose from.
    """
    given = {*settings.bits, *settings.input_formats, *settings.output_formats}
    found: dict[str, Choice] = {}

    def add(name: str, kind: Literal["weight", "value"], widths: Sequence[int]) -> None:
        if name not in given:
            found.setdefault(name, Choice(name, kind, tuple(sorted(set(widths)))))

    for value in graph.inputs:
        add(value.name, "value", activation_bits)
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            if node.op.constant_roles.get(position) == "weight":
                add(name, "weight", weight_bits)
        if _is_rounded(lowered.node(node.name)):
            add(node.name, "value", activation_bits)
    return tuple(found.values())


def _is_rounded(node: Node) -> bool:
    assert node.quantization is not None
    assert node.accumulator is not None
    if node.op.never_rounded:
        return False
    if node.op.table_use == "result":
        return True
    try:
        return node.quantization.format != node.accumulator.exact_format
    except FormatError:
        return True


class LimitReachedError(FxpError):
    """No more models may be measured."""


@dataclass(eq=False)
class Trials:
    """Makes and measures models, each choice of widths once.

    Attributes
    ----------
    graph, statistics, settings
        As for `fxp.quantization.lowering.lower`.
    choices
        What may be chosen.
    cost, quality
        What to save, and what to keep.
    limit
        Models to measure at most.
    progress
        Called before each.
    stopped
        Whether more models were wanted than the limit allows.
    """

    graph: Graph
    statistics: Mapping[str, Statistics]
    settings: LoweringSettings
    choices: tuple[Choice, ...]
    cost: Cost
    quality: Callable[[FixedModel], float]
    limit: int
    progress: Progress | None = None
    stopped: bool = field(default=False, init=False)
    _remembered: Remembered = field(default_factory=dict)
    _points: dict[tuple[int, ...], Point] = field(default_factory=dict)
    _parts: dict[tuple[int, ...], Mapping[str, float]] = field(default_factory=dict)

    @property
    def widest(self) -> dict[str, int]:
        """The most bits for everything."""
        return {choice.name: choice.widths[-1] for choice in self.choices}

    @property
    def points(self) -> tuple[Point, ...]:
        """All models measured, in order."""
        return tuple(self._points.values())

    def using(self, bits: Bits) -> LoweringSettings:
        """Return the settings with these widths."""
        return replace(self.settings, bits={**self.settings.bits, **bits})

    def lowered(self, bits: Bits) -> Graph:
        """Return the integer graph of these widths; its cost is kept."""
        graph = lower(self.graph, self.statistics, self.using(bits), self._remembered)
        key = self._key(bits)
        if key not in self._parts:
            self._parts[key] = self.cost.parts(graph)
        return graph

    def parts(self, bits: Bits) -> Mapping[str, float]:
        """Return the parts of the cost."""
        key = self._key(bits)
        if key not in self._parts:
            self.lowered(bits)
        return self._parts[key]

    def total(self, bits: Bits) -> float:
        """Return the cost."""
        return sum(self.parts(bits).values())

    def point(self, bits: Bits) -> Point:
        """Measure the model of these widths, unless that was done before.

        Raises
        ------
        LimitReachedError
            If no more may be measured.
        """
        key = self._key(bits)
        if key not in self._points:
            if len(self._points) >= self.limit:
                self.stopped = True
                raise LimitReachedError(f"{self.limit} models were measured")
            if self.progress is not None:
                self.progress(len(self._points), self.limit, "measuring models, at most")
            graph = self.lowered(bits)
            quality = _number(self.quality(FixedModel(graph)))
            self._points[key] = Point(dict(bits), self.total(bits), quality)
        return self._points[key]

    def uniform(self, weight_bits: int, activation_bits: int) -> dict[str, int]:
        """Return one width for all weights and one for all values.

        Parameters
        ----------
        weight_bits, activation_bits
            The widths.
        """
        widths = {"weight": weight_bits, "value": activation_bits}
        return {choice.name: widths[choice.kind] for choice in self.choices}

    def _key(self, bits: Bits) -> tuple[int, ...]:
        return tuple(bits[choice.name] for choice in self.choices)


def _number(quality: Any) -> float:
    """Return what a function of quality gave; infinity is the quality of no error."""
    if isinstance(quality, bool) or not isinstance(quality, Real) or isnan(quality):
        raise ArgumentTypeError(
            f"the function given as quality must return a number for a FixedModel, not {quality!r}"
        )
    return float(quality)
