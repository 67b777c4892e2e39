"""Colour video through a core: RGB or YCbCr in, RGB upscaled out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from simulations import bench_of, check, frames
from torch import nn

from fxp import FixedModel, quantize
from fxp.executors import oracle
from fxp.hls.rtl.core import StreamPort
from fxp.models import sr
from fxp.rtl_sim import Stalls
from fxp.rtl_sim.packing import input_beats


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
    [("rgb", "bicubic", (16, 12), 1), ("ycbcr", "bilinear", (6, 5), 4)],
)
def test_frames_of_colour(network, source, chroma, size, pixels, work_dir):
    chain = sr.colour_chain(network, chroma=chroma, source=source)
    model, bench = bench_of(
        chain, "icarus", work_dir, max_width=16, max_height=12, multipliers="shift_add",
        packing="ug934", pixels_per_beat=pixels,
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
