"""Parts of a network in fixed point that are run one by one, and kept in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from fxp.executors import oracle
from fxp.formats import Format
from fxp.quantization.calibrate import covering_frac
from fxp.support.errors import ArgumentError, FxpError
from fxp.support.files import replace_file

SETTINGS: Final = "adaptive.json"
"""File beside the parts."""
HEADROOM: Final = 1.25
"""Values to come may be larger than those of the calibration data by this factor."""

Run = Callable[[fxp.FixedModel, NDArray[np.int64]], NDArray[np.int64]]
"""Runs a part on the raw integers of one picture ``(C, H, W)``."""


class AdaptiveError(FxpError, ValueError):
    """A folder does not hold the parts of an adaptive model."""


class Part(nn.Module):
    """A function of a network's modules as a module of its own.

    Parameters
    ----------
    owner
        The network, whose weights it takes.
    function
        The function of one tensor.
    """

    def __init__(self, owner: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function."""
        return self.function(x)


def common_format(values: Iterable[Tensor], bits: int) -> Format:
    """Return one format that holds several values, with some room to spare.

    Parameters
    ----------
    values
        Tensors of calibration data.
    bits
        Width of the format.
    """
    ends = [HEADROOM * float(end) for value in values for end in torch.aminmax(value)]
    signed = min(ends) < 0
    return Format(bits, covering_frac(min(ends), max(ends), bits, signed), signed)


def quantized(
    owner: nn.Module,
    function: Callable[[Tensor], Tensor],
    calibration: Sequence[Tensor],
    **options: Any,
) -> fxp.FixedModel:
    """Quantize a part of a network.

    Parameters
    ----------
    owner
        The network, in eval mode.
    function
        What the part computes.
    calibration
        What it reads.
    options
        As for `fxp.quantize`.
    """
    part = Part(owner, function).eval()
    with torch.no_grad():
        return fxp.quantize(part, [item.detach() for item in calibration], **options)


def on_engine(part: fxp.FixedModel, raws: NDArray[np.int64]) -> NDArray[np.int64]:
    """Run a part on the engine.

    Parameters
    ----------
    part
        The part.
    raws
        ``(C, H, W)``.
    """
    return np.asarray(part.run_raw(raws))


def on_oracle(part: fxp.FixedModel, raws: NDArray[np.int64]) -> NDArray[np.int64]:
    """Run a part by its definition.

    Parameters
    ----------
    part
        The part.
    raws
        ``(C, H, W)``.
    """
    return oracle.run(part.graph, [raws]).outputs[0]


Port = tuple[Any, Format]
"""Channels and format of a value."""


def reads(part: fxp.FixedModel) -> Port:
    """Return what a part takes, its only input."""
    (value,) = part.graph.inputs
    assert value.format is not None
    return value.shape[0], value.format


def gives(part: fxp.FixedModel) -> Port:
    """Return what a part returns, its only output."""
    (name,) = part.graph.outputs
    value = part.graph.values[name]
    assert value.format is not None
    return value.shape[0], value.format


def check_chain(*parts: tuple[str, Port, Port]) -> None:
    """Raise `ArgumentError` unless every part takes what it is given.

    Parameters
    ----------
    parts
        The name of each, what it takes or returns, and what that must be.
    """
    for name, found, wanted in parts:
        if found != wanted:
            raise ArgumentError(
                f"the parts do not fit: {name} has {found[0]} channels of {found[1]}, not "
                f"{wanted[0]} of {wanted[1]}"
            )


def check_picture(picture: NDArray[np.int64]) -> None:
    """Raise `ArgumentError` unless an array has the three axes of one picture."""
    if picture.ndim != 3:
        raise ArgumentError(
            f"one picture (channels, height, width) is run at a time, not {picture.shape}"
        )


def write_parts(
    folder: str | Path, parts: Mapping[str, fxp.FixedModel], settings: Mapping[str, Any]
) -> None:
    """Write a folder of parts, whose settings come last, so that an unfinished folder is refused.

    Parameters
    ----------
    folder
        Made if there is none.
    parts
        By name.
    settings
        Plain values.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).unlink(missing_ok=True)
    for name, part in parts.items():
        part.save(folder / f"{name}.fxp")
    text = json.dumps({**settings, "parts": sorted(parts)}, indent=2)
    replace_file(folder / SETTINGS, text.encode())


def read_parts(folder: str | Path, kind: str) -> tuple[dict[str, fxp.FixedModel], dict[str, Any]]:
    """Read a folder of parts.

    Parameters
    ----------
    folder
        The folder.
    kind
        What its settings must name as their kind.

    Raises
    ------
    AdaptiveError
        If the folder lacks its settings, or they are of another kind or damaged.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        names, found = settings["parts"], settings["kind"]
        parts = {str(name): fxp.load(folder / f"{name}.fxp") for name in names}
    except FileNotFoundError as error:
        raise AdaptiveError(f"{folder} holds no whole adaptive model: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdaptiveError(f"cannot read the adaptive model in {folder}: {error}") from error
    if found != kind:
        raise AdaptiveError(f"{folder} holds a model of the kind {found!r}, not {kind!r}")
    return parts, settings
