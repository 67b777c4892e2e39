"""The full generator of 30 million parameters in fixed point."""

from __future__ import annotations

import numpy as np
import torch
from equality import check_onnx, run_oracle

import fxp
from fxp.models.common.pixels import PIXEL
from fxp.models.flash.networks import FlashGenerator


def test_full_generator_is_exact_in_every_executor():
    torch.manual_seed(0)
    network = FlashGenerator().eval()
    picture = torch.rand(1, 3, 16, 32)
    model = fxp.quantize(network, [picture], input_format=PIXEL, output_format=PIXEL, effort="fast")
    raw = np.random.default_rng(0).integers(0, 256, (3, 16, 32))
    expected = run_oracle(model.graph, [[raw]])
    assert np.array_equal(model.run_raw(raw), expected[0].outputs[0])
    check_onnx(model.graph, expected, [[raw]])
    for shape in ((3, 240, 320), (3, 960, 1280)):
        assert not model.plan(shape, threads=1).portable
