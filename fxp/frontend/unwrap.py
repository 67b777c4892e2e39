"""The module inside what PyTorch wraps around modules, and the exported program as a module."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.export import ExportedProgram

from fxp.frontend.errors import FrontendError

_WRAPPERS: Final = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
SEQUENCE_LAYERS: Final = (
    torch.nn.Conv1d,
    torch.nn.ConvTranspose1d,
    torch.nn.MaxPool1d,
    torch.nn.AvgPool1d,
    torch.nn.AdaptiveAvgPool1d,
    torch.nn.AdaptiveMaxPool1d,
)
"""Layers that work on sequences."""


def unwrapped(model: Any) -> Any:
    """Return the module to convert; anything that is not wrapped is returned as it is.

    Taken are exported programs (``torch.export.export`` and ``torch.export.load``), and modules in
    ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``.
    """
    if isinstance(model, ExportedProgram):
        return model.module()
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(inner, torch.nn.Module):
            model = inner
        elif isinstance(model, _WRAPPERS):
            model = model.module
        else:
            return model


def is_exported(module: torch.nn.Module) -> bool:
    """Whether a module is that of an exported program, which has no training mode to leave."""
    return isinstance(module, torch.fx.GraphModule) and "eval" in vars(module)


def check_model(model: torch.nn.Module) -> None:
    """Raise `FrontendError` unless this is a module, and all its modules are in eval mode."""
    if isinstance(model, torch.jit.ScriptModule):
        raise FrontendError(
            f"a model of type {type(model).__name__} cannot be converted, as its Python code is "
            "lost; give the module that it was made from, after calling eval() on it"
        )
    if not isinstance(model, torch.nn.Module):
        raise FrontendError(
            f"the model is a {type(model).__name__}; it must be a torch.nn.Module in eval mode"
        )
    exported = {path for path, module in model.named_modules() if is_exported(module)}
    for path, module in model.named_modules():
        inside = any(path == outer or path.startswith(f"{outer}." if outer else "")
                     for outer in exported)  # fmt: skip
        if module.training and not inside:
            where = f"its module {path!r} is" if path else "it is"
            raise FrontendError(
                f"the model must be converted as it runs, but {where} in training mode; "
                "call model.eval() first"
            )


def sequence_advice(model: torch.nn.Module) -> str:
    """Return what to do about a model of sequences ``(N, C, L)``; empty if it is none."""
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.RNNBase):
            return (
                f"layer {type(module).__name__} {path!r} runs over all steps of a sequence; write "
                "one step of it, with torch.nn.Linear or Conv2d and what it keeps as an "
                "input and an output of forward, and name the pair in `states`"
            )
    found = next(
        (
            f"{type(module).__name__} {path!r}"
            for path, module in model.named_modules()
            if isinstance(module, SEQUENCE_LAYERS)
        ),
        None,
    )
    if found is None:
        return ""
    return (
        f"the model works on sequences (N, C, L), with its layer {found}; give them as images of "
        "one row, (N, C, 1, L), and a module around the model whose forward(x) returns "
        "network(x.squeeze(2)).unsqueeze(2)"
    )
