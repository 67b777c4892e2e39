"""Inception-v3.

C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016. The
modules have torchvision's names, and the auxiliary classifier is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fxp.models.recognition.zoo.parts import Classifier, normalized_convolution


class Convolution(nn.Module):
    """Convolution, batch normalization and ReLU; takes what `normalized_convolution` takes.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel
        Height and width.
    stride
        Of the convolution.
    padding
        None by default, so that the result is smaller.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv, self.bn = normalized_convolution(
            inputs, outputs, kernel, stride=stride, padding=padding, epsilon=1e-3
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return what is positive of the result."""
        return torch.relu(self.bn(self.conv(x)))


def averaged(x: Tensor) -> Tensor:
    """Return the mean over 3x3 pixels, where those beyond the border count as zeros."""
    return functional.avg_pool2d(x, 3, 1, 1)


def _row(inputs: int, outputs: int) -> Convolution:
    return Convolution(inputs, outputs, (1, 7), padding=(0, 3))


def _column(inputs: int, outputs: int) -> Convolution:
    return Convolution(inputs, outputs, (7, 1), padding=(3, 0))


class InceptionA(nn.Module):
    """Convolutions of 1x1, 5x5 and twice 3x3, and a pooling.

    Parameters
    ----------
    inputs
        Channels of the input.
    pooled
        Channels after the pooling.
    """

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the four results one after the other."""
        fives = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), fives, threes, self.branch_pool(averaged(x))], 1)


class InceptionB(nn.Module):
    """Convolutions of stride 2 side by side with a pooling; takes the number of channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the three results one after the other."""
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, functional.max_pool2d(x, 3, 2)], 1)


class InceptionC(nn.Module):
    """Convolutions of 7x7, each as a row and a column.

    Parameters
    ----------
    inputs
        Channels of the input.
    middle
        Channels between rows and columns.
    """

    def __init__(self, inputs: int, middle: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, middle, 1)
        self.branch7x7_2 = _row(middle, middle)
        self.branch7x7_3 = _column(middle, 192)
        self.branch7x7dbl_1 = Convolution(inputs, middle, 1)
        self.branch7x7dbl_2 = _column(middle, middle)
        self.branch7x7dbl_3 = _row(middle, middle)
        self.branch7x7dbl_4 = _column(middle, middle)
        self.branch7x7dbl_5 = _row(middle, 192)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the four results one after the other."""
        sevens = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), sevens, double, self.branch_pool(averaged(x))], 1)


class InceptionD(nn.Module):
    """Convolutions of stride 2, one of them after 7x7, and a pooling; takes the channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = _row(192, 192)
        self.branch7x7x3_3 = _column(192, 192)
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the three results one after the other."""
        threes = self.branch3x3_2(self.branch3x3_1(x))
        sevens = self.branch7x7x3_2(self.branch7x7x3_1(x))
        sevens = self.branch7x7x3_4(self.branch7x7x3_3(sevens))
        return torch.cat([threes, sevens, functional.max_pool2d(x, 3, 2)], 1)


class InceptionE(nn.Module):
    """Rows and columns of three side by side, after 1x1 and after 3x3; takes the channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the six results one after the other."""
        threes = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(threes), self.branch3x3_2b(threes),
                self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double),
                self.branch_pool(averaged(x)),
            ],
            1,
        )  # fmt: skip


class InceptionV3(Classifier):
    """Inception-v3 for 299x299 pixels; the smallest pictures have 75x75.

    Parameters
    ----------
    classes
        Number of scores.
    """

    side = 299

    def __init__(self, classes: int = 1000) -> None:
        super().__init__(classes=classes)
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.fc = nn.Linear(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2))
        x = functional.max_pool2d(self.Conv2d_4a_3x3(x), 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
