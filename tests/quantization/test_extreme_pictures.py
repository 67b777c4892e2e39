"""Black, white, stripes and drawings: what calibration on photographs does not show."""

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.formats import Format
from fxp.frontend import from_torch
from fxp.imaging.metrics import sqnr
from fxp.quantization.calibrate import observe
from fxp.quantization.ranges import picture_range
from fxp.quantization.refinement.extreme_pictures import (
    extreme_pictures,
    observe_extreme_pictures,
)
from fxp.quantization.statistics import Statistics


@pytest.mark.parametrize(
    ("low", "high", "form", "found"),
    [
        (0.1, 0.9, None, (0.0, 1.0)),
        (-0.6, 0.5, None, (-1.0, 1.0)),
        (3.0, 200.0, None, (0.0, 255.0)),
        # Less than half of any range, and beyond all.
        (0.4, 0.6, None, None),
        (-2.1, 2.6, None, None),
        (3.0, 300.0, None, None),
        (0.1, 0.9, Format(8, 8, False), (0.0, 255 / 256)),
        # A format that is much wider than the data says nothing of black and white.
        (-2.1, 2.6, Format(16, 10, True), None),
    ],
)
def test_what_is_a_picture(low, high, form, found):
    assert picture_range(Statistics.of(np.array([low, high])), form) == found


def edges(gain: float = 1.0) -> nn.Module:
    """A network whose values are large at edges alone: what is right less what is left."""
    network = nn.Sequential(nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(gain * torch.tensor([[[[-1.0, 0.0, 1.0]]]]))
    return network.eval()


def smooth_images(count: int = 4) -> list[torch.Tensor]:
    ramp = torch.linspace(0.1, 0.9, 24)
    return [(ramp * (1 - 0.02 * number)).expand(1, 1, 16, 24).clone() for number in range(count)]


def test_the_pictures_by_hand():
    image = torch.tensor([[0.0, 0.2], [0.9, 1.0]]).repeat_interleave(4, 0)
    image = image.repeat_interleave(4, 1)[None, None]
    graph = from_torch(edges(), [image])
    black, white, rows, columns, drawing, inverse = (
        call[0][0, 0] for call in extreme_pictures(graph, observe(graph, [[image]]), {}, [[image]])
    )
    assert not black.any()
    assert (white == 1).all()
    stripes = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0])
    assert (rows == stripes[:, None]).all()
    assert (columns == stripes).all()
    assert (drawing == torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])[:, None]).all()
    assert (inverse == 1 - drawing).all()


@pytest.mark.parametrize(
    ("case", "count"), [("picture", 6), ("normalized", 0), ("vector", 0), ("format", 6)]
)
def test_which_networks_get_them(case, count):
    network: nn.Module = nn.Linear(4, 2) if case == "vector" else edges()
    inputs = torch.rand(2, 4) if case == "vector" else torch.rand(2, 1, 8, 8)
    if case == "normalized":
        inputs = 4 * inputs - 2
    graph = from_torch(network.eval(), [inputs])
    formats = {graph.inputs[0].name: Format(8, 8, False)} if case == "format" else {}
    statistics = observe(graph, [[0.9 * inputs]])
    assert len(extreme_pictures(graph, statistics, formats, [[inputs]])) == count


def test_edges_are_not_clipped_after_calibration_on_smooth_images():
    network, images = edges(), smooth_images()
    stripes = (torch.arange(24) // 3 % 2).float().expand(1, 1, 16, 24)
    wanted = network(stripes).detach().numpy()
    model = fxp.quantize(network, images)
    assert sqnr(wanted, model(stripes).numpy()) > 60
    # The calibration data alone, if that is wanted.
    narrow = fxp.quantize(network, images, headroom=0)
    assert sqnr(wanted, narrow(stripes).numpy()) < 20


def test_pictures_without_a_finite_result_do_not_count():
    class Relative(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.mean((1, 2, 3), keepdim=True)

    images = [[torch.rand(2, 1, 8, 8)]]
    graph = from_torch(Relative().eval(), images[0])
    statistics = observe(graph, images)
    observe_extreme_pictures(graph, statistics, {}, images)
    found = statistics[graph.inputs[0].name].rare
    # All but black.
    assert found is not None
    assert len(found.lows) == 5
