"""How pixels become the real values that a network takes, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import ArrayLike, NDArray

import fxp
from fxp.imaging.quality import to_codes
from fxp.support.errors import ArgumentError

DIVIDE_BY: Final = "divide_by"
"""Metadata key: pixel values are divided by this number before the network."""
MEAN: Final = "pixel_mean"
STD: Final = "pixel_std"
"""Metadata keys: what is then taken off, and what the rest is divided by; a number for every
channel, with spaces between."""
DEFAULT_DIVISOR: Final = 255.0

DivideByOption = Annotated[
    float | None, typer.Option(min=1e-9, help="Pixel divisor; default the model's, or 255.")
]
"""The option ``--divide-by`` of commands that run a saved model."""
MeanOption = Annotated[
    str | None,
    typer.Option(help="Taken off pixels after the division, by channel: 0.485,0.456,0.406."),
]
"""The option ``--mean``."""
StdOption = Annotated[
    str | None, typer.Option(help="What is left is divided by it: 0.229,0.224,0.225.")
]
"""The option ``--std``."""


@dataclass(frozen=True)
class PixelScale:
    """Pixels ``p`` become ``(p / divide_by - mean) / std``.

    Attributes
    ----------
    divide_by
        Divisor of pixel values, 0 to 255.
    mean, std
        For every channel, or one for all.
    """

    divide_by: float = DEFAULT_DIVISOR
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def check(self, channels: int) -> None:
        """Raise `ArgumentError` unless this fits images of so many channels."""
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise ArgumentError(
                    f"--{name} has {len(numbers)} numbers, but images have {channels} "
                    f"channel{'s' * (channels != 1)}; give one for each, or one for all"
                )

    def values(self, planes: ArrayLike) -> NDArray[np.float64]:
        """Return the real values of pixels ``(..., C, H, W)``."""
        pixels = np.asarray(planes, np.float64)
        self.check(pixels.shape[-3])
        mean, std = (np.array(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (pixels / self.divide_by - mean) / std

    def pixels(self, result: ArrayLike) -> NDArray[np.float64]:
        """Return an output as pixel values; the mean and deviation of inputs play no part."""
        return np.asarray(result, np.float64) * self.divide_by

    def codes(self, result: ArrayLike) -> NDArray[np.uint8]:
        """Return an output as pixels, rounded and cut to 0...255."""
        return to_codes(self.pixels(result))

    def metadata(self) -> dict[str, str]:
        """Return what a model keeps of this."""
        found = {DIVIDE_BY: f"{self.divide_by:.17g}"}
        if self != PixelScale(self.divide_by):
            found[MEAN], found[STD] = (
                " ".join(f"{number:.17g}" for number in numbers)
                for numbers in (self.mean, self.std)
            )
        return found


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Read numbers with commas or spaces between.

    Raises
    ------
    ArgumentError
        If one is no finite number, or there is none.
    """
    try:
        found = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise ArgumentError(
            f"{option} {text!r} must be one number, or one for every channel: 0.485,0.456,0.406"
        )
    return found


def pixel_scale(divide_by: float, mean: str | None, std: str | None) -> PixelScale:
    """Return what the options of a command say.

    Parameters
    ----------
    divide_by, mean, std
        The options.

    Raises
    ------
    ArgumentError
        If one is no number, or a deviation is not positive.
    """
    scale = PixelScale(
        divide_by,
        (0.0,) if mean is None else numbers(mean, "--mean"),
        (1.0,) if std is None else numbers(std, "--std"),
    )
    if min(scale.std) <= 0:
        raise ArgumentError(f"--std {std!r} must be positive: pixels are divided by it")
    return scale


def scale_of_model(model: fxp.FixedModel, divide_by: float | None = None) -> PixelScale:
    """Return how pixels become a model's values: as given, as its metadata says, or by 255.

    Parameters
    ----------
    model
        The model.
    divide_by
        Divisor that replaces the model's.

    Raises
    ------
    ArgumentError
        If the metadata holds no such numbers.
    """
    text = model.metadata.get(DIVIDE_BY, str(DEFAULT_DIVISOR))
    try:
        divisor = float(text) if divide_by is None else divide_by
    except ValueError:
        divisor = 0.0
    if not 0 < divisor < math.inf:
        raise ArgumentError(
            f"the model's {DIVIDE_BY} is {text!r}, but must be a positive number; quantize it "
            "again with --divide-by"
        )
    return pixel_scale(divisor, model.metadata.get(MEAN), model.metadata.get(STD))
