"""PSNR, SSIM and SQNR by hand-computed values."""

import math

import numpy as np
import pytest

from fxp.imaging.metrics import psnr, sqnr
from fxp.imaging.quality import Quality, compare, mean_quality, to_codes
from fxp.models.common.measure import pair_scores


def test_known_values():
    truth = np.zeros((20, 20), np.uint8)
    image = truth.copy()
    image[5, 5] = 20
    assert compare(truth, image).psnr == pytest.approx(10 * math.log10(255**2 * 400 / 400))
    assert compare(truth, truth) == (math.inf, 1.0)
    assert psnr([1.0, 0.0], [1.0, 0.5]) == pytest.approx(10 * math.log10(1 / 0.125))
    assert sqnr([2.0, 0.0], [2.0, 1.0]) == pytest.approx(10 * math.log10(2 / 0.5))
    assert sqnr([0.0], [1.0]) == -math.inf
    assert sqnr([1.0], [1.0]) == math.inf


def test_border_is_left_out():
    truth = np.zeros((20, 20, 3), np.uint8)
    image = truth.copy()
    image[0], image[:, -1] = 255, 255
    assert compare(truth, image, border=1).psnr == math.inf
    assert math.isnan(compare(truth, image, border=6).ssim)  # smaller than the window


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_border_is_as_wide_as_it_says(side: str):
    """Two pixels of each side are left out, and the third counts."""
    line = {"top": (0, 1, 2), "bottom": (11, 10, 9), "left": (0, 1, 2), "right": (11, 10, 9)}[side]
    for depth, outside in zip(line, (True, True, False), strict=True):
        truth = np.zeros((12, 12), np.uint8)
        image = truth.copy()
        image[(depth, 5) if side in ("top", "bottom") else (5, depth)] = 255
        # One wrong pixel of 8 x 8 inside: 10 log10(64).
        expected = math.inf if outside else pytest.approx(10 * math.log10(64))
        assert compare(truth, image, border=2).psnr == expected


def test_scores_of_super_resolution_leave_out_as_many_pixels_as_the_scale():
    """Without any data: an upscaling that is wrong by 51 in a frame of two pixels, and by 1."""
    truth = np.full((8, 8), 100, np.uint8)

    def upscale(low: np.ndarray) -> np.ndarray:
        image = np.full((8, 8), 151.0)
        image[2:6, 2:6] = 101.0
        return image

    found = pair_scores([(np.zeros((4, 4)), truth)], upscale, 2)
    assert found.psnr == pytest.approx(20 * math.log10(255))


def test_means_and_text():
    assert mean_quality([Quality(30.0, 0.5), Quality(36.0, 1.0)]) == Quality(33.0, 0.75)
    assert math.isnan(mean_quality([]).psnr)
    assert str(Quality(36.6404, 0.95441)) == "36.640 / 0.9544"


@pytest.mark.parametrize(("shape", "border"), [((5, 4), 0), ((5, 5), 3)])
def test_errors(shape: tuple[int, int], border: int):
    with pytest.raises(ValueError, match=r"cannot compare|leaves nothing"):
        compare(np.zeros((5, 5), np.uint8), np.zeros(shape, np.uint8), border=border)


def test_codes_round_half_up_and_clip():
    assert to_codes([-1, 0.49, 0.5, 254.5, 300]).tolist() == [0, 0, 1, 255, 255]
