"""Chains: nodes that run as one stage, because the values between them are exact.

A convolution keeps its exact accumulator; the nodes behind it add a value, clip, and round once.
Between the first and the last node of a chain nothing is rounded, so that the whole chain is one
`fxp.kernels.finish.Finish` on the accumulators - where that can be proved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np

from fxp.formats import Format, Overflow, Quantization, Rounding, saturation_limits
from fxp.graph import Graph, Node
from fxp.graph.ops import (
    Accumulator,
    Add,
    Clamp,
    Conv2d,
    ConvTranspose2d,
    Linear,
    Multiply,
    Operand,
    PixelShuffle,
    Relu,
    Requantize,
    Subtract,
)
from fxp.kernels.commands import INTEGERS
from fxp.kernels.finish import Finish
from fxp.kernels.requantize import half_step

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
MAX_SHIFT = 62
MAX_NODES: Final = 16
"""Most nodes of a chain, so that the search for the longest one stays short."""
CONVOLUTION: Final = Conv2d | ConvTranspose2d | Linear
"""Heads whose kernels align sums with another value, and may store int32."""
ELEMENTWISE: Final = Add | Subtract | Multiply | Relu | Clamp | Requantize
"""Heads that may only be clipped and rounded: their kernels add nothing more."""


@dataclass(frozen=True)
class Chain:
    """Nodes that run together.

    Attributes
    ----------
    nodes
        In order; only the last one's result is seen from outside.
    other
        Value that an `Add` or `Subtract` in the chain combines with the accumulators, if any.
    factor
        Factor of a `PixelShuffle` in the chain, else 1.
    finish
        How accumulators of the first node become results of the last; None where that is not
        proved, and then the chain has one node.
    """

    nodes: tuple[Node, ...]
    other: str | None = None
    factor: int = 1
    finish: Finish | None = field(default=None, compare=False)
    counted: str | None = None
    """Name of the node that rounds, whose overflows are counted, if that is not the last one."""

    @property
    def head(self) -> Node:
        """First node."""
        return self.nodes[0]

    @property
    def last(self) -> Node:
        """Last node."""
        return self.nodes[-1]


def chains(graph: Graph, *, heads: frozenset[str], fuse: bool = True) -> list[Chain]:
    """Group the nodes of an integer graph.

    Parameters
    ----------
    graph
        An integer graph.
    heads
        Names of the ops that a chain of several nodes may begin with.
    fuse
        Whether chains may have several nodes.

    Returns
    -------
    list of Chain
        Ordered so that every chain's inputs come before it.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    readers.update(state.source for state in graph.states)
    followers = {name: node for node in graph.nodes for name in node.inputs if readers[name] == 1}
    position = {node.name: index for index, node in enumerate(graph.nodes)}
    taken: set[str] = set()
    found: list[Chain] = []
    for node in graph.nodes:
        if node.name in taken:
            continue
        nodes = [node]
        while (
            fuse
            and node.op.name in heads
            and len(nodes) < MAX_NODES
            and (follower := followers.get(nodes[-1].name))
            and follower.name not in taken
            and (len(nodes) == 1 or _may_continue(nodes))
        ):
            nodes.append(follower)
        # The longest chain that can be proved.
        longer = (_chain(graph, tuple(nodes[:count])) for count in range(len(nodes), 1, -1))
        best = next((chain for chain in longer if chain is not None), None)
        best = best or single(graph, node)
        taken.update(member.name for member in best.nodes)
        found.append(best)
    return sorted(found, key=lambda chain: position[chain.last.name])


def single(graph: Graph, node: Node) -> Chain:
    """Return the chain of one node."""
    return _chain(graph, (node,)) or Chain((node,))


def _may_continue(nodes: list[Node]) -> bool:
    return (
        isinstance(nodes[-1].op, Add | Subtract | Relu | Clamp | Requantize | PixelShuffle)
        and sum(not node.is_exact for node in nodes) <= 1
    )


@dataclass
class _Steps:
    """What the nodes behind a head do to its exact result, in the order they may come in."""

    other: str | None = None
    operand: Operand | None = None
    """What is known of the other value."""
    signs: tuple[int, int] = (1, 1)
    """Of the head's result and of the other value in their sum."""
    factor: int = 1
    """Of a pixel shuffle."""
    clips: list[tuple[int, int, int]] = field(default_factory=list)
    """Bounds, and their fraction bits."""

    def take(self, graph: Graph, before: Node, node: Node) -> bool:
        """Take one node more; False if it cannot be a part of the chain.

        Parameters
        ----------
        graph
            The graph.
        before, node
            The last node so far, and the one behind it.
        """
        operands, op = graph.operands[node.name], node.op
        if isinstance(op, Add | Subtract):
            position = node.inputs.index(before.name)
            operand = operands[1 - position]
            if self.other is not None or self.clips or node.inputs[1 - position] == before.name:
                return False
            self.other, self.operand = node.inputs[1 - position], operand
            signs = (1, op.right_sign)
            self.signs = signs[position], signs[1 - position]
            return operand.constant is None and operand.shape == operands[position].shape
        if isinstance(op, Relu | Clamp):
            self.clips.append((*op.limits(operands[0]), _format(before).frac))
            return True
        if isinstance(op, PixelShuffle):
            possible = self.factor == 1 and self.other is None
            self.factor = op.factor
            return possible
        return isinstance(op, Requantize)


def _chain(graph: Graph, nodes: tuple[Node, ...]) -> Chain | None:
    """Make the chain of these nodes, or None if its finish cannot be proved."""
    head, result = nodes[0], _format(nodes[-1]).dtype
    inexact = [index for index, node in enumerate(nodes) if not node.is_exact]
    # What follows the node that rounds may only clip, at the same binary point.
    count = inexact[0] + 1 if inexact else len(nodes)
    nodes, clipping = nodes[:count], nodes[count:]
    accumulator, target = head.accumulator, nodes[-1].quantization
    assert accumulator is not None
    assert target is not None
    if (
        len(inexact) > 1
        or not all(
            isinstance(node.op, Relu | Clamp | Requantize)
            and _format(node).frac == target.format.frac
            for node in clipping
        )
        or result.itemsize not in INTEGERS
    ):
        return None
    if isinstance(head.op, ELEMENTWISE) and any(
        isinstance(node.op, Add | Subtract | PixelShuffle) for node in nodes[1:]
    ):
        return None
    steps = _Steps()
    if not all(steps.take(graph, *pair) for pair in pairwise(nodes)):
        return None
    if steps.operand is not None and steps.operand.format.dtype.itemsize not in INTEGERS:
        return None
    finish = _clipped(graph, clipping, _finish(accumulator, steps, target), result)
    if finish is None or (not isinstance(head.op, CONVOLUTION) and finish.scaled):
        return None
    counted = nodes[-1].name if clipping else None
    return Chain((*nodes, *clipping), steps.other, steps.factor, finish, counted)


def _clipped(
    graph: Graph, nodes: tuple[Node, ...], finish: Finish | None, result: np.dtype
) -> Finish | None:
    """Finish whose rounded results are clipped by nodes that keep their binary point.

    Parameters
    ----------
    graph
        The graph.
    nodes
        The nodes.
    finish
        How sums are rounded; None where that is not proved.
    result
        Dtype of the last node's result.
    """
    if finish is None:
        return None
    low, high = finish.low, finish.high
    for node in nodes:
        if isinstance(node.op, Relu | Clamp):
            least, most = node.op.limits(graph.operands[node.name][0])
            low, high = max(low, least), min(high, most)
    return replace(finish, low=low, high=high, result=result) if low <= high else None


def _finish(accumulator: Accumulator, steps: _Steps, target: Quantization) -> Finish | None:
    """Prove what makes results of accumulators; None if there is no such proof.

    Every channel has a binary point of its own until its sum is shifted to that of the result.
    """
    form, rounding = target.format, target.rounding
    operand, (own_sign, other_sign) = steps.operand, steps.signs
    least_frac = max(form.frac, form.frac if operand is None else operand.format.frac)
    aligned = [max(frac, least_frac) for frac in accumulator.fracs]
    shift = [frac - form.frac for frac in aligned]
    up = [frac - own for frac, own in zip(aligned, accumulator.fracs, strict=True)]
    beside = [0 if operand is None else frac - operand.format.frac for frac in aligned]
    if max(*shift, *up, *beside) > MAX_SHIFT:
        return None
    own = [own_sign << bits for bits in up]
    factor = [0 if operand is None else other_sign << bits for bits in beside]
    half = [half_step(bits, rounding) for bits in shift]
    if any(step % scale for step, scale in zip(half, own, strict=True)):
        # Half a step of the result is less than one of the accumulator.
        return None
    other_limits = (0, 0) if operand is None else operand.limits
    # Many channels are alike.
    sums = set(zip(accumulator.low, accumulator.high, own, factor, shift, half, strict=True))
    ends = [
        (*_sum_range((low, high), scale, other_limits, other_scale), bits, step)
        for low, high, scale, other_scale, bits, step in sums
    ]
    bounds = saturation_limits(form, target.overflow)
    clips = any(low < bounds[0] << bits or high > bounds[1] << bits for low, high, bits, _ in ends)
    if (max(shift) > 0 and rounding not in (Rounding.HALF_UP, Rounding.FLOOR)) or (
        clips and target.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
    ):
        return None
    least = min(low for low, *_ in ends)
    most = max(high + step for _, high, _, step in ends)
    if most >= 1 << MAX_SHIFT or least < -(1 << MAX_SHIFT):
        return None
    result_low, result_high = bounds
    counts_low = counts_high = True
    for *limits, frac in steps.clips:
        below, above = (_rounded(limit, frac - form.frac, rounding) for limit in limits)
        # A bound that clips nothing outside the format leaves the count as it is.
        result_low, result_high = max(result_low, below), min(result_high, above)
        counts_low &= below < bounds[0]
        counts_high &= above > bounds[1]
    if result_low > result_high:
        return None
    wide = most > INT32_MAX or least < INT32_MIN or max(*shift, *up, *beside) > 31
    dtype = np.dtype(np.int64 if wide else np.int32)
    return Finish(
        np.array([step // scale for step, scale in zip(half, own, strict=True)], dtype),
        # Factors wrap, as the sums do.
        np.array(own, np.int64).astype(dtype),
        np.array(factor, np.int64).astype(dtype),
        np.array(shift, dtype),
        result_low,
        result_high,
        bounds[0] if counts_low else np.iinfo(dtype).min,
        bounds[1] if counts_high else np.iinfo(dtype).max,
        operand and operand.format.dtype,
        form.dtype,
    )


def _sum_range(
    limits: tuple[int, int], scale: int, other_limits: tuple[int, int], other_scale: int
) -> tuple[int, int]:
    """Smallest and largest sum of multiples of two values; each may be 0.

    Parameters
    ----------
    limits, scale
        Range and factor of the one.
    other_limits, other_scale
        Range and factor of the other.
    """
    ends = sorted(limit * scale for limit in limits)
    other = sorted(limit * other_scale for limit in other_limits)
    return ends[0] + other[0], ends[1] + other[1]


def _format(node: Node) -> Format:
    assert node.quantization is not None
    return node.quantization.format


def _rounded(value: int, shift: int, rounding: Rounding) -> int:
    return (value + half_step(shift, rounding)) >> shift if shift >= 0 else value << -shift
