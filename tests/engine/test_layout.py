"""Planes of users and images of the engine, of every number of channels."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.kernels import layout
from fxp.kernels.layout import SIDE, STRETCH, pixels_to_planes, planes_to_pixels


@pytest.mark.parametrize("channels", [*range(2, SIDE + 2), 2 * SIDE + 5])
def test_rows_between_planes_and_pixels(channels: int) -> None:
    """Whole squares and vectors, the last of which overlaps, and fewer pixels than one has."""
    generator = np.random.default_rng(channels)
    for height, width in ((1, 1), (2, 3), (3, 5), (5, 7), (2, 16), (3, 33), (2, STRETCH - 3)):
        planes = generator.integers(-(2**15), 2**15, (channels, height, width)).astype(np.int16)
        # As memory-mapped files are.
        planes.flags.writeable = False
        for first, last in ((0, height), (0, 1), (height // 2, height)):
            image = np.full((height, width, channels), 77, np.int16)
            planes_to_pixels(planes, image, first, last)
            assert np.array_equal(image[first:last], planes[:, first:last].transpose(1, 2, 0))
            assert (image[:first] == 77).all()
            assert (image[last:] == 77).all()
            back = np.full(planes.shape, 77, np.int16)
            pixels_to_planes(image, back, first, last)
            assert np.array_equal(back[:, first:last], planes[:, first:last])
            assert (back[:, :first] == 77).all()
            assert (back[:, last:] == 77).all()


def test_pixels_of_three_channels() -> None:
    planes = np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.int16)
    image = np.empty((1, 2, 3), np.int16)
    planes_to_pixels(planes, image, 0, 1)
    assert image.tolist() == [[[1, 3, 5], [2, 4, 6]]]


@pytest.mark.parametrize("lanes", [SIDE, 32])
def test_vectors_of_every_processor(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_lanes", lambda: lanes)
    planes = np.arange(3 * 2 * 20, dtype=np.int16).reshape(3, 2, 20)
    image = np.empty((2, 20, 3), np.int16)
    planes_to_pixels(planes, image, 0, 2)
    assert np.array_equal(image, planes.transpose(1, 2, 0))
