"""Work that the requantization behind a node makes unnecessary in the hardware of the node."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fxp.formats import (
    MAX_WIDTH,
    Format,
    Overflow,
    Quantization,
    Rounding,
    requantize,
    saturation_limits,
)
from fxp.graph import Graph, Node, ops


@dataclass(frozen=True)
class FoldedRoundings:
    """Halves of roundings that weighted sums already contain, as a part of their bias.

    Attributes
    ----------
    addends
        What the values of these nodes contain in addition, for each channel, in units of their
        exact results.
    rounded
        Nodes behind which dropping bits is all that is left of their rounding.
    """

    addends: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    rounded: set[str] = field(default_factory=set)


def folded_roundings(graph: Graph, sums: Collection[str] | None = None) -> FoldedRoundings:
    """Find roundings half up whose half a weighted sum can take into its bias.

    Between the sum and the rounding there may be exact operations, such as the addition of a
    shortcut, that nothing else reads.

    Parameters
    ----------
    graph
        The integer graph.
    sums
        Names of the weighted sums that may take one; all of them by default.
    """
    result = FoldedRoundings()
    leaving = {*graph.outputs, *(state.source for state in graph.states)}
    for node in graph.nodes:
        if sums is not None and node.name not in sums:
            continue
        if isinstance(node.op, ops.Conv2d | ops.ConvTranspose2d):
            _fold(graph, node, leaving, result)
    return result


def _fold(graph: Graph, start: Node, leaving: Set[str], result: FoldedRoundings) -> None:
    """Fold the rounding behind a weighted sum, if there is one that allows it."""
    passed: list[Node] = []
    node = start
    while not _ends(graph, node):
        behind = graph.consumers.get(node.name, ())
        assert node.quantization is not None
        if len(behind) != 1 or node.name in leaving or not node.quantization.format.signed:
            return
        passed.append(node)
        (after,) = behind
        if not _passes(graph, node, after):
            return
        node = after
    if node.name in result.rounded:
        return  # by the sum of the other operand
    assert node.quantization is not None
    assert start.accumulator is not None
    target = node.quantization
    holders = passed or [start]
    shifts = [_fracs(item) - target.format.frac for item in holders]
    least, most = min(map(np.min, shifts)), max(map(np.max, shifts))
    if target.rounding is not Rounding.HALF_UP or most > start.accumulator.bits:
        return
    if most < 1 or (passed and least < 1):
        return
    result.rounded.add(node.name)
    for item, item_shifts in zip(holders, shifts, strict=True):
        halves = np.int64(1) << np.maximum(item_shifts - 1, 0)
        result.addends[item.name] = np.where(item_shifts > 0, halves, 0)


def _fracs(node: Node) -> NDArray[np.int64]:
    """Fraction bits of every channel; a channel that is always zero has those of the format."""
    assert node.accumulator is not None
    assert node.quantization is not None
    exact = node.accumulator
    zero = (np.array(exact.low) == 0) & (np.array(exact.high) == 0)
    return np.where(zero, node.quantization.format.frac, np.array(exact.fracs, np.int64))


def _passes(graph: Graph, node: Node, after: Node) -> bool:
    """Whether a constant added to the result of a node is one added to the result of the next."""
    if isinstance(after.op, ops.Relu | ops.Clamp):
        low, high = after.op.limits(graph.operands[after.name][0])
        return saturation_clips(graph, after, low, high)
    if isinstance(after.op, ops.PixelShuffle):
        return True
    if not isinstance(after.op, ops.Add | ops.Subtract) or after.inputs.count(node.name) != 1:
        return False
    index = after.inputs.index(node.name)
    operands = graph.operands[after.name]
    same = operands[index].channels == max(operand.channels for operand in operands)
    return same and (index == 0 or isinstance(after.op, ops.Add))


def _ends(graph: Graph, node: Node) -> bool:
    """Whether a node drops bits or clips, so that its result is not the exact one."""
    if isinstance(node.op, ops.Relu | ops.Clamp):
        return True
    assert node.accumulator is not None
    assert node.quantization is not None
    exact, target = node.accumulator, node.quantization
    return max(exact.fracs) > target.format.frac or not fits_all(node)


def fits_all(node: Node) -> bool:
    """Whether no result of a node, once rounded, lies outside of its format."""
    assert node.accumulator is not None
    assert node.quantization is not None
    exact = node.accumulator
    return all(
        fits(value, frac, node.quantization)
        for frac, low, high in zip(exact.fracs, exact.low, exact.high, strict=True)
        for value in (low, high)
    )


def fits(value: int, frac: int, target: Quantization) -> bool:
    """Whether a raw integer, once rounded, lies in a format.

    Parameters
    ----------
    value
        The integer.
    frac
        Its fraction bits.
    target
        Format, rounding and overflow.
    """
    low, high = saturation_limits(target.format, target.overflow)
    if frac <= target.format.frac:
        return low <= value << (target.format.frac - frac) <= high
    wide = Format(MAX_WIDTH, target.format.frac)
    rounded = int(requantize(np.int64(value), frac, wide, target.rounding))
    return low <= rounded <= high


def saturation_clips(graph: Graph, node: Node, low: int, high: int) -> bool:
    """Whether saturation to the format of a node clips all that its op clips, or more.

    Only where the op is followed by a rounding or a saturation anyway.

    Parameters
    ----------
    graph
        The graph of the node.
    node
        A node that clips, such as a ReLU.
    low, high
        Where it clips, as raw integers of its operand.
    """
    form, target = graph.operands[node.name][0].format, node.quantization
    assert target is not None
    assert node.accumulator is not None
    exact = node.accumulator
    if target.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return False
    if set(exact.fracs) != {form.frac}:
        return False
    if form.frac <= target.format.frac and fits_all(node):
        return False
    lowest, highest = saturation_limits(target.format, target.overflow)
    first, last = (
        int(requantize(np.int64(end), form.frac, target.format, target.rounding, target.overflow))
        for end in (low, high)
    )
    return (low <= form.min_raw or first == lowest) and (high >= form.max_raw or last == highest)
