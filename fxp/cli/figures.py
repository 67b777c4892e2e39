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
        the ``values``, inputs and states first, its ``name``, ``op``, ``shape``, ``format`` and the
        share of values ``clipped`` on the calibration data; nodes also have ``accumulator_bits``,
        ``rounding`` and ``overflow``.
    """
    whole = model.graph
    values: list[dict[str, Any]] = [_value(model, value.name, "input") for value in whole.inputs]
    values += [_value(model, state.value.name, "state") for state in whole.states]
    for node in whole.nodes:
        assert node.accumulator is not None
        assert node.quantization is not None
        values.append(
            {
                **_value(model, node.name, node.op.name),
                "accumulator_bits": node.accumulator.bits,
                "rounding": str(node.quantization.rounding),
                "overflow": str(node.quantization.overflow),
            }
        )
    return {
        "file": path,
        "name": whole.name,
        "parameters": model.parameters,
        "metadata": model.metadata,
        "outputs": list(whole.outputs),
        "values": values,
        **({"graph": str(whole)} if graph else {}),
    }


def _value(model: FixedModel, name: str, op: str) -> dict[str, Any]:
    value = model.graph.values[name]
    return {
        "name": name,
        "op": op,
        "shape": [size if isinstance(size, int) else str(size) for size in value.shape],
        "format": str(value.format),
        "clipped": model.calibration_clipping.get(name),
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
    lines += [
        f"  {printable(key)}: {printable(text)}" for key, text in sorted(model.metadata.items())
    ]
    lines.append(model.summary())
    if graph:
        lines += ["", str(model.graph)]
    return "\n".join(lines)
