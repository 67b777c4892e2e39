"""The simulated event camera."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fxp.imaging.video import VideoError
from fxp.models.events.events import Events
from fxp.models.events.simulator import (
    DARKEST,
    Camera,
    moving_image,
    simulate,
    video_images,
)
from fxp.support.errors import ArgumentError

EXACT = Camera(threshold=0.5, spread=0, refractory=0)


def light(logarithm: float) -> float:
    return math.exp(logarithm) - DARKEST


def test_events_by_hand():
    """Brightness falls by 1.2 thresholds of 0.5 in one pixel, and rises by 2.4 in the other."""
    dark, bright = np.array([[light(-1), light(-3)]]), np.array([[light(-1.6), light(-1.8)]])
    (events,) = simulate([(0, dark), (1200, bright)], EXACT)
    # Thresholds are crossed after 5/6 of the time, and after 5/12 and 10/12.
    assert events.t.tolist() == pytest.approx([500, 1000, 1000], abs=1)
    assert sorted(zip(events.x.tolist(), events.p.tolist(), strict=True)) == [
        (0, -1), (1, 1), (1, 1),
    ]  # fmt: skip


def test_contrast_is_kept_between_images():
    """Three steps of 0.2 cross the threshold of 0.5 once, in the third."""
    images = [(1000 * step, np.array([[light(-2 + 0.2 * step)]])) for step in range(4)]
    counts = [len(events) for events in simulate(images, EXACT)]
    assert counts == [0, 0, 1]


def test_no_pixel_gives_two_events_within_the_refractory_time():
    images = list(moving_image(np.random.default_rng(1).random((40, 50)), (20, 16), frames=20,
                               duration=40_000, seed=2))  # fmt: skip
    events = Events.joined(list(simulate(images, Camera(refractory=1000))))
    assert len(events) > 1000
    assert (np.diff(events.t) >= 0).all()
    pixel = events.y.astype(int) * 20 + events.x
    for number in range(20 * 16):
        assert (np.diff(events.t[pixel == number]) > 1000).all()


def test_the_seed_says_everything():
    image = np.random.default_rng(3).random((40, 50))

    def record(seed: int) -> Events:
        images = moving_image(image, (20, 16), frames=10, duration=20_000, seed=seed)
        return Events.joined(list(simulate(images, Camera(noise=20, hot=0.01, seed=seed))))

    first, again, other = record(1), record(1), record(2)
    assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in "txyp")
    assert len(first) != len(other) or not np.array_equal(first.t, other.t)


def test_a_lower_threshold_gives_more_events():
    images = list(moving_image(np.random.default_rng(4).random((40, 50)), (20, 16), frames=10,
                               duration=50_000))  # fmt: skip
    counts = [
        sum(map(len, simulate(images, Camera(threshold=threshold, refractory=0))))
        for threshold in (0.2, 0.4, 0.6)
    ]
    assert counts[0] > counts[1] > counts[2] > 0


def test_noise_and_hot_pixels_need_no_change():
    still = [(0, np.full((10, 10), 128, np.uint8)), (1_000_000, np.full((10, 10), 128, np.uint8))]
    (silent,) = simulate(still)
    assert len(silent) == 0
    (noisy,) = simulate(still, Camera(noise=5))
    assert 400 < len(noisy) < 600
    (hot,) = simulate(still, Camera(hot=1, refractory=100_000))
    assert len(hot) == 100 * 10


def test_images_of_a_video(tmp_path: Path):
    path = tmp_path / "in.y4m"
    frames = [bytes([10, 20]), bytes([30, 40]), bytes([50, 60])]
    body = b"".join(b"FRAME\n" + frame for frame in frames)
    path.write_bytes(b"YUV4MPEG2 W2 H1 F30000:1001 Cmono\n" + body)
    found = [(time, image.tolist()) for time, image in video_images(path)]
    assert found == [(0, [[10, 20]]), (33_366, [[30, 40]]), (66_733, [[50, 60]])]
    path.write_bytes(b"YUV4MPEG2 W2 H1 Cmono\n" + body)
    with pytest.raises(VideoError, match="says no frame rate"):
        next(video_images(path))


def test_what_cannot_be_simulated():
    image = np.zeros((4, 4))
    with pytest.raises(ArgumentError, match="times must increase, and sizes be equal"):
        list(simulate([(0, image), (0, image)]))
    with pytest.raises(ArgumentError, match="times must increase, and sizes be equal"):
        list(simulate([(0, image), (1, image[:2])]))
    with pytest.raises(ArgumentError, match="must be grey"):
        list(simulate([(0, np.zeros((4, 4, 3))), (1, image)]))
    with pytest.raises(ArgumentError, match="needs a larger image than 4x4"):
        next(moving_image(image, (4, 4), frames=2, duration=1))
    for wrong in ({"threshold": 0.0}, {"hot": 2.0}, {"noise": -1.0}):
        with pytest.raises(ArgumentError):
            Camera(**wrong)
