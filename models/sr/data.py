"""The standard downscaling of the benchmarks, and training patches from pairs of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.colour import luma
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models.common.borders import extended
from fxp.models.common.data import DataError, dihedral, modcrop, patch_start
from fxp.models.common.measure import Pair
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import nn
else:
    torch = lazy_import("torch", "torch")

Downscaling = Callable[[NDArray[np.uint8], int, int], NDArray]
"""Maps image, scale and a seed to the low-resolution image in units of 8-bit codes."""


def downscale(image: NDArray[np.uint8], scale: int) -> NDArray[np.float64]:
    """Downscale luma by antialiased bicubic, in units of 8-bit codes and without rounding.

    Parameters
    ----------
    image
        ``(H, W)`` uint8 whose sides are multiples of ``scale``.
    scale
        The factor.

    Returns
    -------
    ndarray
        ``(H/scale, W/scale)`` float64.
    """
    return imresize(image, Fraction(1, scale))


def downscale_pixels(image: NDArray[np.uint8], scale: int = 2) -> NDArray[np.uint8]:
    """Downscale an 8-bit image of any size, and round it as a camera delivers it."""
    return to_codes(imresize(modcrop(image, scale), 1 / scale))


def bicubic(image: NDArray[np.uint8], scale: int, seed: int) -> NDArray[np.float64]:
    """Downscale the luma as the standard protocol does.

    Parameters
    ----------
    image
        ``(H, W)`` or ``(H, W, 3)`` uint8 whose sides are multiples of ``scale``.
    scale
        Downscaling factor.
    seed
        Has no influence: nothing is random here.
    """
    return downscale(luma(image), scale)


def taught(teachers: Sequence[nn.Module], low: NDArray) -> NDArray[np.float32]:
    """Return what networks make of an image, their mean over the eight views, in 8-bit codes."""
    total = 0.0
    for view in range(8):
        turned = torch.from_numpy(dihedral(low, view).copy()).float()[None, None] / 255.0
        with torch.inference_mode():
            results = [teacher(turned)[0, 0].numpy() for teacher in teachers]
        result = np.mean(results, axis=0)
        back = result if view < 4 else result[:, ::-1]
        total = total + np.rot90(back, -view % 4)
    return np.asarray(total * (255.0 / 8), np.float32)


def _mixed(truth: NDArray, taught: NDArray, share: float) -> NDArray[np.float32]:
    return (truth * (1.0 - share) + taught * share).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """One training batch in [0, 1], float32.

    Attributes
    ----------
    low
        ``(N, 1, P, P)`` network input.
    high
        ``(N, 1, scale*P, scale*P)`` target.
    mask
        ``(N, 1, scale*P, scale*P)``: one where the network sees all the context that it would see
        in the whole image, zero near patch edges.
    level
        ``(N, 1, 1, 1)``: how strongly the input is compressed, see `TrainingSet`.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mask: NDArray[np.float32]
    level: NDArray[np.float32]


class TrainingSet:
    """Random pairs of patches from images held in memory.

    Batches are a function of the seed and the batch number alone, so an interrupted training
    continues exactly where it stopped. Beyond their border images are continued as the pipeline
    continues them, see `fxp.models.common.borders.extended`.

    Parameters
    ----------
    images
        Luma ``(H, W)`` or RGB ``(H, W, 3)``, uint8. Those smaller than a patch are left out.
    scale
        Upscaling factor.
    patch
        Side of the low-resolution patches, pixels.
    margin
        Context of the network, (rows, columns) of input on each side.
    seed
        Seed of the patches and of the degradation.
    downscaling
        Degradation that makes the inputs.
    level
        How strongly `downscaling` compresses the image of a seed; by default not at all.
    variants
        Inputs made of every image, each with another seed.
    teachers
        Networks whose results, averaged over them and the eight views, are mixed into the targets
        (distillation; Hinton et al., arXiv:1503.02531).
    teacher_share
        Share of the teachers in the targets.

    Raises
    ------
    DataError
        If no image is large enough.
    """

    def __init__(
        self,
        images: list[NDArray[np.uint8]],
        *,
        scale: int,
        patch: int,
        margin: tuple[int, int] = (0, 0),
        seed: int = 0,
        downscaling: Downscaling = bicubic,
        level: Callable[[int], float] = lambda seed: 0.0,
        variants: int = 1,
        teachers: Sequence[nn.Module] = (),
        teacher_share: float = 0.5,
    ) -> None:
        if patch <= 2 * max(margin):
            raise DataError(f"patch of {patch} must exceed twice the network margin {max(margin)}")
        self.scale, self.patch, self.margin, self.seed = scale, patch, margin, seed
        self.downscaling, self.level = downscaling, level
        large = [modcrop(image, scale) for image in images if min(image.shape[:2]) >= patch * scale]
        if not large:
            raise DataError(f"no training image has {patch * scale} by {patch * scale} pixels")
        large *= variants
        seeds = range(seed * len(large), (seed + 1) * len(large))
        self.high: list[NDArray] = [luma(image) for image in large]
        self.levels = [level(number) for number in seeds]
        self.low = [
            downscaling(image, scale, number).astype(np.float32)
            for number, image in zip(seeds, large, strict=True)
        ]
        if teachers:
            self.high = [
                _mixed(high, taught(teachers, low), teacher_share)
                for high, low in zip(self.high, self.low, strict=True)
            ]
        # As wide on every side, since images are turned.
        around = max(margin)
        self.low = [extended(low, (around, around)) for low in self.low]
        self.high = [np.pad(high, around * scale) for high in self.high]
        areas = np.array([image.size for image in self.high], dtype=np.float64)
        self._cumulative = np.cumsum(areas) / areas.sum()

    def whole(self, images: Sequence[NDArray[np.uint8]]) -> list[Pair]:
        """Return whole images with the same degradation, to measure on; seeded by their order."""
        large = [modcrop(image, self.scale) for image in images]
        return [(self.downscaling(item, self.scale, i), luma(item)) for i, item in enumerate(large)]

    def batch(self, number: int, size: int) -> Batch:
        """Draw batch ``number`` of ``size`` patches."""
        generator = np.random.default_rng([self.seed, number])
        patch, scale = self.patch, self.scale
        low = np.empty((size, 1, patch, patch), np.float32)
        high = np.empty((size, 1, patch * scale, patch * scale), np.float32)
        mask = np.zeros_like(high)
        level = np.empty((size, 1, 1, 1), np.float32)
        for item in range(size):
            chosen = int(np.searchsorted(self._cumulative, generator.random(), side="right"))
            view = int(generator.integers(8))
            level[item] = self.levels[chosen]
            source = dihedral(self.low[chosen], view)
            target = dihedral(self.high[chosen], view)
            corner = [patch_start(generator, length, patch) for length in source.shape]
            low[item, 0] = source[tuple(slice(start, start + patch) for start in corner)]
            high[item, 0] = target[
                tuple(slice(start * scale, (start + patch) * scale) for start in corner)
            ]
        lost = max(self.margin) * scale
        mask[:, :, lost : patch * scale - lost, lost : patch * scale - lost] = 1.0
        low /= 255.0
        high /= 255.0
        return Batch(low, high, mask, level)
