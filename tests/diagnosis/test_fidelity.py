"""How much of the calibration data quantization compares at its end, and what it finds there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import fxp
from fxp.diagnosis import fidelity as module
from fxp.diagnosis.measure import bounded
from fxp.diagnosis.pair import Pair
from fxp.graph import Graph, Node, Value, ops
from fxp.graph.extents import Extent
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


def free(name: str) -> Value:
    """Return an input of any height and width."""
    return Value(name, (1, Extent(f"H{name}"), Extent(f"W{name}")))


def cut(sizes: list[tuple[int, int]], side: int) -> list[tuple[int, ...]]:
    """Return first pixel, height and width of what is left of ramps of some sizes."""
    values = tuple(free(f"x{number}") for number in range(len(sizes)))
    nodes = tuple(
        Node(f"y{number}", ops.Relu(), (value.name,)) for number, value in enumerate(values)
    )
    graph = Graph("pyramid", values, nodes, tuple(node.name for node in nodes))
    call = [torch.arange(h * w, dtype=torch.float64).reshape(1, 1, h, w) for h, w in sizes]
    (found,) = bounded([call], graph, 1, side)
    return [(int(tensor[0, 0, 0, 0]), *tensor.shape[2:]) for tensor in found]


def test_the_middle_of_a_pyramid_is_the_same_part_of_all_its_images() -> None:
    # Rows 36 to 91 and columns 20 to 75 of the finest, a half and a quarter of that of the others.
    sizes = [(128, 96), (64, 48), (32, 24)]
    assert cut(sizes, 58) == [(36 * 96 + 20, 56, 56), (18 * 48 + 10, 28, 28), (9 * 24 + 5, 14, 14)]
    assert cut(sizes, 128) == [(0, 128, 96), (0, 64, 48), (0, 32, 24)]
    assert cut([(128, 96)], 58) == [(35 * 96 + 19, 58, 58)]
    # Sizes that do not fit whole numbers of times, or whose smallest would have no pixel.
    assert cut([(128, 96), (63, 48)], 58) == [(0, 128, 96), (0, 63, 48)]
    assert cut([(128, 96), (100, 10)], 58) == [(0, 128, 96), (0, 100, 10)]
    assert cut([(128, 128), (2, 2)], 58) == [(0, 128, 128), (0, 2, 2)]
