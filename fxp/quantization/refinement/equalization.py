"""Cross-layer equalization: channels between linear layers get weights of similar size.

After M. Nagel, M. van Baalen, T. Blankevoort and M. Welling, "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, arXiv:1906.04721. If everything between two
layers is positively homogeneous, ``f(s·x) = s·f(x)``, a channel may be divided by ``s`` where it is
made and multiplied by ``s`` where it is read.

Formats of weights are those of single output channels as a rule, and then it is the values that
share a format: a channel whose values are small keeps few bits of it. G. Xiao, J. Lin, M. Seznec,
H. Wu, J. Demouth and S. Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization for
Large Language Models", ICML 2023, arXiv:2211.10438, weigh values against the weights that read
them.

Where weights are equalized, every ``s`` is a power of two. Such a factor only moves the exponent of
a float, so that each product, sum and comparison keeps its significand: the equalized graph
computes the same floats, bit for bit, as long as none leaves the range of normal float64 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.executors.calls import Calls, float_results
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    DilatedMaxPool,
    Flatten,
    Flip,
    GatherChannels,
    GlobalAveragePool,
    GlobalMaxPool,
    Interpolate,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    Part,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Slice,
    SpatialConcat,
    Subtract,
    SumPool,
    Transpose,
    Unflatten,
)
from fxp.quantization.constants import ROWS_ELEMENTS, rows_of_one_size
from fxp.quantization.refinement.layers import input_channels, linear_nodes

MAX_EXPONENT: Final = 24
"""A channel is scaled by at most two to this power, either way."""
POWER: Final = 8
"""In the sizes of values: of a higher one, few outliers would decide alone."""
STEP: Final = 0.25
"""Exponents of two are multiples of this where values are equalized."""
MAX_PASSES: Final = 20
"""Passes over the layers; most graphs change nothing after two or three."""
CHANNELWISE: Final = (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    DilatedMaxPool,
    SumPool,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Flip,
    GlobalAveragePool,
    GlobalMaxPool,
    MaxPool,
    Nearest,
    Pad,
    Part,
    Prelu,
    Relu,
    Requantize,
    Transpose,
)
"""Ops whose every result channel reads its own channel of the first input, homogeneously."""

Links = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""For every input: channels of the result, and the channels of the input they scale with."""


def channel_sizes(graph: Graph, calls: Calls) -> dict[str, NDArray[np.float64]]:
    """Return the sizes of every channel of what layers read, ``(C,)`` by name.

    A size is the mean of the powers of `POWER` of the channel's values, and the root of that: near
    the largest magnitude if many values are, and below if few are, which a format may clip.

    Parameters
    ----------
    graph
        A float graph.
    calls
        Calibration data.
    """
    names = dict.fromkeys(node.inputs[0] for node in linear_nodes(graph))
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for result in float_results(graph, calls):
        for name, sizes in found.items():
            values = result.values[name].cpu().numpy()
            sizes += list(_power_mean(values.reshape(*values.shape[:2], -1)))
    return {name: _power_mean(np.array(sizes).T) for name, sizes in found.items()}


def _power_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the mean power of `POWER` over the last axis, however large the values are."""
    sizes = np.abs(values)
    largest = sizes.max(axis=-1)
    scale = np.where(largest > 0, largest, 1.0)
    return scale * np.mean((sizes / scale[..., None]) ** POWER, axis=-1) ** (1 / POWER)


def equalize(graph: Graph, sizes: Mapping[str, NDArray[np.float64]] | None = None) -> Graph:
    """Scale the channels of a float graph so that they need similar ranges.

    A channel's factor is the power of two nearest to ``sqrt(r1 / r2)``, with ``r1`` the largest
    weight that makes the channel and ``r2`` the largest that reads it. If the sizes of values are
    given, ``r1`` is the size of the channel, and exponents are multiples of `STEP`; where each
    output channel of the layers that read it reads nothing else, as in depthwise layers, its
    weights have a format of their own, and the channel is brought to the size of the largest one
    beside it. Then the channels of a value are scaled together, so that the largest ends at a power
    of two, as formats do.

    Channels that any op ties together, such as those of a residual addition, share one factor.
    Inputs, outputs, states, layers with weights that another layer shares, and whatever touches an
    op that is not positively homogeneous keep their scale.

    Parameters
    ----------
    graph
        A float graph.
    sizes
        What `channel_sizes` gives, to equalize values rather than the weights that make them.

    Returns
    -------
    Graph
        Computes the same outputs, bit for bit if no sizes are given, or else to within the rounding
        of float64; its changed constants have no derivation.
    """
    scales = _Scales(graph, sizes)
    for _ in range(MAX_PASSES):
        changes = [scales.balance(layer) for layer in scales.layers]
        if not any(changes):
            break
    scales.fill()
    return scales.scaled()


def scaled_like(graph: Graph, other: Graph) -> Graph:
    """Scale the channels of a float graph as those of another graph were scaled.

    Parameters
    ----------
    graph
        A float graph.
    other
        What `equalize` made of it, or an integer graph that was made from that. Weights of an
        integer graph tell the scale to within their rounding.
    """
    scales = _Scales(graph)
    scales.match(other)
    return scales.scaled()


@dataclass(frozen=True)
class _Layer:
    """A linear layer whose weights nobody shares.

    Attributes
    ----------
    node
        Its node.
    weight
        Its weights, ``(M, C / groups, ...)``.
    made
        Group of channels of every output channel, ``(M,)``.
    read
        Group of the channel that each column of the weights reads, ``(M, C / groups)``, or one row
        where it is the same for all output channels.
    """

    node: Node
    weight: NDArray[np.float64]
    made: NDArray[np.int64]
    read: NDArray[np.int64]

    @cached_property
    def _of_kernels(self) -> NDArray[np.float64]:
        """Largest weights of all kernels; they are asked for again and again."""
        taps = self.weight.reshape(*self.weight.shape[:2], -1)
        return np.maximum(taps.max(axis=2), -taps.min(axis=2))

    def sizes(self, rows: slice) -> NDArray[np.float64]:
        """Largest weights from a channel to another, of some output channels."""
        if prod(self.weight.shape[2:]) > 1:
            return self._of_kernels[rows]
        # As many as there are weights, of which a copy may be too much.
        return np.abs(self.weight[rows]).reshape(-1, self.weight.shape[1])

    def scaled_sizes(
        self, exponents: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Largest weights of every output channel and column, the latter as `read`, when scaled."""
        made, read = np.zeros(self.made.shape), np.zeros(self.read.shape)
        alike = len(self.read) == 1
        # Some rows at once: a layer may have a hundred million weights.
        step = max(ROWS_ELEMENTS * len(self.weight) // self.weight.size, 1)
        for first in range(0, len(made), step):
            rows = slice(first, first + step)
            sizes = self.sizes(rows) * _powers(-exponents[self.made[rows]])[:, None]
            sizes *= _powers(exponents[self.read if alike else self.read[rows]])
            made[rows] = sizes.max(axis=1)
            if alike:
                np.maximum(read, sizes.max(axis=0), out=read)
            else:
                read[rows] = sizes
        return made, read


class _Scales:
    """Exponents of all groups of channels, a group being what must have one scale."""

    def __init__(
        self, graph: Graph, sizes: Mapping[str, NDArray[np.float64]] | None = None
    ) -> None:
        self._graph = graph
        self._first: dict[str, int] = {}
        count = 0
        for name, value in graph.values.items():
            self._first[name] = count
            count += _channels(value.shape)
        linear = [node for node in graph.nodes if self._is_free(node)]
        free = {node.name for node in linear}
        pairs: Links = []
        fixed = [value.name for value in graph.inputs] + list(graph.outputs)
        fixed += [name for state in graph.states for name in (state.value.name, state.source)]
        for node in linear:
            # Factors of their own for each channel that it reads would make its sizes differ.
            if rows_of_one_size(graph.constants_by_name[node.inputs[1]].data).any():
                fixed.append(node.inputs[0])
        for node in graph.nodes:
            if node.name in free:
                continue
            links = _links(graph, node)
            values = [name for name in node.inputs if name in self._first]
            if links is None:
                fixed += [node.name, *values]
                continue
            for name, (results, sources) in zip(values, links, strict=True):
                pairs.append((self._first[node.name] + results, self._first[name] + sources))
        self._group = _connected(count, pairs)
        self._is_fixed = np.zeros(count, bool)
        for name in fixed:
            self._is_fixed[self._group[self._channels_of(name)]] = True
        self._exponents = np.zeros(count)
        self.layers = [self._layer(node) for node in linear]
        self._beside = {layer.node.name: self._touching(layer) for layer in self.layers}
        self._values = [] if sizes is None else [self._channels_of(name) for name in sizes]
        self._sizes = None if sizes is None else self._sizes_of_groups(sizes)
        self._step = 1.0 if sizes is None else STEP

    def balance(self, layer: _Layer) -> bool:
        """Give the channels that a layer makes their best scale; tell whether any changed."""
        if self._sizes is None:
            made, read = self._ranges(layer, alone=True)
            share = np.full(len(made), 0.5)
        else:
            largest, beside = self._sizes
            made = largest * _powers(-self._exponents)
            _, read = self._ranges(layer, alone=False)
            share = np.where(read > 0, 0.5, 1.0)
            read = np.where(read > 0, read, beside)
        groups = np.unique(layer.made)
        groups = groups[~self._is_fixed[groups] & (made[groups] > 0) & (read[groups] > 0)]
        ratio = share[groups] * (np.log2(made[groups]) - np.log2(read[groups]))
        wanted = self._exponents[groups] + np.rint(ratio / self._step) * self._step
        wanted = np.clip(wanted, -MAX_EXPONENT, MAX_EXPONENT)
        changed = not np.array_equal(wanted, self._exponents[groups])
        self._exponents[groups] = wanted
        return changed

    def _ranges(
        self, layer: _Layer, *, alone: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Largest weights that make each group and that read it, as they are scaled now.

        Parameters
        ----------
        layer
            Only the groups that it makes count.
        alone
            Whether weights count that are the only ones of their output channel, each or with
            others that read the same channel.
        """
        made, read = (np.zeros(len(self._exponents)) for _ in range(2))
        for other in self._beside[layer.node.name]:
            of_made, of_read = other.scaled_sizes(self._exponents)
            np.maximum.at(made, other.made, of_made)
            if alone or other.read.shape[1] > 1:
                np.maximum.at(read, other.read, of_read)
        return made, read

    def _sizes_of_groups(
        self, sizes: Mapping[str, NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Largest value of each group, and of all channels of the values that it is part of."""
        largest, beside = (np.zeros(len(self._exponents)) for _ in range(2))
        for name, own in sizes.items():
            groups = self._group[self._channels_of(name)]
            np.maximum.at(largest, groups, own)
            np.maximum.at(beside, groups, own.max())
        return largest, beside

    def fill(self) -> None:
        """Bring the largest channel of each value up to a power of two, where formats end."""
        if self._sizes is None:
            return
        settled, (largest, _) = self._is_fixed.copy(), self._sizes
        for channels in self._values:
            groups = np.unique(self._group[channels])
            alive = groups[largest[groups] > 0]
            if len(alive) and not settled[groups].any():
                level = float((np.log2(largest[alive]) - self._exponents[alive]).max())
                room = math.ceil(level) - level
                self._exponents[groups] -= math.floor(room / self._step) * self._step
                settled[groups] = True

    def match(self, other: Graph) -> None:
        """Give all channels the scale that they have in another graph, by its weights."""
        known = self._is_fixed.copy()
        for layer in self.layers:
            values = other.constants_by_name[other.node(layer.node.name).inputs[1]].values
            like = replace(layer, weight=values)
            for row, group in enumerate(layer.made):
                if known[group]:
                    continue
                (own,), (found,) = (one.sizes(slice(row, row + 1)) for one in (layer, like))
                # Rounding changes the largest weights least.
                large = (own > 0) & (found > 0) & (found >= found.max() / 4)
                if large.any():
                    columns = layer.read[row if len(layer.read) > 1 else 0]
                    ratios = np.log2(found[large] / own[large])
                    shift = float(np.median(self._exponents[columns[large]] - ratios))
                    self._exponents[group], known[group] = round(shift / STEP) * STEP, True

    def scaled(self) -> Graph:
        """Return the graph with scaled weights and biases."""
        graph, changed = self._graph, self._constants()
        constants = (changed.get(constant.name, constant) for constant in graph.constants)
        return Graph(
            graph.name, graph.inputs, graph.nodes, graph.outputs, tuple(constants), graph.states
        )

    def _constants(self) -> Mapping[str, Constant]:
        """Return the scaled weights and biases by name."""
        found = {}
        for layer in self.layers:
            made, read = self._exponents[layer.made], self._exponents[layer.read]
            weight, *bias = (self._graph.constants_by_name[n] for n in layer.node.inputs[1:])
            if (read != made[:, None]).any():
                tail = (1,) * (weight.data.ndim - 2)
                scaled = weight.data * _powers(read).reshape(*read.shape, *tail)
                scaled *= _powers(-made).reshape(-1, 1, *tail)
                scaled.setflags(write=False)
                found[weight.name] = replace(weight, data=scaled, derivation=None)
            if bias and made.any():
                data = bias[0].data * _powers(-made)
                found[bias[0].name] = replace(bias[0], data=data, derivation=None)
        return found

    def _touching(self, layer: _Layer) -> list[_Layer]:
        """Layers that make or read a channel that this one makes."""
        own = np.zeros(len(self._exponents), bool)
        own[layer.made] = True
        return [other for other in self.layers if own[other.made].any() or own[other.read].any()]

    def _is_free(self, node: Node) -> bool:
        """Whether a node is a linear layer with constants of its own."""
        consumers = self._graph.consumers
        return isinstance(node.op, Conv2d | ConvTranspose2d | Linear) and all(
            len(consumers[name]) == 1 for name in node.inputs[1:]
        )

    def _layer(self, node: Node) -> _Layer:
        weight = self._graph.constants_by_name[node.inputs[1]].data
        same = isinstance(node.op, Linear) or node.op.groups == 1  # type: ignore[union-attr]
        columns = input_channels(node.op, (1, *weight.shape[1:]) if same else weight.shape)
        return _Layer(
            node,
            weight,
            self._group[self._channels_of(node.name)],
            self._group[self._first[node.inputs[0]] + columns],
        )

    def _channels_of(self, name: str) -> NDArray[np.int64]:
        return self._first[name] + np.arange(_channels(self._graph.values[name].shape))


def _powers(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Powers of two; of whole exponents they are exact."""
    whole = np.floor(exponents)
    return np.ldexp(np.exp2(exponents - whole), whole.astype(np.int64))


def _channels(shape: tuple) -> int:
    return int(shape[0])


def _connected(count: int, pairs: Iterable[tuple[NDArray, NDArray]]) -> NDArray[np.int64]:
    """Smallest member of the group of each of `count` items, where pairs are in one group."""
    group = np.arange(count)
    pairs = list(pairs)
    while True:
        before = group.copy()
        for one, other in pairs:
            smaller = np.minimum(group[one], group[other])
            np.minimum.at(group, one, smaller)
            np.minimum.at(group, other, smaller)
        if np.array_equal(group, before):
            return group


def _links(graph: Graph, node: Node) -> Links | None:
    """Which channels an op ties together; None if it is not known to be homogeneous."""
    op = node.op
    constants = [name for name in node.inputs if name in graph.constants_by_name]
    shapes = [graph.values[name].shape for name in node.inputs if name in graph.values]
    results = np.arange(_channels(graph.values[node.name].shape))
    if isinstance(op, Interpolate):
        # A second image gives nothing but its size.
        nothing = results[:0]
        return [(results, results), (nothing, nothing)][: len(shapes)]
    if isinstance(op, CHANNELWISE) or (isinstance(op, Clamp) and {op.low, op.high} <= {0.0, None}):
        return [(results, results)]
    if (isinstance(op, Add | Subtract) and not constants) or (
        isinstance(op, Multiply) and constants
    ):
        # A single channel is added to, or multiplied with, all.
        return [(results, results % _channels(shape)) for shape in shapes]
    if isinstance(op, Concat):
        ends = np.cumsum([_channels(shape) for shape in shapes])
        parts = np.split(results, ends[:-1])
        return [(part, part - part[0]) for part in parts]
    if isinstance(op, Slice):
        if op.axis != "channel":
            return [(results, results)]
        return [(results, np.arange(_channels(shapes[0]))[op.start : op.stop : op.step])]
    if isinstance(op, SpatialConcat):
        return [(results, results)] * len(shapes)
    if isinstance(op, GatherChannels):
        chosen = np.array(op.channels)
        return [(results[chosen >= 0], chosen[chosen >= 0])]
    sources = np.arange(_channels(shapes[0]))
    if isinstance(op, Unflatten):
        return [(sources // (len(sources) // len(results)), sources)]
    if isinstance(op, Flatten):
        return [(results, results // (len(results) // len(sources)))]
    if isinstance(op, PixelShuffle):
        return [(sources // op.factor**2, sources)]
    if isinstance(op, PixelUnshuffle):
        return [(results, results // op.factor**2)]
    return None
