"""What compressed and noisy inputs become: quality by JPEG quality, and flicker of a scene."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import skimage.data
from numpy.typing import NDArray

from benchmarks.psnr.pictures import jpeg
from fxp.imaging.colour import luma
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models import sr
from fxp.models.common.data import modcrop
from fxp.models.common.measure import PixelFunction, flicker, pair_scores
from fxp.models.sr.data import downscale_pixels

SCALE: Final = 2
QUALITIES: Final = (50, 60, 70, 80, 90, 95, 98, 100)
PLAIN, COMPRESSED, NOISY = "kimsr_x2_bicubic", "kimsr_x2_compressed", "kimsr_x2_noisy"
MODELS: Final = (PLAIN, COMPRESSED, NOISY)
FRAMES: Final = 12
NOISES: Final = (0.5, 1.0, 2.0, 4.0)
"""Standard deviations of the noise of a still scene, in codes of 8 bits."""
SCENE: Final = "astronaut"

Pixels = NDArray[np.uint8]
Record = dict[str, Any]


def upscalers() -> dict[str, PixelFunction]:
    """Return bicubic, and the shipped models as they are used, by name."""
    shipped = {name: _grey(sr.Upscaler(sr.load(name))) for name in MODELS}
    return {"bicubic": lambda plane: to_codes(imresize(plane, SCALE)), **shipped}


def _grey(upscaler: sr.Upscaler) -> PixelFunction:
    return lambda plane: upscaler(np.asarray(plane, np.uint8), threads=1)


def by_quality(pictures: list[Pixels], quality: int) -> Record:
    """Return the PSNR in dB of every method on pictures of one JPEG quality.

    Parameters
    ----------
    pictures
        High-resolution luma.
    quality
        Of the compressed inputs.
    """
    degrade = jpeg(quality)
    large = [modcrop(picture, SCALE) for picture in pictures]
    pairs = [(degrade(picture, SCALE, 0), picture) for picture in large]
    return {name: pair_scores(pairs, upscale, SCALE).psnr for name, upscale in upscalers().items()}


def still_scene(noise: float) -> Record:
    """Return how much each method makes a still scene flicker, in codes of 8 bits.

    Parameters
    ----------
    noise
        Standard deviation of the noise, drawn anew for each frame.
    """
    generator = np.random.default_rng(0)
    scene = luma(downscale_pixels(getattr(skimage.data, SCENE)(), SCALE)).astype(np.float64)
    noisy = (scene + generator.normal(0, noise, scene.shape) for _ in range(FRAMES))
    frames = [to_codes(frame).astype(np.float64) for frame in noisy]
    found = {"input": flicker(frames)}
    for name, upscale in upscalers().items():
        found[name] = flicker([upscale(frame) for frame in frames])
    return found
