"""A mark in a torch module where a network that is quantized already rounds a value.

The mark changes no value. In the float graph it is a `Requantize` node, whose origin is the module
that holds the mark; that module knows the format.
"""

from __future__ import annotations

from typing import Final

import torch

from fxp.frontend.builder import Term
from fxp.frontend.context import Context, Converter
from fxp.graph.ops import Requantize


@torch.library.custom_op("fxp::quantizer", mutates_args=())
def quantizer_mark(value: torch.Tensor) -> torch.Tensor:
    """Return a copy of the value."""
    return value.clone()


@quantizer_mark.register_fake
def _of_shape(value: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(value)


def _mark(context: Context) -> Term:
    """Place where a format is given."""
    return context.emit(Requantize(), context.term("value"))


MARKS: Final[dict[str, Converter]] = {"fxp.quantizer.default": _mark}
"""Converters by op and overload."""
