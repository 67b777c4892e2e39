"""Weights that the authors of the networks released, under the names that they gave them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fxp.cli.networks import read_state
from fxp.models.events.networks import NETWORKS, StepNetwork
from fxp.support.errors import ArgumentError

COUNTER: Final = "num_batches_tracked"
"""Ends the name of what batch normalization counts in training."""
EPSILON: Final = 1e-5
"""What PyTorch's batch normalization adds to the variance."""

_RECURRENT: Final = {"conv.conv2d": "features", "recurrent_block.Gates": "lstm.gates"}
_CISTA: Final = {
    "We.conv2d": "events",
    "Wi.conv2d": "image",
    "W0.conv2d": "start",
    "P0.conv2d": "code",
    "one_conv_for_prev.conv2d": "before",
    "one_conv_for_cur.conv2d": "now",
    "Dg.conv2d": "features",
    **{f"Dg.{theirs}": ours for theirs, ours in _RECURRENT.items()},
    "upsamp_conv.conv2d": "up",
    "final_conv.conv2d": "tail",
}
_SPADE_ENCODER: Final = {"conv0": "conv", "bn": "norm", "recurrent_block.Gates": "lstm.gates"}
_SPADE_DECODER: Final = {
    "conv0": "conv",
    "norm.param_free_norm": "norm",
    "norm.mlp_shared.0": "shared",
    "norm.mlp_gamma": "scale",
    "norm.mlp_beta": "offset",
}
_BLOCK: Final = {f"{part}{number}": f"{ours}{number}" for number in (1, 2)
                 for part, ours in (("conv", "conv"), ("bn", "norm"))}  # fmt: skip


def _within(theirs: str, ours: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{theirs}.{name}": f"{ours}.{own}" for name, own in names.items()}


_NAMES: Final[dict[str, dict[str, str]]] = {
    "cista": _CISTA,
    "cista-d": _CISTA,
    "cista-tc": _CISTA,
    "firenet": {
        "net.head.conv.conv2d": "head",
        "net.head.recurrent_block": "recurrent.0",
        "net.resblocks.0.recurrent_block": "recurrent.1",
        "net.resblocks.0.conv": "blocks.0",
        "net.resblocks.1": "blocks.1",
        "net.pred.conv2d": "pred",
    },
    "e2vid": {
        "unetrecurrent.head.conv2d": "head",
        **{
            f"unetrecurrent.encoders.{number}.{theirs}": f"{ours}"
            for number in range(3)
            for theirs, ours in (
                ("conv.conv2d", f"encoders.{number}"),
                ("recurrent_block.Gates", f"recurrent.{number}.gates"),
            )
        },
        "unetrecurrent.resblocks": "blocks",
        **{f"unetrecurrent.decoders.{number}.conv2d": f"decoders.{number}" for number in range(3)},
        "unetrecurrent.pred.conv2d": "pred",
    },
    "spade-e2vid": {
        "fc": "head",
        **{
            theirs: ours
            for number in range(3)
            for theirs, ours in _within(
                f"rec{number}", f"encoders.{number}", _SPADE_ENCODER
            ).items()
        },
        **{
            theirs: ours
            for number in range(2)
            for part, place, names in (
                ("res", "blocks", _BLOCK),
                ("up", "decoders", _SPADE_DECODER),
            )
            for theirs, ours in _within(f"{part}{number}", f"{place}.{number}", names).items()
        },
        **_within("up2", "last", _SPADE_ENCODER),
        "conv_img": "pred",
        "bn_img": "norm",
    },
}
"""Of each network, the beginnings of the authors' names, and those of ours."""


def load_released(name: str, path: str | PathLike[str]) -> StepNetwork:
    """Load a network with weights that its authors, or others with their code, have saved.

    The widths, the number of iterations, and whether these share their weights, follow from the
    file: CISTA files list the weights of every iteration, also where they are the same.

    Parameters
    ----------
    name
        A name in `NETWORKS`, such as ``"cista-tc"``.
    path
        What ``torch.save`` wrote, ``.pth.tar`` or ``.pth``, with a state dict alone or within a
        checkpoint; or ``.safetensors``; or ``.npz`` with the same arrays. No code in the file is
        run.

    Returns
    -------
    StepNetwork
        In eval mode. Batch normalization of E2VID is folded into the convolutions.

    Raises
    ------
    ArgumentError
        If there is no such network, or the file cannot be read or does not fit.
    """
    if name not in NETWORKS:
        raise ArgumentError(f"no network {name!r}, only {', '.join(NETWORKS)}")
    path = Path(path)
    state = _arrays(path) if path.suffix == ".npz" else read_state(path)
    state = {key: value for key, value in state.items() if not key.endswith(COUNTER)}
    try:
        own, blocks = _renamed(name, _without_normalization(state) if name == "e2vid" else state)
        network = _network(name, own, blocks)
        counters = {key: value for key, value in network.state_dict().items() if COUNTER in key}
        network.load_state_dict(own | counters)
    except (KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError(f"weights {path} do not fit {name}: {reason}") from error
    return network.eval()


def _arrays(path: Path) -> dict[str, Tensor]:
    """Read arrays of an ``.npz``, where names that mean the same array may be listed."""
    try:
        with np.load(path) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ArgumentError(f"cannot read weights {path}: {error}") from error
    aliases = dict(
        zip(arrays.pop("__alias_names__", ()), arrays.pop("__alias_to__", ()), strict=True)
    )
    state = {key: torch.from_numpy(array) for key, array in arrays.items()}
    return state | {str(key): state[str(meant)] for key, meant in aliases.items()}


def _without_normalization(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold the batch normalization that E2VID may have into the convolutions before it."""
    folded = dict(state)
    for key in state:
        found = re.fullmatch(r"(.*)(norm_layer|bn[12])\.running_var", key)
        if found is None:
            continue
        place, norm = found.groups()
        layer = place + norm.replace("norm_layer", "conv2d").replace("bn", "conv")
        mean, variance, scale, offset = (
            folded.pop(f"{place}{norm}.{part}")
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        weight, bias = fuse_conv_bn_weights(
            folded[f"{layer}.weight"], folded.get(f"{layer}.bias"), mean, variance,
            EPSILON, scale, offset,
        )  # fmt: skip
        folded[f"{layer}.weight"], folded[f"{layer}.bias"] = weight.data, bias.data
    return folded


def _renamed(
    name: str, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Return weights under our names, and those of each iteration of CISTA."""
    found: dict[str, Tensor] = {}
    blocks: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        block = re.fullmatch(r"(?:lista_blocks\.(\d+)\.(.*)|alpha\.(\d+))", key)
        if block and name.startswith("cista"):
            number, part, alpha = block.groups()
            part = "alpha" if part is None else part.replace("Lambda", "threshold")
            part = part.replace("D.conv2d", "decode").replace("P.conv2d", "encode")
            shaped = value.reshape(1, -1, 1, 1) if part in ("alpha", "threshold") else value
            blocks.setdefault(int(number or alpha), {})[part] = shaped
            continue
        place = next((theirs for theirs in _NAMES[name] if key.startswith(f"{theirs}.")), None)
        if place is None:
            raise ArgumentError(f"the weights are not those of {name}: it has no {key!r}")
        found[_NAMES[name][place] + key.removeprefix(place)] = value
    return found, [blocks[number] for number in sorted(blocks)]


def _network(name: str, own: dict[str, Tensor], blocks: list[dict[str, Tensor]]) -> StepNetwork:
    """Make a network of the widths that the weights have; adds those of its iterations."""
    first = own["events.weight" if name.startswith("cista") else "head.weight"]
    options: dict[str, int | bool] = {"base": len(first), "bins": first.shape[1]}
    if name == "spade-e2vid":
        options["hidden"] = len(own["decoders.0.shared.weight"])
    if name.startswith("cista"):
        tied = all(
            torch.equal(block[part], value) for block in blocks for part, value in blocks[0].items()
        )
        options |= {"base": 2 * len(first), "iterations": len(blocks), "tied": tied}
        for number, block in enumerate(blocks[:1] if tied else blocks):
            own |= {f"blocks.{number}.{part}": value for part, value in block.items()}
    return NETWORKS[name](**options)
