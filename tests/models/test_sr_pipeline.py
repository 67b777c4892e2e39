"""Whole images through a luma network: definition, executors, odd shapes, files of weights."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fxp
from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.executors import oracle
from fxp.filters import rgb_to_ycbcr, ycbcr_to_rgb
from fxp.graph.ops import MaxPool, Nearest, Relu
from fxp.graph.strips import in_strips
from fxp.imaging.metrics import psnr
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models import sr
from fxp.models.common.borders import extended
from fxp.models.common.pixels import bicubic_graph, colour_graph
from fxp.models.sr import fixed


def nearest(scale: int, form: Format = sr.PIXEL) -> FixedModel:
    """Return a model in no time that repeats pixels; a scale of 1 keeps the image."""
    luma = Value("luma", (1, Extent("H"), Extent("W")), form)
    op = Nearest(scale) if scale > 1 else Relu()
    node = Node("result", op, ("luma",), Quantization(form))
    return FixedModel(Graph("nearest", (luma,), (node,), ("result",)))


@pytest.fixture(scope="module")
def kimsr() -> FixedModel:
    return sr.load("kimsr_x2")


@pytest.fixture(scope="module")
def photograph() -> NDArray[np.uint8]:
    return sr.downscale_pixels(skimage.data.astronaut())


def planes_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def test_colour_is_the_published_steps_one_by_one(kimsr: FixedModel, photograph):
    crop = photograph[60:97, 80:121]
    luma, *chroma = rgb_to_ycbcr(extended(planes_of(crop), (3, 7)))
    upscaled = [kimsr.run_raw(luma), *(to_codes(imresize(plane, 2)) for plane in chroma)]
    larger = ycbcr_to_rgb(np.stack(upscaled).astype(np.uint8))
    expected = larger[:, 6:-6, 14:-14].transpose(1, 2, 0)
    assert np.array_equal(sr.upscale(crop, kimsr), expected)


def test_engine_is_the_oracle_and_threads_do_not_matter(kimsr: FixedModel, photograph):
    upscaler = sr.Upscaler(kimsr)
    crop = photograph[60:97, 80:121]
    assert np.array_equal(upscaler(crop, threads=1), upscaler.oracle(crop))
    assert np.array_equal(upscaler(crop, threads=3), upscaler.oracle(crop))


@settings(max_examples=40)
@given(
    scale=st.sampled_from([2, 3, 4]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(0, 4),
    deep=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_kind_of_image(
    scale: int, height: int, width: int, channels: int, deep: bool, seed: int
):
    kind = np.uint16 if deep else np.uint8
    shape = (height, width, channels) if channels else (height, width)
    image = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    upscaler = sr.Upscaler(nearest(scale))
    result = upscaler(image, threads=1)
    assert result.dtype == np.uint8
    assert result.shape == (height * scale, width * scale, *shape[2:])
    assert np.array_equal(result, upscaler.oracle(image))
    if deep:
        eight = np.floor(image / 257.0 + 0.5).astype(np.uint8)
        assert np.array_equal(result, upscaler(eight, threads=1))
    elif channels in (0, 1):
        assert np.array_equal(result, image.repeat(scale, axis=0).repeat(scale, axis=1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_matlab(scale: int):
    camera = skimage.data.camera()
    for plane in (camera[100:150, 30:83], camera[:1, :1], camera[5:6, 3:10], camera[9:12, 7:9]):
        model = FixedModel(bicubic_graph(scale))
        real = imresize(plane, scale)
        difference = model.run_raw(plane) - np.clip(real, 0, 255)
        # x2 and x4 are exact; the taps of x3 are rounded to 20 bits.
        assert np.abs(difference).max() <= 0.5 + (1e-3 if scale == 3 else 0)
        if scale != 3:
            assert np.array_equal(model.run_raw(plane), to_codes(real))


def test_alpha_is_bicubic_and_leaves_the_colours(photograph):
    rgba = np.dstack([photograph[:30, :41], photograph[50:80, :41, 0]])
    upscaled = sr.upscale(rgba, nearest(2))
    assert np.array_equal(upscaled[..., 3], to_codes(imresize(rgba[..., 3], 2)))
    assert np.array_equal(upscaled[..., :3], sr.upscale(rgba[..., :3], nearest(2)))
    grey = sr.upscale(rgba[..., 2:], nearest(2))
    assert np.array_equal(grey[..., 1], upscaled[..., 3])
    assert np.array_equal(grey[..., 0], sr.upscale(rgba[..., 2], nearest(2)))


def test_colour_keeps_grey_grey(kimsr: FixedModel):
    grey = np.repeat(skimage.data.camera()[40:60, 50:75, None], 3, axis=2)
    colour = sr.upscale(grey, kimsr)
    assert colour.shape == (40, 50, 3)
    assert np.ptp(colour.astype(int), axis=2).max() <= 1


def test_network_that_keeps_the_size_gets_bicubic_first(photograph):
    for scale in (2, 3):
        upscaler = sr.Upscaler(nearest(1), scale=scale)
        plane = photograph[:20, :23, 1]
        larger = FixedModel(bicubic_graph(scale)).run_raw(extended(plane, (2, 2)))
        expected = larger[2 * scale : -2 * scale, 2 * scale : -2 * scale]
        assert np.array_equal(upscaler(plane), expected)
        colour = photograph[:9, :8]
        assert np.array_equal(upscaler(colour), upscaler.oracle(colour))


def test_formats_of_the_model_have_no_influence(photograph):
    form = Format(8, 3, signed=False)
    crop = photograph[:12, :13]
    assert np.array_equal(sr.upscale(crop, nearest(2, form)), sr.upscale(crop, nearest(2)))


def test_frames_of_planes(photograph):
    luma, chroma = photograph[:11, :13, 0], photograph[:6, :7, 1]
    results = sr.Upscaler(nearest(2)).frame([luma, chroma, chroma])
    assert [result.shape for result in results] == [(22, 26), (12, 14), (12, 14)]
    assert np.array_equal(results[2], to_codes(imresize(chroma, 2)))


def test_colour_graph_is_a_model_like_any_other(tmp_path: Path, kimsr: FixedModel, photograph):
    FixedModel(colour_graph(kimsr.graph, 2)).save(tmp_path / "rgb.fxp")
    model = fxp.load(tmp_path / "rgb.fxp")
    crop = photograph[:20, :24]
    larger = model.run_raw(extended(planes_of(crop), (3, 7)))
    assert np.array_equal(larger[:, 6:-6, 14:-14], planes_of(sr.upscale(crop, kimsr)))


@settings(max_examples=25)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 8),
    rows=st.integers(1, 20),
    scale=st.integers(2, 4),
)
def test_strips_are_the_whole_image(height: int, width: int, rows: int, scale: int):
    model = sr.load("kimsr_x2") if scale == 2 else nearest(scale)
    model = FixedModel(colour_graph(model.graph, scale))
    planes = np.random.default_rng(height).integers(0, 256, (3, height, width), np.uint8)
    heights = []

    def run(strip: NDArray) -> NDArray:
        heights.append(strip.shape[1])
        return model.run(strip, threads=1).outputs[0]

    result = in_strips(model.graph, planes, run, strip_pixels=1, min_rows=rows)
    assert np.array_equal(result, oracle.run(model.graph, [planes]).outputs[0])
    assert len(heights) == -(-height // rows)
    assert max(heights) <= rows + 8


def test_strips_only_where_a_strip_is_a_moved_image():
    luma = Value("luma", (1, 2 * Extent("H"), Extent("W")), sr.PIXEL)
    small = Node("small", MaxPool((2, 2), (2, 2)), ("luma",), Quantization(sr.PIXEL))
    large = Node("large", Nearest(4), ("small",), Quantization(sr.PIXEL))
    graph = Graph("pooled", (luma,), (small, large), ("large",))
    heights = []

    def run(strip: NDArray) -> NDArray:
        heights.append(strip.shape[1])
        return oracle.run(graph, [strip]).outputs[0]

    in_strips(graph, np.zeros((1, 12, 4), np.uint8), run, strip_pixels=1, min_rows=3)
    assert heights == [12]


def test_float_pipeline_is_close(kimsr: FixedModel, photograph):
    network = sr.load_float("kimsr_x2_bicubic")
    alpha = np.dstack([photograph, photograph[..., 0]])
    for image in (photograph, photograph[..., 1], alpha):
        real = sr.upscale_float(image, network)
        assert psnr(real, sr.upscale(image, kimsr), 255) > 40


def test_wide_image_runs():
    image = np.random.default_rng(0).integers(0, 256, (2, 70_000, 3), np.uint8)
    assert sr.upscale(image, nearest(2)).shape == (4, 140_000, 3)


@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        (np.zeros((4, 4)), TypeError, "uint8 or uint16"),
        (np.zeros((4, 4), np.int64), TypeError, "uint8 or uint16"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, "1 to 4 channels"),
        (np.zeros((4, 4, 0), np.uint8), ValueError, "not empty"),
        (np.zeros((0, 4), np.uint8), ValueError, "not empty"),
        (np.zeros(4, np.uint8), ValueError, r"\(4,\)"),
    ],
)
def test_images_that_are_refused(image: NDArray, error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        sr.upscale(image, nearest(2))


def test_models_that_are_refused():
    with pytest.raises(ValueError, match="keeps the size, so give the factor"):
        sr.Upscaler(nearest(1))
    with pytest.raises(ValueError, match="upscales by 2, not by 3"):
        sr.Upscaler(nearest(2), scale=3)
    with pytest.raises(ValueError, match="must be one of"):
        sr.Upscaler(nearest(5))
    for form in (Format(8, 8), Format(14, 2, signed=False)):
        with pytest.raises(ValueError, match="unsigned 8-bit pixels"):
            sr.Upscaler(nearest(2, form))
    with pytest.raises(ValueError, match="unsigned 8-bit pixels"):
        sr.Upscaler(FixedModel(bicubic_graph(2, planes=3)))


def test_load(tmp_path: Path, kimsr: FixedModel):
    kimsr.save(tmp_path / "copy.fxp")
    for name in ("kimsr_x2_bicubic", tmp_path / "copy.fxp"):
        assert sr.load(name).graph == kimsr.graph
    assert kimsr.parameters == 2560
    assert kimsr.metadata["weights"] == "kimsr_x2_bicubic"
    with pytest.raises(ValueError, match="kimsr_x2_bicubic"):
        sr.load("kimsr_x9")
    with pytest.raises(fxp.FormatError, match=r"none\.fxp"):
        sr.load("none.fxp")


def test_shipped_models_have_the_shipped_weights(kimsr: FixedModel):
    for name in fixed.SHIPPED:
        shipped = sr.load(name)
        assert f"_x{sr.Upscaler(shipped).scale}_" in name
        assert shipped.metadata["weights"] == name
    network = torch.nn.Module.state_dict(sr.load_float("kimsr_x2_bicubic"))
    weight = kimsr.graph.constants_by_name["head.weight"]
    # Rounded up or down, each channel in steps of its own format.
    steps = np.exp2([-form.frac for form in weight.formats]).reshape(-1, 1, 1, 1)
    assert (np.abs(weight.values - network["head.weight"].numpy()) < steps).all()


def test_enlarging_needs_no_torch():
    code = (
        "import sys, numpy; sys.modules['torch'] = None; from models import sr;"
        "print(sr.upscale(numpy.zeros((3, 5, 3), numpy.uint8), sr.load('kimsr_x2')).shape)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "(6, 10, 3)\n", result.stderr


def test_other_formats_are_adapted_where_that_is_exact(photograph):
    """A 14-bit network that repeats pixels gives what the one of 8 bits does."""
    image = photograph[:9, :7, 0]
    for form in (Format(14, 12), Format(14, 14, signed=False), Format(9, 8)):
        assert np.array_equal(sr.upscale(image, nearest(2, form)), image.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ValueError, match=r"fxp quantize .*--divide-by 256 --input-format"):
        sr.Upscaler(nearest(2, Format(14, 7)))
    divided = nearest(2, Format(14, 12))
    divided.metadata["divide_by"] = "255"
    with pytest.raises(ValueError, match=r"divided by 255.*--divide-by 256"):
        sr.Upscaler(divided)
    divided.metadata["divide_by"] = "1024"
    assert np.array_equal(sr.upscale(image, divided), image.repeat(2, 0).repeat(2, 1))


def test_an_upscaler_travels_to_other_processes(photograph):
    upscaler = sr.Upscaler(nearest(1, Format(14, 12)), scale=3)
    again = pickle.loads(pickle.dumps(upscaler))
    assert np.array_equal(again(photograph[:8, :9]), upscaler(photograph[:8, :9]))
