"""Inputs of a network, of any usual kind, as tensors with batch: calibration data and the like."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from numbers import Integral
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from fxp.executors.torch_forward import TorchResult, run
from fxp.graph import Graph
from fxp.support.errors import ArgumentError

Calls = Sequence[Sequence[torch.Tensor]]
"""For every call of the network, one tensor with batch per input."""

BATCH_PIXELS: Final = 1 << 16
BATCH_IMAGES: Final = 256
"""Bounds of a batch for calibration."""

_UNDERSTOOD = (
    "give tensors or arrays (N, C, H, W), (C, H, W) or (N, F), tuples or dictionaries of them, or "
    "pairs (image, label)"
)


class Sequences:
    """Several sequences as calibration data of a recurrent network, each from the reset state.

    Parameters
    ----------
    sequences
        Each is what a single sequence would be: an iterable of steps in order, or one array or
        tensor whose first axis is time. They may differ in length. A network without states sees
        the items of all, one after the other.

    Examples
    --------
    >>> data = fxp.Sequences(torch.rand(12, 1, 16, 24), torch.rand(20, 1, 16, 24))
    """

    def __init__(self, *sequences: Iterable[Any]) -> None:
        if not sequences:
            raise ArgumentError("fxp.Sequences needs at least one sequence")
        for number, sequence in enumerate(sequences):
            if isinstance(sequence, Sequences):
                raise ArgumentError(f"sequence {number} is fxp.Sequences; give its parts directly")
        self.sequences = sequences


class FirstStep(list):
    """What a network takes in the first step of a sequence, where its states are reset."""


def in_sequences(calls: Iterable[Any]) -> list[list[Any]]:
    """Split steps into sequences: each `FirstStep` begins another one."""
    sequences: list[list[Any]] = []
    for call in calls:
        if not sequences or isinstance(call, FirstStep):
            sequences.append([])
        sequences[-1].append(call)
    return sequences


@torch.no_grad()
def float_results(graph: Graph, calls: Iterable[Sequence[torch.Tensor]]) -> Iterator[TorchResult]:
    """Run a graph in float64 call by call, each from the states that the one before it left.

    Parameters
    ----------
    graph
        A float graph, usually.
    calls
        For each call, one tensor with batch per input; `FirstStep` starts from the reset state.
    """
    states: Mapping[str, torch.Tensor] = {}
    for call in calls:
        result = run(graph, call, {} if isinstance(call, FirstStep) else states)
        states = result.states
        yield result


class _Inputs(NamedTuple):
    """What a network takes, states left out: names in order, and how many there must be."""

    names: tuple[str, ...]
    fewest: int


def calibration_calls(
    calibration: Iterable[Any] | Sequences,
    model: torch.nn.Module | Graph | None = None,
    states: Iterable[tuple[int, int]] = (),
) -> list[list[torch.Tensor]]:
    """Return the tensors with batch of every calibration item.

    Parameters
    ----------
    calibration
        An iterable, such as a list, a generator or a `torch.utils.data.DataLoader`, of items; or
        one array or tensor, ``(N, C, H, W)`` or ``(N, F)``, of which every element is an item, or
        ``(C, H, W)``, which is the only item. Or `Sequences` of such, for a recurrent network.

        An item is a tensor or an array, ``(N, C, H, W)`` or ``(N, F)``; without the batch axis it
        is a batch of one. For several inputs it is a tuple or list of them in order, or a
        dictionary of them by the names of the inputs, whose other entries are left out. Labels are
        left out too: whatever follows the first element and holds whole numbers along one axis or
        none, as the second half of ``(image, label)``. So is what follows and is no number: text,
        dictionaries, None, and lists of these. A dictionary without the names of the inputs must
        hold one entry besides such, which is the input.
    model
        What will be called, for the names and the number of its inputs.
    states
        Pairs (input position, output position) of a module: inputs that the data leaves out.

    Raises
    ------
    ArgumentError
        If there is no item, or one cannot be understood; the message says which and why.
    """
    states = tuple(states)
    if isinstance(calibration, Sequences):
        found: list[list[torch.Tensor]] = []
        for number, sequence in enumerate(calibration.sequences):
            try:
                first, *rest = calibration_calls(sequence, model, states)
            except ArgumentError as error:
                raise ArgumentError(f"sequence {number}: {error}") from None
            found += [FirstStep(first), *rest]
        return found
    if isinstance(calibration, np.ndarray | torch.Tensor) and calibration.ndim == 3:
        calibration = [calibration]
    if isinstance(calibration, str | bytes | Mapping) or not isinstance(calibration, Iterable):
        raise ArgumentError(
            f"the calibration data is a {type(calibration).__name__}; give a list, a generator or "
            "a DataLoader of typical inputs"
        )
    inputs = _inputs_of(model, states)
    calls = [_tensors(item, position, inputs) for position, item in enumerate(calibration)]
    if not calls:
        raise ArgumentError("the calibration data is empty; give at least one input")
    return calls


def one_by_one(calls: Iterable[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """Split calls whose batch axis is time into calls with a batch of one."""
    return [
        (FirstStep if isinstance(call, FirstStep) and index == 0 else list)(
            tensor[index : index + 1] for tensor in call
        )
        for call in calls
        for index in range(len(call[0]))
    ]


def check_sizes_of_steps(calls: Iterable[Sequence[torch.Tensor]]) -> None:
    """Refuse steps of another size than the first of their sequence, whose states have its size.

    Raises
    ------
    ArgumentError
        The message names the step and both sizes.
    """
    first: Sequence[torch.Tensor] | None = None
    for position, call in enumerate(calls):
        if first is None or isinstance(call, FirstStep):
            first = call
        if any(one.shape[1:] != other.shape[1:] for one, other in zip(first, call, strict=False)):
            raise ArgumentError(
                f"calibration item {position} has the size {shapes_of(call)}, but its sequence "
                f"began with {shapes_of(first)}, and the states keep that size; give each size as "
                "a sequence of its own: fxp.Sequences(first, second)"
            )


def shapes_of(tensors: Iterable[torch.Tensor]) -> str:
    """Return sizes without the batch axis in words: ``(1, 16, 24) and (4, 8, 12)``."""
    return " and ".join(str(tuple(tensor.shape[1:])) for tensor in tensors)


def rebatched(calls: Iterable[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """Return the same images in batches of bounded size, however they were divided before.

    Images of one size that follow one another share a batch of up to `BATCH_PIXELS` pixels and
    `BATCH_IMAGES` images. Memory and results then do not depend on the batches that were given.
    """
    batches: list[list[list[torch.Tensor]]] = []
    for image in one_by_one(calls):
        pixels = sum(prod(tensor.shape[2:]) for tensor in image)
        last = batches[-1] if batches else []
        most = max(min(BATCH_PIXELS // max(pixels, 1), BATCH_IMAGES), 1)
        alike = last and all(
            one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
            for one, other in zip(last[0], image, strict=True)
        )
        if alike and len(last) < most:
            last.append(image)
        else:
            batches.append([image])
    return [
        [torch.cat(parts) for parts in zip(*batch, strict=True)] if len(batch) > 1 else batch[0]
        for batch in batches
    ]


def _inputs_of(
    model: torch.nn.Module | Graph | None, states: Iterable[tuple[int, int]]
) -> _Inputs | None:
    """Return what is known of a network's inputs; None if it takes any number."""
    if isinstance(model, Graph):
        names = tuple(value.name for value in model.inputs)
        return _Inputs(names, len(names))
    if model is None:
        return None
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD) for item in parameters):
        return None
    fed = {source for source, _ in states}
    if not fed <= set(range(len(parameters))):
        # Who puts the states at their places says what is wrong with these.
        return None
    kept = [item for position, item in enumerate(parameters) if position not in fed]
    needed = sum(item.default is item.empty for item in kept)
    return _Inputs(tuple(item.name for item in kept), needed)


def _tensors(item: Any, position: int, inputs: _Inputs | None) -> list[torch.Tensor]:
    """Tensors with batch of one calibration item."""
    where = f"calibration item {position}"
    if isinstance(item, Mapping):
        parts = _chosen(item, where, inputs)
    else:
        parts = list(item) if isinstance(item, tuple | list) else [item]
        parts = [part for place, part in enumerate(parts) if place == 0 or _is_input(part)]
    tensors = [_tensor(part, where) for part in parts]
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    if any(tensor.ndim == 0 for tensor in tensors):
        raise ArgumentError(f"{where} holds a single number, which is no input; {_UNDERSTOOD}")
    if len(sizes) != 1 or 0 in sizes:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ArgumentError(
            f"{where} holds inputs of shape {shapes or 'none'}; the first axis is the batch, which "
            "must have the same size, 1 or more, in all of them"
        )
    if inputs is not None and not inputs.fewest <= len(tensors) <= len(inputs.names):
        raise ArgumentError(
            f"{where} holds {len(tensors)} tensors, but the network takes {len(inputs.names)} "
            f"({', '.join(inputs.names)}); leave out what is no input, such as targets"
        )
    return tensors


def _chosen(item: Mapping, where: str, inputs: _Inputs | None) -> list[Any]:
    """Entries of a dictionary in the order of the inputs."""
    names = [] if inputs is None else [name for name in inputs.names if name in item]
    if inputs is not None and len(names) >= max(inputs.fewest, 1):
        return [item[name] for name in names]
    rest = [part for part in item.values() if _is_input(part)]
    if len(rest) == 1 and (inputs is None or inputs.fewest <= 1):
        return rest
    wanted = "unknown names" if inputs is None else ", ".join(inputs.names)
    raise ArgumentError(
        f"{where} is a dictionary of {', '.join(map(str, item))}, but the network takes {wanted}; "
        "give the inputs under these names"
    )


def _is_input(part: Any) -> bool:
    """Whether something is neither a label, nor text, a dictionary or None."""
    if isinstance(part, torch.Tensor):
        return part.is_floating_point() or part.is_complex() or part.ndim > 1
    if isinstance(part, np.ndarray | np.generic):
        return part.dtype.kind not in "SU" and (part.dtype.kind not in "iub" or part.ndim > 1)
    if isinstance(part, list | tuple) and part:
        # Data loaders put the texts of a batch into a list.
        return not all(isinstance(item, str | bytes | Mapping | None) for item in part)
    return not isinstance(part, Integral | str | bytes | Mapping | None)


def _type_name(value: Any) -> str:
    """Return the class of a value with its module, unless it is built in."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _tensor(part: Any, where: str) -> torch.Tensor:
    try:
        # A copy, because torch takes neither negative strides nor read-only memory.
        tensor = torch.as_tensor(np.array(part) if isinstance(part, np.ndarray) else part).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"{where} holds a value of type {_type_name(part)}; {_UNDERSTOOD}"
        ) from None
    return tensor[None] if tensor.ndim in (1, 3) else tensor
