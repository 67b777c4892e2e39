"""torchvision's classification networks without their weights, and photographs for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fxp.support.distribution import install_advice

CALIBRATION: Final = ("astronaut", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")
"""Colour photographs of scikit-image."""
LEFT_OUT: Final = ("chelsea", "coffee", "stereo_motorcycle")
"""Those that the error of the output is measured on."""
CROPS: Final = 40
"""Random crops of all these photographs, which the weights are settled on."""
LEAST_AREA: Final = 0.08
"""Of a random crop, as a share of the largest square."""
MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
"""Those of ImageNet, which torchvision's networks take pixels by."""

GAIN_DEVIATION: Final = 0.5
"""Deviation of the logarithm of the gains of batch normalization, which training makes unlike."""
OFFSET_DEVIATION: Final = 0.3
LAYER_SCALE: Final = 0.3
"""Scale of ConvNeXt's residual branches, which begin at 1e-6 and would add nothing at all."""


@cache
def _declared_ops() -> torch.library.Library | None:
    """Declare two ops where torchvision's compiled library cannot be loaded.

    The wheel on the package index is linked with the CUDA libraries of torch. Beside a torch
    without these the library is left out, and the import fails for want of these declarations.
    Classification networks use none of its ops.
    """
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"torchvision is missing: {install_advice('bench')}")
    try:
        for library in Path(package.origin).parent.glob("_C*"):
            torch.ops.load_library(library)
    except OSError:
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return declared
    return None


def torchvision_models() -> ModuleType:
    """Import ``torchvision.models``."""
    _declared_ops()
    return import_module("torchvision.models")


def names() -> list[str]:
    """Return the names of all classification networks."""
    models = torchvision_models()
    return models.list_models(module=models)


def parameters(name: str) -> int:
    """Return how many parameters a network has, without building it.

    Parameters
    ----------
    name
        One of `names`.
    """
    return torchvision_models().get_model_weights(name).DEFAULT.meta["num_params"]


def build(name: str) -> nn.Module:
    """Return a network in eval mode with random weights, the same in every call.

    Parameters
    ----------
    name
        One of `names`.
    """
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # Else they warn that their initialization will change; `settle` scales them in any case.
        options = {"init_weights": False}
    torch.manual_seed(0)
    return torchvision_models().get_model(name, weights=None, **options).eval()


def photographs(pictures: Sequence[str], side: int) -> NDArray[np.float32]:
    """Return square crops of photographs, normalized by ImageNet's mean and deviation.

    Parameters
    ----------
    pictures
        Names in `skimage.data`.
    side
        Height and width.

    Returns
    -------
    ndarray
        ``(2 * number of pictures, 3, side, side)``: each whole, and its centre at twice the size.
    """
    crops = []
    for name in pictures:
        picture = _picture(name)
        for reach in (min(picture.size) / 2, min(picture.size) / 4):
            x, y = picture.width / 2, picture.height / 2
            crops.append(_crop(picture, (x - reach, y - reach, x + reach, y + reach), side))
    return _normalized(crops)


def random_crops(pictures: Sequence[str], count: int, side: int) -> NDArray[np.float32]:
    """Return random square crops such as networks are trained on, the same in every call.

    Parameters
    ----------
    pictures
        Names in `skimage.data`, which take turns.
    count
        How many crops.
    side
        Height and width.

    Returns
    -------
    ndarray
        ``(count, 3, side, side)``, normalized as `photographs` does; half of them mirrored.
    """
    random = np.random.default_rng(0)
    crops = []
    for number in range(count):
        picture = _picture(pictures[number % len(pictures)])
        reach = min(picture.size) * random.uniform(LEAST_AREA, 1) ** 0.5
        x, y = random.uniform(0, picture.width - reach), random.uniform(0, picture.height - reach)
        crop = _crop(picture, (x, y, x + reach, y + reach), side)
        crops.append(crop[:, ::-1] if random.random() < 1 / 2 else crop)
    return _normalized(crops)


def _picture(name: str) -> Image.Image:
    loaded = getattr(skimage.data, name)()
    return Image.fromarray(loaded[0] if isinstance(loaded, tuple) else loaded)


def _crop(
    picture: Image.Image, box: tuple[float, float, float, float], side: int
) -> NDArray[np.float32]:
    return np.asarray(picture.resize((side, side), box=box), np.float32) / np.float32(255)


def _normalized(crops: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    images = (np.stack(crops) - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def settle(network: nn.Module, *inputs: NDArray[np.float32]) -> None:
    """Give an untrained network values such as those of a trained one; changes it.

    The weights of every convolution and linear layer are scaled until its results have deviation 1
    (Mishkin and Matas, "All you need is a good init", ICLR 2016). Batch normalization gets random
    gains and offsets, so that channels differ as after training, and the statistics of the images.

    Parameters
    ----------
    network
        In eval mode; it is in eval mode afterwards.
    inputs
        Those of the network, such as photographs, ``(N, 3, H, W)``.
    """

    def scale(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        deviation = output.std().clamp(min=1e-6)
        for parameter in module.parameters(recurse=False):
            parameter.div_(deviation)
        return output / deviation

    random = torch.Generator().manual_seed(0)
    hooks = []
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("layer_scale"):
                parameter.fill_(LAYER_SCALE)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                hooks.append(module.register_forward_hook(scale))
            elif isinstance(module, _BatchNorm):
                gains = torch.randn(module.num_features, generator=random) * GAIN_DEVIATION
                module.weight.copy_(gains.exp())
                offsets = torch.randn(module.num_features, generator=random) * OFFSET_DEVIATION
                module.bias.copy_(offsets)
                # The mean over all batches, of which there is one.
                module.momentum = None
                module.reset_running_stats()
                module.train()
        network(*map(torch.from_numpy, inputs))
    for hook in hooks:
        hook.remove()
    network.eval()
