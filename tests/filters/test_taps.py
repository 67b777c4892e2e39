"""Taps have the defined values and exactly the sums they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxp.filters import (
    Taps,
    difference_of_gaussians,
    gabor,
    gaussian,
    laplacian,
    laplacian_of_gaussian,
    prewitt,
    sobel,
)
from fxp.formats import Format

SIGMAS = (0.1, 0.5, 0.8, 1.0, 1.4, 2.0, 3.0)


def rounded(value: float, frac: int) -> int:
    """Round half up, once."""
    return math.floor(Fraction(value) * 2**frac + Fraction(1, 2))


def offsets(size: int) -> list[tuple[int, int]]:
    """Row and column of every tap from the centre, without the centre."""
    half = size // 2
    every = range(-half, half + 1)
    return [(n, m) for n in every for m in every if (n, m) != (0, 0)]


def bell(n: int, m: int, sigma: float) -> float:
    return math.exp(-(m * m + n * n) / (2 * sigma**2)) / (2 * math.pi * sigma**2)


def check_taps(taps: Taps, frac: int, function: Callable[[int, int], float]) -> None:
    """All taps but the centre are the rounded function, or beside it where float64 cannot tell."""
    half = len(taps.data) // 2
    assert taps.frac == frac
    for n, m in offsets(len(taps.data)):
        tap = int(taps.data[n + half, m + half])
        value = Fraction(function(n, m)) * 2**frac
        assert abs(tap - value) <= Fraction(1, 2) + Fraction(1, 2**20)


def test_differences() -> None:
    assert sobel("x").data.tolist() == [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
    assert sobel("y").data.tolist() == [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
    assert prewitt("x").data.tolist() == [[1, 0, -1]] * 3
    assert prewitt("y").data.tolist() == [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]
    assert laplacian().data.tolist() == [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    for taps in (sobel("x"), prewitt("y"), laplacian()):
        assert taps.frac == 0
        assert taps.data.sum() == 0


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("frac", [12, 14, 20, 40])
def test_gaussian(sigma: float, frac: int) -> None:
    taps = gaussian(sigma, frac=frac)
    size = 2 * math.ceil(3 * sigma) + 1
    assert taps.data.shape == (size, size)
    assert int(taps.data.sum()) == 2**frac
    total = bell(0, 0, sigma) + sum(bell(n, m, sigma) for n, m in offsets(size))
    check_taps(taps, frac, lambda n, m: bell(n, m, sigma) / total)
    assert np.array_equal(taps.data, taps.data.T)
    assert np.array_equal(taps.data, taps.data[::-1])
    assert taps.data.min() >= 0


def test_gaussian_in_eight_bits() -> None:
    assert gaussian(1.0, 5, 8).data.tolist() == [
        [1, 3, 6, 3, 1],
        [3, 15, 25, 15, 3],
        [6, 25, 44, 25, 6],
        [3, 15, 25, 15, 3],
        [1, 3, 6, 3, 1],
    ]
    assert gaussian(2.0, 1, 5).data.tolist() == [[32]]


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0, 1.4, 2.0, 5.0])
@pytest.mark.parametrize("frac", [24, 40])
def test_laplacian_of_gaussian(sigma: float, frac: int) -> None:
    taps = laplacian_of_gaussian(sigma, frac=frac)
    assert int(taps.data.sum()) == 0
    check_taps(
        taps,
        frac,
        lambda n, m: ((m * m + n * n) / sigma**4 - 2 / sigma**2) * bell(n, m, sigma),
    )
    half = len(taps.data) // 2
    assert taps.data[half, half] < 0


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_difference_of_gaussians(sigma: float) -> None:
    taps = difference_of_gaussians(sigma)
    size = 2 * math.ceil(3 * 1.6 * sigma) + 1
    assert int(taps.data.sum()) == 0
    assert np.array_equal(taps.data, gaussian(sigma, size).data - gaussian(1.6 * sigma, size).data)
    wider = difference_of_gaussians(sigma, 2 * sigma, 9, 20)
    assert wider.data.shape == (9, 9)
    assert int(wider.data.sum()) == 0


@pytest.mark.parametrize("orientation", [0.0, 0.7, math.pi / 2])
@pytest.mark.parametrize("phase", [0.0, 1.0, math.pi / 2])
def test_gabor(orientation: float, phase: float) -> None:
    sigma, wavelength, frac = 1.7, 4.5, 14
    taps = gabor(sigma, wavelength, orientation, phase, frac=frac)

    def function(n: int, m: int) -> float:
        along = math.cos(orientation) * m + math.sin(orientation) * n
        return bell(n, m, sigma) * math.sin(2 * math.pi * along / wavelength + phase)

    check_taps(taps, frac, function)
    centre = len(taps.data) // 2
    assert int(taps.data[centre, centre]) == rounded(function(0, 0), frac)
    if phase == 0:
        assert np.array_equal(taps.data, -taps.data[::-1, ::-1])
    if orientation == 0:
        assert np.array_equal(taps.data, taps.data[::-1])


@given(
    sigma=st.floats(0.1, 100),
    frac=st.integers(0, 40),
    size=st.integers(0, 20).map(lambda half: 2 * half + 1),
)
def test_sums_are_exact_or_refused(sigma: float, frac: int, size: int) -> None:
    for function, total in (
        (gaussian, 2**frac), (laplacian_of_gaussian, 0), (difference_of_gaussians, 0),
    ):  # fmt: skip
        try:
            taps = function(sigma, size=size, frac=frac)
        except ValueError:
            continue  # the centre would change by more than half
        assert int(taps.data.sum()) == total
        if function is gaussian:
            assert taps.data.min() >= 0


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: gaussian(0.0), ValueError, "sigma must be 0.1 to 100"),
    (lambda: gaussian(float("nan")), ValueError, "sigma must be 0.1 to 100 pixels, got nan"),
    (lambda: gaussian(1.0, 4), ValueError, "size must be odd and 1 to 255, got 4"),
    (lambda: gaussian(60.0), ValueError, "size must be odd and 1 to 255, got 361"),
    (lambda: gaussian(1.0, 3.0), TypeError, "size must be an integer, got 3.0"),
    (lambda: gaussian(1.0, frac=41), ValueError, "frac must be 0 to 40, got 41"),
    (lambda: gaussian(1.0, frac=8.0), TypeError, "frac must be an integer, got 8.0"),
    (lambda: gaussian(5.0, frac=8), ValueError, "would have to change by"),
    (lambda: laplacian_of_gaussian(2.0, 3), ValueError, "would have to change by"),
    (lambda: difference_of_gaussians(2.0, 1.0), ValueError, "wide_sigma must be above sigma"),
    (lambda: gabor(1.0, 0.0), ValueError, "wavelength must be positive and finite"),
    (lambda: gabor(1.0, 4.0, math.inf), ValueError, "orientation must be finite"),
    (lambda: sobel("z"), ValueError, "direction must be 'x' or 'y', got 'z'"),
    (lambda: Taps(np.ones((3, 3))), TypeError, "taps must be integers, got float64"),
    (lambda: Taps(np.ones(3, np.int64)), ValueError, r"write a filter along one axis as \(1, n\)"),
    (lambda: Taps(np.ones((0, 3), np.int64)), ValueError, "not empty"),
    (lambda: Taps(np.full((1, 1), 2**63, np.uint64)), ValueError, "above 2"),
    (lambda: Taps(np.ones((1, 1), np.int64), -1), ValueError, "frac must be 0 to 40, got -1"),
])  # fmt: skip
def test_refusals(call: Callable[[], Taps], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_taps() -> None:
    data = np.array([[3, -5]], np.int8)
    taps = Taps(data, 2)
    data[:] = 0
    assert taps.data.dtype == np.int64
    assert taps.data.tolist() == [[3, -5]]
    assert taps.values.tolist() == [[0.75, -1.25]]
    assert taps.format == Format(4, 2)
    assert not taps.data.flags.writeable
