"""From features to the components of a gallery: a graph of integers that every executor runs.

A feature vector is divided by its length (`GroupNorm` with the divisor ``norm``, the root of the
sum of squares rounded down) and, where there are principal axes, multiplied by them (`Linear`).
Both results are rounded half up to `FRAC` fraction bits. No mean is subtracted: it would cancel in
differences. The graph can be appended to the network that makes the features.

For chi-squared, vectors are divided by their sum instead. A graph has no division by a sum, so
this is one line of NumPy on integers, exact as well, and cannot be appended.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine import Engine
from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import Flatten, GroupNorm, Linear, Requantize
from fxp.models.recognition.sequential.definition import FRAC
from fxp.support.errors import ArgumentError

UNIT: Final = Format(FRAC + 2, FRAC)
"""Of vectors of length 1. It holds 1 itself, which a vector of one feature needs."""
PROJECTED: Final = Format(FRAC + 1, FRAC)
"""Of axes and of components on them."""
ROOT_BITS: Final = 12
"""Fraction bits that the sum of squares has more than the squares, at least: the length of a
vector of the smallest integers, rounded down, is then at most 1/64 too small."""
SQUARES: Final = 60
"""Bits of the sum of squares with them."""
TOGETHER: Final = 4096
"""Rows that are transformed at once, for the memory's sake."""
PREFIX: Final = "gallery."
"""Of the names of nodes that are appended to a network."""


def most_bits(features: int) -> int:
    """Return the width of features up to which the sum of so many squares is precise."""
    return (SQUARES - ROOT_BITS - (features - 1).bit_length()) // 2


def narrowed(form: Format, features: int) -> Format:
    """Return the format in which a gallery takes the features of a network.

    Where their own is too wide for the sum of squares, it has fewer fraction bits.

    Parameters
    ----------
    form
        Of the value of the network.
    features
        How many a vector has.
    """
    excess = max(form.width - most_bits(features), 0)
    return Format(form.width - excess, form.frac - excess, form.signed)


def quantized(rows: NDArray[np.float64], form: Format | None) -> NDArray[np.int64]:
    """Return features as raw integers, rounded half up.

    A power of two cancels when a vector is normalized. So real numbers are scaled by the one that
    lets each row fill the widest format; features of a network keep their format, unless a row
    exceeds it, as a sum of frames does.

    Parameters
    ----------
    rows
        ``(N, features)``, finite.
    form
        Format of the features of a network; None for real numbers.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True)
    _, exponent = np.frexp(largest)
    target = form or real_format(rows.shape[1])
    bits = target.width - target.signed
    if form is not None:
        exponent = np.where(largest <= 2.0 ** (bits - form.frac), bits - form.frac, exponent)
    raws = np.floor(np.ldexp(rows, bits - exponent) + 0.5)
    return np.clip(raws, target.min_raw, target.max_raw).astype(np.int64)


def real_format(features: int) -> Format:
    """Return the format that rows of so many real numbers are scaled to."""
    width = most_bits(features)
    return Format(width, width - 1)


class Transformation:
    """What makes components of feature vectors.

    Parameters
    ----------
    features
        How many a vector has.
    axes
        Principal axes in 14 fraction bits, ``(components, features)``; None leaves vectors as they
        are normalized.
    metric
        ``"l2"`` or ``"chi2"``.
    form
        Format of the features of a network, as `narrowed` returns it; None for real numbers.
    """

    def __init__(
        self, features: int, axes: NDArray[np.int16] | None, metric: str, form: Format | None
    ) -> None:
        self._features, self._axes, self._metric, self._format = features, axes, metric, form

    @cached_property
    def graph(self) -> Graph:
        """The graph, of raw integers as `quantized` returns them.

        Raises
        ------
        ArgumentError
            If the metric is chi-squared.
        """
        if self._metric != "l2":
            raise ArgumentError(
                "vectors are divided by their sum for chi2, which a graph cannot; use l2"
            )
        source = Value("features", (self._features,), self._format or real_format(self._features))
        norm = GroupNorm(1, "pixel", "norm", epsilon=0.0)
        nodes = [Node("unit", norm, ("features",), Quantization(UNIT))]
        constants = []
        if self._axes is not None:
            constants.append(Constant("axes", self._axes.astype(np.int64), (PROJECTED,)))
            nodes.append(Node("components", Linear(), ("unit", "axes"), Quantization(PROJECTED)))
        return Graph("gallery", (source,), tuple(nodes), (nodes[-1].name,), tuple(constants))

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.graph)

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.int16]:
        """Return the components of finite feature vectors ``(N, features)``."""
        found = [
            self._components(quantized(rows[start : start + TOGETHER], self._format))
            for start in range(0, len(rows), TOGETHER)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _components(self, raws: NDArray[np.int64]) -> NDArray[np.int16]:
        if self._metric == "l2" and len(raws) == 1:
            # A query on its own: quicker without what a batch prepares.
            found = self._engine.run([raws[0]], threads=1, count_clipped=False, narrow=True)
            return found.outputs[0][None]
        if self._metric == "l2":
            return self._engine.run_batch([raws], threads=1)[0]
        sums = np.maximum(raws.sum(axis=1, keepdims=True), 1)
        return (((raws << (FRAC + 1)) + sums) // (2 * sums)).astype(np.int16)

    def checked_format(self, network: str, form: Format) -> Format:
        """Return the format in which the features of a network are taken.

        Parameters
        ----------
        network
            Its name.
        form
            Format of its features.

        Raises
        ------
        ArgumentError
            If this was made for features of another format.
        """
        wanted = narrowed(form, self._features)
        if wanted != self._format:
            raise ArgumentError(
                f"{network} gives features of {form}, but the gallery was made from "
                f"{self._format or 'real numbers'}; build it with the format of the network's"
            )
        return wanted

    def appended(self, network: Graph) -> Graph:
        """Return a network followed by this, from its inputs to components.

        Parameters
        ----------
        network
            Its only output are the features, of a fixed size.

        Raises
        ------
        ArgumentError
            If the network gives other features than those that this was made for.
        """
        last = network.values[network.outputs[0]]
        if len(network.outputs) > 1 or not all(isinstance(size, int) for size in last.shape):
            raise ArgumentError(f"{network.name} must have one output, of a fixed size")
        features = int(np.prod(last.shape))  # type: ignore[arg-type]
        if last.format is None or features != self._features:
            raise ArgumentError(
                f"{network.name} gives {features} features, not the {self._features} integers that "
                "the gallery was made from"
            )
        wanted = self.checked_format(network.name, last.format)
        source, nodes = last.name, []
        if len(last.shape) == 3:
            nodes.append(Node(f"{PREFIX}flat", Flatten(), (source,), Quantization(last.format)))
            source = nodes[-1].name
        if last.format != wanted:
            rounded = Quantization(wanted)
            nodes.append(Node(f"{PREFIX}features", Requantize(), (source,), rounded))
            source = nodes[-1].name
        names = {name: f"{PREFIX}{name}" for name in ("unit", "axes", "components")}
        names["features"] = source
        nodes += [
            replace(node, name=names[node.name], inputs=tuple(names[name] for name in node.inputs))
            for node in self.graph.nodes
        ]
        constants = [replace(item, name=names[item.name]) for item in self.graph.constants]
        return Graph(
            network.name,
            network.inputs,
            (*network.nodes, *nodes),
            (nodes[-1].name,),
            (*network.constants, *constants),
        )
