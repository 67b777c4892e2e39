"""Beyond the border and under transparent pixels: the picture goes on, and nothing gets dark."""

from __future__ import annotations

import numpy as np
import pytest

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.graph.ops import GlobalAveragePool, MaxPool, Nearest
from fxp.graph.strips import margins
from fxp.models import sr
from fxp.models.common.borders import border_of, coloured, cropped, extended

PIXEL = Format(8, 8, signed=False)
KINDS = (
    "kimsr_x2_bicubic",
    "kimsr_x2_compressed",
    "kimsr_x2_hardware",
    "kimsr_x3_bicubic",
    "kimsr_x4_bicubic",
    "kimsr8_x2_8_10",
)
"""Shipped models, one of each kind."""


def test_half_a_step_of_the_slope_then_constant():
    """By hand: 10 + (10 - 20) / 2 = 5; 25 + (25 - 20) / 2 = 27.5, which is rounded up."""
    row = np.array([[10, 20, 25]], np.uint8)
    assert extended(row, (0, 2)).tolist() == [[5, 5, 10, 20, 25, 28, 28]]
    assert extended(row.astype(float), (0, 1)).tolist() == [[5.0, 10.0, 20.0, 25.0, 27.5]]
    assert extended(row.T, (1, 0)).ravel().tolist() == [5, 10, 20, 25, 28]


def test_the_range_is_kept_and_a_single_pixel_is_repeated():
    assert (
        extended(np.array([[0, 200, 255]], np.uint8), (1, 1)).tolist()
        == [[0, 0, 200, 255, 255]] * 3
    )
    assert extended(np.array([[7]], np.uint8), (2, 1)).tolist() == [[7, 7, 7]] * 5


def test_cropped_takes_off_what_extended_added():
    planes = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    larger = extended(planes, (2, 3))
    assert larger.shape == (2, 7, 10)
    assert np.array_equal(cropped(larger, (2, 3)), planes)
    twice = larger.repeat(2, 1).repeat(2, 2)
    assert np.array_equal(cropped(twice, (2, 3), 2), planes.repeat(2, 1).repeat(2, 2))


def test_colours_go_on_under_transparent_pixels():
    """By hand: beside 100 and 50 lies their mean; one pixel farther, one mean alone."""
    colours = np.array([[[100, 9, 9, 9], [50, 9, 9, 9]]], np.uint8)
    alpha = np.array([[255, 0, 0, 0], [1, 0, 0, 0]], np.uint8)
    spread = coloured(colours, alpha, 0)
    assert spread.tolist() == [[[100, 75, 75, 75], [50, 75, 75, 75]]]
    wide = np.zeros((1, 1, 9), np.uint8)
    wide[..., 0] = 80
    far = coloured(wide, (wide[0] > 0).astype(np.uint8), 1)
    assert far.tolist() == [[[80, 80, 80, 80, 80, 0, 0, 0, 0]]], "four steps, for a reach of one"


def test_what_lies_too_far_gets_the_mean_of_what_shows():
    """By hand: 80 and 15 have the mean 47.5, rounded up; the spread is four steps as above."""
    wide = np.zeros((1, 1, 9), np.uint8)
    wide[..., :2] = 15, 80
    alpha = np.array([[1, 255, 0, 0, 0, 0, 0, 0, 0]], np.uint8)
    far = coloured(wide, alpha, 1, everywhere=True)
    assert far.tolist() == [[[15, 80, 80, 80, 80, 80, 48, 48, 48]]]


def test_nothing_is_changed_where_nothing_or_everything_is_transparent():
    colours = np.random.default_rng(0).integers(0, 256, (3, 5, 6), np.uint8)
    for value in (0, 255):
        assert np.array_equal(coloured(colours, np.full((5, 6), value, np.uint8), 3), colours)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (40, 40), (5, 6, 3)])
def test_a_picture_of_one_colour_stays_one(name: str, shape: tuple[int, ...]):
    upscaler = sr.Upscaler(sr.load(name))
    for value in (*range(0, 256, 15), 1, 254):
        result = upscaler(np.full(shape, value, np.uint8), threads=1)
        assert np.abs(result.astype(int) - value).max() <= 1


def test_a_white_cut_out_stays_white():
    """A white disc on transparent black, shown on white, has no dark edge."""
    y, x = np.mgrid[:40, :40]
    disc = np.where((y - 20) ** 2 + (x - 20) ** 2 < 150, 255, 0).astype(np.uint8)
    for image in (np.dstack([disc] * 2), np.dstack([disc] * 4)):
        upscaler = sr.Upscaler(sr.load("kimsr_x2"))
        result = upscaler(image).astype(float)
        assert np.array_equal(result, upscaler.oracle(image))
        alpha = result[..., -1:] / 255
        shown = result[..., :-1] * alpha + 255 * (1 - alpha)
        assert shown.min() >= 250


def test_margins_of_graphs():
    image = Value("x", (1, Extent("H"), Extent("W")), PIXEL)

    def graph(*ops: object) -> Graph:
        names = ["x", *(f"n{index}" for index in range(len(ops)))]
        nodes = tuple(
            Node(name, op, (source,), Quantization(PIXEL))  # type: ignore[arg-type]
            for source, name, op in zip(names, names[1:], ops, strict=False)
        )
        return Graph("g", (image,), nodes, (names[-1],))

    assert margins(graph(Nearest(2))) == (0, 0)
    window = MaxPool((3, 5), stride=(1, 1), padding=(1, 1, 2, 2))
    assert margins(graph(window)) == (1, 2)
    assert margins(graph(window, Nearest(2), window)) == (2, 3)
    assert margins(graph(MaxPool(), Nearest(2))) is None
    assert border_of(graph(*[window] * 40)) == (40, 64), "no more than 64"
    assert margins(graph(GlobalAveragePool())) is None
    assert margins(sr.load("kimsr_x2").graph) == (3, 7)
    assert FixedModel(graph(window)).graph.outputs == ("n0",)
