"""How much of what runs through a model is clipped, and by how much; see number-semantics.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fxp.formats import (
    MAX_WIDTH,
    Format,
    Overflow,
    Rounding,
    overflow_mask,
    quantize,
    requantize,
    saturation_limits,
)
from fxp.graph import Graph, Node


@dataclass(frozen=True)
class ClippedShares:
    """Shares of values that their overflow mode changed, 0 to 1.

    Attributes
    ----------
    total
        For every input and node, the share of all its values.
    by_one_step
        Those of them that lie one step beyond the format at most, so that saturation changes them
        by no more: for every input, and for every node of which all clipped values are proved to be
        such. For other nodes it is not known.
    """

    total: Mapping[str, float] = field(default_factory=dict)
    by_one_step: Mapping[str, float] = field(default_factory=dict)


class ClippedCounter:
    """Collects counts of clipped values, call by call.

    Parameters
    ----------
    graph
        An integer graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._total: Counter[str] = Counter()
        self._by_one_step: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def add_inputs(self, arrays: Iterable[NDArray]) -> None:
        """Count the real values of every input."""
        for value, array in zip(self._graph.inputs, arrays, strict=True):
            assert value.format is not None
            clipped, by_one_step = _count(array, value.format)
            self._total[value.name] += clipped
            self._by_one_step[value.name] += by_one_step
            self._sizes[value.name] += array.size

    def add_nodes(self, clipped: Mapping[str, int], sizes: Mapping[str, int]) -> None:
        """Take in the counts of one run."""
        self._total.update(clipped)
        self._sizes.update(sizes)

    def shares(self) -> ClippedShares:
        """Return what was counted so far."""
        total = {name: self._total[name] / size for name, size in self._sizes.items()}
        one = {
            value.name: self._by_one_step[value.name] / self._sizes[value.name]
            for value in self._graph.inputs
            if value.name in self._sizes
        }
        return ClippedShares(total, {**one, **proved_by_one_step(self._graph, total)})


def proved_by_one_step(graph: Graph, total: Mapping[str, float]) -> dict[str, float]:
    """Return the shares of the nodes that cannot clip by more than one step.

    Parameters
    ----------
    graph
        An integer graph.
    total
        Share of clipped values, by node.
    """
    return {
        node.name: total[node.name]
        for node in graph.nodes
        if node.name in total and _clips_by_one_step(node)
    }


def _clips_by_one_step(node: Node) -> bool:
    """Whether the proved range of a node, rounded, passes its format by one step at most."""
    accumulator, quantization = node.accumulator, node.quantization
    assert accumulator is not None
    assert quantization is not None
    if quantization.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return False
    form, fracs = quantization.format, np.array(accumulator.fracs)
    low, high = saturation_limits(form, quantization.overflow)
    # Rounding keeps the order, so that the rounded ends are the ends of the rounded values.
    wide = Format(MAX_WIDTH, form.frac)
    highest = requantize(np.array(accumulator.high), fracs, wide, quantization.rounding)
    lowest = requantize(np.array(accumulator.low), fracs, wide, quantization.rounding)
    return int(highest.max()) <= high + 1 and int(lowest.min()) >= low - 1


def _count(array: NDArray, form: Format) -> tuple[int, int]:
    """Count the real values that a format clips, and those of them that are one step outside."""
    # A number beyond the format's range by less than half a step is rounded, not clipped.
    values = np.asarray(array, np.float64)
    mantissa, exponent = np.frexp(values)
    raw = np.ldexp(mantissa, 53).astype(np.int64)
    fracs = 53 - exponent.astype(np.int64)
    clipped = overflow_mask(raw, fracs, form, Rounding.HALF_UP, Overflow.SATURATE)
    rounded = quantize(values[clipped], Format(min(form.width + 2, MAX_WIDTH), form.frac))
    one_step = (rounded == form.max_raw + 1) | (rounded == form.min_raw - 1)
    return int(clipped.sum()), int(one_step.sum())
