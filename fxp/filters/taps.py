"""Taps of the classical filters as integers, with exact sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.formats import MAX_WIDTH, Format, IntArray, check_raw, quantize
from fxp.support.errors import ArgumentError, ArgumentTypeError

MAX_SIZE: Final = 255
MAX_FRAC: Final = 40

Direction = Literal["x", "y"]
Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Taps:
    """Integer weights of a two-dimensional filter.

    Attributes
    ----------
    data
        Raw integers ``(rows, columns)``; int64, read-only.
    frac
        Fraction bits of them all, 0 to 40: a tap is worth ``data * 2**-frac``.

    Raises
    ------
    TypeError
        If `data` does not hold integers.
    ValueError
        If `data` has not two axes or is empty, or `frac` is out of range.
    """

    data: IntArray
    frac: int = 0

    def __post_init__(self) -> None:
        data = np.array(self.data)
        if data.dtype.kind not in "iu":
            raise ArgumentTypeError(
                f"taps must be integers, got {data.dtype}; fxp.formats.quantize makes integers of "
                "real numbers"
            )
        if data.ndim != 2 or data.size == 0:
            raise ArgumentError(
                f"taps must be (rows, columns) and not empty, got {data.shape}; write a filter "
                "along one axis as (1, n) or (n, 1)"
            )
        _check_frac(self.frac)
        data = check_raw(data, Format(MAX_WIDTH, 0))
        data.setflags(write=False)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "frac", int(self.frac))

    @property
    def format(self) -> Format:
        """Narrowest format that holds every tap."""
        return Format.for_range(min(0, int(self.data.min())), int(self.data.max()), self.frac)

    @property
    def values(self) -> Float:
        """What the taps are worth."""
        return np.ldexp(self.data.astype(np.float64), -self.frac)


def sobel(direction: Direction) -> Taps:
    """Sobel's smoothed difference along ``"x"`` (columns) or ``"y"`` (rows).

    ``x`` has the rows (1, 0, -1), (2, 0, -2), (1, 0, -1), and ``y`` is its transpose: as a
    convolution it is positive where the image grows along the axis, as a correlation negative.
    """
    return _difference(direction, (1, 2, 1))


def prewitt(direction: Direction) -> Taps:
    """Prewitt's smoothed difference, with three rows (1, 0, -1); otherwise as `sobel`."""
    return _difference(direction, (1, 1, 1))


def laplacian() -> Taps:
    """Return the rows (0, -1, 0), (-1, 4, -1), (0, -1, 0): positive on a bright point."""
    return Taps(np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]))


def gaussian(sigma: float, size: int | None = None, frac: int = 14) -> Taps:
    """Gaussian low-pass filter whose taps add to exactly one, ``2**frac``.

    Parameters
    ----------
    sigma
        Standard deviation in pixels, 0.1 to 100.
    size
        Rows and columns, odd and at most 255; by default ``2*ceil(3*sigma) + 1``.
    frac
        Fraction bits of the taps.

    Notes
    -----
    ``exp(-(m**2 + n**2) / (2*sigma**2))`` over the sum of these samples, each rounded half up to
    `frac` fraction bits. The centre tap then takes what is missing to ``2**frac``.

    Raises
    ------
    ValueError
        If that would change the centre by more than half: `frac` is too small for so wide a filter.
    """
    bell = _sampled(lambda square, *_: np.exp(square / (-2 * sigma**2)), sigma, size, 3)
    return _with_sum(bell / bell.sum(), frac, 1 << _check_frac(frac))


def laplacian_of_gaussian(sigma: float, size: int | None = None, frac: int = 14) -> Taps:
    """Laplacian of a Gaussian (LoG), negative at the centre, whose taps add to exactly zero.

    Parameters
    ----------
    sigma
        Standard deviation of the Gaussian in pixels.
    size
        Rows and columns, odd and at most 255; by default ``2*ceil(5*sigma) + 1``.
    frac
        Fraction bits of the taps.

    Notes
    -----
    With ``s = m**2 + n**2``, ``(s / sigma**4 - 2 / sigma**2) * exp(-s / (2*sigma**2)) /
    (2*pi*sigma**2)``, rounded half up. The centre tap then takes what is missing to zero.

    Raises
    ------
    ValueError
        If that would change the centre by more than half.
    """

    def function(square: Float, *_: Float) -> Float:
        bell = np.exp(square / (-2 * sigma**2)) / (2 * math.pi * sigma**2)
        return (square / sigma**4 - 2 / sigma**2) * bell

    return _with_sum(_sampled(function, sigma, size, 5), frac, 0)


def difference_of_gaussians(
    sigma: float, wide_sigma: float | None = None, size: int | None = None, frac: int = 14
) -> Taps:
    """`gaussian` of `sigma` less that of `wide_sigma` (DoG); the taps add to exactly zero.

    Parameters
    ----------
    sigma, wide_sigma
        Standard deviations in pixels; the second is ``1.6 * sigma`` by default.
    size
        Rows and columns of both, odd and at most 255; by default ``2*ceil(3*wide_sigma) + 1``.
    frac
        Fraction bits of the taps.

    Raises
    ------
    ValueError
        As `gaussian`, and if `wide_sigma` is not above `sigma`.
    """
    _check_sigma(sigma)
    wide = _check_sigma(1.6 * sigma if wide_sigma is None else wide_sigma)
    if wide <= sigma:
        raise ArgumentError(f"wide_sigma must be above sigma, got {wide} and {sigma}")
    size = _default_size(wide, 3) if size is None else size
    return Taps(gaussian(sigma, size, frac).data - gaussian(wide, size, frac).data, frac)


def gabor(
    sigma: float,
    wavelength: float,
    orientation: float = 0.0,
    phase: float = 0.0,
    size: int | None = None,
    frac: int = 14,
) -> Taps:
    """Gabor filter: a sine wave under a round Gaussian.

    Parameters
    ----------
    sigma
        Standard deviation of the Gaussian in pixels.
    wavelength
        Length of the wave in pixels, ``l``.
    orientation
        Angle ``w`` of the wave's direction in radians, from the columns' axis to the rows' axis.
    phase
        Phase ``p`` of the wave in radians: 0 for an odd filter, ``pi/2`` for an even one.
    size
        Rows and columns, odd and at most 255; by default ``2*ceil(3*sigma) + 1``.
    frac
        Fraction bits of the taps.

    Notes
    -----
    With ``m`` columns and ``n`` rows from the centre, ``exp(-(m**2 + n**2) / (2*sigma**2)) /
    (2*pi*sigma**2) * sin(2*pi*(cos(w)*m + sin(w)*n) / l + p)``, rounded half up. The sum is left as
    it is. OpenCV's ``getGaborKernel`` has another formula (a cosine, an aspect ratio, no factor).
    """
    if not (math.isfinite(wavelength) and wavelength > 0):
        raise ArgumentError(f"wavelength must be positive and finite, got {wavelength}")
    for name, angle in (("orientation", orientation), ("phase", phase)):
        if not math.isfinite(angle):
            raise ArgumentError(f"{name} must be finite, got {angle}")

    def function(square: Float, rows: Float, columns: Float) -> Float:
        bell = np.exp(square / (-2 * sigma**2)) / (2 * math.pi * sigma**2)
        along = math.cos(orientation) * columns + math.sin(orientation) * rows
        return bell * np.sin(2 * math.pi * along / wavelength + phase)

    return Taps(_rounded(_sampled(function, sigma, size, 3), _check_frac(frac)), frac)


def as_taps(taps: Taps | ArrayLike, frac: int | None = None) -> Taps:
    """Return taps as they are, or an integer array with `frac` fraction bits (0 by default)."""
    if not isinstance(taps, Taps):
        return Taps(np.asarray(taps), 0 if frac is None else frac)
    if frac is not None and frac != taps.frac:
        raise ArgumentError(f"frac is {frac}, but the taps have {taps.frac} fraction bits")
    return taps


def _difference(direction: Direction, smooth: tuple[int, int, int]) -> Taps:
    along_x = np.outer(smooth, (1, 0, -1))
    if direction not in ("x", "y"):
        raise ArgumentError(f"direction must be 'x' or 'y', got {direction!r}")
    return Taps(along_x if direction == "x" else along_x.T)


def _sampled(
    function: Callable[[Float, Float, Float], Float], sigma: float, size: int | None, radius: int
) -> Float:
    """Sample ``function(m**2 + n**2, n, m)`` around the centre."""
    _check_sigma(sigma)
    size = _default_size(sigma, radius) if size is None else size
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise ArgumentTypeError(f"size must be an integer, got {size!r}")
    if not (1 <= size <= MAX_SIZE and size % 2):
        raise ArgumentError(f"size must be odd and 1 to {MAX_SIZE}, got {size}")
    offsets = np.arange(size, dtype=np.float64) - size // 2
    rows, columns = np.meshgrid(offsets, offsets, indexing="ij")
    return function(rows**2 + columns**2, rows, columns)


def _default_size(sigma: float, radius: int) -> int:
    return 2 * math.ceil(radius * sigma) + 1


def _check_sigma(sigma: float) -> float:
    if not 0.1 <= sigma <= 100:
        raise ArgumentError(f"sigma must be 0.1 to 100 pixels, got {sigma}")
    return sigma


def _check_frac(frac: int) -> int:
    if isinstance(frac, bool) or not isinstance(frac, int | np.integer):
        raise ArgumentTypeError(f"frac must be an integer, got {frac!r}")
    if not 0 <= frac <= MAX_FRAC:
        raise ArgumentError(f"frac must be 0 to {MAX_FRAC}, got {frac}")
    return int(frac)


def _rounded(values: Float, frac: int) -> IntArray:
    return quantize(values, Format(MAX_WIDTH, frac))


def _with_sum(values: Float, frac: int, total: int) -> Taps:
    """Round, and let the centre tap make the sum `total`."""
    raw = _rounded(values, _check_frac(frac))
    centre = raw.shape[0] // 2, raw.shape[1] // 2
    missing = total - int(raw.sum())
    if 2 * abs(missing) > abs(int(raw[centre])):
        raise ArgumentError(
            f"with frac={frac} and {raw.shape[0]} by {raw.shape[1]} taps, the centre "
            f"{raw[centre]} would have to change by {missing} for the sum to be {total}; give more "
            "fraction bits or another size"
        )
    raw[centre] += missing
    return Taps(raw, frac)
