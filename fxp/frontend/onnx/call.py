"""What a translator knows of the ONNX node it computes with torch, and how it refuses one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.frontend.errors import FrontendError


@dataclass(frozen=True)
class NodeInfo:
    """A node of an ONNX graph.

    Attributes
    ----------
    name
        Its name in the file, or that of its first output.
    op, domain, opset
        What it computes, in the version that the file uses.
    attributes
        Attributes by name; tensors as arrays and text as ``str``.
    inputs
        Names of what it reads; empty for an optional input that is left out.
    outputs
        Names of what it computes.
    """

    name: str
    op: str
    domain: str
    opset: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        kind = f"{self.domain}.{self.op}" if self.domain else self.op
        return f"ONNX node {self.name!r} ({kind}, opset {self.opset})"


def refused(node: NodeInfo, rule: str, instead: str) -> FrontendError:
    """Error that says which node is refused, why, and what to do instead.

    Parameters
    ----------
    node
        The node.
    rule
        What is wrong.
    instead
        What to do.
    """
    return FrontendError(f"{node}: {rule}; {instead}")


class Call:
    """One run of a node: its inputs and attributes.

    Parameters
    ----------
    node
        The node.
    values
        Its inputs: tensors, or arrays of what is known without the image; arrays of Python numbers
        hold sizes, which may be symbols of torch. None is an input that is left out.
    weights
        The constants among them as tensors, by position.
    keeps_tensors
        Whether a constant of one number stays a tensor.
    """

    def __init__(
        self,
        node: NodeInfo,
        values: Sequence[torch.Tensor | NDArray[Any] | None],
        weights: Mapping[int, torch.Tensor],
        keeps_tensors: bool = False,
    ) -> None:
        self.node = node
        self.keeps_tensors = keeps_tensors
        self.values = values
        self._weights = weights

    @property
    def opset(self) -> int:
        """Version of the operator set."""
        return self.node.opset

    def refuse(self, rule: str, instead: str) -> NoReturn:
        """Raise the `FrontendError` of this node; see `refused`."""
        raise refused(self.node, rule, instead)

    def has(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.values) and self.values[position] is not None

    def is_constant(self, position: int) -> bool:
        """Whether an input is a constant of the file."""
        return position in self._weights

    def tensor(self, position: int) -> torch.Tensor:
        """Return an input as a tensor."""
        if not self.has(position):
            self.refuse(f"it lacks input {position}", "export the model again")
        value = self.values[position]
        if position in self._weights:
            return self._weights[position]
        if isinstance(value, np.ndarray):
            return torch.tensor(value.tolist(), dtype=_torch_type(value))
        assert value is not None
        return value

    def optional(self, position: int) -> torch.Tensor | None:
        """Return an input as a tensor, None if it is left out."""
        return self.tensor(position) if self.has(position) else None

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All inputs as tensors."""
        return [self.tensor(position) for position in range(len(self.values))]

    def known(self, position: int) -> NDArray[Any]:
        """Return an input that must be known without the image: an array of numbers."""
        value = self.values[position] if self.has(position) else None
        if not isinstance(value, np.ndarray):
            self.refuse(
                f"its input {self.node.inputs[position]!r} is computed from the image",
                "make it a constant, or a size",
            )
        return value

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def setting(self, name: str, position: int, default: Any = None) -> Any:
        """Return what old operator sets have as an attribute and new ones as an input.

        Parameters
        ----------
        name, position
            Of the attribute, and of the input.
        default
            If neither is given.

        Returns
        -------
        object
            A number, or a list of numbers.
        """
        if name in self.node.attributes:
            return self.node.attributes[name]
        return self.known(position).tolist() if self.has(position) else default

    def axes(self, position: int, rank: int, default: Sequence[int] | None) -> list[int] | None:
        """Return the setting ``axes``, counted from the first axis.

        Parameters
        ----------
        position
            Of the input that has them in new operator sets.
        rank
            Axes of the tensor.
        default
            If none are given.
        """
        given = self.setting("axes", position)
        if given is None:
            return None if default is None else list(default)
        given = [given] if isinstance(given, int) else given
        if any(not -rank <= axis < rank for axis in given):
            self.refuse(f"its axes {given} do not fit a tensor of {rank} axes", "repair the model")
        return [axis % rank for axis in given]


def _torch_type(array: NDArray[Any]) -> torch.dtype:
    if array.dtype.kind == "f":
        return torch.float64 if array.dtype == np.float64 else torch.float32
    return torch.int64


Translator = Callable[[Call], Any]
"""Computes a node with torch; returns a tensor, an array of sizes, or a tuple of them."""
