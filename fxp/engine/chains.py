"""Chains: nodes that run as one stage, because the values between them are exact.

A convolution keeps its exact accumulator; the nodes behind it add a value, clip, and round once.
Between the first and the last node of a chain nothing is rounded, so that the whole chain is one
`fxp.kernels.finish.Finish` on the accumulators - where that can be proved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from fxp.formats import Format, Overflow, Rounding, saturation_limits
from fxp.graph import Graph, Node
from fxp.graph.ops import Add, Clamp, Multiply, PixelShuffle, Relu, Requantize, Subtract
from fxp.kernels.finish import Finish
from fxp.kernels.requantize import half_step

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
MAX_SHIFT = 62
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
        Value that an `Add` in the chain adds to the accumulators, if any.
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
        best = single(graph, node)
        if fuse and node.op.name in heads:
            nodes = [node]
            while (follower := followers.get(nodes[-1].name)) and follower.name not in taken:
                nodes.append(follower)
                if (longer := _chain(graph, tuple(nodes))) is not None:
                    best = longer
                if not _may_continue(graph, nodes):
                    break
        taken.update(member.name for member in best.nodes)
        found.append(best)
    return sorted(found, key=lambda chain: position[chain.last.name])


def single(graph: Graph, node: Node) -> Chain:
    """Return the chain of one node."""
    return _chain(graph, (node,)) or Chain((node,))


def _may_continue(graph: Graph, nodes: list[Node]) -> bool:
    return isinstance(nodes[-1].op, Add | Relu | Clamp | Requantize | PixelShuffle) and _is_exact(
        nodes[-1]
    )


def _is_exact(node: Node) -> bool:
    """Whether a node's requantization changes no value that its accumulator can take."""
    accumulator, target = node.accumulator, node.quantization
    assert accumulator is not None
    assert target is not None
    form = target.format
    if form.frac < accumulator.frac:
        return False
    low, high = saturation_limits(form, target.overflow)
    return all(
        below << (form.frac - frac) >= low and above << (form.frac - frac) <= high
        for below, above, frac in zip(
            accumulator.low, accumulator.high, accumulator.fracs, strict=True
        )
    )


def _chain(graph: Graph, nodes: tuple[Node, ...]) -> Chain | None:
    """Make the chain of these nodes, or None if its finish cannot be proved."""
    head, last = nodes[0], nodes[-1]
    accumulator, target = head.accumulator, last.quantization
    assert accumulator is not None
    assert target is not None
    form = target.format
    if (
        target.rounding not in (Rounding.HALF_UP, Rounding.FLOOR)
        or target.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
        or form.dtype != np.int16
        or not all(_is_exact(node) for node in nodes[:-1])
    ):
        return None
    fracs = np.array(accumulator.fracs)
    exact_frac = int(fracs.max()) if len(nodes) == 1 else _format(head).frac
    shifts = fracs - form.frac
    if shifts.min() < 0 or shifts.max() > MAX_SHIFT:
        return None
    low, high = list(accumulator.low), list(accumulator.high)
    bounds = saturation_limits(form, target.overflow)
    result_low, result_high = bounds
    counts_low = counts_high = True
    other, other_shift, factor, clamped = None, 0, 1, False
    if isinstance(head.op, ELEMENTWISE) and any(
        isinstance(node.op, Add | PixelShuffle) for node in nodes[1:]
    ):
        return None
    for before, node in pairwise(nodes):
        operands = graph.operands[node.name]
        frac = _format(before).frac
        if isinstance(node.op, Add):
            values = [name for name in node.inputs if name != before.name]
            if len(values) != 1 or other is not None or clamped:
                return None
            (other,) = values
            position = node.inputs.index(other)
            operand = operands[position]
            shifted = frac - operand.format.frac
            same = operand.shape == operands[1 - position].shape
            if (
                operand.constant is not None
                or not same
                or operand.format.dtype != np.int16
                or not 0 <= shifted <= 31
                or (fracs != frac).any()
            ):
                return None
            other_shift = shifted
            low = [value + (operand.limits[0] << shifted) for value in low]
            high = [value + (operand.limits[1] << shifted) for value in high]
        elif isinstance(node.op, Relu | Clamp):
            clamped = True
            least, most = (
                _rounded(limit, frac - form.frac, target.rounding)
                for limit in node.op.limits(operands[0])
            )
            # A bound that clips nothing outside the format leaves the count as it is.
            result_low, result_high = max(result_low, least), min(result_high, most)
            counts_low &= least < bounds[0]
            counts_high &= most > bounds[1]
        elif isinstance(node.op, PixelShuffle):
            if factor != 1 or other is not None:
                return None
            factor = node.op.factor
        elif not isinstance(node.op, Requantize):
            return None
    if exact_frac - form.frac < 0 or result_low > result_high:
        return None
    half = [half_step(int(shift), target.rounding) for shift in shifts]
    most, least = max(value + extra for value, extra in zip(high, half, strict=True)), min(low)
    if most >= 1 << MAX_SHIFT or least < -(1 << MAX_SHIFT):
        return None
    wide = most > INT32_MAX or least < INT32_MIN or shifts.max() > 31
    dtype = np.int64 if wide else np.int32
    finish = Finish(
        np.array(half, dtype),
        np.ascontiguousarray(shifts, dtype),
        result_low,
        result_high,
        bounds[0] if counts_low else np.iinfo(dtype).min,
        bounds[1] if counts_high else np.iinfo(dtype).max,
        other is not None,
        other_shift,
    )
    return Chain(nodes, other, factor, finish)


def _format(node: Node) -> Format:
    assert node.quantization is not None
    return node.quantization.format


def _rounded(value: int, shift: int, rounding: Rounding) -> int:
    return (value + half_step(shift, rounding)) >> shift if shift >= 0 else value << -shift
