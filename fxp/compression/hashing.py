"""HashedNets: the weights of a linear layer are drawn from few, by a hash of their position.

W. Chen, J. Wilson, S. Tyree, K. Weinberger, Y. Chen: Compressing neural networks with the hashing
trick, 2015. ``V_ij = ξ(i, j) · w_h(i, j)``; nothing but the buckets ``w`` is stored. Keys and seed
are those of A. Rassadin and A. Savchenko: Compressing deep convolutional neural networks in visual
emotion recognition, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fxp.compression.layers import Network, is_number, layers_of, own_parameter, plain
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import xxhash
else:
    xxhash = lazy_import("xxhash", "compression")

SEED: Final = 1691
RATE: Final = 1 / 8


def hashed_positions(rows: int, columns: int, tag: str) -> NDArray[np.uint32]:
    """Return the hash of every position, ``(rows, columns)``.

    It is xxHash32 of the text of ``i, i+1, i+2``, an underscore, ``j, j+1, j+2`` and a tag; rows
    ``i`` and columns ``j`` are counted from 1.

    Parameters
    ----------
    rows, columns
        Size of the weight.
    tag
        Tells hashes of one layer from each other.
    """
    ends = [f"_{j}{j + 1}{j + 2}{tag}".encode() for j in range(1, columns + 1)]
    digest = xxhash.xxh32_intdigest
    hashes = np.empty((rows, columns), np.uint32)
    for row in range(rows):
        start = f"{row + 1}{row + 2}{row + 3}".encode()
        hashes[row] = [digest(start + end, SEED) for end in ends]
    return hashes


class HashedParameter(nn.Module):
    """Parametrization of a weight or bias by its buckets.

    Parameters
    ----------
    shape
        Of the parameter, ``(outputs, inputs)`` or ``(outputs,)``.
    buckets
        How many there are.
    inputs
        Inputs of the layer, for the first values of the buckets.
    """

    places: Tensor
    signs: Tensor

    def __init__(self, shape: tuple[int, ...], buckets: int, inputs: int) -> None:
        super().__init__()
        self.buckets, self.inputs = buckets, inputs
        rows, columns, tag = shape[0], math.prod(shape[1:]), "W" if len(shape) > 1 else "B"
        places = hashed_positions(rows, columns, f"idx{tag}") % buckets
        odd = hashed_positions(rows, columns, f"xi_{tag}") % 2
        self.register_buffer("places", torch.from_numpy(places.astype(np.int32)).reshape(shape))
        signs = torch.from_numpy(odd.astype(np.int8)).reshape(shape) * 2 - 1
        self.register_buffer("signs", signs)

    def forward(self, values: Tensor) -> Tensor:
        """Look the weights up, each with its sign."""
        return values.index_select(0, self.places.flatten()).view(self.places.shape) * self.signs

    def right_inverse(self, parameter: Tensor) -> Tensor:
        """Return the mean of the weights of each bucket, the nearest values that it can have."""
        flat = self.places.flatten()
        zeros = torch.zeros(self.buckets).to(parameter)
        sums = zeros.index_add(0, flat, (parameter * self.signs).flatten())
        return sums / zeros.index_add(0, flat, torch.ones_like(parameter).flatten()).clamp_min(1)

    def first_values(self, generator: torch.Generator) -> Tensor:
        """Return random buckets, uniform up to ``1 / √inputs``."""
        limit = self.inputs**-0.5
        return torch.empty(self.buckets).uniform_(-limit, limit, generator=generator)


def hash_layers(
    network: Network,
    *,
    rate: float = RATE,
    layers: Iterable[str] | None = None,
    seed: int | None = None,
) -> Network:
    """Return a copy whose linear layers, biases too, are hashed, ready to be trained.

    The state dictionary holds the buckets as ``NAME.parametrizations.weight.original``; places and
    signs follow from the positions, so that they need not be stored.
    `fxp.compression.layers.plain` makes ordinary weights of them.

    Parameters
    ----------
    network
        Any network with linear layers.
    rate
        Buckets for each weight, above 0 and at most 1; rounded up in each parameter.
    layers
        Names of linear layers; all if left out.
    seed
        Start from random buckets. If left out, a bucket starts as the mean of its weights.

    Raises
    ------
    ArgumentError
        If the rate is out of range, or a name is that of no linear layer.
    """
    if not is_number(rate) or not 0 < rate <= 1:
        raise ArgumentError(f"the rate must be above 0 and at most 1, got {rate!r}")
    result = plain(network)
    generator = torch.Generator().manual_seed(seed or 0)
    for layer in layers_of(result, (nn.Linear,), layers).values():
        assert isinstance(layer, nn.Linear)
        for name, parameter in list(layer.named_parameters(recurse=False)):
            buckets = math.ceil(rate * parameter.numel())
            hashed = HashedParameter(tuple(parameter.shape), buckets, layer.in_features)
            own_parameter(layer, name)
            parametrize.register_parametrization(layer, name, hashed.to(parameter.device))
            if seed is not None:
                with torch.no_grad():
                    original = getattr(layer.parametrizations, name).original
                    original.copy_(hashed.first_values(generator))
        layer.train(layer.training)
    return result


def hashed_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are stored, buckets in place of weights."""
    return sum(parameter.numel() for parameter in network.parameters())
