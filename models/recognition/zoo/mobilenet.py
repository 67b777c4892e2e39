"""MobileNet of both versions, of any width.

A. G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017; M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.parts import Classifier, normalized_convolution

V1_STAGES: Final = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2),
    # The table of the paper prints a stride of 2 here, with a size that does not change.
    (1024, 1),
)  # fmt: skip
"""Channels and strides of the separable convolutions of MobileNetV1."""
V2_STAGES: Final = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, channels, blocks and first stride of the stages of MobileNetV2."""


def divisible(channels: float) -> int:
    """Return a number of channels as a multiple of 8, at most a tenth below the given one."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class MobileNetV1(Classifier):
    """MobileNetV1: a convolution and 13 separable ones.

    Parameters
    ----------
    width
        Factor on the channels.
    classes
        Number of scores.
    slope
        Of leaky ReLUs; 0 for ReLUs, as published.
    clipped
        Whether the ReLUs end at 6, as those do that timm's weights were trained with.
    """

    def __init__(
        self,
        width: float = 1.0,
        classes: int = 1000,
        slope: float = 0.0,
        *,
        clipped: bool = False,
    ) -> None:
        super().__init__(width=width, classes=classes, slope=slope, clipped=clipped)

        def activation() -> nn.Module:
            if clipped:
                return nn.ReLU6()
            return nn.LeakyReLU(slope) if slope else nn.ReLU()

        inputs = int(32 * width)
        blocks = [nn.Sequential(*normalized_convolution(3, inputs, stride=2), activation())]
        for wanted, stride in V1_STAGES:
            outputs = int(wanted * width)
            blocks.append(
                nn.Sequential(
                    *normalized_convolution(inputs, inputs, stride=stride, groups=inputs),
                    activation(),
                    *normalized_convolution(inputs, outputs, 1),
                    activation(),
                )
            )
            inputs = outputs
        self.features = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.fc(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class InvertedResidual(nn.Module):
    """A convolution of 1x1 that adds channels, a depthwise one, and a linear one of 1x1.

    The modules have torchvision's names.

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Of the depthwise convolution. The input is added to the result if the stride is 1 and the
        channels are as many.
    expansion
        Factor on the channels in the middle; 1 leaves the first convolution out.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(nn.Sequential(*normalized_convolution(inputs, hidden, 1), nn.ReLU6()))
        depthwise = normalized_convolution(hidden, hidden, stride=stride, groups=hidden)
        layers += [
            nn.Sequential(*depthwise, nn.ReLU6()),
            *normalized_convolution(hidden, outputs, 1),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the result, with the input added where the shapes agree."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(Classifier):
    """MobileNetV2: a convolution, 17 inverted residuals, and a convolution of 1x1.

    The modules have torchvision's names.

    Parameters
    ----------
    width
        Factor on the channels; those of the last convolution are never fewer than 1,280.
    classes
        Number of scores.
    """

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__(width=width, classes=classes)
        inputs = divisible(32 * width)
        first = nn.Sequential(*normalized_convolution(3, inputs, stride=2), nn.ReLU6())
        layers: list[nn.Module] = [first]
        for expansion, wanted, blocks, stride in V2_STAGES:
            outputs = divisible(wanted * width)
            for number in range(blocks):
                layers.append(
                    InvertedResidual(inputs, outputs, stride if number == 0 else 1, expansion)
                )
                inputs = outputs
        last = divisible(1280 * max(1.0, width))
        layers.append(nn.Sequential(*normalized_convolution(inputs, last, 1), nn.ReLU6()))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        return self.classifier(x)
