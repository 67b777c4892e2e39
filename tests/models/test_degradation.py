"""The compressed-image degradation: each step, the drawn settings, and what is refused."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fxp.imaging.metrics import psnr
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models.sr import Degradation
from fxp.models.sr.degradation import JPEG_MAX_SIDE, Drawn

CLEAN = Degradation(blur=0, quality=None, noise=0)

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 3])).map(
    lambda shape: shape if shape[2] else shape[:2]
)
seeds = st.integers(0, 2**64 - 1)


def random_image(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@hypothesis_settings(max_examples=60)
@given(shape=shapes, scale=st.integers(1, 4), seed=seeds)
def test_same_seed_gives_the_same_image(shape: tuple[int, ...], scale: int, seed: int):
    image = random_image(shape)
    before = image.copy()
    first, again = (Degradation()(image, scale, seed) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(image, before)
    assert first.dtype == np.uint8
    assert first.shape == (-(-shape[0] // scale), -(-shape[1] // scale), *shape[2:])
    assert first.flags.writeable


def test_other_seeds_give_other_images():
    image = skimage.data.camera()[100:164, 100:164]
    made = [Degradation()(image, 2, seed) for seed in (0, 1, [0, 1], [1, 2])]
    assert len({small.tobytes() for small in made}) == len(made)
    assert np.array_equal(Degradation()(image, 2, (1, 2)), made[3])


@hypothesis_settings(max_examples=60)
@given(shape=shapes, scale=st.integers(1, 4), seed=seeds)
def test_with_nothing_on_it_is_the_bicubic_shrink(shape: tuple[int, ...], scale: int, seed: int):
    image = random_image(shape)
    expected = to_codes(imresize(image, Fraction(1, scale)))
    assert np.array_equal(CLEAN(image, scale, seed), expected)


@given(
    seed=seeds,
    blur=st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda ends: tuple(sorted(ends))),
    quality=st.tuples(st.integers(1, 100), st.integers(1, 100)).map(
        lambda ends: tuple(sorted(ends))
    ),
    noise=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda ends: tuple(sorted(ends))),
)
def test_what_is_drawn_lies_in_the_ranges(seed: int, blur, quality, noise):
    drawn = Degradation(blur, quality, noise).draw(seed)
    assert blur[0] <= drawn.sigma <= blur[1]
    assert quality[0] <= drawn.quality <= quality[1]
    assert noise[0] <= drawn.noise <= noise[1]
    assert drawn == Degradation(blur, quality, noise).draw(seed)
    fixed = Degradation(blur, quality=quality[1], noise=noise).draw(seed)
    assert fixed == drawn._replace(quality=quality[1])


def test_ranges_are_used_up_to_both_ends():
    drawn = [Degradation().draw(seed) for seed in range(1000)]
    assert {choice.quality for choice in drawn} == set(range(70, 100))
    sigmas, noises = ([getattr(choice, name) for choice in drawn] for name in ("sigma", "noise"))
    assert min(sigmas) < 0.21
    assert max(sigmas) > 0.79
    assert min(noises) < 0.001
    assert max(noises) > 0.019
    assert Degradation(0.5, 80, 0.01).draw(3) == Drawn(0.5, 80, 0.01)
    assert CLEAN.draw(3) == Drawn(0.0, None, 0.0)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 0.8, 3.0])
def test_blur_is_a_gaussian_with_symmetric_border(sigma: float):
    image = random_image((9, 12))
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    padded = np.pad(image.astype(float), radius, mode="symmetric")
    rows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=0) @ taps
    expected = np.lib.stride_tricks.sliding_window_view(rows, 2 * radius + 1, axis=1) @ taps
    small = Degradation(blur=sigma, quality=None, noise=0)(image, 1, 0)
    # A sum that lies on a half may be rounded either way by another order of the additions.
    assert np.abs(small - expected).max() <= 0.5 + 1e-9


def test_channels_are_blurred_apart():
    image = random_image((8, 9, 3))
    blurred = Degradation(blur=0.8, quality=None, noise=0)
    planes = [blurred(np.ascontiguousarray(image[..., index]), 2, 0) for index in range(3)]
    assert np.array_equal(blurred(image, 2, 0), np.stack(planes, axis=2))


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("quality", [1, 70, 99])
def test_compression_is_that_of_a_file(channels: tuple[int, ...], quality: int):
    image = skimage.data.astronaut()[:61, :47]
    image = image if channels else image[..., 1]
    stream = io.BytesIO()
    Image.fromarray(CLEAN(image, 2, 0)).save(stream, "JPEG", quality=quality)
    expected = np.asarray(Image.open(stream))
    assert np.array_equal(Degradation(0, quality, 0)(image, 2, 0), expected)


def test_compression_of_colour_halves_the_chroma():
    # Colours that alternate from pixel to pixel at equal luma do not survive 4:2:0.
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, ::2] = (150, 100, 100)
    image[:, 1::2] = (90, 124, 124)
    small = Degradation(0, 99, 0)(image, 1, 0)
    assert np.abs(np.diff(small[..., 0].astype(int), axis=1)).max() <= 8


def test_noise_has_the_drawn_deviation_and_is_clipped():
    grey = np.full((400, 400), 128, np.uint8)
    noisy = Degradation(0, None, 0.02)(grey, 2, 5).astype(float)
    assert abs(noisy.mean() - 128) < 0.2
    assert abs(noisy.std() - np.hypot(0.02 * 255, np.sqrt(1 / 12))) < 0.1
    colour = Degradation(0, None, 0.02)(np.full((200, 200, 3), 128, np.uint8), 2, 5)
    correlation = np.corrcoef(colour.reshape(-1, 3).T)
    assert np.abs(correlation - np.eye(3)).max() < 0.05
    black = Degradation(0, None, 0.5)(np.zeros((20, 20), np.uint8), 1, 1)
    assert 0.3 < (black == 0).mean() < 0.7
    assert (black == 255).any()


def test_each_step_takes_its_toll():
    image = skimage.data.camera()
    clean = CLEAN(image, 2, 0)
    losses = [
        psnr(clean, Degradation(*fields)(image, 2, 0), 255)
        for fields in ((0.2, None, 0), (0.8, None, 0), (0, 99, 0), (0, 70, 0), (0, None, 0.02))
    ]
    assert losses[0] > losses[1] > 20
    assert losses[2] > losses[3] > 20
    assert abs(losses[4] - 20 * np.log10(1 / 0.02)) < 0.3


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((4, 4)), "uint8 array, not float64"),
        (np.zeros((4, 4), np.uint16), "uint8 array, not uint16"),
        ([[1, 2]], "uint8 array, not list"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((4, 4, 1), np.uint8), r"\(4, 4, 1\)"),
        (np.zeros((0, 4), np.uint8), "not empty"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, JPEG_MAX_SIDE + 1), np.uint8), "JPEG has sides of up to"),
    ],
)
def test_images_that_are_refused(image, match: str):
    with pytest.raises(ValueError, match=match):
        Degradation()(image, 1, 0)


@pytest.mark.parametrize("scale", [0, -2, 1.5, "2"])
def test_factors_that_are_refused(scale):
    with pytest.raises(ValueError, match="positive whole number"):
        CLEAN(np.zeros((4, 4), np.uint8), scale, 0)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"blur": -0.1}, r"blur must lie in 0\.\.\.100"),
        ({"blur": 101.0}, "blur must lie"),
        ({"blur": (0.8, 0.2)}, "the lowest first"),
        ({"blur": (0.1, 0.2, 0.3)}, "a number or"),
        ({"blur": float("nan")}, "a number or"),
        ({"noise": 1.5}, r"noise must lie in 0\.\.\.1"),
        ({"noise": None}, "a number or"),
        ({"quality": 0}, r"quality must lie in 1\.\.\.100"),
        ({"quality": (70, 101)}, "quality must lie"),
        ({"quality": 80.5}, "whole numbers"),
    ],
)
def test_settings_that_are_refused(fields: dict, match: str):
    with pytest.raises(ValueError, match=match):
        Degradation(**fields)
