"""Convolutions as the engine sees them: weights, strides and no borders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import INT32_MAX, INT32_MIN, Chain
from fxp.formats import Overflow, Rounding, saturation_limits
from fxp.graph import Graph
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear, Pad
from fxp.graph.ops.transposed import phases
from fxp.kernels.requantize import half_step

MAX_LANES = 16
"""Longest vector that is shuffled."""
BLOCK = 1 << 17
"""Weights, about, of which bounds are computed at a time."""
MOST_SHIFT = 61
"""A sum of up to 63 bits and half of such a step fit int64."""


@dataclass(frozen=True)
class Geometry:
    """A convolution without its borders.

    Attributes
    ----------
    weight
        ``(C_out, C_in / groups, k_h, k_w)``.
    bias
        ``(C_out,)``.
    stride, dilation, groups
        As usual.
    factor
        Of the pixel shuffle behind it: that of the chain, or of a transposed convolution, whose
        phases are channels that are shuffled.
    """

    weight: NDArray[np.int64]
    bias: NDArray[np.int64]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    factor: int = 1

    @property
    def channels_in(self) -> int:
        """Channels of the image."""
        return self.weight.shape[1] * self.groups

    @property
    def is_depthwise(self) -> bool:
        """Whether every output channel reads the input channel of its own number only."""
        return self.weight.shape[1] == 1 and self.groups == len(self.weight)


def geometry(graph: Graph, chain: Chain) -> Geometry | None:
    """Geometry of a chain's head, if it is a convolution that tiles can run."""
    op, operands = chain.head.op, graph.operands[chain.head.name]
    if not isinstance(op, Conv2d | ConvTranspose2d | Linear):
        return None
    weight = operands[1].constant
    assert weight is not None
    bias = operands[2].constant if len(operands) == 3 else None
    if bias is None:
        bias = np.zeros(len(weight), np.int64)
    if isinstance(op, ConvTranspose2d):
        return _of_phases(op, weight, bias) if chain.factor == 1 else None
    if isinstance(op, Linear):
        return Geometry(weight[:, :, None, None], bias, (1, 1), (1, 1), 1)
    if op.padding_mode != "zero" and any(op.padding):
        return None
    return Geometry(weight, bias, op.stride, op.dilation, op.groups, chain.factor)


def _of_phases(
    op: ConvTranspose2d, weight: NDArray[np.int64], bias: NDArray[np.int64]
) -> Geometry | None:
    """Write a transposed convolution as one convolution with a channel per phase.

    Taps that a phase does not have are zero. None if the phases' sizes would differ.
    """
    factor, columns = op.stride
    added = [
        op.dilation[axis] * (weight.shape[2 + axis] - 1)
        + 1
        - 2 * op.padding[axis]
        + op.output_padding[axis]
        for axis in (0, 1)
    ]
    found = phases(weight, op.stride, op.padding, op.dilation)
    if (
        factor != columns
        or op.groups != 1
        or any(size % factor for size in added)
        or len(found) != factor**2
        or any((phase.row_step, phase.column_step) != (1, 1) for phase in found)
    ):
        return None
    top = min(phase.first_row for phase in found)
    left = min(phase.first_column for phase in found)
    height = max(phase.first_row + phase.weight.shape[0] for phase in found) - top
    width = max(phase.first_column + phase.weight.shape[1] for phase in found) - left
    channels, inputs = weight.shape[:2]
    merged = np.zeros((channels, factor, factor, inputs, height, width), np.int64)
    for phase in found:
        rows, cols = phase.weight.shape[:2]
        y, x = phase.first_row - top, phase.first_column - left
        merged[:, phase.row, phase.column, :, y : y + rows, x : x + cols] = phase.weight.transpose(
            3, 2, 0, 1
        )
    return Geometry(
        merged.reshape(-1, inputs, height, width),
        np.repeat(bias, factor**2),
        (1, 1),
        (1, 1),
        1,
        factor,
    )


def fits_pairs(graph: Graph, chain: Chain) -> bool:
    """Whether inputs and weights of a chain that has a finish fit int16."""
    source, weight = graph.operands[chain.head.name][:2]
    assert weight.constant is not None
    return (
        chain.finish is not None
        and source.format.dtype == np.int16
        and weight.constant.min() >= -(2**15)
        and weight.constant.max() < 2**15
    )


@dataclass(frozen=True)
class InputLimits:
    """Smallest and largest input of a convolution, channel by channel, or 0, that is padding.

    Attributes
    ----------
    low, high
        ``(channels,)``.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def ends(self) -> tuple[int, int]:
        """Smallest and largest of all channels."""
        return int(self.low.min()), int(self.high.max())

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Both, ``(channels, 2)``."""
        return np.stack([self.low, self.high], 1)


def input_limits(graph: Graph, chain: Chain) -> InputLimits:
    """Return what is proved of the input of a convolution.

    The node that computes it may prove less than its format takes, and more of some channels than
    of others: a concatenation brings values of different sizes to one format.

    Parameters
    ----------
    graph
        The graph.
    chain
        Its head is the convolution.
    """
    low, high = _value_limits(graph, chain.head.inputs[0])
    channels = graph.operands[chain.head.name][0].channels
    if len(low) != channels:  # a vector made of an image
        low, high = np.full(channels, low.min()), np.full(channels, high.max())
    return InputLimits(np.minimum(low, 0), np.maximum(high, 0))


def _value_limits(graph: Graph, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest and largest of every channel of a value; 0 may lie outside."""
    operand, node = graph.operand(name), graph.nodes_by_name.get(name)
    low, high = (np.full(operand.channels, end, np.int64) for end in operand.limits)
    if node is None:
        return low, high
    accumulator, target = node.accumulator, node.quantization
    assert accumulator is not None
    assert target is not None
    if isinstance(node.op, Pad) and graph.operand(node.inputs[0]).format == target.format:
        found = _value_limits(graph, node.inputs[0])
        return np.minimum(found[0], 0), np.maximum(found[1], 0)
    if target.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return low, high
    least, most = saturation_limits(target.format, target.overflow)
    shifts = [frac - target.format.frac for frac in accumulator.fracs]
    if (
        min(shifts) < 0
        or max(shifts) > MOST_SHIFT
        or target.rounding not in (Rounding.HALF_UP, Rounding.FLOOR)
    ):
        return np.maximum(low, least), np.minimum(high, most)
    steps = {shift: half_step(shift, target.rounding) for shift in set(shifts)}
    step = np.array([steps[shift] for shift in shifts], np.int64)
    low, high = (
        np.clip((np.array(bounds, np.int64) + step) >> np.array(shifts), least, most)
        for bounds in (accumulator.low, accumulator.high)
    )
    return low, high


def sum_limits(shape: Geometry, limits: InputLimits) -> tuple[int, int]:
    """Smallest and largest sum of products, without its bias.

    Parameters
    ----------
    shape
        The convolution.
    limits
        Its inputs.
    """
    least, most = zip(*_limits_of_blocks(shape, limits), strict=True)
    return min(least), max(most)


def sums_fit(shape: Geometry, limits: InputLimits, enlarged: int = 0) -> bool:
    """Whether every sum of products, without its bias, fits int32.

    Parameters
    ----------
    shape, limits
        As in `sum_limits`.
    enlarged
        Bits by which sums are shifted left.
    """
    return all(
        most << enlarged <= INT32_MAX and least << enlarged >= INT32_MIN
        for least, most in _limits_of_blocks(shape, limits)
    )


def _limits_of_blocks(shape: Geometry, limits: InputLimits) -> Iterator[tuple[int, int]]:
    """Smallest and largest sum of some outputs at a time.

    The weights of large layers fill no cache, and one sum that is too large settles it.
    """
    per_group = len(shape.weight) // shape.groups
    low, high = (bound.reshape(shape.groups, -1, 1) for bound in (limits.low, limits.high))
    step = max(1, BLOCK // shape.weight[0].size)
    for first in range(0, len(shape.weight), step):
        weight = shape.weight[first : first + step]
        weight = weight.reshape(*weight.shape[:2], -1)
        groups = np.arange(first, first + len(weight)) // per_group
        positive = weight > 0
        least, most = (
            (weight * np.where(positive, ends[0][groups], ends[1][groups])).sum(axis=(1, 2))
            for ends in ((low, high), (high, low))
        )
        yield int(least.min()), int(most.max())


def merge_groups(shape: Geometry, channels: int) -> Geometry:
    """Make groups of several, with zeros between, until each has so many output channels.

    The vectors of a tile are full then. One group is left if that is not possible.

    Parameters
    ----------
    shape
        The convolution.
    channels
        Output channels that a group should have.
    """
    each = len(shape.weight) // shape.groups
    return _merged(shape, lambda count: count * each >= channels)


def groups_of_whole_pixels(shape: Geometry) -> Geometry:
    """Make groups of several, until each has all channels of the pixels that it is shuffled to.

    Every phase of the pixel shuffle then has the same groups, with as many channels each.
    """
    each = len(shape.weight) // shape.groups
    return _merged(shape, lambda count: count * each % shape.factor**2 == 0)


def _merged(shape: Geometry, suits: Callable[[int], bool]) -> Geometry:
    """Make one group of the smallest number of groups that suits, or of all."""
    outputs, inputs, height, width = shape.weight.shape
    each = outputs // shape.groups
    count = next(
        n
        for n in range(1, shape.groups + 1)
        if shape.groups % n == 0 and (suits(n) or n == shape.groups)
    )
    if count == 1:
        return shape
    weight = np.zeros((shape.groups // count, count, each, count, inputs, height, width), np.int64)
    apart = shape.weight.reshape(-1, count, each, inputs, height, width)
    for number in range(count):
        weight[:, number, :, number] = apart[:, number]
    merged = weight.reshape(outputs, count * inputs, height, width)
    return replace(shape, weight=merged, groups=shape.groups // count)


def in_blocks(shape: Geometry, block: int) -> tuple[Geometry, NDArray[np.int64]]:
    """Make the pixels of a block channels; also returns the channel that each stands for.

    The convolution has ``factor**2`` channels, stride and dilation 1.
    """
    factor, total = shape.factor, shape.factor * block
    _, inputs, height, width = shape.weight.shape
    weight = np.zeros(
        (total, total, inputs, height + block - 1, width + block - 1), shape.weight.dtype
    )
    order = np.empty((total, total), np.int64)
    for row, column in np.ndindex(total, total):
        channel = row % factor * factor + column % factor
        y, x = row // factor, column // factor
        order[row, column] = channel
        weight[row, column, :, y : y + height, x : x + width] = shape.weight[channel]
    merged = weight.reshape(total**2, inputs, height + block - 1, width + block - 1)
    bias = shape.bias[order.reshape(-1)]
    return Geometry(merged, bias, (block, block), (1, 1), 1, total), order.reshape(-1)


def best_block(shape: Geometry) -> int:
    """Return the size of blocks that needs the fewest vector operations per pixel."""
    _, _, height, width = shape.weight.shape

    def cost(block: int) -> float:
        return (height + block - 1) * (width + block - 1) / block**2

    sizes = [block for block in (1, 2, 4) if (shape.factor * block) ** 2 <= MAX_LANES]
    return min(sizes, key=cost)
