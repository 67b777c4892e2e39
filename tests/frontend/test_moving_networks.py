"""Networks that live on movements quantize, and the engine and ONNX give the oracle's integers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from equality import check_engine, check_onnx
from frontend_checks import compare, prepared
from torch import nn
from torch.nn import functional

import fxp
from fxp.executors import oracle
from fxp.formats import quantize
from fxp.frontend import from_torch


class BasicBlock(nn.Module):
    """Block of the CIFAR ResNets with shortcut A (He et al., CVPR 2016, section 4.2)."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.channels = channels if before != channels else None

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.channels is not None:
            more = self.channels // 4
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more), "constant", 0)
        return functional.relu(y + x)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for number, (before, channels) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            blocks = [BasicBlock(before, channels, channels // before)]
            blocks += [BasicBlock(channels, channels, 1) for _ in range(2)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = functional.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


class Patches(nn.Module):
    """Two levels of a deep multi-patch network (Zhang et al., DMPHN, CVPR 2019)."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = (nn.Conv2d(3, 8, 3, padding=1) for _ in range(2))
        self.fine_end, self.coarse_end = (nn.Conv2d(8, 3, 3, padding=1) for _ in range(2))

    def forward(self, x):
        height, width = x.shape[2:]
        top, bottom = x[:, :, : height // 2, :], x[:, :, height // 2 :, :]
        corners = [
            part
            for half in (top, bottom)
            for part in (half[..., : width // 2], half[..., width // 2 :])
        ]
        features = [functional.relu(self.fine(corner)) for corner in corners]
        rows = [torch.cat(features[:2], 3), torch.cat(features[2:], 3)]
        residual = torch.cat([self.fine_end(row) for row in rows], 2)
        return self.coarse_end(functional.relu(self.coarse(x + residual))) + x


class ShuffleUnit(nn.Module):
    """Unit of ShuffleNet V2 (Ma et al., ECCV 2018, figure 3c)."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x):
        kept, changed = x.chunk(2, dim=1)
        x = torch.cat((kept, self.branch(changed)), dim=1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width)
        return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class ConvNeXtBlock(nn.Module):
    """Block of ConvNeXt (Liu et al., CVPR 2022) without its normalization."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.expand = nn.Linear(channels, 4 * channels)
        self.reduce = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.rand(channels))

    def forward(self, x):
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.gamma * self.reduce(functional.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


def classifier(*layers):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip


NETWORKS = {
    "resnet20": (ResNet20, [(1, 3, 32, 32)]),
    "patches": (Patches, [(1, 3, 16, 24), (1, 3, 8, 12)]),
    "shuffle": (
        lambda: classifier(ShuffleUnit(16), ShuffleUnit(16)), [(1, 3, 16, 24), (1, 3, 9, 7)],
    ),
    "convnext": (
        lambda: classifier(ConvNeXtBlock(16)), [(1, 3, 16, 24), (1, 3, 9, 7)],
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize(("make", "shapes"), NETWORKS.values(), ids=NETWORKS)
def test_network(make, shapes):
    torch.manual_seed(3)
    network = prepared(make())
    graph = from_torch(network, [torch.randn(shapes[0])])
    compare(graph, network, [(shape,) for shape in shapes], 1e-9)
    model = fxp.quantize(network, torch.rand(4, *shapes[0][1:]))
    form = model.graph.inputs[0].format
    assert form is not None
    for shape in shapes:
        raw = quantize(np.random.default_rng(1).random(shape[1:]), form)
        expected = oracle.run(model.graph, [raw])
        check_engine(model.graph, expected, [raw])
        check_onnx(model.graph, [expected], [[raw]])


@pytest.mark.skipif("FXP_DATA" not in os.environ, reason="set FXP_DATA to the folder of weights")
@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
def test_released_resnet20():
    """The weights of akamaster/pytorch_resnet_cifar10: the fixed-point logits follow the float."""
    path = Path(os.environ["FXP_DATA"]) / "weights" / "resnet20_cifar10.npz"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    network = ResNet20()
    weights = {key: torch.from_numpy(value) for key, value in np.load(path).items()}
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in missing)
    assert unexpected == []
    network.eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(
        torch.randn(32, 3, 8, 8, generator=generator), size=32, mode="bilinear"
    )
    model = fxp.quantize(network, images[:16])
    with torch.no_grad():
        wanted = network(images[16:]).numpy()
    found = model(images[16:].numpy())
    error = ((found - wanted) ** 2).sum() / (wanted**2).sum()
    assert 10 * np.log10(error) < -25
