"""LIME and SRIE on pictures whose results are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

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


def differences(height: int, width: int) -> list[NDArray]:
    """Matrices that take a plane, row by row, to the differences to the next row and column."""
    made = []
    for step, last in ((width, lambda place: place // width == height - 1),
                       (1, lambda place: place % width == width - 1)):  # fmt: skip
        matrix = np.zeros((height * width,) * 2)
        for place in range(height * width):
            if not last(place):
                matrix[place, place], matrix[place, place + step] = -1, 1
        made.append(matrix)
    return made


def codes(light: NDArray) -> NDArray:
    return np.floor(np.clip(255 * light, 0, 255) + 0.5)


PICTURE = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)


def test_lime_solves_the_equations_of_its_paper():
    light = PICTURE / 255
    brightest = light.max(2).ravel()
    matrix = np.eye(35)
    for gradient in differences(7, 5):
        slope = gradient @ brightest
        around = gaussian_filter(slope.reshape(7, 5), 2.0, mode="nearest").ravel()
        weights = 1 / (np.abs(around) + 1e-3) / (np.abs(slope) + 1e-3)
        matrix += 0.15 * gradient.T @ np.diag(weights) @ gradient
    chart = np.clip(np.linalg.solve(matrix, brightest), 1 / 255, 1).reshape(7, 5, 1)
    assert np.array_equal(lime(PICTURE), codes(light / chart**0.8))


def test_srie_solves_the_equations_of_its_paper():
    light = PICTURE / 255
    value = np.maximum(light.max(2), 1 / 255)
    total = np.log(value).ravel()
    smooth = np.maximum(gaussian_filter(value, 5, mode="nearest"), value)
    illumination = np.log(smooth).ravel()
    surface = total - illumination
    gradients, rest = differences(7, 5), [np.zeros(35), np.zeros(35)]
    for _ in range(8):
        size = np.exp(surface)
        steps = [size * (gradient @ surface) for gradient in gradients]
        sums = [step + item for step, item in zip(steps, rest, strict=True)]
        kept = [np.sign(item) * np.maximum(np.abs(item) - 0.5, 0) for item in sums]
        rest = [item - few for item, few in zip(sums, kept, strict=True)]
        matrix, wanted = np.eye(35), total - illumination
        for gradient, few, item in zip(gradients, kept, rest, strict=True):
            matrix += 0.01 * gradient.T @ np.diag(size**2) @ gradient
            wanted = wanted + 0.01 * gradient.T @ (size * (few - item))
        surface = np.minimum(np.linalg.solve(matrix, wanted), 0)
        size = np.exp(illumination)
        matrix = np.eye(35) + sum(0.1 * g.T @ np.diag(size**2) @ g for g in gradients)
        illumination = np.clip(np.linalg.solve(matrix, total - surface), total, 0)
    shown = np.exp(surface + illumination / 2.2).reshape(7, 5) / value
    assert np.array_equal(srie(PICTURE), codes(light * shown[..., None]))


@pytest.mark.parametrize("method", [lime, srie])
def test_other_pictures_are_refused(method):
    for shape in ((8, 8), (8, 8, 4), (1, 8, 3)):
        with pytest.raises(ArgumentError, match="must be"):
            method(np.zeros(shape, np.uint8))
