"""Colour conversion over all 2**24 colours."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fxp
from fxp.filters import rgb_to_ycbcr, rgb_to_ycbcr_graph, ycbcr_to_rgb, ycbcr_to_rgb_graph
from fxp.filters.colour import FRAC, OFFSETS, TO_RGB, TO_YCBCR
from fxp.imaging import colour

BT601 = np.array([[65481, 128553, 24966], [-37797, -74203, 112000], [112000, -93786, -18214]])
"""Thousandths, for R, G and B in [0, 1]."""


def all_colours() -> Iterator[np.ndarray]:
    """Every colour, in 256 images ``(3, 256, 256)``."""
    second, third = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    for first in range(256):
        yield np.stack([np.full_like(second, first), second, third]).astype(np.uint8)


def inverse() -> list[list[Fraction]]:
    """Exact inverse of the BT.601 matrix, by cofactors."""
    matrix = [[Fraction(int(value), 1000) for value in row] for row in BT601]

    def cofactor(row: int, column: int) -> Fraction:
        (a, b), (c, d) = (
            [value for k, value in enumerate(line) if k != column]
            for i, line in enumerate(matrix)
            if i != row
        )
        return (a * d - b * c) * (-1) ** (row + column)

    determinant = sum(matrix[0][k] * cofactor(0, k) for k in range(3))
    return [[cofactor(row, column) / determinant for row in range(3)] for column in range(3)]


def test_coefficients_are_the_rounded_definition() -> None:
    half = Fraction(1, 2)
    for row, wanted in zip(TO_YCBCR, BT601.tolist(), strict=True):
        for value, thousandths in zip(row, wanted, strict=True):
            assert value == (Fraction(thousandths, 255_000) * 2**FRAC + half) // 1
    for row, exact in zip(TO_RGB, inverse(), strict=True):
        for value, real in zip(row, exact, strict=True):
            assert value == (real * 255 * 2**FRAC + half) // 1
    assert [sum(row) for row in TO_YCBCR[1:]] == [0, 0]


def test_every_colour() -> None:
    """Errors against the real definition, and of the way there and back."""
    differing = np.zeros(3, np.int64)
    worst_return = np.zeros(3, np.int64)
    for rgb in all_colours():
        wide = rgb.astype(np.int64)
        products = np.tensordot(BT601, wide, axes=1)
        offsets = np.array(OFFSETS)[:, None, None]
        rounded = (2 * products + 255_000) // 510_000 + offsets
        ycbcr = rgb_to_ycbcr(rgb)
        assert ycbcr.dtype == np.uint8
        difference = np.abs(ycbcr - rounded)
        assert difference.max() <= 1
        differing += (difference > 0).sum(axis=(1, 2))
        # Before rounding, in units of 1/255000/2**16: below 0.002.
        exact = np.tensordot(np.array(TO_YCBCR), wide, axes=1) * 255_000 - (products << FRAC)
        assert np.abs(exact).max() * 500 < 255_000 << FRAC
        assert (ycbcr.min(axis=(1, 2)) >= 16).all()
        assert (ycbcr.max(axis=(1, 2)) <= np.array([235, 240, 240])).all()
        back = ycbcr_to_rgb(ycbcr).astype(np.int64)
        worst_return = np.maximum(worst_return, np.abs(back - wide).max(axis=(1, 2)))
    assert differing.tolist() == [9060, 7298, 9211]
    assert worst_return.tolist() == [1, 1, 2]


def test_every_code_to_rgb() -> None:
    """The inverse is the real one, rounded, but for colours within 0.01 of a tie."""
    for ycbcr in all_colours():
        real = np.clip(
            np.moveaxis(colour.real_ycbcr_to_rgb(np.moveaxis(ycbcr, 0, -1)), -1, 0), 0, 255
        )
        error = np.abs(ycbcr_to_rgb(ycbcr) - real)
        assert error.max() <= 0.51


def test_grey_black_and_white() -> None:
    levels = np.arange(256, dtype=np.uint8)
    ycbcr = rgb_to_ycbcr(np.stack([levels] * 3)[:, None])
    assert (ycbcr[1:] == 128).all()
    assert ycbcr[0, 0, 0] == 16
    assert ycbcr[0, 0, 255] == 235
    back = ycbcr_to_rgb(ycbcr).astype(np.int64)
    assert (back == back[0]).all()


def test_luma_is_that_of_the_real_conversion_almost_everywhere() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    luma = rgb_to_ycbcr(image.transpose(2, 0, 1))[0]
    assert np.count_nonzero(luma != colour.luma(image)) <= 10


@pytest.mark.parametrize("graph", [rgb_to_ycbcr_graph(), ycbcr_to_rgb_graph()])
def test_accumulators_fit_32_bits(graph: fxp.Graph) -> None:
    accumulator = graph.nodes[0].accumulator
    assert accumulator is not None
    assert accumulator.bits == {"rgb_to_ycbcr": 25, "ycbcr_to_rgb": 27}[graph.name]


@given(shape=st.lists(st.integers(0, 4), max_size=4).filter(lambda s: len(s) != 3 or s[0] != 3))
def test_other_shapes_are_refused(shape: list[int]) -> None:
    for function in (rgb_to_ycbcr, ycbcr_to_rgb):
        with pytest.raises(ValueError, match=r"the image must be \((H, W|3, H, W)\)"):
            function(np.zeros(shape, np.uint8))


def test_other_values_are_refused() -> None:
    for function in (rgb_to_ycbcr, ycbcr_to_rgb):
        with pytest.raises(TypeError, match="the image must hold integers, got float64"):
            function(np.full((3, 2, 2), np.nan))
        with pytest.raises(fxp.FormatError, match="raw 256 at index"):
            function(np.full((3, 2, 2), 256))
        assert function(np.full((3, 2, 2), 255)).dtype == np.uint8
