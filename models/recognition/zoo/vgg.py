"""VGG-16 and VGG-19, and VGG-S with its variant for facial expressions.

K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015; K. Chatfield et al., "Return of the Devil in the Details: Delving Deep into Convolutional
Nets", BMVC 2014; A. Rassadin, A. Savchenko, "Compressing deep convolutional neural networks in
visual emotion recognition", 2017.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from fxp.models.recognition.zoo.alexnet import linear_layers, local_response_norm
from fxp.models.recognition.zoo.parts import Classifier
from fxp.support.errors import ArgumentError

BLOCKS: Final = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions before each pooling, by the depth: configurations D and E."""
CHANNELS: Final = (64, 128, 256, 512, 512)


class VGG(Classifier):
    """VGG-16 or VGG-19; the modules have torchvision's names.

    Pictures of other sizes than 224x224 are brought to 7x7 features by average pooling.

    Parameters
    ----------
    depth
        16 or 19 layers with weights.
    classes
        Number of scores.
    width
        Factor on the channels and on the features of the linear layers.

    Raises
    ------
    ArgumentError
        If there is no such depth.
    """

    def __init__(self, depth: int = 16, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__(depth=depth, classes=classes, width=width)
        if depth not in BLOCKS:
            raise ArgumentError(f"depth must be 16 or 19, not {depth}")
        layers: list[nn.Module] = []
        inputs = 3
        for wanted, count in zip(CHANNELS, BLOCKS[depth], strict=True):
            outputs = int(wanted * width)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = linear_layers(inputs * 49, int(4096 * width), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class VGGS(Classifier):
    """VGG-S, as published or the variant for facial expressions.

    The variant pads the first two convolutions by one pixel, has batch normalization after every
    convolution instead of local response normalization after the first, and 4,048 features between
    its linear layers. Its logarithm of the softmax is left out: what is returned is what goes in.

    Parameters
    ----------
    classes
        Number of scores; 8 facial expressions.
    variant
        Whether to build the variant.
    width
        Factor on the channels and on the features of the linear layers.
    """

    def __init__(self, classes: int = 1000, *, variant: bool = False, width: float = 1.0) -> None:
        super().__init__(classes=classes, variant=variant, width=width)
        padding = int(variant)
        few, more, many = (int(wanted * width) for wanted in (96, 256, 512))

        def convolution(inputs: int, outputs: int, kernel: int, **options: int) -> list[nn.Module]:
            norm = [nn.BatchNorm2d(outputs, eps=1e-3)] if variant else []
            return [nn.Conv2d(inputs, outputs, kernel, **options), *norm, nn.ReLU()]

        self.features = nn.Sequential(
            *convolution(3, few, 7, stride=2, padding=padding),
            *([] if variant else [local_response_norm()]),
            nn.MaxPool2d(3, 3, ceil_mode=True),
            *convolution(few, more, 5, padding=padding),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            *convolution(more, many, 3, padding=1),
            *convolution(many, many, 3, padding=1),
            *convolution(many, many, 3, padding=1),
            nn.MaxPool2d(3, 3, ceil_mode=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = linear_layers(
            many * 36, int((4048 if variant else 4096) * width), classes
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
