"""Colour video through a core: RGB or YCbCr in, RGB upscaled out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from simulations import bench_of, check, frames
from torch import nn

from fxp import FixedModel, quantize
from fxp.executors import oracle
from fxp.hls import emit_rtl
from fxp.hls.rtl.core import StreamPort
from fxp.models import sr
from fxp.rtl_sim import Stalls
from fxp.rtl_sim.packing import input_beats, taken_image


@pytest.fixture(scope="module")
def network() -> FixedModel:
    torch.manual_seed(0)
    first, last = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
    for layer in (first, last):
        # Averages, so that no plane becomes black or white as a whole.
        averages = layer.weight.detach().abs()
        averages /= averages.sum((1, 2, 3), keepdim=True)
        layer.weight = nn.Parameter(averages)
    layers = nn.Sequential(first, nn.ReLU(), last, nn.PixelShuffle(2)).eval()
    return quantize(
        layers, [torch.rand(1, 1, 16, 16)], input_format=sr.PIXEL, output_format=sr.PIXEL,
        weight_bits=6, activation_bits=8,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "chroma", "size", "pixels"),
    [("rgb", "bicubic", (16, 12), 1), ("ycbcr", "bilinear", (6, 5), 4),
     ("4:2:2", "bilinear", (6, 4), 4), ("4:2:2", "bilinear", (5, 3), 2)],
)  # fmt: skip
def test_frames_of_colour(network, source, chroma, size, pixels, work_dir):
    subsampled = source == "4:2:2"
    source = "ycbcr" if subsampled else source
    chain = sr.colour_chain(network, chroma=chroma, source=source)
    model, bench = bench_of(
        chain, "icarus", work_dir, max_width=16, max_height=12, multipliers="shift_add",
        packing="ug934", pixels_per_beat=pixels, subsampled=subsampled,
    )  # fmt: skip
    (image,) = frames(model, [size], ["random"])
    larger = model.run_raw(image)
    assert larger.shape == (3, 2 * size[1], 2 * size[0])
    assert np.ptp(larger) > 100
    assert np.array_equal(larger, oracle.run(model.graph, [image]).outputs[0])
    result = check(bench, model, [image], Stalls("random25", "bursts", seed=2))
    assert not result.core.has_keep


def test_ycbcr_lies_in_a_beat_as_ug934_has_it():
    port = StreamPort("image", 3, 8, 0, False, 1, packed=True)
    luma, blue, red = 81, 90, 240
    data, _ = input_beats(np.array([red, luma, blue]).reshape(3, 1, 1), port)
    # UG934, YUV 4:4:4: Y in the low bits, then Cb, then Cr.
    assert int.from_bytes(data[0].tobytes(), "little") == luma | blue << 8 | red << 16


def test_chroma_of_two_pixels_is_shared():
    port = StreamPort("image", 2, 8, 0, False, 1, packed=True, subsampled=True)
    # Cr, Y and Cb of five pixels in a line.
    image = np.array([[10, 11, 12, 13, 14], [20, 21, 22, 23, 24], [30, 31, 32, 33, 34]])[:, None]
    data, flags = input_beats(image, port)
    # Y below Cb in even columns, below Cr in odd ones.
    assert data.tolist() == [[20, 30], [21, 11], [22, 32], [23, 13], [24, 34]]
    assert flags.tolist() == [1, 0, 0, 0, 2]
    # The last pixel has no partner, so its only chroma is both.
    assert taken_image(image, port)[:, 0].tolist() == [
        [11, 11, 13, 13, 34], [20, 21, 22, 23, 24], [30, 30, 32, 32, 34],
    ]  # fmt: skip


def test_4_2_2_needs_three_channels_and_no_bypass(network, tmp_path):
    options = {"max_width": 8, "subsampled": True}
    with pytest.raises(ValueError, match="three channels"):
        emit_rtl(network, tmp_path / "core", **options)
    chain = sr.colour_chain(network, chroma="bilinear", source="ycbcr")
    with pytest.raises(ValueError, match="bypass"):
        emit_rtl(chain, tmp_path / "core", bypass=True, **options)
