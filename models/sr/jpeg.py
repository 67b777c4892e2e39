"""How strongly JPEG has compressed an image: the level that a network takes, found from the pixels.

JPEG rounds the cosine transform of every 8x8 block to multiples of steps that follow from a
quality of 1 to 100. The pixels of the decoded image still show these multiples (Z. Fan and R. L. de
Queiroz, "Identification of Bitmap Compression History: JPEG Detection and Quantizer Estimation",
IEEE Trans. Image Processing 12(2), 2003).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 8
#: Steps of the luma at quality 50, rows and columns of frequencies (ITU-T T.81, table K.1); those
#: of the lowest frequencies, which decide.
STEPS: Final = np.array(
    [
        [16, 11, 10, 16, 24],
        [12, 12, 14, 19, 26],
        [14, 13, 16, 24, 40],
        [14, 17, 22, 29, 51],
        [18, 22, 37, 56, 68],
    ]
)
LUMA: Final = (0.299, 0.587, 0.114)
BLOCKS: Final = 2048
"""Blocks that are looked at, at most."""
FEWEST: Final = 24
"""Coefficients that must speak for a quality."""
NOISE: Final = 0.4
"""Standard deviation of a coefficient, after the decoded pixels were rounded."""
OUTLIERS: Final = 0.1
"""Share of coefficients that other things have moved."""
CLEAN: Final = 100
"""Quality of an image that shows no steps."""


def jpeg_level(quality: int) -> float:
    """Return the steps of JPEG's quantizer, in units of those of quality 50; 0 is quality 100.

    Parameters
    ----------
    quality
        1 to 100, as Pillow and libjpeg count it.
    """
    return (100 - quality) / 50 if quality >= 50 else 50 / quality


def quantizer_steps(quality: int) -> NDArray[np.float64]:
    """Return the steps of the lowest frequencies, as libjpeg computes them.

    Parameters
    ----------
    quality
        1 to 100.
    """
    percent = 200 - 2 * quality if quality >= 50 else 5000 // quality
    return np.clip((STEPS * percent + 50) // 100, 1, 255).astype(np.float64)


def estimated_quality(image: NDArray[np.uint8]) -> int:
    """Estimate the JPEG quality of an image from its pixels.

    The standard tables are assumed, and that the image begins where it began in the file. What was
    cropped or resized since looks clean, and so does what has no detail.

    Parameters
    ----------
    image
        ``(H, W)`` or ``(H, W, 3)`` uint8.

    Returns
    -------
    int
        From 1 to 100; 100 for an image that was not compressed, or too little to be seen.
    """
    coefficients = _coefficients(image)
    if not coefficients.size:
        return CLEAN
    best, found = CLEAN, 0.0
    for quality in range(99, 0, -1):
        # Frequencies first, so that each step belongs to one row.
        steps = quantizer_steps(quality).ravel()[1:, None]
        index = np.rint(coefficients / steps)
        spoken = index != 0
        if spoken.sum() < FEWEST:
            continue
        rest = (coefficients - index * steps) / NOISE
        bell = np.exp(-0.5 * rest * rest) / (NOISE * np.sqrt(2.0 * np.pi))
        # Against a density without steps: positive if multiples of the step are more likely.
        gain = np.log((1.0 - OUTLIERS) * steps * bell + OUTLIERS)[spoken].sum()
        if gain > found:
            best, found = quality, gain
    return best


def _whole(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.bool_]:
    """Which blocks hold no pixel that may have been cut to 0...255, in their order."""
    inside = np.asarray((image > 0) & (image < 255))
    if image.ndim == 3:
        inside = inside[..., :3].all(axis=2)
    blocks = inside[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return blocks.all(axis=(1, 3)).ravel()


def _coefficients(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Low frequencies of whole blocks without the mean: ``(frequencies, blocks)``."""
    plane = image.astype(np.float64) if image.ndim == 2 else image[..., :3] @ np.array(LUMA)
    rows, columns = (size // BLOCK for size in plane.shape)
    blocks = plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    blocks = blocks.transpose(0, 2, 1, 3).reshape(-1, BLOCK, BLOCK)
    blocks = blocks[_whole(image, rows, columns)]
    blocks = blocks[:: max(1, -(-len(blocks) // BLOCKS))]
    order = np.arange(BLOCK)
    cosines = np.cos(np.pi * (2 * order + 1) * order[: len(STEPS), None] / (2 * BLOCK)) / 2.0
    cosines[0] /= np.sqrt(2.0)
    low = cosines @ blocks @ cosines.T
    return low.reshape(len(blocks), STEPS.size).T[1:]
