"""Learned rounding: each weight is rounded up or down so that the layer's outputs come closest.

After M. Nagel, R. A. Amjad, M. van Baalen, C. Louizos and T. Blankevoort, "Up or Down? Adaptive
Rounding for Post-Training Quantization", ICML 2020, arXiv:2004.10568. With the mean squared error
of a layer's outputs as the loss, each output channel is a quadratic problem in binary unknowns,
whose matrix is the second moment of the layer's inputs. The paper relaxes it and takes gradient
steps; here it is solved by descent: the flip, or the pair of flips, that lowers the error most is
made until none does. That has no step size and no schedule. As in the paper, inputs are those of
the integer network, outputs those of the float network, and layers follow one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Constant, Graph, Node
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear
from fxp.quantization.refinement.layers import (
    Calls,
    Target,
    fixed_values,
    layer_inputs,
    sample_positions,
)

MAX_COLUMNS: Final = 4096
"""Layers with more weights per output channel keep the nearest, because of the matrix' size."""
MAX_PAIR_COLUMNS: Final = 1024
"""Pairs of flips are tried up to so many weights per output channel."""
TOLERANCE: Final = 1e-12
"""Share of the error that a flip must gain, far above what float64 sums lose."""


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer on calibration data.

    Attributes
    ----------
    inputs
        Mean products of inputs, ``(groups, n, n)``.
    residuals
        Mean products of inputs and what the float weights leave to be desired of the output, ``(M /
        groups)`` channels per group: ``(groups, n, M / groups)``.
    """

    inputs: NDArray[np.float64]
    residuals: NDArray[np.float64]


def learned_rounding(
    graph: Graph,
    lowered: Graph,
    weight: Constant,
    targets: dict[str, Target],
    calls: Calls,
    *,
    free_bias: bool,
) -> Constant | None:
    """Round the weights of a layer, or of all that share them, for the least error.

    Parameters
    ----------
    graph, lowered
        Float graph, and integer graph with the same nodes.
    weight
        Weights in the integer graph.
    targets
        What the layers give in the float network.
    calls
        Calibration data.
    free_bias
        Whether a bias will take off the mean error, so that it does not count here.

    Returns
    -------
    Constant
        The integers, each the float weight rounded up or down; None for a layer of another kind or
        of more than `MAX_COLUMNS` weights per output channel.
    """
    nodes = [node for node in lowered.nodes if node.inputs[1:2] == (weight.name,)]
    known = all(isinstance(node.op, Conv2d | ConvTranspose2d | Linear) for node in nodes)
    if not nodes or not known or weight.data[0].size > MAX_COLUMNS:
        return None
    exact = graph.constants_by_name[graph.node(nodes[0].name).inputs[1]].data
    moments = _moments(graph, lowered, nodes, exact, targets, calls, free_bias)
    rows = exact.reshape(len(moments.inputs), -1, weight.data[0].size)
    steps = np.array([form.step for form in weight.formats])
    steps = np.broadcast_to(steps, len(exact)).reshape(*rows.shape[:2], 1)
    low, high = weight.formats[0].min_raw, weight.formats[0].max_raw
    nearest = weight.data.reshape(rows.shape)
    down, up = (np.clip(f(rows / steps), low, high).astype(np.int64) for f in (np.floor, np.ceil))
    # Where a weight is clipped, or exact, both are the nearest, and there is no choice.
    chosen = [
        best_choice(*parts)
        for parts in zip(
            moments.inputs,
            moments.residuals.transpose(0, 2, 1),
            nearest * steps - rows,
            (down + up - 2 * nearest) * steps,
            strict=True,
        )
    ]
    data = np.where(np.stack(chosen), down + up - nearest, nearest)
    return replace(weight, data=data.reshape(weight.data.shape))


def best_choice(
    moments: NDArray[np.float64],
    residuals: NDArray[np.float64],
    errors: NDArray[np.float64],
    changes: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Find which errors to change for a small ``e·A·e - 2·e·r`` of each row ``e``.

    Parameters
    ----------
    moments
        The matrix A, ``(n, n)``, symmetric and positive semidefinite.
    residuals
        Rows r, ``(M, n)``.
    errors, changes
        Rows e, and what may be added to each of their elements, ``(M, n)``.

    Returns
    -------
    NDArray
        Whether each change is made; no other single one, and up to `MAX_PAIR_COLUMNS` no pair,
        lowers the value.
    """
    changes = changes.copy()
    flipped = np.zeros(changes.shape, bool)
    slopes = errors @ moments - residuals
    diagonal = np.diag(moments)
    for row in range(len(changes)):
        change, slope = changes[row], slopes[row]
        least = -TOLERANCE * float(diagonal @ change**2)
        while True:
            gains = change * (2 * slope + change * diagonal)
            best = [int(np.argmin(gains))]
            if gains[best[0]] >= least:
                if len(change) > MAX_PAIR_COLUMNS:
                    break
                pairs = gains[:, None] + gains + 2 * change[:, None] * change * moments
                np.fill_diagonal(pairs, 0.0)
                # The second of a pair of which one cannot change is a single flip, tried before.
                best = [int(i) for i in np.unravel_index(np.argmin(pairs), pairs.shape)]
                if pairs[best[0], best[1]] >= least:
                    break
            for index in best:
                slope += moments[index] * change[index]
                change[index] = -change[index]
                flipped[row, index] ^= True
    return flipped


def _moments(
    graph: Graph,
    lowered: Graph,
    nodes: Sequence[Node],
    exact: NDArray[np.float64],
    targets: dict[str, Target],
    calls: Calls,
    centered: bool,
) -> Moments:
    """Gather moments of inputs that nodes with the same weights read."""
    images = sum(len(call[0]) for call in calls)
    total = Moments(np.zeros(()), np.zeros(()))
    count = 0
    for node in nodes:
        bias = [graph.constants_by_name[name].data for name in graph.node(node.name).inputs[2:]]
        sums = [np.zeros(()), np.zeros(())]
        samples = 0
        inputs = np.zeros(()), np.zeros(())
        for image, values in enumerate(fixed_values(lowered, calls, [node.inputs[0]])):
            wanted = targets[node.name].samples[image]
            sizes = lowered_sizes(node, values[node.inputs[0]].shape, exact.shape)
            positions = sample_positions(sizes, image, images)
            read = layer_inputs(node.op, values[node.inputs[0]], exact.shape, positions)
            rows = exact.reshape(len(read), -1, read.shape[2])
            wanted = wanted - bias[0] if bias else wanted
            wanted = wanted.reshape(len(wanted), len(read), -1).transpose(1, 0, 2)
            left = wanted - read @ rows.transpose(0, 2, 1)
            inputs = (
                inputs[0] + read.transpose(0, 2, 1) @ read,
                (inputs[1] + read.transpose(0, 2, 1) @ left),
            )
            sums = [sums[0] + read.sum(axis=1), sums[1] + left.sum(axis=1)]
            samples += read.shape[1]
        if centered:
            mean = sums[0][:, :, None] / samples
            inputs = inputs[0] - mean * sums[0][:, None], inputs[1] - mean * sums[1][:, None]
        total = Moments(total.inputs + inputs[0], total.residuals + inputs[1])
        count += samples
    # Few samples say little about n weights: the diagonal alone, that is the nearest rounding,
    # gets the weight of n samples.
    size = total.inputs.shape[1]
    share = count / (count + size)
    scale = np.trace(total.inputs, axis1=1, axis2=2)[:, None, None] / size
    shrunk = share * total.inputs + (1 - share) * scale * np.eye(size)
    return Moments(shrunk / count, share * total.residuals / count)


def lowered_sizes(node: Node, source: Sequence[int], weight: Sequence[int]) -> tuple[int, ...]:
    """Height and width of what a layer gives for an input of that shape; none for a vector.

    Parameters
    ----------
    node
        The layer.
    source
        Shape of its input, ``(C, H, W)`` or ``(F,)``.
    weight
        Shape of its weights.
    """
    return tuple(int(size) for size in node.op.shape(tuple(source), tuple(weight))[1:])  # type: ignore[arg-type]
