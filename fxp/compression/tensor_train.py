"""Fully connected layers in the tensor-train format.

A. Novikov, D. Podoprikhin, A. Osokin, D. Vetrov: Tensorizing neural networks, 2015. The matrix is
a chain of cores, from TensorLy; the layer applies them one by one, each as a convolution of one
pixel, which is how it becomes an integer graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.compression.layers import check_count, check_error, check_finite
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import tensorly.decomposition as tensorly_decomposition
else:
    tensorly_decomposition = lazy_import("tensorly.decomposition", "compression")


class TensorTrainLinear(nn.Module):
    """A linear layer whose matrix is a train of cores.

    Parameters
    ----------
    inputs, outputs
        Factors of the number of features, one for each core.
    ranks
        Sizes between the cores, one less than there are cores.
    bias
        Whether there is one.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], ranks: Sequence[int], *, bias: bool
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.ranks = (1, *ranks, 1)
        self.cores = nn.ParameterList(
            nn.Parameter(torch.empty(right * m, left * n).normal_(0, (left * n) ** -0.5))
            for left, n, m, right in zip(
                self.ranks[:-1], self.inputs, self.outputs, self.ranks[1:], strict=True
            )
        )
        self.bias = nn.Parameter(torch.zeros(math.prod(outputs))) if bias else None

    def forward(self, vector: Tensor) -> Tensor:
        """Apply the cores from the first factor of the inputs to the last."""
        rest, done = math.prod(self.inputs), 1
        values = vector.reshape(-1, rest, 1, 1)
        for core, left, n, m, right in zip(
            self.cores, self.ranks[:-1], self.inputs, self.outputs, self.ranks[1:], strict=True
        ):
            rest //= n
            # left and n become right and m, which moves behind the outputs that are done.
            pixels = values.reshape(-1, left * n, rest, done)
            values = functional.conv2d(pixels, core[..., None, None])
            values = values.reshape(-1, right, m, rest, done).permute(0, 1, 3, 4, 2)
            done *= m
        flat = values.reshape(*vector.shape[:-1], done)
        return flat if self.bias is None else flat + self.bias

    def matrix(self) -> Tensor:
        """Return the matrix, ``(outputs, inputs)``."""
        return self._without_bias(torch.eye(math.prod(self.inputs)).to(self.cores[0])).T

    def _without_bias(self, vector: Tensor) -> Tensor:
        result = self(vector)
        return result if self.bias is None else result - self.bias


def tensor_train_linear(
    layer: nn.Linear, inputs: Sequence[int], outputs: Sequence[int], ranks: Sequence[int] | float
) -> TensorTrainLinear:
    """Return a linear layer as a train of cores.

    Parameters
    ----------
    layer
        The layer.
    inputs, outputs
        Factors of its numbers of features, as many of each.
    ranks
        Sizes between the cores; or a relative error of the matrix, above 0 and below 1, from which
        the ranks follow.

    Raises
    ------
    ArgumentError
        If the factors do not multiply to the features, or a rank is above what its place allows.
    """
    if not isinstance(layer, nn.Linear) or type(layer).forward is not nn.Linear.forward:
        raise ArgumentError(f"an ordinary Linear layer becomes a tensor train, not {layer}")
    check_finite(layer.weight, str(layer))
    for factors, features, what in (
        (inputs, layer.in_features, "inputs"), (outputs, layer.out_features, "outputs")
    ):  # fmt: skip
        for factor in factors:
            check_count(factor, f"a factor of the {what}", 1, features)
        if math.prod(factors) != features:
            raise ArgumentError(f"{what} {tuple(factors)} do not multiply to {features} features")
    if len(inputs) != len(outputs):
        raise ArgumentError(f"{len(inputs)} factors of inputs need as many of outputs, "
                            f"got {len(outputs)}")  # fmt: skip
    count = len(inputs)
    sizes = [n * m for n, m in zip(inputs, outputs, strict=True)]
    matrix = layer.weight.detach().cpu().double().numpy().reshape(*outputs, *inputs)
    if isinstance(ranks, Sequence | np.ndarray):
        chosen = list(ranks)
        if len(chosen) != count - 1:
            raise ArgumentError(f"{count} cores have {count - 1} ranks between them, "
                                f"got {len(chosen)}")  # fmt: skip
        for place, rank in enumerate(chosen, 1):
            most = min(math.prod(sizes[:place]), math.prod(sizes[place:]))
            chosen[place - 1] = check_count(rank, f"rank {place}", 1, most)
    else:
        chosen = _ranks_for(matrix, sizes, count, ranks)
    cores = tensorly_decomposition.tensor_train_matrix(matrix, [1, *chosen, 1])
    result = TensorTrainLinear(inputs, outputs, [core.shape[3] for core in cores[:-1]],
                               bias=layer.bias is not None)  # fmt: skip
    for parameter, core in zip(result.cores, cores, strict=True):
        left, m, n, right = core.shape
        values = core.transpose(3, 1, 0, 2).reshape(right * m, left * n)
        parameter.data = torch.from_numpy(np.ascontiguousarray(values)).to(layer.weight)
    if layer.bias is not None:
        result.bias = nn.Parameter(layer.bias.detach().clone())
    return result.to(layer.weight.device).train(layer.training)


def _ranks_for(matrix: np.ndarray, sizes: list[int], count: int, error: float) -> list[int]:
    """Return ranks for an error: each of the cuts may lose its share of the squared norm.

    I. Oseledets: Tensor-train decomposition, 2011, theorem 2.2.
    """
    error = check_error(error)
    order = [axis for place in range(count) for axis in (place, count + place)]
    tensor = matrix.transpose(order)
    ranks = []
    for place in range(1, count):
        energies = (
            np.linalg.svd(tensor.reshape(math.prod(sizes[:place]), -1), compute_uv=False) ** 2
        )
        lost = energies[::-1].cumsum()[::-1]
        ranks.append(max(1, int((lost > error**2 / (count - 1) * energies.sum()).sum())))
    return ranks
