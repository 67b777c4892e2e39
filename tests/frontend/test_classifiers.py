"""Blocks as torchvision writes them quantize, and the executors agree; so do whole networks."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import torch
from equality import check_engine, check_onnx
from frontend_checks import compare, prepared
from torch import nn
from torch.nn import functional

import fxp
import fxp.frontend.model_import as model_import
from benchmarks.zoo.networks import build, photographs, settle
from fxp.executors import oracle
from fxp.formats import quantize
from fxp.frontend import FrontendError, from_torch
from fxp.imaging.metrics import sqnr


class SqueezeExcitation(nn.Module):
    """Of MobileNetV3 and RegNet."""

    def __init__(self, channels, squeezed, scale):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = scale()

    def forward(self, x):
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class InvertedResidual(nn.Module):
    """Of MobileNetV2 and V3, and of EfficientNet."""

    def __init__(self, channels, wide, activation, scale):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide, eps=0.001),
            activation(inplace=True),
            nn.Conv2d(wide, wide, 5, 1, 2, groups=wide, bias=False), nn.BatchNorm2d(wide),
            activation(inplace=True), SqueezeExcitation(wide, wide // 4, scale),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        result = self.block(x)
        result += x
        return result


class ChannelNorm(nn.LayerNorm):
    """LayerNorm2d of ConvNeXt."""

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return torch.permute(x, self.dims)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels), Permute([0, 2, 3, 1]),
            nn.LayerNorm(channels, eps=1e-6), nn.Linear(channels, 4 * channels), nn.GELU(),
            nn.Linear(4 * channels, channels), Permute([0, 3, 1, 2]),
        )  # fmt: skip
        self.layer_scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x):
        return self.layer_scale * self.block(x) + x


class DenseBlock(nn.Module):
    """Of DenseNet: every layer reads a list of all results before it."""

    def __init__(self, channels, growth, layers):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + number * growth), nn.ReLU(inplace=True),
                nn.Conv2d(channels + number * growth, growth, 3, 1, 1, bias=False),
            )
            for number in range(layers)
        )  # fmt: skip

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class Inception(nn.Module):
    """Of GoogLeNet and Inception v3, whose input is transformed channel by channel."""

    def __init__(self):
        super().__init__()
        self.branch1 = nn.Conv2d(3, 4, (1, 7), padding=(0, 3))
        self.branch2 = nn.Conv2d(3, 4, 3, padding=1)
        self.branch3 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1, ceil_mode=True), nn.Conv2d(3, 4, 1)
        )  # fmt: skip
        self.branch4 = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        red = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        green = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        blue = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        x = torch.cat((red, green, blue), 1)
        mean = functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        parts = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(mean)]
        return functional.relu(torch.cat(parts, 1), inplace=True)


class Means(nn.Module):
    """The end of MNASNet and ShuffleNet."""

    def forward(self, x):
        return x.mean([2, 3])


def stem(channels):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)
    )  # fmt: skip


BLOCKS = {
    "squeeze_excitation": lambda: nn.Sequential(
        stem(8), SqueezeExcitation(8, 2, nn.Sigmoid), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1)
    ),
    "hardswish": lambda: nn.Sequential(
        stem(8), InvertedResidual(8, 16, nn.Hardswish, nn.Hardsigmoid), Means(), nn.Dropout(0.2),
        nn.Linear(8, 5),
    ),
    "silu": lambda: nn.Sequential(stem(8), InvertedResidual(8, 16, nn.SiLU, nn.Sigmoid), Means()),
    "relu6": lambda: nn.Sequential(stem(8), InvertedResidual(8, 16, nn.ReLU6, nn.Sigmoid)),
    "convnext": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), ChannelNorm(8), ConvNeXtBlock(8), nn.AdaptiveAvgPool2d(1),
        ChannelNorm(8), nn.Flatten(1), nn.Linear(8, 5),
    ),
    "dense": lambda: nn.Sequential(stem(4), DenseBlock(4, 4, 3), nn.AvgPool2d(2, 2)),
    "inception": lambda: nn.Sequential(Inception(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
}  # fmt: skip


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
def test_block(make):
    torch.manual_seed(3)
    network = prepared(make())
    graph = from_torch(network, [torch.randn(1, 3, 24, 32)])
    compare(graph, network, [((1, 3, 24, 32),), ((1, 3, 28, 20),)], 1e-9)
    model = fxp.quantize(network, torch.rand(4, 3, 24, 32))
    form = model.graph.inputs[0].format
    assert form is not None
    raw = quantize(np.random.default_rng(1).random((3, 28, 20)), form)
    expected = oracle.run(model.graph, [raw])
    check_engine(model.graph, expected, [raw])
    check_onnx(model.graph, [expected], [[raw]])


@pytest.mark.parametrize(
    ("name", "least"),
    [("shufflenet_v2_x0_5", 15), ("squeezenet1_1", 35)],
)
def test_network_of_torchvision(name, least):
    network = build(name)
    settle(network, photographs(["astronaut", "coffee"], 64))
    model = fxp.quantize(network, photographs(["astronaut", "coffee"], 64), effort="fast")
    images = photographs(["chelsea"], 64)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images)).numpy()
    assert sqnr(wanted, model(images)) > least
    form = model.graph.inputs[0].format
    assert form is not None
    raw = quantize(images[0], form)
    expected = oracle.run(model.graph, [raw])
    check_engine(model.graph, expected, [raw], options=[(2, True), (1, False)])
    check_onnx(model.graph, [expected], [[raw]])


class WindowAttention(nn.Module):
    """Attention inside windows, by hand, as in Swin (Liu et al., ICCV 2021)."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)

    def forward(self, x):
        _, channels, height, width = x.shape
        x = x.view(1, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 3, 5, 1)
        q, k, v = self.qkv(x.reshape(-1, 16, channels)).chunk(3, 2)
        x = torch.matmul(torch.matmul(q, k.transpose(1, 2)).softmax(2), v)
        x = x.view(1, height // 4, width // 4, 4, 4, channels).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(1, channels, height, width)


class EinsumAttention(nn.Module):
    def forward(self, x):
        tokens = x.flatten(2)
        weights = torch.einsum("bcn,bcm->bnm", tokens, tokens).softmax(-1)
        return torch.einsum("bnm,bcm->bcn", weights, tokens).view(x.shape)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x.flatten(2).transpose(1, 2)).mean(1)


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (WindowAttention, "test_classifiers.WindowAttention"),
        (EinsumAttention, "test_classifiers.EinsumAttention"),
        (Encoder, "activation.MultiheadAttention"),
    ],
    ids=["window", "einsum", "encoder"],
)
def test_attention_is_refused_before_sizes_are_free(block, kind, monkeypatch):
    """With free sizes torch.export takes minutes for some networks with attention."""
    traced = []

    def watched(*arguments, free_sizes, **options):
        traced.append(free_sizes)
        return trace(*arguments, free_sizes=free_sizes, **options)

    trace = model_import.trace
    monkeypatch.setattr(model_import, "trace", watched)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), block()).eval()
    with pytest.raises(FrontendError, match=rf"module '1.*\({kind}\).*attention is not supported"):
        from_torch(network, [torch.randn(1, 3, 8, 8)])
    assert traced == [False]


def test_messages_of_torch_are_kept_back():
    """Pooling twice with ceil_mode makes torch log pages about inequalities it cannot solve."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    network = nn.Sequential(nn.Conv2d(3, 4, 7, 2), pool, nn.Conv2d(4, 4, 1), pool, pool).eval()
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            from_torch(network, [torch.randn(1, 3, 64, 64)])
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []
    assert logger.filters == []


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
def test_one_pixel_makes_torch_say_nothing(caplog):
    """Its size counts as fixed, which fxp says itself."""
    from_torch(nn.Conv2d(3, 4, 1).eval(), [torch.rand(1, 3, 1, 1)])
    assert [item.getMessage() for item in caplog.records if item.levelno >= logging.WARNING] == []
