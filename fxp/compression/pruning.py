"""Magnitude pruning: the smallest weights become zero, and stay zero while the rest is trained.

S. Han, J. Pool, J. Tran, W. Dally: Learning both weights and connections for efficient neural
networks, 2015. The masks are those of `torch.nn.utils.prune`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import nn
from torch.nn.utils import prune

from fxp.compression.layers import Network, check_share, is_number, layers_of, plain
from fxp.support.errors import ArgumentError


def prune_weights(
    network: Network,
    fraction: float | Mapping[str, float],
    *,
    scope: Literal["global", "layer"] = "global",
    layers: Iterable[str] | None = None,
) -> Network:
    """Return a copy whose smallest weights are masked.

    Gradients leave the masked weights at zero, so the copy can be trained on; `plain` ends that.
    A network that is pruned already is pruned to this fraction in total, so fractions of repeated
    pruning rise.

    Parameters
    ----------
    network
        Any network.
    fraction
        Share of the weights that become zero, from 0 and below 1; or one for each layer by name.
    scope
        Whether magnitudes are compared over all layers, or within each.
    layers
        Names of the layers; all convolutions and linear layers if left out.

    Raises
    ------
    ArgumentError
        If a fraction is out of range, a layer does not exist, or there is no such scope.
    """
    if scope not in ("global", "layer"):
        raise ArgumentError(f"scope must be 'global' or 'layer', got {scope!r}")
    if isinstance(fraction, Mapping):
        if layers is not None:
            raise ArgumentError("fractions by layer name the layers; leave out layers")
        fractions = {name: check_share(value, f"the fraction of {name}")
                     for name, value in fraction.items()}  # fmt: skip
        scope, layers = "layer", list(fractions)
    else:
        fractions = {}
        fraction = check_share(fraction, "the fraction")
    result = plain(network)
    chosen = layers_of(result, names=layers)
    if scope == "global":
        prune.global_unstructured(
            [(layer, "weight") for layer in chosen.values()], prune.L1Unstructured, amount=fraction
        )
    else:
        for name, layer in chosen.items():
            prune.l1_unstructured(layer, "weight", fractions.get(name, fraction))
    return result


def prune_below(
    network: Network, threshold: float, *, layers: Iterable[str] | None = None
) -> Network:
    """Return a copy in which weights smaller than a multiple of their layer's deviation are masked.

    This is the rule of the paper, which calls the multiple a quality parameter.

    Parameters
    ----------
    network
        Any network.
    threshold
        The multiple of the standard deviation of the weights of each layer; 0 or more.
    layers
        Names of the layers; all convolutions and linear layers if left out.

    Raises
    ------
    ArgumentError
        If the threshold is negative or not finite, or would leave a layer without weights.
    """
    if not is_number(threshold) or threshold < 0:
        raise ArgumentError(f"the threshold must be a number of at least 0, got {threshold!r}")
    result = plain(network)
    for name, layer in layers_of(result, names=layers).items():
        weight = layer.weight.detach()  # type: ignore[union-attr]
        mask = weight.abs() >= threshold * weight.std(correction=0)
        if not mask.any():
            raise ArgumentError(
                f"the threshold {threshold} is above all weights of {name}; the largest is "
                f"{float(weight.abs().max() / weight.std(correction=0)):.2f} deviations"
            )
        prune.custom_from_mask(layer, "weight", mask)
    return result


def densities(network: nn.Module) -> dict[str, float]:
    """Return the share of weights that are not zero, by layer."""
    return {
        name: float(torch.count_nonzero(layer.weight)) / layer.weight.numel()  # type: ignore
        for name, layer in layers_of(network).items()
    }
