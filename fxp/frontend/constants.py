"""Tensors of one number whose size may be free, such as ``torch.zeros_like(x)``."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch.fx import Node as FxNode

from fxp.frontend.builder import FilledTensor, KnownTensor, Term
from fxp.frontend.context import Context
from fxp.frontend.trace import sizes_of
from fxp.frontend.views import fingerprints


def _number(tensor: FilledTensor) -> torch.Tensor:
    return torch.tensor(tensor.value, dtype=torch.float64)


def filled_result(
    node: FxNode, arguments: dict[str, Any], movement: Container[str]
) -> FilledTensor | None:
    """Return what an op makes of tensors of one number, if it reads no others.

    Parameters
    ----------
    node
        The traced node.
    arguments
        Its arguments by name.
    movement
        Ops that only move values.
    """
    leaves = [
        leaf for item in arguments.values() for leaf in (item if isinstance(item, list) else [item])
    ]
    filled = [leaf for leaf in leaves if isinstance(leaf, FilledTensor)]
    value = node.meta.get("val")
    if (
        not filled
        or not isinstance(value, torch.Tensor)
        or any(isinstance(leaf, KnownTensor) and leaf.tensor.numel() != 1 for leaf in leaves)
    ):
        return None
    shape = sizes_of(value)
    if str(node.target) in movement:
        same = all(item.value == filled[0].value for item in filled)
        padding = "pad" in arguments and filled[0].value != (arguments.get("value") or 0)
        return FilledTensor(filled[0].value, shape) if same and not padding else None
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.pointwise not in target.tags:
        return None
    scalars = {
        name: _number(item) if isinstance(item, FilledTensor)
        else item.tensor.reshape(()) if isinstance(item, KnownTensor) else item
        for name, item in arguments.items()
    }  # fmt: skip
    schema = target._schema.arguments
    positional = [scalars[item.name] for item in schema if not item.kwarg_only]
    named = {item.name: scalars[item.name] for item in schema if item.kwarg_only}
    return FilledTensor(float(target(*positional, **named)), shape)


def filled_operand(context: Context) -> dict[str, KnownTensor]:
    """Return the arguments of one number as constants that an op repeats by itself."""
    found = {
        name: item for name, item in context.arguments.items() if isinstance(item, FilledTensor)
    }
    if found:
        sizes = [
            fingerprints(item.torch_shape)
            for item in context.arguments.values()
            if isinstance(item, Term)
        ]
        if fingerprints(context.result_shape) not in sizes:
            context.refuse(
                "it repeats a value to the size of a constant of one number",
                "use arithmetic between values of one size",
                size_dependent=True,
            )
    return {name: KnownTensor(_number(item)) for name, item in found.items()}
