"""Structured pruning: whole channels leave the network, and all layers become smaller.

Which channels belong together, over residual additions, concatenations, depthwise and flattened
layers, is found by Torch-Pruning (G. Fang et al.: DepGraph, 2023). Each removal is checked: the
smaller network must compute what the larger one does when the layers behind the channels no longer
read them. Channels for which that fails, such as those that a shortcut pads, are left in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from torch import Tensor, nn

from fxp.compression.layers import WEIGHTED, Network, check_share, layers_of, plain
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch_pruning
else:
    torch_pruning = lazy_import("torch_pruning", "compression")

_NORMS: Final = (nn.BatchNorm2d, nn.BatchNorm1d)
_SHARED_NORMS: Final = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
_TOLERANCE: Final = 1e-3
"""Largest difference that float32 sums of another order may make, of the largest output."""

Scores = Mapping[str, Tensor]
"""Importance of every output channel, by the name of its layer; smaller ones go first."""


def magnitude_scores(network: nn.Module) -> dict[str, Tensor]:
    """Return the sum of absolute weights of each filter.

    H. Li et al.: Pruning filters for efficient ConvNets, 2017.
    """
    return {
        name: _filters(layer).detach().abs().flatten(1).sum(1)
        for name, layer in layers_of(network).items()
    }


def _filters(layer: nn.Module) -> Tensor:
    """Weights of a layer with its output channels first."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if not isinstance(layer, nn.ConvTranspose2d):
        return weight
    groups = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return groups.transpose(1, 2).flatten(0, 1)


def taylor_scores(
    network: nn.Module, batches: Iterable[Any], loss: Callable[[nn.Module, Any], Tensor]
) -> dict[str, Tensor]:
    """Return how much the loss would change without each channel, to first order.

    ``|Σ a ∂L/∂a|`` over the positions of a feature map, averaged over the pictures, and divided by
    the norm of its layer. P. Molchanov et al.: Pruning convolutional neural networks for resource
    efficient inference, 2017. Feature maps are those behind batch normalization, where there is
    one; before and behind a ReLU the product is the same.

    Parameters
    ----------
    network
        Any network; it runs in eval mode and stays as it is.
    batches
        Training data, a few hundred pictures.
    loss
        ``loss(network, batch)``, a scalar.

    Raises
    ------
    ArgumentError
        If there are no batches, or a loss is no finite number.
    """
    work = plain(network).eval().requires_grad_()  # frozen layers have scores, too
    sums: dict[str, Tensor] = {}
    layers = {**layers_of(work), **{n: m for n, m in work.named_modules() if isinstance(m, _NORMS)}}

    def record(name: str) -> Callable[..., None]:
        def forward(module: nn.Module, _inputs: Any, output: Tensor) -> None:
            channels_last = isinstance(module, nn.Linear)
            values = output.detach().clone()  # the next layer may work in place

            def backward(gradient: Tensor) -> None:
                products = values * gradient
                if channels_last:
                    products = products.movedim(-1, 1)
                score = products.reshape(*products.shape[:2], -1).sum(2).abs().sum(0)
                sums[name] = sums[name] + score if name in sums else score

            if output.requires_grad:
                output.register_hook(backward)

        return forward

    for name, layer in layers.items():
        layer.register_forward_hook(record(name))
    count = 0
    for count, batch in enumerate(batches, 1):
        with torch.enable_grad():
            value = loss(work, batch)
        if not isinstance(value, Tensor) or value.numel() != 1 or not bool(value.isfinite()):
            raise ArgumentError(f"the loss of batch {count} is no finite number, but {value}")
        value.backward()
        work.zero_grad()
    if not count:
        raise ArgumentError("there are no batches to measure the importance of channels on")
    return {name: score / score.norm().clamp_min(1e-30) for name, score in sums.items()}


def prune_channels(
    network: Network,
    example: Tensor | tuple[Tensor, ...],
    fraction: float,
    *,
    scores: Scores | None = None,
    scope: Literal["global", "layer"] = "layer",
    keep: Iterable[str] = (),
) -> Network:
    """Return a copy without the least important channels.

    The channels of the inputs and outputs stay, and at least one channel of every layer.

    Parameters
    ----------
    network
        Any network that torch can run and differentiate.
    example
        Typical inputs with batch; with them each removal is checked.
    fraction
        Share of the channels that go, from 0 and below 1.
    scores
        As `taylor_scores` returns them; `magnitude_scores` if left out.
    scope
        Whether that share is taken from each group of connected layers, or from all by their
        scores; Taylor scores are made to be compared over layers.
    keep
        Names of layers whose output channels stay.

    Raises
    ------
    ArgumentError
        If an argument is out of range or names no layer, or no channel can be removed.
    """
    check_share(fraction, "the fraction")
    if scope not in ("global", "layer"):
        raise ArgumentError(f"scope must be 'global' or 'layer', got {scope!r}")
    examples = example if isinstance(example, tuple) else (example,)
    result = plain(network)
    modes = {module: module.training for module in result.modules()}
    result.eval()
    keep = [keep] if isinstance(keep, str) else list(keep)
    kept = list(layers_of(result, names=keep).values()) if keep else []
    known = magnitude_scores(result) if scores is None else scores
    by_module = _by_module(result, known)
    kept += _last_layers(result, examples)
    # Layers may share a parameter, and have two afterwards.
    trained = {
        name: item.requires_grad for name, item in result.named_parameters(remove_duplicate=False)
    }
    result.requires_grad_()  # the tracer follows gradients
    try:
        with torch.enable_grad():
            graph = torch_pruning.DependencyGraph().build_dependency(
                result, examples, verbose=False
            )
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"the channels of {type(network).__name__} cannot be followed, as where they are "
            f"shuffled: Torch-Pruning fails with {type(error).__name__}: {error}"
        ) from error
    groups = [
        group for group in graph.get_all_groups(kept, WEIGHTED)
        if _can_follow(graph, group)
    ]  # fmt: skip
    removed = tried = 0
    for group, doomed in zip(groups, _doomed(groups, by_module, fraction, scope), strict=True):
        if doomed:
            root = group[0].dep
            smaller = graph.get_pruning_group(root.target.module, root.handler, doomed)
            tried += len(doomed)
            removed += len(doomed) * _removed(result, smaller, examples)
    if fraction and not removed:
        if not groups:
            reason = "all lead to outputs, or lie where channels cannot be followed"
        elif not tried:
            reason = f"a fraction of {fraction} is less than one channel of any layer"
        else:
            reason = "without any of them it would compute something else on the example"
        raise ArgumentError(f"no channel of {type(network).__name__} can be removed: {reason}")
    for module, training in modes.items():
        module.training = training
    for name, item in result.named_parameters(remove_duplicate=False):
        item.requires_grad_(trained[name])
    return result


def _by_module(network: nn.Module, scores: Scores) -> dict[nn.Module, Tensor]:
    """Return scores by layer, each checked to have one number for each output channel."""
    modules = dict(network.named_modules())
    found = {}
    for name, values in scores.items():
        module = modules.get(name)
        if not isinstance(module, (*WEIGHTED, *_NORMS)):
            raise ArgumentError(f"the scores name {name!r}, which is no layer with channels")
        count = getattr(module, "out_channels", None) or getattr(module, "out_features", None)
        count = count or module.num_features
        if not isinstance(values, Tensor) or values.shape != (count,):
            raise ArgumentError(f"the scores of {name} must be {count} numbers, one a channel")
        if not bool(values.isfinite().all()):
            raise ArgumentError(f"the scores of {name} must be finite")
        found[module] = values
    return found


def _last_layers(network: nn.Module, examples: tuple[Tensor, ...]) -> list[nn.Module]:
    """Return the layers between which and the outputs no other layer with weights lies."""
    made: dict[Any, nn.Module] = {}
    hooks = [
        layer.register_forward_hook(
            lambda module, _inputs, output: made.__setitem__(output.grad_fn, module)
        )
        for layer in layers_of(network).values()
    ]
    outputs = network(*(tensor.requires_grad_() if tensor.is_floating_point() else tensor
                        for tensor in (each.detach().clone() for each in examples)))  # fmt: skip
    for hook in hooks:
        hook.remove()
    last, seen = [], set()
    waiting = [tensor.grad_fn for tensor in _tensors(outputs)]
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if function in made:
            last.append(made[function])
        else:
            waiting += [previous for previous, _ in function.next_functions]
    return last


def _tensors(outputs: Any) -> list[Tensor]:
    """Return all tensors of what a network returned."""
    if isinstance(outputs, Tensor):
        return [outputs]
    items = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for item in items for tensor in _tensors(item)]


def _can_follow(graph: Any, group: Any) -> bool:
    """Whether the channels of a group can go one by one, and all of them were found."""
    for dep, channels in group:
        module = dep.target.module
        if not isinstance(module, nn.Module) or isinstance(module, _SHARED_NORMS):
            return False
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not (
            module.groups in (1, module.in_channels) and module.groups in (1, module.out_channels)
        ):
            return False
        count = graph.get_out_channels if _gives(dep) else graph.get_in_channels
        if isinstance(module, (*WEIGHTED, *_NORMS)) and max(channels) >= count(module):
            return False
    return True


def _gives(dep: Any) -> bool:
    """Whether a part of a group stands for the output channels of a module."""
    return "out_channels" in dep.handler.__name__


def _doomed(
    groups: list[Any], scores: Mapping[nn.Module, Tensor], fraction: float, scope: str
) -> list[list[int]]:
    """Choose the channels that go, for each group as indices of its first layer."""
    totals = [_group_scores(group, scores) for group in groups]
    if scope == "layer":
        counts = [min(int(fraction * len(total)), len(total) - 1) for total in totals]
    else:
        # Chosen by rank: many channels of dead ReLUs may share the score zero.
        pooled = torch.cat([*totals, torch.zeros(0)])
        chosen = torch.zeros(len(pooled), dtype=torch.bool)
        chosen[pooled.argsort(stable=True)[: int(fraction * len(pooled))]] = True
        parts = chosen.split([len(total) for total in totals])
        counts = [min(int(part.sum()), len(part) - 1) for part in parts]
    return [
        sorted(total.argsort(stable=True)[:count].tolist())
        for total, count in zip(totals, counts, strict=True)
    ]


def _group_scores(group: Any, scores: Mapping[nn.Module, Tensor]) -> Tensor:
    """Add up the scores of the layers that give the channels of a group."""
    norms = [item for item in group if isinstance(item.dep.target.module, _NORMS)]
    own = [item for item in norms if item.dep.target.module in scores] or [
        item for item in group
        if item.dep.target.module in scores and _gives(item.dep)
    ]  # fmt: skip
    total = torch.zeros(len(group[0].idxs))
    for item in own:
        values = scores[item.dep.target.module].detach().cpu().float()[item.idxs]
        total.index_add_(0, torch.tensor(item.root_idxs), values)
    return total


def _removed(network: nn.Module, group: Any, examples: tuple[Tensor, ...]) -> bool:
    """Remove the channels of a group, unless the network would then compute something else."""
    modules = dict.fromkeys(item.dep.target.module for item in group)
    before = {module: _state_of(module) for module in modules}
    for item in group:
        if not _gives(item.dep):
            _silence(item.dep.target.module, item.idxs)
    with torch.no_grad():
        expected = _tensors(network(*examples))
    _restore(before)
    try:
        group.prune()
        with torch.no_grad():
            found = _tensors(network(*examples))
        if all(map(_close, found, expected)):
            return True
    except (RuntimeError, ValueError, IndexError):
        pass  # shapes no longer fit, which is one way to compute something else
    _restore(before)
    return False


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    return bool((found - expected).abs().max() <= _TOLERANCE * largest + 1e-12)


def _silence(module: nn.Module, channels: list[int]) -> None:
    """Let a layer not read some of its input channels; weights are replaced, not written to."""
    weight = getattr(module, "weight", None)
    if not isinstance(module, WEIGHTED) or weight is None:
        return
    if not isinstance(module, nn.Linear) and module.groups > 1:
        return  # depthwise: it hands the channels on
    values = weight.detach().clone()
    values[(channels,) if isinstance(module, nn.ConvTranspose2d) else (slice(None), channels)] = 0
    module.weight = nn.Parameter(values)


def _state_of(module: nn.Module) -> dict[str, Any]:
    """Return what pruning may change of a module; tensors are replaced by it, not written to."""
    kept = {"_parameters", "_buffers"}
    return {
        key: dict(value) if key in kept else value if key == "_modules" or key.endswith("hooks")
        else deepcopy(value) if isinstance(value, list | dict) else copy(value)
        for key, value in module.__dict__.items()
    }  # fmt: skip


def _restore(states: Mapping[nn.Module, dict[str, Any]]) -> None:
    for module, state in states.items():
        module.__dict__.clear()
        module.__dict__.update(state)
        # The state is kept for another time.
        module.__dict__.update(_state_of(module))
