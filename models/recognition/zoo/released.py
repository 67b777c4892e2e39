"""Networks that others trained and released, from ``.npz`` files of their arrays.

ResNet-20 for CIFAR-10 is by Y. Idelbayev, MobileNetV1 of a quarter of the channels comes with an
implementation of RetinaFace, SqueezeNet 1.0 is decoded from the file of Deep Compression (S. Han et
al., ICLR 2016), and ResNet-8 for CIFAR-10 is that of MLPerf Tiny.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.common.weights import WeightsError
from fxp.models.recognition.zoo.cifar import CifarResNet
from fxp.models.recognition.zoo.mobilenet import MobileNetV1
from fxp.models.recognition.zoo.parts import Classifier
from fxp.models.recognition.zoo.squeezenet import Fire, SqueezeNet


def read_arrays(path: str | Path) -> dict[str, Tensor]:
    """Return the arrays of numbers in a ``.npz`` file as tensors.

    Raises
    ------
    WeightsError
        If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except FileNotFoundError as error:
        raise WeightsError(f"weights not found: {path}") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"cannot read weights {path}: {error}") from error
    return {
        name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "fiu"
    }


def _filled(network: Classifier, tensors: Mapping[str, Tensor], path: str | Path) -> Classifier:
    # The files leave out how many batches were counted.
    counters = {
        name: value
        for name, value in network.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    try:
        network.load_state_dict({**counters, **tensors})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path} does not fit the network: {reason}") from error
    return network.eval()


def _taken(tensors: Mapping[str, Tensor], name: str, path: str | Path) -> Tensor:
    if name not in tensors:
        raise WeightsError(f"{path} does not fit the network: it has no array {name}")
    return tensors[name]


def resnet20(path: str | Path) -> Classifier:
    """Load ResNet-20 for CIFAR-10; it takes pixels normalized as those of ImageNet."""
    return _filled(CifarResNet(20), read_arrays(path), path)


def mobilenet(path: str | Path) -> Classifier:
    """Load MobileNetV1 x0.25 with leaky ReLUs; it takes pixels normalized as those of ImageNet."""
    first_of_stage = {"stage1": 0, "stage2": 6, "stage3": 12}
    tensors = {}
    for name, value in read_arrays(path).items():
        stage, _, rest = name.partition(".")
        if stage in first_of_stage:
            block, _, rest = rest.partition(".")
            name = f"features.{first_of_stage[stage] + int(block)}.{rest}"
        tensors[name] = value
    return _filled(MobileNetV1(0.25, slope=0.1), tensors, path)


def squeezenet(path: str | Path) -> Classifier:
    """Load SqueezeNet 1.0 of Deep Compression.

    It takes 227x227 pixels of 0 to 255, blue first, less (104, 117, 123).
    """
    arrays = read_arrays(path)
    network = SqueezeNet("1.0")
    layers = {"conv1": "features.0", "conv_final": "classifier.1"}
    fires = [name for name, module in network.named_modules() if isinstance(module, Fire)]
    for number, fire in enumerate(fires, 2):
        layers[f"fire{number}__conv1x1_1"] = f"{fire}.squeeze"
        layers[f"fire{number}__conv1x1_2"] = f"{fire}.expand1x1"
        layers[f"fire{number}__conv3x3_2"] = f"{fire}.expand3x3"
    tensors = {
        f"{own}.{key}": _taken(arrays, f"{name}__{key}", path)
        for name, own in layers.items()
        for key in ("weight", "bias")
    }
    return _filled(network, tensors, path)


class PaddedBlock(nn.Module):
    """Block of ResNet-8: where the size changes, the shortcut is a convolution.

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # Padding "same" of a stride of two adds below and to the right alone.
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the two ways, without its negative part."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(self.pad(x))))))
        return torch.relu(y + self.shortcut(x))


class ResNet8(Classifier):
    """ResNet-8 for CIFAR-10, as in MLPerf Tiny; it takes pixels of 0 to 255.

    Parameters
    ----------
    classes
        Number of scores.
    """

    side = 32

    def __init__(self, classes: int = 10) -> None:
        super().__init__(classes=classes)
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16, eps=1e-3)
        self.blocks = nn.Sequential(
            PaddedBlock(16, 16, 1), PaddedBlock(16, 32, 2), PaddedBlock(32, 64, 2)
        )
        self.dense = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = self.blocks(torch.relu(self.bn(self.conv(x))))
        return self.dense(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def resnet8(path: str | Path) -> Classifier:
    """Load ResNet-8 from the arrays of a Keras file; it takes pixels of 0 to 255."""
    arrays = read_arrays(path)
    convolutions = ["conv"]
    norms = ["bn"]
    for number in range(3):
        convolutions += [f"blocks.{number}.conv1", f"blocks.{number}.conv2"]
        if number:
            convolutions.append(f"blocks.{number}.shortcut")
        norms += [f"blocks.{number}.bn1", f"blocks.{number}.bn2"]
    tensors = {}
    for number, layer in enumerate(convolutions):
        name = f"conv2d_{number}" if number else "conv2d"
        kernel = _taken(arrays, f"{name}/kernel:0", path)
        tensors[f"{layer}.weight"] = kernel.permute(3, 2, 0, 1)
        tensors[f"{layer}.bias"] = _taken(arrays, f"{name}/bias:0", path)
    of_norm = {
        "weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }  # fmt: skip
    for number, layer in enumerate(norms):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        for own, keras in of_norm.items():
            tensors[f"{layer}.{own}"] = _taken(arrays, f"{name}/{keras}:0", path)
    tensors["dense.weight"] = _taken(arrays, "dense/kernel:0", path).T
    tensors["dense.bias"] = _taken(arrays, "dense/bias:0", path)
    return _filled(ResNet8(), tensors, path)
