"""Shared weights: those of a layer take few values, which are trained on together.

The second step of S. Han, H. Mao, W. Dally: Deep Compression, 2016: k-means over the weights of a
layer from centroids at equal distances; the gradient of a centroid is the sum over its weights.
Pruned weights stay zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fxp.compression.layers import Network, check_count, layers_of, own_parameter, plain
from fxp.compression.limits import CONVOLUTION_BITS, LINEAR_BITS, MAX_BITS
from fxp.support.errors import ArgumentError

_ROUNDS: Final = 50


def cluster(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the centroids of one-dimensional k-means, ascending and each with members.

    On a line every cluster is an interval, so a round needs a search for the borders and the sums
    between them, however many values there are.

    Parameters
    ----------
    values
        What is clustered, any shape.
    count
        Most centroids; where there are no more different values, these are returned.
    """
    ordered = np.sort(values, axis=None)
    different = np.unique(ordered)
    if len(different) <= count:
        return different
    sums = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    centroids = np.linspace(float(ordered[0]), float(ordered[-1]), count)
    members = np.zeros(count, int)
    for _ in range(_ROUNDS):
        inner = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        borders = np.concatenate([[0], inner, [len(ordered)]])
        members = np.diff(borders)
        moved = np.where(members, np.diff(sums[borders]) / np.maximum(members, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return np.unique(centroids[members > 0].astype(np.float32))


def codes_of(values: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return for each value 1 and the index of its nearest centroid, 0 where it is zero.

    Parameters
    ----------
    values
        Any shape.
    centroids
        Ascending.
    """
    between = (centroids[1:].astype(np.float64) + centroids[:-1]) / 2
    return np.where(values == 0, 0, np.searchsorted(between, values) + 1).astype(np.int32)


def shared_values(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Return an array with each non-zero value replaced by its centroid.

    Parameters
    ----------
    values
        Any shape.
    bits
        Width of a code; there are at most ``2**bits`` centroids.
    """
    centroids = cluster(values[values != 0], 2**bits)
    return np.concatenate([np.zeros(1, np.float32), centroids])[codes_of(values, centroids)]


class SharedWeights(nn.Module):
    """Parametrization of a weight by the centroids of its layer.

    Parameters
    ----------
    bits
        Width of a code.
    weight
        The weight that becomes shared.
    """

    codes: Tensor

    def __init__(self, bits: int, weight: Tensor) -> None:
        super().__init__()
        values = weight.detach().cpu().float().numpy()
        self.centroids = cluster(values[values != 0], 2**bits)
        codes = torch.from_numpy(codes_of(values, self.centroids))
        self.register_buffer("codes", codes.to(weight.device))

    def forward(self, centroids: Tensor) -> Tensor:
        """Look the weights up."""
        table = torch.cat([centroids.new_zeros(1), centroids])
        return table.index_select(0, self.codes.flatten()).view(self.codes.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the centroids that are trained in place of the weight."""
        return torch.from_numpy(self.centroids).to(weight)


def share_weights(
    network: Network,
    *,
    convolution_bits: int = CONVOLUTION_BITS,
    linear_bits: int = LINEAR_BITS,
    bits: Mapping[str, int] | None = None,
) -> Network:
    """Return a copy whose layers have few different weights, ready to be trained on.

    Its parameters are the centroids. `fxp.compression.layers.plain` turns them into ordinary
    weights, and `fxp.compression.compressed_file` stores these in few bits. Masks of pruning end;
    the codes keep pruned weights at zero.

    Parameters
    ----------
    network
        Any network, usually a pruned one.
    convolution_bits, linear_bits
        Width of the codes of these layers, 1 to 8.
    bits
        Width for single layers by name; 0 leaves a layer as it is.

    Raises
    ------
    ArgumentError
        If a width is out of range, or a layer does not exist.
    """
    convolution_bits = check_count(convolution_bits, "convolution_bits", 1, MAX_BITS)
    linear_bits = check_count(linear_bits, "linear_bits", 1, MAX_BITS)
    given = {name: check_count(width, f"the bits of {name}", 0, MAX_BITS)
             for name, width in (bits or {}).items()}  # fmt: skip
    result = plain(network)
    layers = layers_of(result)
    for name in given:
        if name not in layers:
            raise ArgumentError(f"no layer is called {name!r}, only {', '.join(layers)}")
    for name, layer in layers.items():
        width = given.get(name, linear_bits if isinstance(layer, nn.Linear) else convolution_bits)
        if width:
            own_parameter(layer, "weight")
            shared = SharedWeights(width, layer.weight)  # type: ignore[arg-type]
            parametrize.register_parametrization(layer, "weight", shared)
            layer.train(layer.training)
    return result
