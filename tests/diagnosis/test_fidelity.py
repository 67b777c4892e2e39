"""How much of the calibration data quantization compares at its end, and what it finds there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import fxp
from fxp.diagnosis import fidelity as module
from fxp.diagnosis.pair import Pair
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.quantize import float_graph


def graphs(network: nn.Module, example: Tensor) -> tuple[fxp.Graph, fxp.Graph]:
    """The float graph of a network and an integer graph of it."""
    options = QuantizeOptions(effort="fast")
    model = fxp.quantize(network, [example], options)
    return float_graph(network, [example], options), model.graph


@pytest.mark.parametrize(
    ("work", "count", "side"),
    [
        # A pixel takes 9 products and, for two values, twice 32 operations.
        (4 * 73 * 128**2, 4, 128),
        (4 * 73 * 128**2 - 1, 4, 64),
        (4 * 73 * 64**2 - 1, 4, 32),
        (3 * 73 * 32**2, 3, 32),
        (1, 1, 32),
    ],
)
def test_several_images_are_cut_before_some_are_left_out(
    work: float, count: int, side: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "WORK", work)
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh()).eval()
    calls = [torch.rand(1, 1, 160, 160) for _ in range(6)]
    seen = []
    compare = module.compare_values

    def noted(pair: Pair, part: list[list[Tensor]], dtype: torch.dtype):
        seen.append([tuple(call[0].shape) for call in part])
        return compare(pair, part, dtype)

    monkeypatch.setattr(module, "compare_values", noted)
    network_graph, fixed = graphs(network, calls[0])
    seen.clear()
    found = module.fidelity(network_graph, fixed, [[call] for call in calls])
    assert seen == [[(1, 1, side, side)] * count]
    assert all(level > 40 or math.isinf(level) for level in found.sqnr.values())


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_refused(wrong: float):
    sums = module.ValueSums()
    values = torch.tensor([[[[1.0, wrong], [2.0, 3.0]]]], dtype=torch.float64)
    with pytest.raises(ValueError, match="NaN or infinity"):
        sums.add(values, values, None)
