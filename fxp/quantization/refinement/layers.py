"""What the refinements know of layers: their weights, and what these are multiplied with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.graph import Graph, Node
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear, Op
from fxp.graph.ops.padding import pad_torch

SAMPLES: Final = 1 << 15
"""Output positions, over all images, at which layers are compared."""


def linear_nodes(graph: Graph) -> list[Node]:
    """Nodes that weight their first input, in order."""
    return [node for node in graph.nodes if node.op.constant_roles.get(1) == "weight"]


def input_channels(op: Op, shape: Sequence[int]) -> NDArray[np.int64]:
    """Input channel of every weight of a layer, ``(M, C / groups)``, for weights of that shape."""
    rows, columns = shape[:2]
    groups = op.groups if isinstance(op, Conv2d | ConvTranspose2d) else 1
    return np.arange(rows)[:, None] // (rows // groups) * columns + np.arange(columns)


def sample_positions(
    sizes: tuple[int, ...], image: int, images: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns, the same in every run, at which results of one image are compared.

    Parameters
    ----------
    sizes
        Height and width; nothing for a vector, whose one position is 0, 0.
    image, images
        Number of this image, and of all.
    """
    height, width = sizes or (1, 1)
    count = min(height * width, max(SAMPLES // images, 1))
    chosen = np.random.default_rng(image).choice(height * width, count, replace=False)
    rows, columns = np.divmod(np.sort(chosen), width)
    return rows, columns


def channel_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of every channel of an image or vector."""
    return values.reshape(len(values), -1).mean(axis=1)


def layer_inputs(
    op: Op,
    values: NDArray[np.float64],
    shape: Sequence[int],
    positions: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Gather what the weights of a layer are multiplied with at some output positions.

    Parameters
    ----------
    op
        `Conv2d`, `ConvTranspose2d` or `Linear`.
    values
        The layer's input, ``(C, H, W)`` or ``(F,)``.
    shape
        Of the weights.
    positions
        Rows and columns of the output, ``(P,)`` each.

    Returns
    -------
    NDArray
        ``(groups, P, n)``; times the weights of a group, ``(M / groups, n)``, transposed, it gives
        the layer's output without bias.
    """
    if isinstance(op, Linear):
        return values[None, None]
    assert isinstance(op, Conv2d | ConvTranspose2d)
    taps, stride = [np.arange(size) for size in shape[2:]], op.stride
    image = torch.from_numpy(values)[None]
    if isinstance(op, Conv2d):
        image = pad_torch(image, op.padding, op.padding_mode)
    else:
        # An ordinary convolution, by the kernel turned around, of the image between zeros.
        sides = [
            side
            for axis in (1, 0)
            for side in (
                op.dilation[axis] * (shape[2 + axis] - 1) - op.padding[axis],
                op.dilation[axis] * (shape[2 + axis] - 1)
                - op.padding[axis]
                + op.output_padding[axis],
            )
        ]
        sizes = [s * (n - 1) + 1 for s, n in zip(stride, values.shape[1:], strict=True)]
        spread = image.new_zeros(1, len(values), *sizes)
        spread[:, :, :: stride[0], :: stride[1]] = image
        image = torch.nn.functional.pad(spread, sides)
        taps, stride = [tap[::-1] for tap in taps], (1, 1)
    rows, columns = (
        where[:, None] * step + tap * dilation
        for where, step, tap, dilation in zip(positions, stride, taps, op.dilation, strict=True)
    )
    read = image[0].numpy()[:, rows[:, :, None], columns[:, None, :]]
    read = read.reshape(op.groups, shape[1], len(rows), -1)
    return np.ascontiguousarray(read.transpose(0, 2, 1, 3)).reshape(op.groups, len(rows), -1)
