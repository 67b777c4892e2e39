"""Structural similarity as a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean structural similarity of grey pictures from 0 to 1, at most 1.

    Parameters
    ----------
    first, second
        Pictures ``(N, 1, H, W)`` of at least 11 rows and columns.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity",
    IEEE Trans. Image Processing 13(4), 2004.
    """
    places = torch.arange(WINDOW, dtype=first.dtype, device=first.device) - WINDOW // 2
    weights = torch.exp(-0.5 * (places / SIGMA) ** 2)
    weights = weights / weights.sum()

    def smooth(picture: Tensor) -> Tensor:
        rows = functional.conv2d(picture, weights[None, None, :, None])
        return functional.conv2d(rows, weights[None, None, None, :])

    means = smooth(first), smooth(second)
    variances = (
        smooth(first * first) - means[0] * means[0],
        smooth(second * second) - means[1] * means[1],
    )
    covariance = smooth(first * second) - means[0] * means[1]
    luminance = (2 * means[0] * means[1] + K1**2) / (means[0] ** 2 + means[1] ** 2 + K1**2)
    contrast = (2 * covariance + K2**2) / (variances[0] + variances[1] + K2**2)
    return (luminance * contrast).mean()
