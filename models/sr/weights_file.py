"""Trained weights as safetensors files: no pickle, options and provenance in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fxp.models.sr.networks import KimSR
from fxp.support.errors import FxpError
from fxp.support.files import replace_file

WEIGHTS_FOLDER = Path(__file__).parent / "weights"


class WeightsError(FxpError, ValueError):
    """A weights file cannot be used; the message is one line and names the file."""


def save_float(
    path: str | Path,
    model: KimSR,
    metadata: Mapping[str, str] | None = None,
    *,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the weights of a network atomically.

    Parameters
    ----------
    path
        File to write, usually ``NAME.safetensors``.
    model
        The network; its class and options go into the metadata.
    metadata
        Further text entries: training command, scores.
    state
        Weights to write in place of the model's own, for example their running average.
    """
    tensors = {
        name: tensor.detach().to(torch.float32).contiguous()
        for name, tensor in (model.state_dict() if state is None else state).items()
    }
    entries = {
        **(metadata or {}),
        "network": type(model).__name__,
        "options": json.dumps(model.options()),
        "scale": str(model.scale),
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(tensors, entries))


def _resolve(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix == ".safetensors":
        return path
    shipped = WEIGHTS_FOLDER / f"{name}.safetensors"
    # A name without a degradation means the one trained on bicubic shrinking.
    return shipped if shipped.exists() else WEIGHTS_FOLDER / f"{name}_bicubic.safetensors"


def _read(name: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = _resolve(name)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise WeightsError(f"weights not found: {path}") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read weights {path}: {error}") from error


def read_metadata(name: str | Path) -> dict[str, Any]:
    """Return the metadata of shipped weights, by name, or of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If the file is missing or damaged.
    """
    return _read(name)[1]


def load_float(name: str | Path) -> KimSR:
    """Load a trained floating-point network in eval mode.

    Parameters
    ----------
    name
        Name of shipped weights, such as ``"kimsr_x2_bicubic"``, or the path of a file whose name
        ends in ``.safetensors``.

    Returns
    -------
    KimSR
        On the CPU, float32, in eval mode.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not of a known network.
    """
    tensors, metadata = _read(name)
    if metadata.get("network") != "KimSR":
        raise WeightsError(f"not weights of a known network: {_resolve(name)}")
    try:
        model = KimSR(**json.loads(metadata["options"]))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"weights do not fit the network: {_resolve(name)}: {reason}") from error
    return model.eval()
