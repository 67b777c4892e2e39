"""Weights of the authors' PyTorch release, by the names of their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from fxp.models.common.weights import WeightsError
from fxp.models.deblur.networks import Generator

RANGE: Final = 255.0
"""Pixel values of the release are 0 to 255; a ReLU network of 0 to 1 has smaller biases alone."""


def load_release(path: str | Path) -> Generator:
    """Load a generator from a checkpoint of SeungjunNah/DeepDeblur-PyTorch, ``model-NNN.pt``.

    Its pyramid differs from that of `Generator`: the release takes ``pyramid_gaussian`` of
    scikit-image.

    Parameters
    ----------
    path
        The file; a dictionary whose entry ``G`` has the generator's weights, or these alone.

    Returns
    -------
    Generator
        On the CPU in eval mode.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another network.
    """
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise WeightsError(f"weights not found: {path}") from error
    except Exception as error:  # damaged files raise almost anything in torch.load
        raise WeightsError(f"cannot read weights {path}") from error
    try:
        if not isinstance(stored, Mapping):
            raise ValueError(f"it holds no weights by name but a {type(stored).__name__}")
        return from_release(stored.get("G", stored))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"weights do not fit the network: {path}: {reason}") from error


def from_release(state: Mapping[str, Tensor]) -> Generator:
    """Return the generator of a state dict with the release's names.

    Parameters
    ----------
    state
        ``body_models.S.body.0`` is the first convolution of scale S, 0 the finest, ``.body.N.body``
        with ``.0`` and ``.2`` the two of block N, the last ``.body.N`` the one to the image, and
        ``conv_end_models.S.uppath.0`` what enlarges the image of scale S.

    Raises
    ------
    ValueError
        If a tensor is missing, is not of the network or has another shape.
    """
    if "body_models.0.body.0.bias" not in state:
        raise ValueError("it has no body_models.0.body.0.bias")
    scales = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("body_models."))
    last = max(int(name.split(".")[3]) for name in state if name.startswith("body_models.0.body."))
    network = Generator(scales, len(state["body_models.0.body.0.bias"]), last - 1)
    renamed = {}
    for scale in range(scales):
        body = f"body_models.{scale}.body"
        renamed[f"scales.{scale}.head"] = f"{body}.0"
        renamed[f"scales.{scale}.tail"] = f"{body}.{last}"
        for block in range(last - 1):
            renamed[f"scales.{scale}.blocks.{block}.first"] = f"{body}.{block + 1}.body.0"
            renamed[f"scales.{scale}.blocks.{block}.second"] = f"{body}.{block + 1}.body.2"
        if scale:
            renamed[f"enlarge.{scale - 1}"] = f"conv_end_models.{scale}.uppath.0"
    wanted = {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in renamed.items()
        for kind in ("weight", "bias")
    }
    foreign = sorted(state.keys() - set(wanted.values()))
    if foreign:
        raise ValueError(f"{foreign[0]} is not of the network")
    network.load_state_dict(
        {
            ours: state[theirs].float() / RANGE if ours.endswith("bias") else state[theirs]
            for ours, theirs in wanted.items()
        }
    )
    return network.eval()
