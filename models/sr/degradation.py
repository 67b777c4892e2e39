"""The compressed-image degradation ``y = C((x * k) downscaled) + n``, for training and for tests.

The pictures that a super-resolution network meets are rarely a clean bicubic reduction: a lens and
a resampler have blurred them, JPEG has compressed them, and they carry noise.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image
    from scipy import ndimage
else:
    Image = lazy_import("PIL.Image", "cli")
    # Comes with scikit-image.
    ndimage = lazy_import("scipy.ndimage", "cli")

JPEG_MAX_SIDE: Final = 65_500
"""Longest side that libjpeg writes, pixels."""

MAX_BLUR: Final = 100
"""Largest standard deviation of the blur, pixels; the filter is eight times as long."""

Pixels = NDArray[np.uint8]


class Drawn(NamedTuple):
    """What `Degradation.draw` chose for one image.

    Attributes
    ----------
    sigma
        Standard deviation of the blur, pixels of the large image; 0 for none.
    quality
        JPEG quality; None for no compression.
    noise
        Standard deviation of the noise as a share of full scale; 0 for none.
    """

    sigma: float
    quality: int | None
    noise: float


@dataclass(frozen=True)
class Degradation:
    """Blur, downscale, compress and add noise, in this order.

    1. Gaussian blur, separable, cut at four standard deviations, symmetric border.
    2. Antialiased bicubic downscaling (`fxp.imaging.resize.imresize`), rounded half up to 8 bits.
    3. JPEG and back, in memory, by Pillow: grey for luma; for RGB in colour with Pillow's default
       chroma subsampling (4:2:0), as most files are.
    4. White Gaussian noise, independent in every pixel and channel, rounded half up and clipped to
       8 bits.

    Blur, quality and noise are drawn uniformly for each image. Each field is a range
    ``(lowest, highest)``, both included, or one number to fix it.

    Attributes
    ----------
    blur
        Standard deviation of the blur, pixels of the large image; 0 leaves it out.
    quality
        JPEG quality, whole numbers from 1 to 100; None leaves compression out.
    noise
        Standard deviation of the noise as a share of full scale (255); 0 leaves it out.

    Raises
    ------
    ValueError
        If a range is none, or outside of what the field can be.

    Notes
    -----
    The result depends on the image, the fields and the seed alone, with one version of NumPy, SciPy
    and Pillow: others may round or draw differently.

    The defaults are those of Kim, Choi and Kim (IEEE TCSVT 29(8), 2019), whose "radius" is taken as
    the standard deviation and whose "70-99 %" as Pillow's quality.

    Examples
    --------
    >>> image = np.zeros((16, 18), np.uint8)
    >>> Degradation()(image, 2, seed=0).shape
    (8, 9)
    """

    blur: float | tuple[float, float] = (0.2, 0.8)
    quality: int | tuple[int, int] | None = (70, 99)
    noise: float | tuple[float, float] = (0.0, 0.02)

    def __post_init__(self) -> None:
        _check("blur", self.blur, 0, MAX_BLUR)
        _check("noise", self.noise, 0, 1)
        if self.quality is not None:
            _check("quality", self.quality, 1, 100)
            if not all(isinstance(end, (int, np.integer)) for end in _ends(self.quality)):
                raise ArgumentError(f"quality must be whole numbers, not {self.quality}")

    def draw(self, seed: int | Sequence[int]) -> Drawn:
        """Return what the call with this seed applies.

        Parameters
        ----------
        seed
            Non-negative whole number, or several: ``(run, image)``. Zeros at the end count for
            nothing: ``(3, 0)`` is 3.
        """
        return self._draw(np.random.default_rng(seed))

    def __call__(self, image: Pixels, scale: int, seed: int | Sequence[int]) -> Pixels:
        """Degrade one image.

        Parameters
        ----------
        image
            Luma ``(H, W)`` or RGB ``(H, W, 3)``, uint8. Sides that are no multiple of the factor
            are rounded up, as `fxp.imaging.resize.imresize` does.
        scale
            Downscaling factor, a whole number.
        seed
            Non-negative whole number, or several: ``(run, image)``.

        Returns
        -------
        numpy.ndarray
            ``(ceil(H / scale), ceil(W / scale))`` uint8, with the channels of the image.

        Raises
        ------
        ValueError
            If the image is no such image, the factor is not positive, or a side of the small image
            is too long for JPEG.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = getattr(image, "dtype", type(image).__name__)
            raise ArgumentError(f"an image to degrade must be a uint8 array, not {kind}")
        if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or image.size == 0:
            raise ArgumentError(
                f"an image to degrade must be (H, W) or (H, W, 3) and not empty, not {image.shape}"
            )
        if not isinstance(scale, (int, np.integer)) or scale < 1:
            raise ArgumentError(f"the factor must be a positive whole number, not {scale!r}")
        generator = np.random.default_rng(seed)
        drawn = self._draw(generator)
        small = to_codes(imresize(_blurred(image, drawn.sigma), Fraction(1, int(scale))))
        if drawn.quality is not None:
            small = _compressed(small, drawn.quality)
        if drawn.noise > 0:
            small = to_codes(small + drawn.noise * 255.0 * generator.standard_normal(small.shape))
        return small

    def _draw(self, generator: np.random.Generator) -> Drawn:
        # Always three numbers, so that fixing one field leaves what the others draw.
        blur, quality, noise = generator.random(3)
        chosen = None
        if self.quality is not None:
            low, high = (int(end) for end in _ends(self.quality))
            chosen = low + int(quality * (high - low + 1))
        return Drawn(_between(self.blur, blur), chosen, _between(self.noise, noise))


def _ends(field: float | tuple[float, float]) -> tuple[float, float]:
    return field if isinstance(field, tuple) else (field, field)


def _between(field: float | tuple[float, float], share: float) -> float:
    low, high = _ends(field)
    # Rounding of the product may step over the end.
    return min(float(low + share * (high - low)), float(high))


def _check(name: str, field: float | tuple[float, float], lowest: float, highest: float) -> None:
    ends = _ends(field)
    numbers = all(isinstance(end, (int, float, np.number)) for end in ends)
    if len(ends) != 2 or not numbers or not all(math.isfinite(end) for end in ends):
        raise ArgumentError(f"{name} must be a number or (lowest, highest), not {field!r}")
    if not lowest <= ends[0] <= ends[1] <= highest:
        raise ArgumentError(
            f"{name} must lie in {lowest}...{highest}, the lowest first, not {field!r}"
        )


def _blurred(image: Pixels, sigma: float) -> NDArray[np.floating] | Pixels:
    if sigma == 0:
        return image
    # "reflect" repeats the edge sample, the border of the downscaling too.
    sigmas = (sigma, sigma, 0.0)[: image.ndim]
    return ndimage.gaussian_filter(image.astype(np.float64), sigmas, mode="reflect")


def _compressed(image: Pixels, quality: int) -> Pixels:
    if max(image.shape[:2]) > JPEG_MAX_SIDE:
        height, width = image.shape[:2]
        raise ArgumentError(f"JPEG has sides of up to {JPEG_MAX_SIDE} pixels, not {width}x{height}")
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    with Image.open(stream, formats=("JPEG",)) as opened:
        return np.array(opened)
