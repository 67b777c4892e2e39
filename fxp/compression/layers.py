"""What every method needs: layers by name, copies, and the plain network at the end."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from fxp.support.errors import ArgumentError, ArgumentTypeError

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Layers whose weights are pruned and shared."""

Network = TypeVar("Network", bound=nn.Module)


def copied(network: Network) -> Network:
    """Return a copy to work on; the network that was given stays as it is.

    Raises
    ------
    ArgumentTypeError
        If it is no module.
    """
    if not isinstance(network, nn.Module):
        raise ArgumentTypeError(f"a torch.nn.Module is compressed, not {type(network).__name__}")
    # Masked weights are results of the last call, which torch refuses to copy with their history.
    results = {
        id(value): value.detach().clone()
        for module in network.modules() for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }  # fmt: skip
    result = copy.deepcopy(network, results)
    for module in result.modules():
        if parametrize.is_parametrized(module):
            # Parametrizations are properties of a class that torch makes for the module, and that
            # copies share: removed from one, they would be missing in all.
            kind = type(module)
            own: Any = type(kind.__name__, kind.__bases__, dict(vars(kind)))
            module.__class__ = own
    return result


def layers_of(
    network: nn.Module,
    kinds: tuple[type[nn.Module], ...] = WEIGHTED,
    names: Iterable[str] | None = None,
) -> dict[str, nn.Module]:
    """Return layers by name.

    Parameters
    ----------
    network
        Where they are.
    kinds
        Classes that they may be of.
    names
        Those that are wanted, as in ``network.named_modules()``; all of these kinds if left out.

    Raises
    ------
    ArgumentError
        If a name is none of such a layer, there is no such layer at all, or weights of one that is
        wanted are not finite.
    """
    found = {name: module for name, module in network.named_modules() if isinstance(module, kinds)}
    wanted = list(found) if names is None else [names] if isinstance(names, str) else list(names)
    words = " or ".join(kind.__name__ for kind in kinds)
    if not found or not wanted:
        raise ArgumentError(f"{type(network).__name__} has no {words} to compress")
    for name in wanted:
        if name not in found:
            raise ArgumentError(f"no {words} is called {name!r}, only {', '.join(found)}")
    for name in wanted:
        check_finite(found[name].weight, name)
    return {name: found[name] for name in wanted}


def check_finite(weight: Any, name: str) -> None:
    """Raise `ArgumentError` if a weight holds NaN or infinity, of which no size is the smallest.

    Parameters
    ----------
    weight
        A tensor.
    name
        Of its layer, for the message.
    """
    if not torch.isfinite(weight).all():
        raise ArgumentError(
            f"weights of {name} are NaN or infinite; compress weights from before the training "
            "failed"
        )


def replace_layer(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put another module in the place of one.

    Parameters
    ----------
    network
        The network, which is changed.
    name
        The place; the empty name of the network itself is none.
    layer
        What comes there; it takes over the mode, training or eval.

    Raises
    ------
    ArgumentError
        If the name is empty.
    """
    if not name:
        raise ArgumentError("a network cannot be replaced in itself; take the layer in its place")
    parent, _, last = name.rpartition(".")
    layer.train(network.get_submodule(name).training)
    setattr(network.get_submodule(parent), last, layer)


def plain(network: Network) -> Network:
    """Return a copy whose weights are ordinary parameters with their present values.

    Masks of `torch.nn.utils.prune` and parametrizations, those of shared and hashed weights among
    them, end there: pruned weights are zeros, shared ones are equal. Weight and spectral
    normalization end as well.
    """
    result = copied(network)
    for module in result.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
                _forget_spectral_states(module, hook.name)
        for name in [key for key, _ in module.named_parameters(recurse=False)]:
            weight = name.removesuffix("_orig")
            if name != weight and f"{weight}_mask" in dict(module.named_buffers(recurse=False)):
                prune.remove(module, weight)
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return result


def _forget_spectral_states(module: nn.Module, name: str) -> None:
    """Remove the hook by which a state dictionary must have what spectral normalization keeps.

    `remove_spectral_norm` looks for it, but not in the wrapper that torch puts around such hooks.
    """
    hooks = module._load_state_dict_pre_hooks
    for key, wrapped in list(hooks.items()):
        hook = getattr(wrapped, "hook", wrapped)
        if isinstance(hook, SpectralNormLoadStateDictPreHook) and hook.fn.name == name:
            del hooks[key]


def own_parameter(layer: nn.Module, name: str) -> None:
    """Give a layer a parameter of its own, where it may share one with another layer.

    A parametrization takes the place of a parameter in the memory of all that share it.

    Parameters
    ----------
    layer
        The layer.
    name
        Of the parameter.
    """
    given = getattr(layer, name)
    setattr(layer, name, nn.Parameter(given.detach().clone(), given.requires_grad))


def check_share(value: float, what: str) -> float:
    """Return a share if it is a number from 0 up to but not including 1.

    Parameters
    ----------
    value
        What was given.
    what
        Its name, for the message.

    Raises
    ------
    ArgumentError
        If it is not.
    """
    if not is_number(value) or not 0 <= value < 1:
        raise ArgumentError(f"{what} must be at least 0 and below 1, got {value!r}")
    return float(value)


def check_count(value: int, what: str, low: int, high: int) -> int:
    """Return an integer if it lies within limits.

    Parameters
    ----------
    value
        What was given.
    what
        Its name, for the message.
    low, high
        Smallest and largest that is allowed.

    Raises
    ------
    ArgumentError
        If it does not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise ArgumentError(f"{what} must be an integer from {low} to {high}, got {value!r}")
    return int(value)


def check_error(error: float) -> float:
    """Return a relative error if it is a number above 0 and below 1.

    Raises
    ------
    ArgumentError
        If it is not.
    """
    if not is_number(error) or not 0 < error < 1:
        raise ArgumentError(f"the relative error must be above 0 and below 1, got {error!r}")
    return float(error)


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number, of Python or of NumPy, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
