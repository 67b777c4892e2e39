"""The test pictures, and the ways in which they become low-resolution inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import skimage.data
from numpy.typing import NDArray

from fxp.imaging.colour import luma
from fxp.imaging.files import read_image
from fxp.imaging.quality import to_codes
from fxp.models.common.compare import Picture
from fxp.models.common.data import benchmark_paths, modcrop
from fxp.models.sr.data import downscale
from fxp.models.sr.degradation import Degradation

SCALE: Final = 2
QUICK: Final = ("astronaut", "camera")
QUICK_SET: Final = "photographs"


def picture(name: str, image: NDArray[np.uint8], seed: int) -> Picture:
    """Take the luma of an image, and crop it to multiples of `SCALE`.

    Luma of grey RGB is in the studio range, that of a grey file is the file.

    Parameters
    ----------
    name
        File name, for the tables.
    image
        8-bit pixels, ``(H, W)`` or ``(H, W, 3)``.
    seed
        Decides what is random in its degradation.
    """
    if image.ndim == 2:
        colours = "grey"
    elif (image == image[..., :1]).all():
        colours = "grey as RGB"
    else:
        colours = "colour"
    return Picture(name, modcrop(luma(image), SCALE), colours, seed)


def read_sets(folder: Path, names: Sequence[str]) -> dict[str, list[Picture]]:
    """Read data sets, each a folder of true images.

    Raises
    ------
    DataError, ImageError
        If a folder is missing or not whole, or an image is damaged.
    """
    return {
        name: [
            picture(path.name, read_image(path), seed)
            for seed, path in enumerate(benchmark_paths(folder, name))
        ]
        for name in names
    }


def quick_sets() -> dict[str, list[Picture]]:
    """Return small pieces of two photographs that ship with scikit-image, as one set."""
    pieces = [getattr(skimage.data, name)()[100:172, 180:260] for name in QUICK]
    return {
        QUICK_SET: [
            picture(name, piece, seed)
            for seed, (name, piece) in enumerate(zip(QUICK, pieces, strict=True))
        ]
    }


@dataclass(frozen=True)
class Downscaled:
    """Antialiased bicubic downscaling, the protocol of the literature.

    Attributes
    ----------
    bits
        8 to round to pixels, as a camera or decoder delivers them; None to keep real numbers.
    """

    bits: int | None = None

    @property
    def name(self) -> str:
        """Name by the bits."""
        return "real input" if self.bits is None else "8-bit input"

    def __call__(self, picture: Picture) -> NDArray[np.float64]:
        """Downscale."""
        small = downscale(picture.truth, SCALE)
        return small if self.bits is None else to_codes(small).astype(np.float64)


@dataclass(frozen=True)
class Degraded:
    """Something worse than downscaling; gives 8-bit pixels.

    Attributes
    ----------
    name
        Unique name.
    degradation
        What it is; random ones are drawn by the picture's own seed.
    """

    name: str
    degradation: Degradation

    def __call__(self, picture: Picture) -> NDArray[np.float64]:
        """Degrade."""
        return self.degradation(picture.truth, SCALE, picture.seed).astype(np.float64)


def jpeg(quality: int | tuple[int, int]) -> Degradation:
    """Return bicubic downscaling, rounding to 8 bits, and JPEG of one or of random quality."""
    return Degradation(blur=0, quality=quality, noise=0)


REAL: Final = Downscaled()
EIGHT_BITS: Final = Downscaled(8)
DEGRADED: Final = (
    *(Degraded(f"JPEG {quality}", jpeg(quality)) for quality in (70, 80, 90, 99)),
    Degraded("JPEG 70 to 99", jpeg((70, 99))),
    Degraded("random", Degradation()),
)
