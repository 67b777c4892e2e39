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

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.workers import check_threads
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear
from fxp.kernels.compiler import njit
from fxp.quantization.constants import rows_of_one_size
from fxp.quantization.refinement.layers import (
    layer_inputs,
    sample_positions,
)
from fxp.quantization.refinement.values import LiveValues

MAX_COLUMNS: Final = 4096
"""Layers with more weights per output channel keep the nearest, because of the matrix' size."""
MAX_ELEMENTS: Final = 1 << 24
"""Numbers that are gathered from the inputs of a layer at once, at most."""
MAX_PAIR_COLUMNS: Final = 1024
"""Pairs of flips are tried up to so many weights per output channel."""
FEW_CHANGES: Final = 1 << 12
"""Flips of a layer that are found before a second thread has started."""
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
    graph: Graph, node: Node, weight: Constant, values: LiveValues, *, free_bias: bool
) -> Constant | None:
    """Round the weights of a layer for the least error of its outputs.

    Parameters
    ----------
    graph
        The float graph.
    node
        The layer's node in the integer graph.
    weight
        Its integer weights.
    values
        Those of both networks: the integer network's up to the layer's input, the float network's
        up to its output.
    free_bias
        Whether a bias will take off the mean error, so that it does not count here.

    Returns
    -------
    Constant
        The integers, each the float weight rounded up or down; None for a layer of another kind or
        of more than `MAX_COLUMNS` weights per output channel.
    """
    known = isinstance(node.op, Conv2d | ConvTranspose2d | Linear)
    if not known or weight.data[0].size > MAX_COLUMNS:
        return None
    exact = graph.constants_by_name[graph.node(node.name).inputs[1]].data
    moments = _moments(graph, node, exact, values, free_bias)
    rows = exact.reshape(len(moments.inputs), -1, weight.data[0].size)
    steps = np.array([form.step for form in weight.formats])
    steps = np.broadcast_to(steps, len(exact)).reshape(*rows.shape[:2], 1)
    low, high = weight.formats[0].min_raw, weight.formats[0].max_raw
    nearest = weight.data.reshape(rows.shape)
    down, up = (np.clip(f(rows / steps), low, high).astype(np.int64) for f in (np.floor, np.ceil))
    # Where a weight is clipped, or exact, both are the nearest, and there is no choice.
    alike = rows_of_one_size(exact).reshape(*rows.shape[:2], 1)
    down, up = (np.where(alike, nearest, raws) for raws in (down, up))
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
    changes = np.array(changes, order="C")
    flipped = np.zeros(changes.shape, bool)
    moments = np.ascontiguousarray(moments)
    slopes = errors @ moments - residuals
    if changes.size <= FEW_CHANGES:
        _descend(moments, slopes, changes, flipped)
        return flipped
    # Rows know nothing of each other, so several processors may take some each.
    threads = check_threads(None)
    ends = [len(changes) * number // threads for number in range(threads + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [
            pool.submit(_descend, moments, slopes[part], changes[part], flipped[part])
            for part in parts
        ]:
            done.result()
    return flipped


@njit(cache=True, nogil=True)
def _descend(
    moments: NDArray[np.float64],
    slopes: NDArray[np.float64],
    changes: NDArray[np.float64],
    flipped: NDArray[np.bool_],
) -> None:
    """Make the best flip, or else the best pair of flips, of each row until none gains."""
    rows, count = changes.shape
    gains = np.empty(count)
    diagonal = np.diag(moments).copy()  # neighbours in memory, for vectors
    for row in range(rows):
        change, slope = changes[row], slopes[row]
        least = 0.0
        for i in range(count):
            least -= TOLERANCE * diagonal[i] * change[i] ** 2
        while True:
            one, other, gain = -1, -1, least
            for i in range(count):
                gains[i] = change[i] * (2 * slope[i] + change[i] * diagonal[i])
            for i in range(count):
                if gains[i] < gain:
                    one, gain = i, gains[i]
            if one < 0 and count <= MAX_PAIR_COLUMNS:
                for i in range(count):
                    # A pair of which one cannot change is a single flip, tried before.
                    if change[i] == 0:
                        continue
                    # Mostly there is none, which vectors tell.
                    own, twice, shared = gains[i], 2 * change[i], moments[i]
                    least_pair = gain
                    for j in range(i + 1, count):
                        least_pair = min(least_pair, own + gains[j] + twice * change[j] * shared[j])
                    if least_pair == gain:
                        continue
                    for j in range(i + 1, count):
                        both = gains[i] + gains[j] + 2 * change[i] * change[j] * moments[i, j]
                        if both < gain and change[j] != 0:
                            one, other, gain = i, j, both
            if one < 0:
                break
            for index in (one, other):
                if index >= 0:
                    for i in range(count):
                        slope[i] += moments[index, i] * change[index]
                    change[index] = -change[index]
                    flipped[row, index] = not flipped[row, index]


def _moments(
    graph: Graph, node: Node, exact: NDArray[np.float64], values: LiveValues, centered: bool
) -> Moments:
    """Gather moments of what a node reads."""
    bias = [graph.constants_by_name[name].data for name in graph.node(node.name).inputs[2:]]
    groups = node.op.groups if isinstance(node.op, Conv2d | ConvTranspose2d) else 1
    total = Moments(np.zeros(()), np.zeros(()))
    sums = [np.zeros(()), np.zeros(())]
    count = 0
    for image in range(values.count):
        wanted = values.real(node.name, image)
        source = values.fixed(node.inputs[0], image)
        places = sample_positions(wanted.shape[1:], image, values.count)
        wanted = wanted.reshape(len(wanted), *wanted.shape[1:] or (1, 1))
        at_once = max(MAX_ELEMENTS // (groups * exact[0].size), 1)
        for start in range(0, len(places[0]), at_once):
            rows, columns = (where[start : start + at_once] for where in places)
            read = layer_inputs(node.op, source, exact.shape, (rows, columns))
            weights = exact.reshape(len(read), -1, read.shape[2])
            left = wanted[:, rows, columns].T - (bias[0] if bias else 0.0)
            left = left.reshape(len(left), len(read), -1).transpose(1, 0, 2)
            left = left - read @ weights.transpose(0, 2, 1)
            turned = read.transpose(0, 2, 1)
            total = Moments(total.inputs + turned @ read, total.residuals + turned @ left)
            sums = [sums[0] + read.sum(axis=1), sums[1] + left.sum(axis=1)]
            count += read.shape[1]
    if centered:
        mean = sums[0][:, :, None] / count
        total = Moments(
            total.inputs - mean * sums[0][:, None], total.residuals - mean * sums[1][:, None]
        )
    # Few samples say little about n weights: the diagonal alone, that is the nearest rounding,
    # gets the weight of n samples.
    size = total.inputs.shape[1]
    share = count / (count + size)
    scale = np.trace(total.inputs, axis1=1, axis2=2)[:, None, None] / size
    shrunk = share * total.inputs + (1 - share) * scale * np.eye(size)
    return Moments(shrunk / count, share * total.residuals / count)
