"""MATLAB-compatible resizing, and the conversion to YCbCr."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from fxp.imaging.colour import luma, real_rgb_to_ycbcr, real_ycbcr_to_rgb, rgb_to_y
from fxp.imaging.resize import bicubic_taps, imresize
from fxp.models.common.data import dihedral

rng = np.random.default_rng


class TestResize:
    def test_published_taps_down(self) -> None:
        weights, indices = bicubic_taps(32, 16, Fraction(1, 2))
        expected = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
        assert np.array_equal(weights, np.tile(expected, (16, 1)))
        assert np.array_equal(indices[8], np.arange(13, 21))
        assert np.array_equal(indices[0], [2, 1, 0, 0, 1, 2, 3, 4])

    def test_published_taps_up(self) -> None:
        weights, indices = bicubic_taps(16, 32, 2)
        for phase, taps, start in ((0, (-3, 29, 111, -9), 6), (1, (-9, 111, 29, -3), 7)):
            used = weights[16 + phase] != 0
            assert np.array_equal(weights[16 + phase][used], np.array(taps) / 128)
            assert np.array_equal(indices[16 + phase][used], np.arange(start, start + 4))

    @pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(1, 3), Fraction(1, 4), 2, 3])
    def test_interior_equals_torch_antialias(self, scale: Fraction | int) -> None:
        image = rng(0).uniform(0, 255, (60, 72))
        result = imresize(image, scale)
        size = (int(60 * scale), int(72 * scale))
        expected = functional.interpolate(
            torch.from_numpy(image)[None, None], size=size, mode="bicubic", antialias=True
        )[0, 0].numpy()
        assert result.shape == size
        border = 8
        inside = (slice(border, -border), slice(border, -border))
        np.testing.assert_allclose(
            result[inside] if min(size) > 2 * border else result[3:-3, 3:-3],
            expected[inside] if min(size) > 2 * border else expected[3:-3, 3:-3],
            atol=1e-9,
        )

    def test_exact_in_256ths(self) -> None:
        image = rng(1).integers(0, 256, (20, 22))
        scaled = imresize(image, 0.5) * 65536
        assert np.array_equal(scaled, np.round(scaled))

    @given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([2, 3, 4]))
    def test_constant_and_symmetry(self, height: int, width: int, scale: int) -> None:
        np.testing.assert_allclose(imresize(np.full((height, width), 7), scale), 7, rtol=1e-14)
        image = rng(height).uniform(0, 255, (height * scale, width * scale))
        for index in range(8):
            turned = imresize(dihedral(image, index), Fraction(1, scale))
            expected = dihedral(imresize(image, Fraction(1, scale)), index)
            np.testing.assert_allclose(turned, expected, atol=1e-9)

    def test_colour_channels_and_rounding(self) -> None:
        image = rng(2).integers(0, 256, (13, 9, 3), dtype=np.uint8)
        result = imresize(image, 0.5, round_each_axis=True)
        assert result.shape == (7, 5, 3)
        assert np.array_equal(result, np.round(result))
        assert np.array_equal(imresize(image, 2)[..., 1], imresize(image[..., 1], 2))

    @pytest.mark.parametrize("shape", [(4,), (0, 4), (1, 2, 3, 4)])
    def test_bad_image(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="image must be"):
            imresize(np.zeros(shape), 2)

    def test_bad_scale(self) -> None:
        with pytest.raises(ValueError, match="scale must be positive"):
            imresize(np.zeros((4, 4)), 0)


class TestColour:
    def test_range(self) -> None:
        colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], np.uint8)
        np.testing.assert_allclose(rgb_to_y(colours), [16, 235, 81.481])
        np.testing.assert_allclose(real_rgb_to_ycbcr(colours)[:2, 1:], 128, atol=1e-9)
        assert np.array_equal(luma(colours[None]), [[16, 235, 81]])

    def test_round_trip(self) -> None:
        rgb = rng(0).integers(0, 256, (5, 6, 3))
        np.testing.assert_allclose(real_ycbcr_to_rgb(real_rgb_to_ycbcr(rgb)), rgb, atol=1e-9)
