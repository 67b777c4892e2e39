"""Convolution in float64 by PyTorch, a few rows of large images at a time.

In float64 PyTorch copies the operands of every output pixel side by side and multiplies matrices
(im2col). For a whole image these copies leave the cache, and a convolution takes twice as long as
the same one on bands of rows whose copies stay there.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

from fxp.graph.ops.padding import window_count
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional
else:
    torch = lazy_import("torch", "torch")
    torch_functional = lazy_import("torch.nn.functional", "torch")

Pair = tuple[int, int]

WHOLE_BYTES: Final = 16 << 20
"""Copies of so many bytes are made for the whole image."""
BAND_BYTES: Final = 4 << 20
"""Copies of a band, otherwise."""


def conv2d(
    image: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> torch.Tensor:
    """Return what torch.nn.functional.conv2d does, without padding.

    Parameters
    ----------
    image
        ``(N, C, H, W)``, padded already.
    weight, bias
        ``(O, C / groups, h, w)`` and ``(O,)``.
    stride, dilation, groups
        As those of torch.nn.functional.conv2d.
    """
    rows = _rows_at_a_time(image, weight, stride, dilation, groups)
    if rows is None:
        return torch_functional.conv2d(
            image, weight, bias, stride, dilation=dilation, groups=groups
        )
    reach = dilation[0] * (weight.shape[2] - 1) + 1
    count = window_count(image.shape[2], weight.shape[2], stride[0], dilation[0])
    bands = []
    for first in range(0, count, rows):
        last = min(first + rows, count) - 1
        band = image[:, :, first * stride[0] : last * stride[0] + reach]
        bands.append(torch_functional.conv2d(band, weight, bias, stride, dilation=dilation))
    return torch.cat(bands, 2)


def _rows_at_a_time(
    image: torch.Tensor, weight: torch.Tensor, stride: Pair, dilation: Pair, groups: int
) -> int | None:
    """Return the rows of output in a band, or None for all of them."""
    taps = prod(weight.shape[2:])
    if (
        image.dtype != torch.float64
        or image.device.type != "cpu"
        or groups > 1
        or taps == 1
        # Training keeps the graph that PyTorch knows best.
        or torch.is_grad_enabled()
    ):
        return None
    height, width = (
        window_count(*axis)
        for axis in zip(image.shape[2:], weight.shape[2:], stride, dilation, strict=True)
    )
    row = 8 * taps * image.shape[1] * width
    if height < 2 or row * height <= WHOLE_BYTES:
        return None
    return max(BAND_BYTES // row, 1)
