"""Weights of torchvision, timm and released files in the networks of the zoo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.zoo.networks import torchvision_models
from fxp.models.common.weights import WeightsError
from fxp.models.recognition.zoo import ZOO, released
from fxp.models.recognition.zoo.mobilenet import MobileNetV1, MobileNetV2
from fxp.models.recognition.zoo.released import ResNet8
from fxp.models.recognition.zoo.squeezenet import SqueezeNet
from fxp.models.recognition.zoo.state_dicts import load_state, renamed
from fxp.models.recognition.zoo.vgg import VGG

TORCHVISION = {
    "alexnet_single_tower": "alexnet", "googlenet_torchvision": "googlenet",
    "inception_v3": "inception_v3", "mobilenet_v2": "mobilenet_v2", "resnet50": "resnet50",
    "resnet101": "resnet101", "resnet152": "resnet152", "squeezenet_1.0": "squeezenet1_0",
    "squeezenet_1.1": "squeezenet1_1", "vgg16": "vgg16", "vgg19": "vgg19",
}  # fmt: skip


def torchvision_network(name: str) -> nn.Module:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision_models().get_model(name, weights=None, **options).eval()


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_and_shapes_are_those_of_torchvision(name: str):
    with torch.device("meta"):
        ours, theirs = ZOO[name](), torchvision_network(TORCHVISION[name])
        found = renamed(ours, theirs.state_dict())
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in found.items()} == shapes


@pytest.mark.parametrize("name", ["googlenet_torchvision", "mobilenet_v2", "squeezenet_1.1"])
def test_scores_are_those_of_torchvision(name: str, tmp_path: Path):
    torch.manual_seed(0)
    theirs = torchvision_network(TORCHVISION[name])
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "weights.pth")
    ours = load_state(ZOO[name](), tmp_path / "weights.pth")
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(picture), theirs(picture))


def timm_state(network: nn.Module, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """Return weights under the names of another package; `names` are those of modules."""
    own = {ours: theirs for theirs, ours in names.items()}
    return {
        ".".join([own[key.rpartition(".")[0]], key.rpartition(".")[2]]): value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def depthwise_blocks(stage: int, count: int, first: int) -> dict[str, str]:
    """Names of timm's separable convolutions, and of ours."""
    names = {}
    for block in range(count):
        ours = f"features.{first + block}"
        theirs = f"blocks.{stage}.{block}"
        names |= {
            f"{theirs}.conv_dw": f"{ours}.0", f"{theirs}.bn1": f"{ours}.1",
            f"{theirs}.conv_pw": f"{ours}.3", f"{theirs}.bn2": f"{ours}.4",
        }  # fmt: skip
    return names


def test_mobilenet_v1_of_timm(tmp_path: Path):
    names = {
        "conv_stem": "features.0.0", "bn1": "features.0.1", "classifier": "fc",
        **depthwise_blocks(0, 1, 1), **depthwise_blocks(1, 2, 2), **depthwise_blocks(2, 2, 4),
        **depthwise_blocks(3, 6, 6), **depthwise_blocks(4, 2, 12),
    }  # fmt: skip
    check_timm(MobileNetV1(0.25, 10, clipped=True), MobileNetV1(0.25, 10), names, tmp_path)


def test_mobilenet_v2_of_timm(tmp_path: Path):
    names = {
        "conv_stem": "features.0.0", "bn1": "features.0.1",
        "conv_head": "features.18.0", "bn2": "features.18.1", "classifier": "classifier.1",
        "blocks.0.0.conv_dw": "features.1.conv.0.0", "blocks.0.0.bn1": "features.1.conv.0.1",
        "blocks.0.0.conv_pw": "features.1.conv.1", "blocks.0.0.bn2": "features.1.conv.2",
    }  # fmt: skip
    places = ((1, 0, 2), (1, 1, 3), (2, 0, 4), (2, 1, 5), (2, 2, 6), (3, 0, 7), (3, 1, 8),
              (3, 2, 9), (3, 3, 10), (4, 0, 11), (4, 1, 12), (4, 2, 13), (5, 0, 14), (5, 1, 15),
              (5, 2, 16), (6, 0, 17))  # fmt: skip
    for stage, block, number in places:
        theirs, ours = f"blocks.{stage}.{block}", f"features.{number}.conv"
        names |= {
            f"{theirs}.conv_pw": f"{ours}.0.0", f"{theirs}.bn1": f"{ours}.0.1",
            f"{theirs}.conv_dw": f"{ours}.1.0", f"{theirs}.bn2": f"{ours}.1.1",
            f"{theirs}.conv_pwl": f"{ours}.2", f"{theirs}.bn3": f"{ours}.3",
        }  # fmt: skip
    check_timm(MobileNetV2(0.35, 10), MobileNetV2(0.35, 10), names, tmp_path)


def check_timm(source: nn.Module, goal: nn.Module, names: dict[str, str], folder: Path) -> None:
    """Write the weights of one network by timm's names, and read them into another one."""
    save_file(timm_state(source, names), folder / "timm.safetensors")
    load_state(goal, folder / "timm.safetensors")
    for key, value in source.state_dict().items():
        assert torch.equal(goal.state_dict()[key], value)


def test_linear_layers_of_timms_vgg_are_convolutions(tmp_path: Path):
    source = VGG(16, 5, 1 / 64)
    state = dict(source.state_dict())
    for ours, theirs, side in ((0, "pre_logits.fc1", 7), (3, "pre_logits.fc2", 1)):
        weight = state.pop(f"classifier.{ours}.weight")
        state[f"{theirs}.weight"] = weight.reshape(len(weight), -1, side, side)
        state[f"{theirs}.bias"] = state.pop(f"classifier.{ours}.bias")
    for part in ("weight", "bias"):
        state[f"head.fc.{part}"] = state.pop(f"classifier.6.{part}")
    save_file(state, tmp_path / "timm.safetensors")
    goal = load_state(VGG(16, 5, 1 / 64), tmp_path / "timm.safetensors")
    for key, value in source.state_dict().items():
        assert torch.equal(goal.state_dict()[key], value)


def test_weights_that_do_not_fit(tmp_path: Path):
    path = tmp_path / "weights.pt"
    torch.save(SqueezeNet(classes=10).state_dict(), path)
    network = SqueezeNet(classes=8)
    before = network.features[0].weight.clone()
    with pytest.raises(
        WeightsError,
        match=r"no weights of this SqueezeNet: classifier\.1\.weight has shape "
        r"\(10, 512, 1, 1\), not \(8, 512, 1, 1\)$",
    ):
        load_state(network, path)
    assert torch.equal(network.features[0].weight, before)
    with pytest.raises(WeightsError, match=r"features\.0\.0\.weight is missing"):
        load_state(MobileNetV1(0.25, 8), path)
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"weights\.pt"):
        load_state(network, path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_state(network, path)
    with pytest.raises(WeightsError, match="weights not found"):
        load_state(network, tmp_path / "missing.pt")


def test_released_squeezenet(tmp_path: Path):
    source = SqueezeNet("1.0")
    numbers = (3, 4, 5, 7, 8, 9, 10, 12)
    names = {"conv1": "features.0", "conv_final": "classifier.1"}
    for fire, number in enumerate(numbers, 2):
        names |= {
            f"fire{fire}__conv1x1_1": f"features.{number}.squeeze",
            f"fire{fire}__conv1x1_2": f"features.{number}.expand1x1",
            f"fire{fire}__conv3x3_2": f"features.{number}.expand3x3",
        }
    state = source.state_dict()
    arrays = {
        f"{theirs}__{part}": state[f"{ours}.{part}"].numpy()
        for theirs, ours in names.items()
        for part in ("weight", "bias")
    }
    np.savez(tmp_path / "released.npz", **arrays, conv1__codebook=np.zeros(256, np.float32))
    found = released.squeezenet(tmp_path / "released.npz").state_dict()
    for key, value in state.items():
        assert torch.equal(found[key], value)


def test_released_mobilenet(tmp_path: Path):
    source = MobileNetV1(0.25, slope=0.1)
    arrays = {}
    for key, value in source.state_dict().items():
        if key.startswith("features."):
            _, block, rest = key.split(".", 2)
            number = int(block)
            stage, first = (1, 0) if number < 6 else (2, 6) if number < 12 else (3, 12)
            key = f"stage{stage}.{number - first}.{rest}"
        arrays[key] = value.numpy()
    np.savez(tmp_path / "released.npz", **arrays)
    found = released.mobilenet(tmp_path / "released.npz").state_dict()
    for key, value in source.state_dict().items():
        assert torch.equal(found[key], value)


def test_released_resnet8(tmp_path: Path):
    arrays = {"dense/kernel:0": np.eye(64, 10, dtype=np.float32),
              "dense/bias:0": np.arange(10, dtype=np.float32)}  # fmt: skip
    channels = ((3, 16, 3), (16, 16, 3), (16, 16, 3), (16, 32, 3), (32, 32, 3), (16, 32, 1),
                (32, 64, 3), (64, 64, 3), (32, 64, 1))  # fmt: skip
    for number, (inputs, outputs, kernel) in enumerate(channels):
        name = f"conv2d_{number}" if number else "conv2d"
        shape = (kernel, kernel, inputs, outputs)
        arrays[f"{name}/kernel:0"] = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        arrays[f"{name}/bias:0"] = np.full(outputs, number, np.float32)
    for number, width in enumerate((16, 16, 16, 32, 32, 64, 64)):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            arrays[f"{name}/{part}:0"] = np.full(width, number + 1, np.float32)
    np.savez(tmp_path / "released.npz", **arrays)
    network = released.resnet8(tmp_path / "released.npz")
    assert isinstance(network, ResNet8)
    # Row, column, input, output there; output, input, row, column here.
    kernel = arrays["conv2d_5/kernel:0"]
    assert network.blocks[1].shortcut.weight[31, 15, 0, 0] == kernel[0, 0, 15, 31] == 511
    assert network.blocks[2].conv2.bias.tolist() == [7.0] * 64
    assert network.blocks[2].bn2.running_var.tolist() == [7.0] * 64
    assert network.dense.weight[3].nonzero().tolist() == [[3]]
    del arrays["conv2d_5/bias:0"]
    np.savez(tmp_path / "released.npz", **arrays)
    with pytest.raises(WeightsError, match=r"it has no array conv2d_5/bias:0"):
        released.resnet8(tmp_path / "released.npz")


def test_released_files_that_are_none(tmp_path: Path):
    path = tmp_path / "released.npz"
    with pytest.raises(WeightsError, match="weights not found"):
        released.resnet20(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(WeightsError, match="cannot read weights"):
        released.resnet20(path)
    np.savez(path, weight=np.zeros(3))
    with pytest.raises(WeightsError, match="does not fit the network"):
        released.resnet20(path)
