"""What the classifiers share: their constructor's options, and a convolution with its norm."""

from __future__ import annotations

from typing import Any

from torch import nn


class Classifier(nn.Module):
    """A network that takes pictures ``(N, channels, H, W)`` and returns ``(N, classes)`` scores.

    Attributes
    ----------
    side : int
        Class attribute: height and width, in pixels, of the pictures that it is made for.
    """

    side: int = 224

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor; they are stored beside the weights."""
        return dict(self._options)


def normalized_convolution(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    padding: int | tuple[int, int] | None = None,
    epsilon: float = 1e-5,
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return a convolution without bias, and the batch normalization that follows it.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel
        Height and width.
    stride, groups
        Of the convolution.
    padding
        By default the size stays at a stride of one.
    epsilon
        What is added to the variance.
    """
    if padding is None:
        padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False
    )
    return convolution, nn.BatchNorm2d(outputs, eps=epsilon)
