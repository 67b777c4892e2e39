"""The zoo: the parameters of every network, their sizes, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxp.models.recognition.zoo import SMALL, ZOO
from fxp.models.recognition.zoo.alexnet import AlexNet
from fxp.models.recognition.zoo.cifar import CifarResNet, PaddedShortcut
from fxp.models.recognition.zoo.googlenet import GoogLeNet
from fxp.models.recognition.zoo.mobilenet import MobileNetV1, MobileNetV2, divisible
from fxp.models.recognition.zoo.resnet import ResNet
from fxp.models.recognition.zoo.squeezenet import SqueezeNet
from fxp.models.recognition.zoo.vgg import VGG, VGGS
from fxp.support.errors import ArgumentError

PARAMETERS = {
    "alexnet": 60_965_224,
    "alexnet_single_tower": 61_100_840,
    "googlenet": 6_998_552,
    "googlenet_torchvision": 6_624_904,
    "inception_v3": 23_834_568,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v2_1.4": 6_108_776,
    "resnet50": 25_557_032,
    "resnet50_v1": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "squeezenet_1.0": 1_248_424,
    "squeezenet_1.1": 1_235_496,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vggs": 102_908_520,
    "vggs_faces": 97_571_944,
}
"""Published numbers, which no weights are needed to count."""


def built(make, **options) -> nn.Module:
    """Return a network of shapes alone, which takes no memory."""
    with torch.device("meta"):
        return make(**options).eval()


def count(network: nn.Module) -> int:
    return sum(item.numel() for item in network.parameters())


@pytest.mark.parametrize("name", ZOO)
def test_parameters_and_scores(name: str):
    network = built(ZOO[name])
    assert count(network) == PARAMETERS[name]
    scores = network(torch.empty(2, 3, network.side, network.side, device="meta"))
    assert scores.shape == (2, 8 if name == "vggs_faces" else 1000)
    again = type(network)
    with torch.device("meta"):
        assert count(again(**network.options())) == PARAMETERS[name]


def test_squeezenet_of_eight_classes_has_the_size_of_the_survey():
    assert count(built(SqueezeNet, classes=8)) == 726_600


@pytest.mark.parametrize(("depth", "parameters"), [(20, 269_722), (32, 464_154), (56, 853_018)])
def test_parameters_of_the_resnets_for_cifar(depth: int, parameters: int):
    assert count(built(CifarResNet, depth=depth)) == parameters


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_take_other_classes_and_channels(name: str):
    network = built(SMALL[name], classes=7, channels=1)
    assert network(torch.empty(3, 1, 32, 32, device="meta")).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "features"),
    [("alexnet", (256, 6, 6)), ("alexnet_single_tower", (256, 6, 6)), ("vgg16", (512, 7, 7)),
     ("vggs", (512, 6, 6)), ("vggs_faces", (512, 6, 6))],
)  # fmt: skip
def test_features_have_the_size_of_the_linear_layers_before_any_pooling(name: str, features):
    network = built(ZOO[name])
    picture = torch.empty(1, 3, network.side, network.side, device="meta")
    assert network.features(picture).shape[1:] == features


def test_last_depthwise_convolution_of_mobilenet_keeps_the_size():
    # The table of the paper prints a stride of 2 there.
    network = built(MobileNetV1)
    assert network.features[-1][0].stride == (1, 1)
    picture = torch.empty(1, 3, 224, 224, device="meta")
    assert network.features(picture).shape == (1, 1024, 7, 7)


def test_stage_of_96_channels_of_mobilenet_v2_begins_at_14_pixels():
    # The table of the paper prints 28.
    network = built(MobileNetV2)
    x = torch.empty(1, 3, 224, 224, device="meta")
    for layer in network.features[:11]:
        x = layer(x)
    assert x.shape == (1, 64, 14, 14)
    assert network.features[11].conv[2].out_channels == 96


def test_googlenet_has_convolutions_of_five_by_five():
    assert built(GoogLeNet).inception3a.branch3[1].conv.kernel_size == (5, 5)


def test_versions_of_resnet_differ_in_the_place_of_the_stride():
    for version, strides in (("1", [2, 1]), ("1.5", [1, 2])):
        block = built(ResNet, version=version).layer2[0]
        assert [block.conv1.stride[0], block.conv2.stride[0]] == strides


def test_shortcut_pads_channels_on_both_sides():
    x = torch.arange(1.0, 33.0).reshape(1, 2, 4, 4)
    padded = PaddedShortcut(1)(x)
    assert padded.shape == (1, 4, 2, 2)
    assert padded[0, 0].count_nonzero() == padded[0, 3].count_nonzero() == 0
    assert padded[0, 1].tolist() == [[1.0, 3.0], [9.0, 11.0]]
    assert padded[0, 2].tolist() == [[17.0, 19.0], [25.0, 27.0]]


@pytest.mark.parametrize(
    ("channels", "rounded"), [(32 * 1.4, 48), (16 * 0.35, 8), (24 * 0.5, 16), (320 * 1.4, 448)]
)
def test_channels_of_mobilenet_are_multiples_of_eight(channels: float, rounded: int):
    assert divisible(channels) == rounded


def test_norms_of_alexnet_can_be_left_out():
    kinds = [type(layer) for layer in built(AlexNet, normalized=False).features]
    assert nn.LocalResponseNorm not in kinds
    assert nn.LocalResponseNorm in [type(layer) for layer in built(AlexNet).features]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VGG(11), "depth must be 16 or 19, not 11"),
        (lambda: ResNet(34), "depth must be 50, 101 or 152, not 34"),
        (lambda: ResNet(version="2"), "version must be 1 or 1.5, not '2'"),
        (lambda: SqueezeNet("1.2"), "version must be 1.0 or 1.1, not '1.2'"),
        (lambda: CifarResNet(21), "depth must be 8, 14, 20, 26, ..., not 21"),
    ],
)
def test_refusals(make, message: str):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert str(caught.value) == message


def test_variant_of_vggs_pads_and_normalizes():
    network = built(VGGS, classes=8, variant=True)
    kinds = [type(layer).__name__ for layer in network.features[:4]]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert network.features[0].padding == (1, 1)
    assert network.features[1].eps == 1e-3
    assert network.classifier[0].out_features == 4048
