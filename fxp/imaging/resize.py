"""MATLAB-compatible bicubic resizing in float64 numpy.

These are the resamplers of the standard super-resolution protocol. All bicubic taps at x2 are
dyadic fractions, so both directions are exact in float64 for 8-bit images: 8 taps
(-3, -9, 29, 111, 111, 29, -9, -3)/256 down, and phases (-9, 111, 29, -3)/128 up.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.support.errors import ArgumentError

Float = NDArray[np.float64]


def _keys_cubic(position: NDArray[np.floating]) -> Float:
    """Evaluate the cubic convolution kernel of Keys (1981) with a = -1/2."""
    distance = np.abs(position)
    square, cube = distance**2, distance**3
    near = 1.5 * cube - 2.5 * square + 1.0
    far = -0.5 * cube + 2.5 * square - 4.0 * distance + 2.0
    return np.where(distance <= 1.0, near, np.where(distance <= 2.0, far, 0.0))


def bicubic_taps(
    length: int, output_length: int, scale: float | Fraction, *, antialias: bool = True
) -> tuple[Float, NDArray[np.intp]]:
    """Compute the taps of one axis.

    Parameters
    ----------
    length, output_length
        Samples in and out.
    scale
        Enlargement factor; less than one shrinks.
    antialias
        Widen the kernel by ``1/scale`` when shrinking.

    Returns
    -------
    weights
        ``(output_length, taps)`` float64, each row adding to one.
    indices
        ``(output_length, taps)`` source samples, mirrored at the border (edge sample repeated).
    """
    factor = float(scale)
    stretch = factor if antialias and factor < 1.0 else 1.0
    width = 4.0 / stretch
    centre = (np.arange(output_length) + 0.5) / factor - 0.5
    first = np.floor(centre - width / 2.0).astype(np.intp)
    indices = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _keys_cubic(stretch * (centre[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0.0, axis=0)
    weights, indices = weights[:, used], indices[:, used]
    mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    return weights, mirrored[np.mod(indices, 2 * length)]


def _resize_axis(image: Float, axis: int, output_length: int, scale: Fraction, anti: bool) -> Float:
    weights, indices = bicubic_taps(image.shape[axis], output_length, scale, antialias=anti)
    moved = np.moveaxis(image, axis, 0)
    shape = (-1,) + (1,) * (moved.ndim - 1)
    result = np.zeros((output_length, *moved.shape[1:]))
    for tap in range(weights.shape[1]):
        result += weights[:, tap].reshape(shape) * moved[indices[:, tap]]
    return np.moveaxis(result, 0, axis)


def imresize(
    image: ArrayLike,
    scale: float | Fraction,
    *,
    antialias: bool = True,
    round_each_axis: bool = False,
) -> Float:
    """Resize an image bicubically as MATLAB ``imresize`` does.

    Parameters
    ----------
    image
        ``(H, W)`` or ``(H, W, C)``, any real type and unit.
    scale
        Enlargement factor, for example ``2`` or ``0.5``. For thirds pass ``Fraction(1, 3)``;
        a float is taken as the nearest fraction with a denominator up to 1000.
    antialias
        Low-pass filter when shrinking, MATLAB's default.
    round_each_axis
        Round and clip to 0...255 after each axis, as common ports do for uint8 input. By default
        nothing is rounded.

    Returns
    -------
    ndarray
        float64, ``ceil(scale*H)`` by ``ceil(scale*W)``. The vertical axis is filtered first and
        the border is mirrored, repeating the edge sample.

    Raises
    ------
    ValueError
        If the image has another number of axes or no pixels, or the scale is not positive.
    """
    result = np.asarray(image, dtype=np.float64)
    if result.ndim not in (2, 3) or result.size == 0:
        raise ArgumentError(f"image must be (H, W) or (H, W, C) and not empty, not {result.shape}")
    factor = Fraction(scale).limit_denominator(1000)
    if factor <= 0:
        raise ArgumentError(f"scale must be positive, not {scale}")
    for axis in (0, 1):
        output_length = math.ceil(result.shape[axis] * factor)
        result = _resize_axis(result, axis, output_length, factor, antialias)
        if round_each_axis:
            result = np.clip(np.floor(result + 0.5), 0.0, 255.0)
    return result
