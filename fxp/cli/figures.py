"""Figures as JSON, and what a model holds; needs NumPy and Numba alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fxp.cli.messages import printable
from fxp.model import FixedModel
from fxp.model.refinements import CHOICE, refinements_text


def json_text(figures: object) -> str:
    """Return figures as JSON text.

    Dataclasses become objects, paths text, and NaN and infinity, which JSON does not have, null.
    """
    return json.dumps(_plain(figures), indent=2, allow_nan=False)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def model_figures(model: FixedModel, path: Path, *, graph: bool = False) -> dict[str, Any]:
    """Return what a model holds, as data.

    Parameters
    ----------
    model
        The model.
    path
        The file it is in.
    graph
        Whether to add the graph as text.

    Returns
    -------
    dict
        ``file``, ``name``, ``parameters``, ``metadata``, names of the ``outputs``, and for each of
        the ``values`` what `fxp.model.FixedModel.summary_rows` says.
    """
    return {
        "file": path,
        "name": model.graph.name,
        "parameters": model.parameters,
        "metadata": model.metadata,
        "outputs": list(model.graph.outputs),
        "values": model.summary_rows(),
        **({"graph": str(model.graph)} if graph else {}),
    }


def model_text(model: FixedModel, path: Path, *, graph: bool = False) -> str:
    """Return what a model holds, as text for the terminal.

    Parameters
    ----------
    model
        The model.
    path
        The file it came from.
    graph
        Whether to add the graph as text.
    """
    lines = [f"{path}: {model!r}"]
    # The summary says in words what refinements were tried.
    told = {CHOICE} if refinements_text(model.metadata) is not None else set()
    lines += [
        f"  {printable(key)}: {printable(text)}"
        for key, text in sorted(model.metadata.items())
        if key not in told
    ]
    lines.append(model.summary())
    if graph:
        lines += ["", str(model.graph)]
    return "\n".join(lines)
