"""Scores of float and fixed-point models over pairs of an input and the truth.

The functions of pixel values are picklable, so that they run wherever joblib sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import Quality, compare, mean_quality, to_codes
from fxp.model import FixedModel
from fxp.models.common.borders import cropped, extended
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")

PixelFunction = Callable[[NDArray[np.float64]], NDArray]
"""Maps one plane ``(H, W)`` of pixel values from 0 to 255 to another, of any size."""

Pair = tuple[NDArray, NDArray[np.uint8]]
"""What a method gets, and what it ought to make of it: two planes of pixel values, 0 to 255."""


@dataclass(frozen=True)
class FloatPixels:
    """A float network as a function of pixel values.

    Attributes
    ----------
    network
        On the CPU in eval mode; takes and returns ``(N, 1, H, W)``.
    divide_by
        Pixel values are divided by it before the network.
    border
        Rows and columns by which the plane is extended on each side for the network, see
        `fxp.models.common.borders.extended`; what they become is cropped.
    """

    network: torch.nn.Module
    divide_by: float = 255.0
    border: tuple[int, int] = (0, 0)

    def __call__(self, plane: NDArray[np.float64]) -> NDArray:
        """Run one plane ``(H, W)`` of pixel values."""
        larger = extended(plane, self.border)
        with torch.inference_mode():
            image = torch.from_numpy((larger / self.divide_by).astype(np.float32))[None, None]
            result = self.network(image)[0, 0].numpy() * self.divide_by
        return cropped(result, self.border, result.shape[0] // larger.shape[0])


@dataclass(frozen=True)
class FixedPixels:
    """A fixed-point model as a function of pixel values.

    Attributes
    ----------
    model
        Takes and returns one plane.
    divide_by
        Pixel values are divided by it before the model.
    threads
        Threads of the engine, all processors by default; 1 where each worker has its own task.
    border
        As for `FloatPixels`.
    """

    model: FixedModel
    divide_by: float = 256.0
    threads: int | None = None
    border: tuple[int, int] = (0, 0)

    def __call__(self, plane: NDArray[np.float64]) -> NDArray:
        """Run one plane ``(H, W)`` of pixel values."""
        larger = extended(plane, self.border)
        result = self.model(larger / self.divide_by, threads=self.threads) * self.divide_by
        return cropped(result, self.border, result.shape[0] // larger.shape[0])


def pixel_function(
    model: torch.nn.Module | FixedModel, border: tuple[int, int] = (0, 0)
) -> PixelFunction:
    """Return a float or fixed-point model as a function of pixel values, by the usual divisors."""
    if isinstance(model, FixedModel):
        return FixedPixels(model, border=border)
    return FloatPixels(model, border=border)


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Bring a network into eval mode, and back into its own mode after the block."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def pair_quality(pair: Pair, method: PixelFunction, border: int) -> Quality:
    """Run a method on one input, round its result to 8 bits, and compare it with the truth.

    Parameters
    ----------
    pair
        The input and the truth.
    method
        What is measured.
    border
        Pixels left out on every side.
    """
    given, truth = pair
    return compare(truth, to_codes(method(given.astype(np.float64))), border=border)


def pair_scores(pairs: Iterable[Pair], method: PixelFunction, border: int) -> Quality:
    """Return the mean quality of a method over pairs of an input and the truth.

    Parameters
    ----------
    pairs
        Inputs and truths.
    method
        What is measured.
    border
        Pixels left out on every side.
    """
    return mean_quality(pair_quality(pair, method, border) for pair in pairs)


def flicker(frames: Sequence[NDArray]) -> float:
    """Return how much a still scene moves: the standard deviation of a pixel over time.

    Parameters
    ----------
    frames
        Two or more frames of one scene, of equal shapes.

    Returns
    -------
    float
        Root mean square over all pixels, in the units of the frames.
    """
    return float(np.sqrt(np.var(np.asarray(frames, np.float64), axis=0, ddof=1).mean()))
