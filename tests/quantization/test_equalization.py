"""Cross-layer equalization: the same floats, and weights that need fewer bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import constant, graph, image, lowered, node, pointwise, vector
from torch import nn

import fxp
from fxp.executors import torch_forward
from fxp.frontend import from_torch
from fxp.graph import State, ops
from fxp.imaging.metrics import sqnr
from fxp.quantization.refinement import equalization, equalize, scaled_like
from fxp.quantization.refinement.equalization import channel_sizes


class Everything(nn.Module):
    """All ops that channels may be scaled through, between layers of random sizes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect")
        self.slopes = nn.PReLU(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.back = nn.Conv2d(8, 8, 1, bias=False)
        self.shuffled = nn.Conv2d(4, 6, 3)
        self.up = nn.ConvTranspose2d(12, 4, 3, stride=2, groups=2)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.head = nn.Linear(4 * 2 * 3, 6)
        self.last = nn.Linear(6, 3)
        for parameter in self.parameters():
            size = torch.randn(len(parameter), generator=draw) * 2
            noise = torch.randn(parameter.shape, generator=draw)
            scaled = noise * size.exp().reshape(-1, *[1] * (parameter.ndim - 1))
            parameter.data.copy_(scaled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.slopes(self.first(x))
        x = torch.relu(x - self.back(torch.relu(self.grouped(x))))
        x = nn.functional.pixel_shuffle(nn.functional.pixel_unshuffle(x, 2), 2)
        x = torch.cat([x[:, ::2], 0.3 * x[:, 5:], x[:, :1]], 1)[:, 1:5]
        x = nn.functional.interpolate(nn.functional.max_pool2d(x, 2), scale_factor=2)
        x = nn.functional.leaky_relu(self.shuffled(x), 0.1)
        x = self.up(torch.cat([x, x], 1))
        x = nn.functional.avg_pool2d(torch.relu(self.depthwise(x)), (6, 4))
        x = torch.relu(self.head(torch.flatten(x[:, :, :2, :3], 1)))
        return self.last(x)


def float_graph(network: nn.Module, *shape: int) -> fxp.Graph:
    return from_torch(network.double().eval(), [torch.zeros(1, *shape, dtype=torch.float64)])


def outputs(source: fxp.Graph, data: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch_forward.run(source, [data]).outputs[0].numpy()


def changed(before: fxp.Graph, after: fxp.Graph) -> set[str]:
    """Names of constants that differ."""
    return {name for name, item in before.constants_by_name.items()
            if after.constants_by_name[name] != item}  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_float_function_is_the_same_bit_for_bit(seed: int):
    before = float_graph(Everything(seed), 2, 12, 12)
    after = equalize(before)
    weights = {name for name in changed(before, after) if name.endswith("weight")}
    assert weights >= {"first.weight", "back.weight", "shuffled.weight", "head.weight"}
    data = torch.randn(3, 2, 12, 12, generator=torch.Generator().manual_seed(seed)).double()
    assert np.array_equal(outputs(before, data), outputs(after, data))


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_a_wrong_factor_shows(scale: float):
    """The comparison above tells scaling by other numbers, and of one side only, from equal."""
    before = float_graph(Everything(0), 2, 12, 12)
    after = equalize(before)
    constants = [
        constant(item.name, item.data * scale) if item.name == "grouped.weight" else item
        for item in after.constants
    ]
    data = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0)).double()
    same = np.array_equal(
        outputs(before, data), outputs(after.with_nodes(after.nodes, constants), data)
    )
    assert same == (scale == 1)


def test_an_op_that_is_not_homogeneous_would_show(monkeypatch: pytest.MonkeyPatch):
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 1, 1))
    with torch.no_grad():
        network[0].weight *= 100
    before = float_graph(network, 1, 4, 4)
    assert equalize(before) == before
    monkeypatch.setattr(equalization, "CHANNELWISE", (*equalization.CHANNELWISE, ops.Sigmoid))
    data = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    assert not np.array_equal(outputs(before, data), outputs(equalize(before), data))


def test_ranges_become_equal_up_to_a_power_of_two():
    source = graph(
        vector("x", 1),
        [node("a", ops.Linear(), "x", "w", "b"), node("r", ops.Relu(), "a"),
         node("y", ops.Linear(), "r", "v")],
        constants=[constant("w", [[64.0], [0.5], [0.0]]), constant("b", [3.0, 1.0, 1.0]),
                   constant("v", [[1.0, 0.5, 7.0]])],
    )  # fmt: skip
    after = equalize(source).constants_by_name
    assert after["w"].data.tolist() == [[8.0], [0.5], [0.0]]
    assert after["b"].data.tolist() == [3 / 8, 1.0, 1.0]
    assert after["v"].data.tolist() == [[8.0, 0.5, 7.0]]


def test_values_and_the_weights_that_read_them_get_similar_ranges():
    source = graph(
        vector("x", 1),
        [node("a", ops.Linear(), "x", "w"), node("r", ops.Relu(), "a"),
         node("y", ops.Linear(), "r", "v")],
        constants=[constant("w", [[64.0], [0.5], [-1.0]]), constant("v", [[1.0, 0.5, 7.0]])],
    )  # fmt: skip
    sizes = channel_sizes(source, [[torch.tensor([[4.0], [0.25]])], [torch.tensor([[-0.125]])]])
    # The mean over three images of the eighth powers, of which one alone counts.
    assert sizes["x"] == pytest.approx([4.0 / 3**0.125])
    assert sizes["r"] == pytest.approx(np.array([256.0, 2.0, 0.125]) / 3**0.125)
    after = equalize(source, sizes).constants_by_name
    # Square roots of 223 / 1, of 1.74 / 0.5, and of 0.109 / 7, to the nearest powers of two. The
    # largest channel is 223 / 16 then, nearer to 16 than by a step.
    assert after["w"].data.tolist() == [[4.0], [0.25], [-8.0]]
    assert after["v"].data.tolist() == [[16.0, 1.0, 7.0 / 8]]


def test_the_largest_value_ends_at_a_power_of_two():
    source = graph(
        vector("x", 1),
        [node("a", ops.Linear(), "x", "w"), node("y", ops.Linear(), "a", "v")],
        constants=[constant("w", [[2.5], [0.5]]), constant("v", [[2.5, 0.5]])],
    )
    after = equalize(source, {"a": np.array([2.5, 0.5])}).constants_by_name
    # Both factors would be 1. Below 4 there is room for 1.6, of which a step of 2 ** 0.5 is used.
    assert after["w"].data.ravel() == pytest.approx([2.5 * 2**0.5, 0.5 * 2**0.5])
    assert after["v"].data.ravel() == pytest.approx([2.5 / 2**0.5, 0.5 / 2**0.5])


def test_values_that_depthwise_layers_read_get_the_range_of_the_largest():
    source = graph(
        image("x"),
        [node("a", ops.Conv2d(), "x", "w"), node("r", ops.Relu(), "a"),
         node("y", ops.Conv2d(groups=2), "r", "v")],
        constants=[constant("w", pointwise([[8.0], [0.5]])),
                   constant("v", pointwise([[3.0], [100.0]]))],
    )  # fmt: skip
    sizes = channel_sizes(source, [[torch.ones(1, 1, 2, 2)]])
    after = equalize(source, sizes).constants_by_name
    assert after["w"].data.ravel().tolist() == [8.0, 8.0]
    assert after["v"].data.ravel().tolist() == [3.0, 6.25]


@pytest.mark.parametrize("seed", range(3))
def test_the_scale_of_a_model_is_found_again(seed: int):
    """Also from weights of 8 bits."""
    before = float_graph(Everything(seed), 2, 12, 12)
    data = torch.randn(3, 2, 12, 12, generator=torch.Generator().manual_seed(seed)).double()
    after = equalize(before, channel_sizes(before, [[data]]))
    assert len(changed(before, after)) > 4
    assert outputs(after, data) == pytest.approx(outputs(before, data), rel=1e-9, abs=1e-9)
    fixed = lowered(after, data, weight_bits=8, activation_bits=12)
    for model in (after, fixed):
        found = scaled_like(before, model)
        assert not changed(after, found)
    assert not changed(before, scaled_like(before, before))


def test_channels_of_a_residual_have_one_factor():
    nodes = [
        node("a", ops.Conv2d(), "x", "w"),
        node("r", ops.Relu(), "a"),
        node("b", ops.Conv2d(), "r", "v"),
        node("s", ops.Add(), "b", "a"),
        node("y", ops.Conv2d(), "s", "u"),
    ]
    constants = [
        constant("w", pointwise([[256.0], [1.0]])),
        constant("v", pointwise([[1.0, 1.0], [1.0, 1.0]])),
        constant("u", pointwise([[1.0, 1.0]])),
    ]
    after = equalize(graph(image("x"), nodes, constants=constants)).constants_by_name
    factors = constants[0].data.ravel() / after["w"].data.ravel()
    assert factors[0] > factors[1]
    wanted = constants[1].data.reshape(2, 2) * factors / factors[:, None]
    assert np.array_equal(after["v"].data.reshape(2, 2), wanted)
    assert np.array_equal(after["u"].data.ravel(), factors)


def _pair(*nodes, outputs=None, states=(), **extra: list) -> fxp.Graph:
    """Two layers of very different weights with other things around them."""
    weights = {"w": pointwise([[512.0]]), "v": pointwise([[1.0]]), **extra}
    used = {name for item in nodes for name in item.inputs}
    constants = [constant(name, data) for name, data in weights.items() if name in used]
    return graph(image("x"), nodes, outputs, constants, states)


first, second = node("a", ops.Conv2d(), "x", "w"), node("y", ops.Conv2d(), "a", "v")
FIXED = {
    "output": _pair(first, second, outputs=["a", "y"]),
    "state": _pair(
        node("s", ops.Add(), "x", "h"), node("a", ops.Conv2d(), "s", "w"),
        node("y", ops.Conv2d(), "a", "v"), states=[State(image("h"), "a")],
    ),
    "shared weight": _pair(first, node("b", ops.Conv2d(), "a", "w"), node("y", ops.Conv2d(), "b",
                                                                          "v")),
    "another reader": _pair(first, node("t", ops.Tanh(), "a"), second, outputs=["y", "t"]),
    "clamp": _pair(first, node("c", ops.Clamp(0.0, 6.0), "a"), node("y", ops.Conv2d(), "c", "v")),
    "product": _pair(first, node("c", ops.Multiply(), "a", "a"), node("y", ops.Conv2d(), "c", "v")),
    "offset": _pair(first, node("c", ops.Add(), "a", "o"), node("y", ops.Conv2d(), "c", "v"),
                    o=pointwise([[2.0]])[0]),
}  # fmt: skip


@pytest.mark.parametrize("case", FIXED)
def test_what_must_keep_its_scale_does(case: str):
    assert equalize(FIXED[case]) == FIXED[case]
    free = _pair(first, second)
    assert equalize(free) != free


def test_a_badly_scaled_network_gains_at_six_bits():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.LeakyReLU(0.1),
        nn.Conv2d(8, 4, 1),
    ).eval()  # fmt: skip
    factors = torch.tensor([2.0, 30.0, 0.1, 1.0, 5.0, 0.03, 12.0, 0.3])
    with torch.no_grad():
        for layer, following in ((network[0], network[2]), (network[2], network[4])):
            layer.weight *= factors.reshape(-1, 1, 1, 1)
            layer.bias *= factors
            shape = (-1, 1, 1, 1) if following.groups > 1 else (1, -1, 1, 1)
            following.weight /= factors.reshape(shape)
    data = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    wanted = network.double()(data).detach().numpy()
    found = [
        sqnr(wanted, fxp.quantize(
            network, [data], weight_bits=6, activation_bits=12, equalization=given
        )(data).numpy())
        for given in (False, True)
    ]  # fmt: skip
    assert found[1] > found[0] + 10
    assert found[1] > 25


def test_values_of_different_ranges_are_equalized_at_eight_bits():
    """Weights per output channel hide the ranges of the values, which share one format."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
    network = nn.Sequential(
        first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1), nn.Conv2d(8, 4, 1)
    ).eval()
    factors = 2.0 ** torch.tensor([0.0, -3.0, -6.0, -4.0, 1.0, -7.0, -2.0, -5.0])
    with torch.no_grad():
        for layer in (first, second):
            layer.weight /= layer.weight.abs().amax((1, 2, 3), keepdim=True)
        # Small values, large where they are read: a depthwise layer hides it from the weights.
        first.weight *= factors.reshape(-1, 1, 1, 1)
        assert first.bias is not None
        first.bias *= factors
        second.weight /= factors.reshape(-1, 1, 1, 1)
    data, unseen = torch.rand(6, 3, 16, 16), torch.rand(4, 3, 16, 16)
    wanted = network(unseen).detach().numpy()
    found = [
        sqnr(wanted, fxp.quantize(
            network, [data], weight_bits=8, activation_bits=8, equalization=given
        )(unseen))
        for given in (False, None)
    ]  # fmt: skip
    assert found[1] > found[0] + 6
