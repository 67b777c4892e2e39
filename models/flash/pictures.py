"""Whole photographs through a network, of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fxp
from fxp.imaging.metrics import psnr
from fxp.imaging.quality import Quality, mean_quality, to_codes
from fxp.models.common.pixels import Pixels
from fxp.models.flash.data import FlashPair
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import skimage.metrics as skimage_metrics
    import torch
else:
    skimage_metrics = lazy_import("skimage.metrics", "cli")
    torch = lazy_import("torch", "torch")

Relight = Callable[[Pixels], Pixels]
"""Maps a photograph ``(H, W, 3)`` uint8 to one of the same size."""

GREY_WEIGHTS = (19595, 38470, 7471)
"""Of red, green and blue in the grey of Pillow's mode ``L``, in units of 2**-16."""


def to_multiple(planes: NDArray, multiple: int) -> tuple[NDArray, tuple[slice, slice, slice]]:
    """Continue planes by their outermost pixels until both sides are multiples of a number.

    Parameters
    ----------
    planes
        ``(C, H, W)``.
    multiple
        The number.

    Returns
    -------
    larger
        With the planes in its middle; where a count is odd, the extra row or column comes last.
    place
        Index of the planes in it.
    """
    counts = [-size % multiple for size in planes.shape[1:]]
    before = [count // 2 for count in counts]
    amounts = [(low, count - low) for low, count in zip(before, counts, strict=True)]
    rows, columns = (
        slice(low, low + size) for low, size in zip(before, planes.shape[1:], strict=True)
    )
    return np.pad(planes, [(0, 0), *amounts], "edge"), (slice(None), rows, columns)


def relight_float(network: torch.nn.Module, picture: Pixels) -> Pixels:
    """Return what a float network makes of a photograph, rounded to 8 bits.

    Parameters
    ----------
    network
        Of `fxp.models.flash.networks`, on the CPU in eval mode.
    picture
        ``(H, W, 3)`` uint8 of any size.
    """
    planes, place = to_multiple(picture.transpose(2, 0, 1), network.multiple)  # type: ignore[arg-type]
    with torch.inference_mode():
        result = network(torch.from_numpy(planes.astype(np.float32) / 255)[None])[0].numpy()
    return to_codes(result[place].transpose(1, 2, 0) * 255)


def relighter(model: torch.nn.Module | fxp.FixedModel) -> Relight:
    """Return a float network or a fixed-point model as a function of photographs."""
    if isinstance(model, fxp.FixedModel):
        # Late, as the pipeline imports this module.
        from fxp.models.flash.pipeline import Relighter

        return Relighter(model)
    return lambda picture: relight_float(model, picture)


def quality(truth: Pixels, picture: Pixels) -> Quality:
    """Compare two photographs as the paper does.

    PSNR is over all colours of 8-bit RGB; SSIM is that of the grey pictures, with the uniform
    window of 7 pixels that scikit-image takes by default.

    Parameters
    ----------
    truth, picture
        ``(H, W, 3)`` uint8.
    """
    greys = [
        ((item.astype(np.int64) @ GREY_WEIGHTS + 0x8000) >> 16).astype(np.uint8)
        for item in (truth, picture)
    ]
    similarity = skimage_metrics.structural_similarity(*greys)
    return Quality(psnr(truth, picture, 255), float(np.asarray(similarity)))


def pairs_quality(pairs: Iterable[FlashPair], relight: Relight) -> Quality:
    """Return the mean quality of a method over pairs; NaN for none.

    Parameters
    ----------
    pairs
        The photographs with flash, and the truths.
    relight
        The method.
    """
    return mean_quality(quality(pair.ambient, relight(pair.flash)) for pair in pairs)
