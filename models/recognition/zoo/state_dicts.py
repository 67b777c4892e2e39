"""Weights of torchvision and timm from a file, for the networks of this package.

The modules of torchvision's networks have the same names here. timm's ResNets and its Inception-v3
have them too; those of its VGGs and MobileNets are renamed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from fxp.models.common.weights import WeightsError, read_weights
from fxp.models.recognition.zoo.mobilenet import V2_STAGES, MobileNetV1, MobileNetV2
from fxp.models.recognition.zoo.parts import Classifier
from fxp.models.recognition.zoo.vgg import VGG

Network = TypeVar("Network", bound=Classifier)

AUXILIARY: Final = ("AuxLogits.", "aux1.", "aux2.")
"""Classifiers that are used in training alone."""
V1_BLOCKS: Final = (1, 2, 2, 6, 2)
"""Separable convolutions in each stage, as timm counts them."""


def load_state(network: Network, path: str | Path) -> Network:
    """Fill a network with the weights in a file of torchvision or timm.

    Input normalization is not part of the weights. torchvision's GoogLeNet and Inception-v3 take
    pictures of mean and deviation 0.5, the others those of ImageNet.

    Parameters
    ----------
    network
        One of this package, with as many classes as the weights.
    path
        A ``.safetensors`` file, or a state dict that `torch.save` wrote. A dict with an entry
        ``state_dict`` or ``model`` is opened, and the prefix ``module.`` is taken away.

    Returns
    -------
    Classifier
        The same network, in eval mode.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, holds more than tensors, or weights of another network; the
        message names the first that does not fit.
    """
    state = _read(Path(path))
    own = network.state_dict()
    given = renamed(network, state)
    # How many batches were counted matters in training alone, and old files leave it out.
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    given = {**counters, **given}
    missing = [name for name in own if name not in given]
    unknown = [name for name in given if name not in own]
    unlike = [name for name in own if name in given and given[name].shape != own[name].shape]
    if missing or unknown or unlike:
        if unlike:
            name = unlike[0]
            shapes = tuple(given[name].shape), tuple(own[name].shape)
            reason = f"{name} has shape {shapes[0]}, not {shapes[1]}"
        else:
            reason = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        count = len(missing) + len(unknown) + len(unlike)
        raise WeightsError(
            f"{path} holds no weights of this {type(network).__name__}: {reason} "
            f"({count} of {len(own)} do not fit)"
        )
    network.load_state_dict(given)
    network.eval()
    return network


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_weights(path)[0]
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"weights not found: {path}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} is damaged, or holds more than tensors") from error
    except Exception as error:  # damaged files raise almost anything in torch.load
        raise WeightsError(f"cannot read weights {path}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not tensors:
        raise WeightsError(f"{path} holds no state dict: a tensor for each name")
    return {name.removeprefix("module."): value for name, value in content.items()}


def renamed(network: Classifier, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of torchvision or timm by the names they have here.

    Parameters
    ----------
    network
        What they are for.
    state
        The weights by their names there.
    """
    names = timm_names(network)
    own = network.state_dict()
    result = {}
    for name, value in state.items():
        if name.startswith(AUXILIARY):
            continue
        module, _, parameter = name.rpartition(".")
        key = f"{names.get(module, module)}.{parameter}"
        # timm's VGGs have convolutions for linear layers.
        as_linear = key in own and value.ndim == 4 and own[key].ndim == 2
        result[key] = value.flatten(1) if as_linear else value
    return result


def timm_names(network: Classifier) -> dict[str, str]:
    """Return the names of modules here by their names in timm, where these differ."""
    if isinstance(network, VGG):
        return {
            "pre_logits.fc1": "classifier.0",
            "pre_logits.fc2": "classifier.3",
            "head.fc": "classifier.6",
        }
    if isinstance(network, MobileNetV1):
        blocks = _numbered(V1_BLOCKS)
        layers = {"conv_dw": "0", "bn1": "1", "conv_pw": "3", "bn2": "4"}
        names = {
            f"{block}.{timm}": f"features.{number}.{own}"
            for number, block in enumerate(blocks, 1)
            for timm, own in layers.items()
        }
        return {**names, "conv_stem": "features.0.0", "bn1": "features.0.1", "classifier": "fc"}
    if isinstance(network, MobileNetV2):
        first = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
        others = {
            "conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2",
            "bn3": "3",
        }  # fmt: skip
        blocks = _numbered([count for _, _, count, _ in V2_STAGES])
        names = {
            f"{block}.{timm}": f"features.{number}.conv.{own}"
            for number, block in enumerate(blocks, 1)
            for timm, own in (first if number == 1 else others).items()
        }
        last = len(blocks) + 1
        return {
            **names,
            "conv_stem": "features.0.0",
            "bn1": "features.0.1",
            "conv_head": f"features.{last}.0",
            "bn2": f"features.{last}.1",
            # torchvision calls its classifier so as well, but there it holds two modules.
            "classifier": "classifier.1",
        }
    return {}


def _numbered(counts: Any) -> list[str]:
    """Return timm's names of the blocks of stages of so many blocks."""
    return [
        f"blocks.{stage}.{block}" for stage, count in enumerate(counts) for block in range(count)
    ]
