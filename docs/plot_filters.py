"""Draw the results of the filters into ``pictures/filters.png``."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.data import camera

from fxp.filters import (
    Taps,
    difference_of_gaussians,
    filter2d,
    gabor,
    gaussian,
    laplacian,
    laplacian_of_gaussian,
    prewitt,
    sobel,
)
from fxp.imaging.files import write_image
from fxp.imaging.montage import side_by_side

FILTERS: dict[str, tuple[Taps, float]] = {
    "Gaussian": (gaussian(2.0), 1),
    "Prewitt, x": (prewitt("x"), 1 / 3),
    "Sobel, x": (sobel("x"), 1 / 4),
    "Laplacian": (laplacian(), 1),
    "Laplacian of Gaussian": (laplacian_of_gaussian(1.4), 3),
    "difference of Gaussians": (difference_of_gaussians(1.4), 4),
    "Gabor": (gabor(3.0, 8.0, math.pi / 4), 4),
}
"""Taps by caption, and the gain they are shown with."""


def shown(image: NDArray[np.uint8], taps: Taps, gain: float) -> NDArray[np.uint8]:
    """Filter an image; results with signs are drawn around grey."""
    result = filter2d(image, taps, mode="convolution").astype(np.float64)
    grey = 128 if taps.data.min() < 0 else 0
    return np.clip(np.rint(gain * result + grey), 0, 255).astype(np.uint8)


def main() -> None:
    """Write the picture."""
    image = camera()[60:260, 150:350]
    panels = {"image": image}
    panels |= {caption: shown(image, *filtering) for caption, filtering in FILTERS.items()}
    sheet = side_by_side(panels, crop=200, panel=200)
    write_image(Path(__file__).parent / "pictures" / "filters.png", sheet)


if __name__ == "__main__":
    main()
