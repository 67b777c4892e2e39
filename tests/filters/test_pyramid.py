"""The Gaussian pyramid: one rounding per level, equal to the sum over 5 by 5 pixels."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

import fxp
from fxp.filters import gaussian_pyramid, pyramid_graph
from fxp.filters.filtering import Border
from fxp.formats import Format, Rounding, requantize

SCIPY_MODES = {
    "zero": "constant", "replicate": "nearest", "reflect": "reflect", "reflect101": "mirror",
}  # fmt: skip
TAPS = np.outer((1, 4, 6, 4, 1), (1, 4, 6, 4, 1))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(9, 30), st.integers(9, 30)),
    channels=st.sampled_from((None, 2)),
    border=st.sampled_from(get_args(Border)),
    rounding=st.sampled_from(Rounding),
    dtype=st.sampled_from((np.uint8, np.int16)),
)
def test_equals_scipy(
    seed: int,
    size: tuple[int, int],
    channels: int | None,
    border: Border,
    rounding: Rounding,
    dtype: type,
) -> None:
    generator = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    shape = size if channels is None else (channels, *size)
    image = generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    form = Format(limits.bits, 0, limits.min < 0)
    levels = gaussian_pyramid(image, 3, border=border, rounding=rounding)
    assert len(levels) == 4
    assert np.array_equal(levels[0], image)
    taps = TAPS if channels is None else TAPS[None]
    for above, level in itertools.pairwise(levels):
        sums = ndimage.correlate(above.astype(np.int64), taps, mode=SCIPY_MODES[border])  # type: ignore[arg-type]
        expected = requantize(sums[..., ::2, ::2], 8, form, rounding)
        assert level.dtype == dtype
        assert np.array_equal(level, expected)


def test_definition_on_bytes() -> None:
    """Half of 2**8 is added before the shift, as OpenCV's pyrDown does."""
    image = np.random.default_rng(1).integers(0, 256, (12, 15), np.uint8)
    padded = np.pad(image.astype(np.int64), 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))[::2, ::2]
    expected = ((windows * TAPS).sum(axis=(2, 3)) + 128) >> 8
    assert np.array_equal(fxp.gaussian_pyramid(image, 1)[1], expected)


@pytest.mark.parametrize("level", [0, 1, 254, 255])
def test_a_constant_image_stays(level: int) -> None:
    image = np.full((17, 16), level, np.uint8)
    for smaller in gaussian_pyramid(image, 3):
        assert (smaller == level).all()


def test_accumulators_fit_sixteen_bits_and_a_sign() -> None:
    graph = pyramid_graph(4, channels=3)
    bits = [node.accumulator.bits for node in graph.nodes if node.accumulator]
    assert bits == [13, 17] * 4


@pytest.mark.parametrize(("levels", "shape", "border", "message"), [
    (0, (9, 9), "reflect101", "levels must be an integer of 1 to 30, got 0"),
    (1.0, (9, 9), "reflect101", "levels must be an integer"),
    (31, (9, 9), "replicate", "levels must be an integer of 1 to 30"),
    (1, (2, 9), "reflect101", "cannot reflect 2 rows of 2; border 'reflect' can"),
    (3, (9, 8), "reflect101", "cannot reflect 2 columns of 2"),
    (1, (9,), "reflect101", r"must be \(H, W\) or \(C, H, W\)"),
    (1, (9, 0), "reflect101", "not empty"),
    (1, (9, 9), "wrap", "border must be one of"),
])  # fmt: skip
def test_refusals(levels, shape, border, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian_pyramid(np.zeros(shape, np.uint8), levels, border=border)


@pytest.mark.parametrize("border", ["zero", "replicate", "reflect"])
def test_one_pixel(border: Border) -> None:
    levels = gaussian_pyramid(np.array([[64]], np.uint8), 2, border=border)
    assert [level.shape for level in levels] == [(1, 1)] * 3
    assert levels[2].item() == (64 if border != "zero" else 1)


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="the image must hold integers, got float32"):
        gaussian_pyramid(np.zeros((9, 9), np.float32), 1)
