"""The networks that KimSR is compared with: parameter counts, sizes, and the way into integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fxp
from fxp.executors import oracle
from fxp.models.sr import ESPCN, FSRCNN, PIXEL, SRCNN, VDSR, KimSR


@pytest.mark.parametrize(
    ("network", "weights", "parameters"),
    [
        (SRCNN(), 8_032, 8_129),
        (ESPCN(), 21_184, 21_284),
        (FSRCNN(), 3_937, 4_086),
        (FSRCNN(56, 12, 4), 12_464, 12_809),
        (VDSR(), 664_704, 664_704),
        (ESPCN(3), 22_624, 22_729),
        (ESPCN(4), 24_640, 24_752),
        (FSRCNN(scale=3), 3_937, 4_086),
        (FSRCNN(scale=4), 3_937, 4_086),
        (KimSR(2), 2_560, 2_560),
        (KimSR(3), 2_640, 2_640),
        (KimSR(4), 2_752, 2_752),
    ],
    ids=[
        "SRCNN",
        "ESPCN",
        "FSRCNN-s",
        "FSRCNN",
        "VDSR",
        "ESPCN x3",
        "ESPCN x4",
        "FSRCNN-s x3",
        "FSRCNN-s x4",
        "KimSR x2",
        "KimSR x3",
        "KimSR x4",
    ],
)
def test_counts_are_the_published_ones(network: torch.nn.Module, weights: int, parameters: int):
    kernels = [p for p in network.parameters() if p.ndim == 4]
    assert sum(kernel.numel() for kernel in kernels) == weights
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5)])
def test_output_size_and_range(scale: int, height: int, width: int):
    luma = torch.rand(2, 1, height, width)
    for network, factor in (
        (ESPCN(scale), scale),
        (FSRCNN(scale=scale), scale),
        (VDSR(), 1),
        (SRCNN(), 1),
    ):
        upscaled = network.eval()(luma)
        assert upscaled.shape == (2, 1, factor * height, factor * width)
        assert upscaled.min() >= 0
        assert upscaled.max() <= 1


def test_no_clamp_in_training():
    luma = torch.full((1, 1, 8, 8), 2.0)
    network = VDSR()
    torch.nn.init.zeros_(network.get_parameter("layers.38.weight"))
    assert torch.equal(network(luma), luma)
    assert torch.equal(network.eval()(luma), torch.ones_like(luma))


@pytest.mark.parametrize(
    "network",
    [ESPCN(), VDSR(8, 4), SRCNN(), KimSR(3), KimSR(4)],
    ids=["ESPCN", "VDSR", "SRCNN", "KimSR x3", "KimSR x4"],
)
def test_becomes_integers(network: torch.nn.Module):
    torch.manual_seed(0)
    images = [torch.rand(1, 1, 12, 14)]
    model = fxp.quantize(network.eval(), images, input_format=PIXEL, output_format=PIXEL)
    raw = np.random.default_rng(0).integers(0, 256, (1, 9, 11))
    fast, slow = model.run(raw), oracle.run(model.graph, [raw])
    assert np.array_equal(fast.outputs[0], slow.outputs[0])
    with torch.inference_mode():
        expected = network(torch.from_numpy(raw[None] / 256).float())[0].numpy()
    assert np.abs(slow.outputs[0] / 256 - expected).max() < 0.05
