"""LIME and SRIE on pictures whose results are known."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.models.flash.classical import lime, srie
from fxp.support.errors import ArgumentError

FLAT = np.tile(np.array([64, 32, 16], np.uint8), (12, 10, 1))


def test_lime_divides_by_a_power_of_the_largest_colour():
    # (64 / 255) ** 0.8 divides: 64 becomes 255 * (64 / 255) ** 0.2 = 193.4.
    assert np.array_equal(lime(FLAT), np.tile(np.array([193, 97, 48], np.uint8), (12, 10, 1)))
    assert np.array_equal(lime(FLAT, gamma=0.0), FLAT)


def test_srie_brightens_the_illumination():
    # Of one colour all is illumination: 64 becomes 255 * (64 / 255) ** (1 / 2.2) = 136.0.
    assert np.array_equal(srie(FLAT), np.tile(np.array([136, 68, 34], np.uint8), (12, 10, 1)))


@pytest.mark.parametrize("method", [lime, srie])
def test_the_dark_half_gains_most_and_black_stays_black(method):
    picture = np.full((24, 32, 3), 200, np.uint8)
    picture[:, :16] = 20
    picture[:6] = 0
    result = method(picture).astype(float)
    assert result.shape == picture.shape
    assert (result[:4] == 0).all()
    gains = result[12:] / picture[12:]
    assert gains[:, 4:12].min() > 2 * gains[:, 20:28].max() > 2


@pytest.mark.parametrize("method", [lime, srie])
def test_other_pictures_are_refused(method):
    for shape in ((8, 8), (8, 8, 4), (1, 8, 3)):
        with pytest.raises(ArgumentError, match="must be"):
            method(np.zeros(shape, np.uint8))
