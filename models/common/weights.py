"""Trained weights as safetensors files: no pickle, options and provenance in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fxp.support.errors import FxpError
from fxp.support.files import replace_file


class WeightsError(FxpError, ValueError):
    """A weights file cannot be used; the message is one line and names the file."""


def save_weights(
    path: str | Path,
    network: nn.Module,
    metadata: Mapping[str, str] | None = None,
    *,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the weights of a network atomically.

    Parameters
    ----------
    path
        File to write, usually ``NAME.safetensors``.
    network
        The network; its class and what its method ``options()`` returns, the arguments of its
        constructor, go into the metadata, and its ``scale`` if it has one.
    metadata
        Further text entries: training command, scores.
    state
        Weights to write in place of the network's own, for example their running average.
    """
    tensors = {
        name: (value.float() if value.is_floating_point() else value).detach().contiguous()
        for name, value in (network.state_dict() if state is None else state).items()
    }
    entries = {
        **(metadata or {}),
        "network": type(network).__name__,
        "options": json.dumps(network.options()),  # type: ignore[operator]
    }
    if hasattr(network, "scale"):
        entries["scale"] = str(network.scale)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(tensors, entries))


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file.

    Raises
    ------
    WeightsError
        If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise WeightsError(f"weights not found: {path}") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read weights {path}: {error}") from error


def load_weights(path: str | Path, *networks: type[nn.Module]) -> Any:
    """Load a trained floating-point network.

    Parameters
    ----------
    path
        The file.
    networks
        Classes that it may be of.

    Returns
    -------
    torch.nn.Module
        On the CPU, float32, in eval mode.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not of a known network.
    """
    tensors, metadata = read_weights(path)
    known = {network.__name__: network for network in networks}
    if metadata.get("network") not in known:
        raise WeightsError(f"not weights of a known network ({', '.join(known)}): {path}")
    try:
        model = known[metadata["network"]](**json.loads(metadata["options"]))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"weights do not fit the network: {path}: {reason}") from error
    return model.eval()
