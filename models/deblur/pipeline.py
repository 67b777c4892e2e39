"""Whole photographs through a network that deblurs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import to_codes
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


def to_multiple(planes: NDArray, multiple: int) -> NDArray:
    """Continue planes ``(..., H, W)`` by their last row and column to sides of a multiple."""
    sides = [(0, 0)] * (planes.ndim - 2) + [(0, -size % multiple) for size in planes.shape[-2:]]
    return np.pad(planes, sides, mode="edge")


def deblur_float(
    image: NDArray[np.uint8], network: torch.nn.Module, multiple: int = 1
) -> NDArray[np.uint8]:
    """Deblur an image ``(H, W, 3)`` by a float network, rounded once at the end.

    Parameters
    ----------
    image
        uint8, of any size.
    network
        On the CPU in eval mode; takes and returns ``(N, 3, H, W)`` in [0, 1].
    multiple
        What the sides of its images are multiples of.
    """
    planes = to_multiple(image.transpose(2, 0, 1), multiple)
    with torch.inference_mode():
        given = torch.from_numpy(planes.astype(np.float32) / 255)[None]
        result = network(given)[0].numpy()
    height, width = image.shape[:2]
    return to_codes(255 * result[:, :height, :width].transpose(1, 2, 0))
