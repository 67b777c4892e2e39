"""Blur made of sharp frames and pictures, and the augmentation of pairs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.models.common.data import DataError
from fxp.models.deblur.blur import averaged, blurred_pairs, camera_shake, interpolated
from fxp.models.deblur.data import Pairs, augmented, saturated


def grey(value: int, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def test_frames_are_averaged_as_light():
    # ((0 + 1) / 2) ** (1 / 2.2) * 255 = 186.08
    assert averaged([grey(0), grey(255)]).tolist() == grey(186).tolist()
    assert averaged([grey(0), grey(255)], linear=True).tolist() == grey(128).tolist()
    every = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(averaged([every] * 3), every)


def test_windows_follow_each_other_and_the_middle_is_sharp():
    frames = [grey(value) for value in (0, 10, 20, 30, 40, 50, 60)]
    pairs = blurred_pairs(frames, 3, linear=True)
    assert [(int(b[0, 0]), int(s[0, 0])) for b, s in pairs] == [(10, 10), (40, 40)]
    assert pairs[1][1] is frames[4]


@pytest.mark.parametrize(
    ("frames", "count", "message"),
    [
        ([grey(1)] * 9, 4, "must be odd"),
        ([grey(1)] * 9, 1, "at least 3"),
        ([grey(1)] * 6, 7, "a sequence of 6 frames, fewer than the 7 to average"),
        ([grey(1), grey(1, (3, 3)), grey(1)], 3, "frames of unequal size"),
    ],
)
def test_sequences_that_cannot_be_averaged(frames: list, count: int, message: str):
    with pytest.raises(DataError, match=message):
        blurred_pairs(frames, count)


def test_truths_are_frames_that_were_photographed():
    """Of frames 0 to 12, every fourth is a true one: 3, 4, 5 go around 4, and 7, 8, 9 around 8."""
    frames = [np.full((2, 2), 10 * number, np.uint8) for number in range(13)]
    pairs = blurred_pairs(frames, 3, linear=True, factor=4)
    assert [(int(blurred[0, 0]), int(sharp[0, 0])) for blurred, sharp in pairs] == [
        (40, 40), (80, 80)
    ]  # fmt: skip
    with pytest.raises(DataError, match="has no 3 around one that was photographed"):
        blurred_pairs(frames[:5], 3, factor=4)


def test_frames_between_frames_move_half_as_far():
    rows, columns = np.mgrid[:48, :64]

    def blob(column: float) -> np.ndarray:
        spot = 200 * np.exp(-((rows - 24.0) ** 2 + (columns - column) ** 2) / 60)
        return spot.astype(np.uint8)

    frames = interpolated([blob(28), blob(32)], 2)
    assert len(frames) == 3
    assert np.array_equal(frames[0], blob(28))
    assert np.array_equal(frames[2], blob(32))
    between = frames[1].astype(float)
    centre = (between * columns).sum() / between.sum()
    assert centre == pytest.approx(30, abs=0.2)
    # A mean of the two frames would be lower at the centre, where neither has its maximum.
    assert between.max() > (blob(28) / 2 + blob(32) / 2).max() + 5
    assert len(interpolated(frames, 1)) == 3


def test_a_camera_that_moves():
    random = np.random.default_rng(4)
    picture = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
    blurred, sharp = camera_shake(picture, np.random.default_rng(5), 32)
    again, _ = camera_shake(picture, np.random.default_rng(5), 32)
    assert blurred.shape == sharp.shape == (3, 32, 32)
    assert blurred.dtype == np.float32
    assert np.array_equal(blurred, again)
    # Averages have less contrast, and the light of the patch stays about the same.
    assert blurred.std() < 0.8 * sharp.std()
    assert (blurred**2.2).mean() == pytest.approx((sharp**2.2).mean(), rel=0.1)
    still, same = camera_shake(np.full((40, 40, 3), 77, np.uint8), random, 16)
    assert np.allclose(still, 77 / 255, atol=1e-4)
    assert np.allclose(same, 77 / 255, atol=1e-4)


def test_saturation_changes_neither_hue_nor_value():
    image = np.array([0.8, 0.4, 0.6], np.float32)[:, None, None]
    assert saturated(image, 0.0).ravel() == pytest.approx([0.8, 0.8, 0.8])
    assert saturated(image, 0.5).ravel() == pytest.approx([0.8, 0.6, 0.7])
    # Saturation 0.5 times 1.5 is 0.75: the least channel is a quarter of the value.
    assert saturated(image, 1.5).ravel() == pytest.approx([0.8, 0.2, 0.5])
    assert saturated(image, 9.0).ravel() == pytest.approx([0.8, 0.0, 0.4], abs=1e-6)
    assert saturated(np.zeros((3, 1, 1), np.float32), 1.5).ravel().tolist() == [0, 0, 0]


def test_augmentation_treats_both_alike_and_adds_noise_to_one():
    random = np.random.default_rng(1)
    patch = random.random((3, 6, 6), np.float32)
    noises = []
    for seed in range(20):
        blurred, sharp = augmented(patch, patch, np.random.default_rng(seed))
        assert blurred.shape == (3, 6, 6)
        assert 0 <= blurred.min() <= blurred.max() <= 1
        # Mirrors, turns and the order of channels keep the maxima of pixels.
        assert np.allclose(np.sort(sharp.max(0).ravel()), np.sort(patch.max(0).ravel()))
        noises.append((blurred - sharp).std())
    assert min(noises) > 0
    assert max(noises) < 6 * 2 / 255


def test_patches_of_pairs_lie_at_the_same_place():
    blurred = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    source = Pairs([(blurred, blurred + 1)])
    first, second = source.patch(np.random.default_rng(0), 4)
    assert first.shape == (3, 4, 4)
    assert np.allclose((second - first) * 255, 1, atol=1e-4)
    with pytest.raises(DataError, match="8x6 pixels is smaller than the patches of 16"):
        source.patch(np.random.default_rng(0), 16)
