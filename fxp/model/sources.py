"""A model however it is given: itself, its graph, or the file that holds it."""

from __future__ import annotations

import os
from os import PathLike
from typing import Any

from fxp.graph import Graph
from fxp.model.fixed_model import FixedModel
from fxp.model.loading import load
from fxp.support.errors import ArgumentTypeError

ModelSource = FixedModel | Graph | str | PathLike[str]
"""A quantized model, its integer graph, or the path of a ``.fxp`` file."""


def graph_of(source: ModelSource) -> Graph:
    """Return the graph of a model, as it is; see `model_of` for what may be given and raised."""
    return source if isinstance(source, Graph) else model_of(source).graph


def model_of(source: ModelSource) -> FixedModel:
    """Return a model, read from its file or made of its graph if need be.

    Raises
    ------
    ArgumentTypeError
        If it is neither a model, nor a graph, nor a path.
    FormatError
        If the file cannot be read, or is no valid ``.fxp`` file.
    """
    given: Any = source
    if isinstance(given, FixedModel):
        return given
    if isinstance(given, Graph):
        return FixedModel(given)
    if isinstance(given, str | os.PathLike):
        return load(given)
    raise ArgumentTypeError(
        "the model must be a FixedModel, its Graph, or the path of a .fxp file, not "
        f"{type(given).__name__}; fxp.quantize makes a FixedModel of a torch.nn.Module"
    )
