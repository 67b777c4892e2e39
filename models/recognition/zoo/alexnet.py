"""AlexNet, as published and as a single tower.

A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NIPS 2012; A. Krizhevsky, "One weird trick for parallelizing convolutional neural
networks", 2014.
"""

from __future__ import annotations

from torch import Tensor, nn

from fxp.models.recognition.zoo.parts import Classifier


def local_response_norm(bias: float = 2.0) -> nn.LocalResponseNorm:
    """Return the normalization over five neighbouring channels.

    Parameters
    ----------
    bias
        2 in the paper, 1 in the networks of Caffe.
    """
    return nn.LocalResponseNorm(5, 1e-4, 0.75, bias)


def linear_layers(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """Return three linear layers; dropout follows the first two, as in VGG.

    Parameters
    ----------
    inputs, hidden, classes
        Features of the input, between the layers, and of the result.
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )  # fmt: skip


class AlexNet(Classifier):
    """The network of 2012, for 227x227 pixels: two towers, which meet in the third convolution.

    Pictures of other sizes are brought to 6x6 features by average pooling.

    Parameters
    ----------
    classes
        Number of scores.
    normalized
        Whether local response normalization follows the first two convolutions.
    """

    side = 227

    def __init__(self, classes: int = 1000, *, normalized: bool = True) -> None:
        super().__init__(classes=classes, normalized=normalized)
        norms = [[local_response_norm()] if normalized else [] for _ in range(2)]
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, 4), nn.ReLU(), *norms[0], _pool(),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), *norms[1], _pool(),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), _pool(),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = linear_layers(256 * 36, 4096, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _pool() -> nn.MaxPool2d:
    # Rounding up is the same at 227 pixels, and leaves something of smaller pictures.
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class SingleTowerAlexNet(Classifier):
    """The single tower of 2014, for 224x224 pixels; the modules have torchvision's names.

    Parameters
    ----------
    classes
        Number of scores.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__(classes=classes)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(256 * 36, 4096), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
