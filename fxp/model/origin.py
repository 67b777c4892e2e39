"""What a model in memory knows of the network that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fxp.graph import Graph


@dataclass(frozen=True)
class Origin:
    """The float network of a model, and how to quantize it again.

    Attributes
    ----------
    network
        The float graph that was lowered, of whose values those of the model are the rounded ones.
    requantize
        ``requantize(calls, changes)``: the integer graph for other calibration data, and the same
        options but for the changes, which are keywords of `fxp.quantize`.
    """

    network: Graph
    requantize: Callable[[Any, Mapping[str, Any]], Graph]
