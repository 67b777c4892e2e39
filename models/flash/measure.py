"""Quality of relit photographs, as the paper measures it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from fxp.imaging.metrics import psnr
from fxp.imaging.quality import Quality
from fxp.models.common.photographs import Method, grey_of, photographs_quality, unchanged
from fxp.models.common.pixels import Pixels
from fxp.models.flash.data import FlashPair
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.metrics as skimage_metrics
else:
    skimage_metrics = lazy_import("skimage.metrics", "cli")


def quality(truth: Pixels, picture: Pixels) -> Quality:
    """Compare two photographs as the paper does.

    PSNR is over all colours of 8-bit RGB; SSIM is that of the grey pictures, with the uniform
    window of 7 pixels that scikit-image takes by default.

    Parameters
    ----------
    truth, picture
        ``(H, W, 3)`` uint8.
    """
    similarity = skimage_metrics.structural_similarity(grey_of(truth), grey_of(picture))
    return Quality(psnr(truth, picture, 255), float(np.asarray(similarity)))


def pairs_quality(pairs: Iterable[FlashPair], relight: Method = unchanged) -> Quality:
    """Return the mean quality of a method over pairs; NaN for none.

    Parameters
    ----------
    pairs
        The photographs with flash, and the truths.
    relight
        The method; by default the photograph with flash itself.
    """
    return photographs_quality(((pair.flash, pair.ambient) for pair in pairs), relight, quality)
