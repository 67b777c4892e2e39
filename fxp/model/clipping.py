"""How much of what runs through a model is clipped, and by how much; see number-semantics.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

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
from fxp.graph import Graph, Node, Value
from fxp.graph.ops.functions import FunctionTable

CLIPPED_MORE: Final = 0.001
"""`ClippingWarning` comes where so much more of a value is clipped than on the calibration data."""
CLIPPED_LEAST: Final = 10
"""Fewer clipped elements of a value are no reason for a warning."""


class ClippingWarning(UserWarning):
    """Much more is clipped than calibration showed: results are no longer near the float network's.

    The formats do not suit the data; quantize again with calibration data that is like it.
    """


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


@dataclass(frozen=True)
class RunningClipped:
    """What a stream has clipped since its sequence began.

    Attributes
    ----------
    steps
        Number of steps.
    counts
        For every node, how many elements its overflow mode changed. For every input, how many of
        its real values its format clipped by more than one step; raw integers clip nothing.
    sizes
        For every input and node, how many elements it had.
    """

    steps: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """Share of clipped elements, 0 to 1, of every input and node."""
        return {name: self.counts[name] / size for name, size in self.sizes.items()}

    def after(self, counts: Mapping[str, int], sizes: Mapping[str, int]) -> RunningClipped:
        """Return the sums with another step."""
        names = dict.fromkeys((*sizes, *self.sizes))
        return RunningClipped(
            self.steps + 1,
            {name: self.counts.get(name, 0) + counts.get(name, 0) for name in names},
            {name: self.sizes.get(name, 0) + sizes.get(name, 0) for name in names},
        )

    def warning(self, expected: Mapping[str, float], harmless: frozenset[str]) -> str | None:
        """Say which value is clipped much more than expected, if any is.

        Parameters
        ----------
        expected
            Shares of clipped values on the calibration data; values without one are left out.
        harmless
            Values left out as well.
        """
        more = {
            name: share - expected[name]
            for name, share in self.shares.items()
            if name in expected and name not in harmless and self.counts[name] >= CLIPPED_LEAST
        }
        worst = max(more, key=more.__getitem__, default="")
        if not worst or more[worst] <= CLIPPED_MORE:
            return None
        return (
            f"after {self.steps} steps, {self.shares[worst]:.2%} of {worst!r} was clipped, "
            f"{expected[worst]:.2%} on the calibration data; calibrate on sequences that are like "
            "this one, or give the value more bits"
        )


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


def harmless_clipping(graph: Graph) -> frozenset[str]:
    """Return the values whose clipping changes no result by more than rounding does.

    Those that cannot clip by more than one step, and those that only tables read which have reached
    their limit where the format ends: a sigmoid, say, of what is beyond 16.

    Parameters
    ----------
    graph
        An integer graph.
    """
    kept = {*graph.outputs, *(state.source for state in graph.states)}
    return frozenset(
        node.name
        for node in graph.nodes
        if _clips_by_one_step(node)
        or (
            node.name not in kept
            and all(_is_saturated(graph, node, reader) for reader in graph.consumers[node.name])
        )
    )


def _is_saturated(graph: Graph, node: Node, reader: Node) -> bool:
    """Whether a table gives the same for all that a node's format clips."""
    if not isinstance(reader.op, FunctionTable) or reader.op.output_range is None:
        return False
    table, accumulator = graph.constants_by_name[reader.inputs[1]], node.accumulator
    assert accumulator is not None
    ends = zip(accumulator.low, accumulator.high, accumulator.fracs, strict=True)
    low, high = zip(*((math.ldexp(a, -f), math.ldexp(b, -f)) for a, b, f in ends), strict=True)
    entries = quantize(reader.op.evaluate(np.array([min(low), max(high)])), table.formats[0])
    return bool((entries == table.data[[0, -1]]).all())


def count_clipped_inputs(graph: Graph, arrays: Iterable[NDArray]) -> tuple[dict, dict]:
    """Count the real values of every input that its format clips by more than one step.

    Parameters
    ----------
    graph
        An integer graph.
    arrays
        Real values of every input.

    Returns
    -------
    tuple
        Number of clipped elements, and number of elements, by input.
    """
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for value, array in zip(graph.inputs, arrays, strict=True):
        low, high = _ends(value)
        counts[value.name] = int(np.count_nonzero((array < low) | (array >= high)))
        sizes[value.name] = array.size
    return counts, sizes


def _ends(value: Value) -> tuple[float, float]:
    """Return the ends, in real values, of what an input clips by one step at most.

    Rounded half up, ``x`` becomes one step more than the largest if it is below that plus 1/2.
    """
    form = value.format
    assert form is not None
    return (
        math.ldexp(form.min_raw - 1.5, -form.frac),
        math.ldexp(form.max_raw + 1.5, -form.frac),
    )


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
