"""BT.601 colour conversion in float64 numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

# ITU-R BT.601 studio range for R, G, B in [0, 1]; rows are Y, Cb, Cr.
_BT601_MATRIX = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
_BT601_OFFSET = np.array([16.0, 128.0, 128.0])


def real_rgb_to_ycbcr(rgb: ArrayLike) -> Float:
    """Convert 8-bit RGB to BT.601 studio-range YCbCr without rounding.

    Parameters
    ----------
    rgb
        ``(..., 3)`` in 0...255.

    Returns
    -------
    ndarray
        ``(..., 3)`` float64; Y in 16...235, Cb and Cr in 16...240.
    """
    values = np.asarray(rgb, dtype=np.float64) / 255.0
    return values @ _BT601_MATRIX.T + _BT601_OFFSET


def rgb_to_y(rgb: ArrayLike) -> Float:
    """Convert 8-bit RGB ``(..., 3)`` to BT.601 studio-range luma ``(...)``, float64, unrounded."""
    values = np.asarray(rgb, dtype=np.float64) / 255.0
    return values @ _BT601_MATRIX[0] + _BT601_OFFSET[0]


def real_ycbcr_to_rgb(ycbcr: ArrayLike) -> Float:
    """Convert BT.601 studio-range YCbCr ``(..., 3)`` to RGB in 0...255, float64, not clipped."""
    centred = np.asarray(ycbcr, dtype=np.float64) - _BT601_OFFSET
    return centred @ np.linalg.inv(_BT601_MATRIX).T * 255.0


def luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of 8-bit RGB ``(H, W, 3)``, rounded to uint8 ``(H, W)``; grey as it is.

    The luma of grey images stays full range, as in the published super-resolution protocol.
    """
    if image.ndim == 2:
        return image
    return np.floor(rgb_to_y(image) + 0.5).astype(np.uint8)
