"""PSNR and SSIM between 8-bit images, as super-resolution papers measure them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.imaging.metrics import psnr
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.metrics as skimage_metrics
else:
    skimage_metrics = lazy_import("skimage.metrics", "cli")

SSIM_WINDOW = 11


class Quality(NamedTuple):
    """PSNR in dB and SSIM."""

    psnr: float
    ssim: float

    def __str__(self) -> str:
        return f"{self.psnr:.3f} / {self.ssim:.4f}"


def mean_quality(qualities: Iterable[Quality]) -> Quality:
    """Return the means of PSNR and of SSIM over images; NaN for none.

    An infinite PSNR, of an image without an error, makes the mean infinite.
    """
    values = list(qualities)
    if not values:
        return Quality(float("nan"), float("nan"))
    return Quality(*np.mean(values, axis=0).tolist())


def to_codes(image: ArrayLike) -> NDArray[np.uint8]:
    """Round half up and clip real pixel values to 0...255."""
    return np.clip(np.floor(np.asarray(image, np.float64) + 0.5), 0, 255).astype(np.uint8)


def compare(truth: NDArray[np.uint8], image: NDArray[np.uint8], *, border: int = 0) -> Quality:
    """Measure an image against the truth.

    Parameters
    ----------
    truth, image
        ``(H, W)`` or ``(H, W, 3)`` uint8.
    border
        Rows and columns left out on every side.

    Returns
    -------
    Quality
        SSIM has the Gaussian window of Wang et al. (IEEE TIP 2004), 11 pixels wide; it is NaN for
        images smaller than that.

    Raises
    ------
    ValueError
        If the sizes differ, or nothing is left inside the border.
    """
    if truth.shape != image.shape:
        raise ArgumentError(f"cannot compare images of sizes {truth.shape} and {image.shape}")
    inside = tuple(slice(border, size - border) for size in truth.shape[:2])
    truth, image = truth[inside], image[inside]
    if truth.size == 0:
        raise ArgumentError(f"a border of {border} leaves nothing of the image")
    if min(truth.shape[:2]) < SSIM_WINDOW:
        return Quality(psnr(truth, image, 255), float("nan"))
    ssim = skimage_metrics.structural_similarity(
        truth,
        image,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if truth.ndim == 3 else None,
    )
    return Quality(psnr(truth, image, 255), float(np.asarray(ssim)))
