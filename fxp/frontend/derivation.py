"""How a constant of the graph follows from the tensors of the model.

Training needs it: the constants of a graph are numbers, and gradients must reach the parameters
that they were computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter or buffer.

    Attributes
    ----------
    key
        State-dict key.
    tensor
        Its value when the model was converted, which stands in where there is no other.
    """

    key: str
    tensor: torch.Tensor


@dataclass(frozen=True)
class Overload:
    """A function of torch by its name, as an overload of an op itself cannot be pickled.

    Attributes
    ----------
    name
        Library, op and overload, such as ``aten.mul.Tensor``.
    """

    name: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the op."""
        library, op, overload = self.name.split(".")
        return getattr(getattr(getattr(torch.ops, library), op), overload)(*arguments, **named)


@dataclass(frozen=True, eq=False)
class Derivation:
    """The result of a function.

    Attributes
    ----------
    function
        Any function of tensors.
    arguments, named
        Its arguments; sources among them, also in lists and tuples, are evaluated first.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any] = field(default_factory=dict)


Source = Parameter | Derivation | torch.Tensor
"""Where a constant comes from; a tensor stands for itself."""


def evaluate(source: Any, tensors: Mapping[str, torch.Tensor], device: torch.device) -> Any:
    """Compute what a source stands for, differentiably.

    Parameters
    ----------
    source
        A `Source`, or a list or tuple of sources and other arguments.
    tensors
        The model's tensors by state-dict key, on `device`.
    device
        Where the tensors that the model does not hold are wanted.
    """
    if isinstance(source, Parameter):
        held = tensors.get(source.key)
        return source.tensor.to(device) if held is None else held
    if isinstance(source, torch.Tensor):
        return source.to(device)
    if isinstance(source, Derivation):
        arguments = [evaluate(item, tensors, device) for item in source.arguments]
        named = {key: evaluate(item, tensors, device) for key, item in source.named.items()}
        return source.function(*arguments, **named)
    if isinstance(source, list | tuple):
        return [evaluate(item, tensors, device) for item in source]
    return source
