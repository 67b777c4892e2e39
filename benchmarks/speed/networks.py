"""Networks that are timed and belong to no system, without trained weights."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size, with He-normal weights.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel
        Height and width of the kernel.
    groups
        Groups of channels.
    """
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


class ResidualChain(nn.Module):
    """Residual blocks of DeepDeblur: convolution, ReLU, convolution, plus the block's input."""

    def __init__(self, channels: int = 64, kernel: int = 5, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                convolution(channels, channels, kernel),
                nn.ReLU(),
                convolution(channels, channels, kernel),
            )
            for _ in range(blocks)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        for block in self.blocks:
            features = features + block(features)
        return features


class InvertedResidual(nn.Module):
    """Block of MobileNetV2: 1x1 to more channels, depthwise 3x3, 1x1 back, plus its input."""

    def __init__(self, channels: int = 24, expanded: int = 144) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(channels, expanded, 1),
            nn.ReLU6(),
            convolution(expanded, expanded, 3, groups=expanded),
            nn.ReLU6(),
            convolution(expanded, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return features + self.layers(features)


class DnCNN(nn.Module):
    """Denoiser that subtracts the noise it finds.

    K. Zhang et al., "Beyond a Gaussian Denoiser", IEEE Trans. Image Processing 2017.
    """

    def __init__(self, channels: int = 64, depth: int = 17) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(1, channels, 3), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [convolution(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.tail = nn.Conv2d(channels, 1, 3, padding=1, bias=False)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return an image of the same shape."""
        output = noisy - self.tail(self.layers(noisy))
        return output if self.training else output.clamp(0.0, 1.0)


class LapSRN(nn.Module):
    """One level of the Laplacian pyramid network: twice the size.

    W.-S. Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution",
    CVPR 2017.
    """

    def __init__(self, channels: int = 64, depth: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([1, *[channels] * (depth + 1)]):
            layers += [convolution(inputs, outputs, 3), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(
            *layers, nn.ConvTranspose2d(channels, channels, 4, 2, 1), nn.LeakyReLU(0.2)
        )
        self.tail = convolution(channels, 1, 3)
        self.upscale = nn.ConvTranspose2d(1, 1, 4, 2, 1)
        # Bilinear, as the network starts its training.
        taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.upscale.weight.copy_(torch.outer(taps, taps)[None, None])
        assert self.upscale.bias is not None
        nn.init.zeros_(self.upscale.bias)

    def forward(self, luma: Tensor) -> Tensor:
        """Return an image of twice the size."""
        output = self.upscale(luma) + self.tail(self.layers(luma))
        return output if self.training else output.clamp(0.0, 1.0)


class _Cascade(nn.Module):
    """Three times a module; a 1x1 convolution after each takes all that came before."""

    def __init__(self, modules: list[nn.Module], channels: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(modules)
        self.joins = nn.ModuleList(
            convolution((number + 2) * channels, channels, 1) for number in range(len(modules))
        )

    def forward(self, features: Tensor) -> Tensor:
        known = features
        for step, join in zip(self.steps, self.joins, strict=True):
            known = torch.cat([known, step(features)], 1)
            features = functional.relu(join(known))
        return features


class _GroupedResidual(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(channels, channels, 3, groups),
            nn.ReLU(),
            convolution(channels, channels, 3, groups),
            nn.ReLU(),
            convolution(channels, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.layers(features))


class CarnM(nn.Module):
    """CARN-M at twice the size: cascades of residual blocks with grouped, shared convolutions.

    N. Ahn, B. Kang, K.-A. Sohn, "Fast, Accurate, and Lightweight Super-Resolution with Cascading
    Residual Network", ECCV 2018.
    """

    def __init__(self, channels: int = 64, groups: int = 4) -> None:
        super().__init__()
        self.head = convolution(3, channels, 3)
        blocks: list[nn.Module] = []
        for _ in range(3):
            shared = _GroupedResidual(channels, groups)
            blocks.append(_Cascade([shared] * 3, channels))
        self.body = _Cascade(blocks, channels)
        self.upscale = convolution(channels, 4 * channels, 3, groups)
        self.tail = convolution(channels, 3, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Return an image of twice the size."""
        features = functional.relu(self.upscale(self.body(self.head(image))))
        return self.tail(functional.pixel_shuffle(features, 2))


def _normalized(layer: nn.Conv2d) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(layer.out_channels)]


class MobileNetV1(nn.Module):
    """MobileNet at full width, 4,231,976 parameters.

    A. G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", arXiv 1704.04861.
    """

    def __init__(self) -> None:
        super().__init__()
        layers = [*_normalized(nn.Conv2d(3, 32, 3, 2, 1, bias=False)), nn.ReLU()]
        channels = 32
        strided = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5,
                   (1024, 2), (1024, 1)]  # fmt: skip
        for outputs, stride in strided:
            depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
            layers += [*_normalized(depthwise), nn.ReLU()]
            layers += [*_normalized(nn.Conv2d(channels, outputs, 1, bias=False)), nn.ReLU()]
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores of 1,000 classes."""
        return self.classifier(self.features(image).mean((2, 3)))


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normalized(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)),
            nn.ReLU(),
            *_normalized(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs
            else nn.Sequential(*_normalized(nn.Conv2d(inputs, outputs, 1, stride, bias=False)))
        )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.layers(features) + self.shortcut(features))


class ResNet20(nn.Module):
    """ResNet-20 for images of 32x32, with 1x1 convolutions where the channels change.

    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers = [*_normalized(nn.Conv2d(3, 16, 3, 1, 1, bias=False)), nn.ReLU()]
        channels = 16
        for outputs in (16, 32, 64):
            for number in range(3):
                stride = 2 if outputs > 16 and number == 0 else 1
                layers.append(_BasicBlock(channels, outputs, stride))
                channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(self.features(image).mean((2, 3)))


def digits() -> nn.Module:
    """Return a classifier of 28x28 digits: two convolutions with pooling, two linear layers."""
    return nn.Sequential(
        convolution(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
        convolution(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
