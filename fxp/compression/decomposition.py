"""Convolutions as chains of smaller ones: CP decomposition and Tucker-2.

V. Lebedev et al.: Speeding-up convolutional neural networks using fine-tuned CP-decomposition,
2015. Y.-D. Kim et al.: Compression of deep convolutional neural networks for fast and low power
mobile applications, 2016. The factors come from TensorLy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fxp.compression.layers import (
    check_count,
    check_error,
    check_finite,
    layers_of,
    plain,
    replace_layer,
)
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import tensorly
    import tensorly.decomposition as tensorly_decomposition
else:
    tensorly = lazy_import("tensorly", "compression")
    tensorly_decomposition = lazy_import("tensorly.decomposition", "compression")

_ROUNDS: Final = 200
_TOLERANCE: Final = 1e-7
"""Alternating least squares ends when a round lowers the error by less than this."""
_TUCKER_ROUNDS: Final = 10
_TUCKER_TOLERANCE: Final = 1e-4
"""Tucker-2 begins near its end, and a round takes seconds where there are 512 channels."""


def relative_error(weight: Tensor, other: Tensor) -> float:
    """Return the norm of the difference of two weights, divided by that of the first."""
    first, second = weight.detach().double(), other.detach().double()
    return float((first - second).norm() / first.norm().clamp_min(1e-30))


def cp_convolution(layer: nn.Conv2d, rank: int, *, seed: int = 0) -> nn.Sequential:
    """Return four convolutions in the place of one, of a kernel of lower CP rank.

    ``1×1`` to `rank` channels, ``k×1`` and ``1×k`` on each channel of its own, and ``1×1`` to the
    outputs with the bias. That is ``rank · (C_in + k_h + k_w + C_out)`` weights.

    Parameters
    ----------
    layer
        A convolution of one group.
    rank
        1 to `cp_rank_limit` of the layer, with which every kernel can be written.
    seed
        Of the random columns of the first factors, where the rank is above the size of an axis.

    Raises
    ------
    ArgumentError
        If the layer has groups, or the rank is out of range.
    """
    _check_layer(layer)
    rank = check_count(rank, "the rank", 1, cp_rank_limit(layer))
    return _cp_chain(layer, *_cp_factors(layer, rank, seed))


def cp_rank_limit(layer: nn.Conv2d) -> int:
    """Return the product of all axes but the longest, a rank that no kernel exceeds."""
    return math.prod(layer.weight.shape) // max(layer.weight.shape)


def _cp_factors(layer: nn.Conv2d, rank: int, seed: int) -> list[NDArray]:
    """Return factors of outputs, inputs, rows and columns, alike in norm."""
    kernel = layer.weight.detach().cpu().double().numpy()
    if not kernel.any():
        return [np.zeros((size, rank)) for size in kernel.shape]
    first: Any = (np.ones(rank), _first_factors(kernel, rank, seed))
    weights, factors = tensorly_decomposition.parafac(
        kernel, rank, n_iter_max=_ROUNDS, init=first, tol=_TOLERANCE
    )
    # Quantization keeps most precision where the factors of a component are alike in size.
    norms = [np.linalg.norm(factor, axis=0) for factor in factors]
    shared = (np.abs(weights) * math.prod(norms)) ** (1 / len(factors))
    scaled = [
        factor * (shared / np.where(norm > 0, norm, 1))
        for factor, norm in zip(factors, norms, strict=True)
    ]
    return [scaled[0] * np.where(weights < 0, -1, 1), *scaled[1:]]


def _first_factors(kernel: NDArray, rank: int, seed: int) -> list[NDArray]:
    """Return singular vectors of each axis, and random columns beyond its size."""
    random = np.random.default_rng(seed)
    factors = []
    for axis, size in enumerate(kernel.shape):
        unfolded = np.moveaxis(kernel, axis, 0).reshape(size, -1)
        vectors = np.linalg.svd(unfolded, full_matrices=False)[0][:, :rank]
        more = random.standard_normal((size, rank - vectors.shape[1]))
        factors.append(np.concatenate([vectors, more], axis=1))
    return factors


def _cp_chain(
    layer: nn.Conv2d, outputs: NDArray, inputs: NDArray, rows: NDArray, columns: NDArray
) -> nn.Sequential:
    rank, (stride, dilation) = outputs.shape[1], (layer.stride, layer.dilation)
    vertical, horizontal = _padding(layer)
    mode = layer.padding_mode
    chain = nn.Sequential(
        nn.Conv2d(layer.in_channels, rank, 1, bias=False),
        nn.Conv2d(rank, rank, (len(rows), 1), (stride[0], 1), (vertical, 0), (dilation[0], 1),
                  groups=rank, bias=False, padding_mode=mode),
        nn.Conv2d(rank, rank, (1, len(columns)), (1, stride[1]), (0, horizontal), (1, dilation[1]),
                  groups=rank, bias=False, padding_mode=mode),
        nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None),
    )  # fmt: skip
    weights = (
        inputs.T[:, :, None, None],
        rows.T[:, None, :, None],
        columns.T[:, None, None, :],
        outputs[:, :, None, None],
    )
    return _filled(chain, layer, weights)


def tucker_convolution(layer: nn.Conv2d, ranks: tuple[int, int]) -> nn.Sequential:
    """Return three convolutions in the place of one, of fewer channels in the middle.

    ``1×1`` to the second rank, the kernel between the ranks, and ``1×1`` from the first rank to
    the outputs with the bias.

    Parameters
    ----------
    layer
        A convolution of one group.
    ranks
        Of outputs and inputs, each 1 to the number of these channels.

    Raises
    ------
    ArgumentError
        If the layer has groups, or a rank is out of range.
    """
    _check_layer(layer)
    if not isinstance(ranks, Sequence) or len(ranks) != 2:
        raise ArgumentError(
            f"the ranks are those of outputs and inputs, two numbers, not {ranks!r}"
        )
    outputs_rank, inputs_rank = (
        check_count(rank, f"the rank of the {what}", 1, most)
        for rank, most, what in zip(ranks, layer.weight.shape, ("outputs", "inputs"), strict=False)
    )
    kernel = layer.weight.detach().cpu().double().numpy()
    found: Any = tensorly_decomposition.partial_tucker(
        kernel,
        rank=[outputs_rank, inputs_rank],
        modes=[0, 1],
        init="svd",
        n_iter_max=_TUCKER_ROUNDS,
        tol=_TUCKER_TOLERANCE,
    )
    core, (outputs, inputs) = found[0]
    size, stride, dilation = map(_pair, (layer.kernel_size, layer.stride, layer.dilation))
    middle = nn.Conv2d(
        inputs_rank, outputs_rank, size, stride, _padding(layer), dilation, bias=False,
        padding_mode=layer.padding_mode,
    )  # fmt: skip
    chain = nn.Sequential(
        nn.Conv2d(layer.in_channels, inputs_rank, 1, bias=False),
        middle,
        nn.Conv2d(outputs_rank, layer.out_channels, 1, bias=layer.bias is not None),
    )
    weights = (inputs.T[:, :, None, None], core, outputs[:, :, None, None])
    return _filled(chain, layer, weights)


def cp_rank(layer: nn.Conv2d, error: float, *, seed: int = 0) -> int:
    """Return a small rank whose relative error is at most `error`, by bisection.

    Parameters
    ----------
    layer
        A convolution of one group.
    error
        Relative error of the kernel, above 0 and below 1.
    seed
        As for `cp_convolution`.

    Raises
    ------
    ArgumentError
        If the error is out of range, or no rank that makes the layer smaller reaches it.
    """
    _check_layer(layer)
    error = check_error(error)
    count = sum(layer.weight.shape)
    most = min(cp_rank_limit(layer), max(1, layer.weight.numel() // count))

    def reached(rank: int) -> bool:
        chain = _cp_chain(layer, *_cp_factors(layer, rank, seed))
        return relative_error(layer.weight, kernel_of(chain)) <= error

    if not reached(most):
        raise ArgumentError(
            f"no CP rank up to {most}, with which the layer has as many weights as before, has a "
            f"relative error of {error}; allow a larger one"
        )
    low = 0
    while most - low > 1:
        middle = (low + most) // 2
        low, most = (low, middle) if reached(middle) else (middle, most)
    return most


def tucker_ranks(layer: nn.Conv2d, error: float) -> tuple[int, int]:
    """Return the ranks of outputs and inputs whose relative error is at most `error`.

    Half of the squared error is left to each of the two axes: what the smallest singular values of
    the unfolded kernel hold.

    Parameters
    ----------
    layer
        A convolution of one group.
    error
        Relative error of the kernel, above 0 and below 1.
    """
    _check_layer(layer)
    error = check_error(error)
    kernel = layer.weight.detach().cpu().double()
    ranks = []
    for axis in (0, 1):
        energies = torch.linalg.svdvals(kernel.movedim(axis, 0).flatten(1)).square()
        lost = energies.flip(0).cumsum(0).flip(0)  # with rank r, lost[r]
        ranks.append(max(1, int((lost > error**2 / 2 * energies.sum()).sum())))
    return ranks[0], ranks[1]


def decompose(
    network: nn.Module,
    make: Callable[[nn.Conv2d], nn.Module],
    *,
    layers: Iterable[str] | None = None,
) -> nn.Module:
    """Return a copy with other modules in the place of convolutions.

    Parameters
    ----------
    network
        Any network.
    make
        What makes them, such as ``lambda layer: tucker_convolution(layer, tucker_ranks(layer,
        0.3))``.
    layers
        Names of convolutions; if left out, all ordinary ones of one group whose kernel is larger
        than one pixel, where the result has fewer weights.

    Raises
    ------
    ArgumentError
        If a layer does not exist or cannot be decomposed.
    """
    result = plain(network)
    for name, layer in layers_of(result, (nn.Conv2d,), layers).items():
        assert isinstance(layer, nn.Conv2d)
        if layers is None and (
            layer.groups > 1 or layer.kernel_size == (1, 1) or not _is_ordinary(layer)
        ):
            continue
        made = make(layer)
        if layers is not None or _weights(made) < _weights(layer):
            if not name:
                return made.train(layer.training)  # the network is a single convolution
            replace_layer(result, name, made)
    return result


def kernel_of(chain: nn.Sequential) -> Tensor:
    """Return the kernel that a chain of `cp_convolution` or `tucker_convolution` stands for."""
    first, *middle, last = (each.weight.detach().double() for each in chain)  # type: ignore
    if len(middle) == 2:
        return torch.einsum("or,ri,rh,rw->oihw", last[:, :, 0, 0], first[:, :, 0, 0],
                            middle[0][:, 0, :, 0], middle[1][:, 0, 0, :])  # fmt: skip
    return torch.einsum("oa,abhw,bi->oihw", last[:, :, 0, 0], middle[0], first[:, :, 0, 0])


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_layer(layer: Any) -> None:
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1:
        raise ArgumentError(f"a Conv2d of one group is decomposed, not {layer}")
    if not _is_ordinary(layer):
        raise ArgumentError(
            f"{type(layer).__name__} computes something else than a Conv2d with its weights; only "
            "ordinary convolutions are decomposed"
        )
    check_finite(layer.weight, str(layer))


def _is_ordinary(layer: nn.Conv2d) -> bool:
    """Whether a layer computes what its class says, not, for example, with binary weights."""
    kind = type(layer)
    return kind.forward is nn.Conv2d.forward and kind._conv_forward is nn.Conv2d._conv_forward


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    """Return rows and columns of padding on each side."""
    if not isinstance(layer.padding, str):
        vertical, horizontal = layer.padding
        return vertical, horizontal
    if layer.padding == "valid":
        return 0, 0
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if any(span % 2 for span in spans):
        raise ArgumentError(f"padding='same' of the even kernel of {layer} is not the same on all "
                            "sides")  # fmt: skip
    return spans[0] // 2, spans[1] // 2


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def _filled(chain: nn.Sequential, layer: nn.Conv2d, weights: Iterable[NDArray]) -> nn.Sequential:
    """Put weights and the bias of the layer into a chain, on the layer's device."""
    chain = chain.to(layer.weight)
    for each, weight in zip(chain, weights, strict=True):
        each.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weight)).to(layer.weight))
    if layer.bias is not None:
        chain[-1].bias = nn.Parameter(layer.bias.detach().clone())
    return chain.train(layer.training)
