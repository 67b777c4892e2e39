"""Writers of an integer graph in other tools' formats."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.export import c as c
    from fxp.export import npz as npz
    from fxp.export import onnx as onnx
    from fxp.export import qonnx as qonnx

__all__ = ["c", "npz", "onnx", "qonnx"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"fxp.export.{name}")
    raise AttributeError(f"module 'fxp.export' has no attribute {name!r}")
