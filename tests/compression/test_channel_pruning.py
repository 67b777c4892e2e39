"""Structured pruning: the channels are gone, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from small_networks import Branches, PaddedShortcut, chain, integer_graph
from torch import nn
from torch.nn import functional

from fxp.compression.channel_pruning import magnitude_scores, prune_channels, taylor_scores
from fxp.support.errors import ArgumentError

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(item.shape) for name, item in network.named_parameters() if item.ndim > 1}


def test_channels_are_followed_over_additions_concatenations_depthwise_and_flattened_layers():
    torch.manual_seed(0)
    pruned = prune_channels(Branches().eval(), IMAGES, 0.5)
    assert shapes(pruned) == {
        "first.0.weight": (4, 3, 3, 3),
        "inner.weight": (3, 4, 3, 3),
        "back.weight": (4, 3, 3, 3),
        "depthwise.weight": (4, 1, 3, 3),
        "left.weight": (2, 4, 1, 1),
        "right.weight": (2, 4, 3, 3),
        "joint.weight": (3, 4, 1, 1),
        "last.weight": (5, 3 * 4),
    }
    assert pruned.depthwise.groups == 4
    assert integer_graph(pruned, IMAGES).values["concat"].shape[0] == 4


def test_the_smallest_filters_go():
    network = chain()
    with torch.no_grad():
        network[0].weight[[1, 4]] *= 0.01
    pruned = prune_channels(network, IMAGES, 2 / 6, keep=["2"])
    rest = [0, 2, 3, 5]
    assert torch.equal(pruned[0].weight, network[0].weight[rest])
    assert torch.equal(pruned[0].bias, network[0].bias[rest])
    assert torch.equal(pruned[2].weight, network[2].weight[:, rest])
    assert torch.equal(pruned[6].weight, network[6].weight)
    assert shapes(network)["0.weight"] == (6, 3, 3, 3)  # the network given stays


def test_a_channel_that_nothing_reads_is_removed_without_a_trace():
    network = chain()
    with torch.no_grad():
        network[2].weight[:, 3] = 0
    scores = {"0": torch.tensor([1.0, 1, 1, 0, 1, 1])}
    pruned = prune_channels(network, IMAGES, 1 / 6, scores=scores, keep=["2"])
    assert shapes(pruned)["0.weight"] == (5, 3, 3, 3)
    torch.testing.assert_close(pruned(IMAGES), network(IMAGES))


def test_channels_that_a_shortcut_pads_are_left_in():
    torch.manual_seed(1)
    pruned = prune_channels(PaddedShortcut().eval(), IMAGES, 0.5)
    assert shapes(pruned) == {
        "first.weight": (4, 3, 3, 3),
        "inner.weight": (4, 4, 3, 3),
        "back.weight": (8, 4, 3, 3),
        "last.weight": (3, 8),
    }
    assert pruned(IMAGES).shape == (2, 3)


def test_taylor_scores_are_the_change_of_the_loss_without_the_channel():
    # One pixel: the loss is 3·relu(a) + relu(b) with a = 2x and b = -1x + 5, at x = 1 and x = 3.
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([0.0, 5.0]))
        network[2].weight.copy_(torch.tensor([3.0, 1.0]).view(1, 2, 1, 1))
    batches = [torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)]
    scores = taylor_scores(network, batches, lambda net, batch: net(batch).sum())
    # 3·2 + 3·6 = 24 of the first channel, 4 + 2 = 6 of the second, divided by their norm.
    expected = torch.tensor([24.0, 6.0]) / (24**2 + 6**2) ** 0.5
    torch.testing.assert_close(scores["0"], expected)


def test_taylor_scores_choose_over_all_layers():
    torch.manual_seed(2)
    network = Branches().eval()
    batches = [(IMAGES, torch.tensor([0, 1]))]
    scores = taylor_scores(
        network, batches, lambda net, batch: functional.cross_entropy(net(batch[0]), batch[1])
    )
    pruned = prune_channels(network, IMAGES, 0.3, scores=scores, scope="global")
    before = sum(weight.numel() for weight in network.parameters())
    assert sum(weight.numel() for weight in pruned.parameters()) < 0.9 * before
    assert pruned(IMAGES).shape == (2, 5)


def test_equal_scores_are_no_reason_to_keep_all_channels():
    scores = {"0": torch.zeros(6), "2": torch.zeros(8)}
    pruned = prune_channels(chain(), IMAGES, 0.25, scores=scores, scope="global")
    assert shapes(pruned)["0.weight"][0] + shapes(pruned)["2.weight"][0] == 14 - 3


def test_magnitude_scores_are_sums_of_absolute_weights():
    network = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.25]]))
    assert magnitude_scores(network)["0"].tolist() == [3.0, 0.75]


def test_transposed_convolutions_in_groups_have_a_score_for_every_output():
    layer = nn.ConvTranspose2d(4, 6, 1, groups=2)
    with torch.no_grad():
        # Output 3 g + k of group g is computed from inputs 2 g and 2 g + 1.
        layer.weight.copy_(torch.arange(12.0).reshape(4, 3, 1, 1))
    assert magnitude_scores(nn.Sequential(layer))["0"].tolist() == [3, 5, 7, 15, 17, 19]
    torch.manual_seed(0)
    grouped = nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), grouped, nn.Conv2d(6, 3, 1))
    with torch.no_grad():
        assert shapes(prune_channels(network, IMAGES, 0.5))["0.weight"] == (4, 3, 3, 3)


def test_modes_and_a_fraction_of_zero_are_kept():
    network = chain().train()
    pruned = prune_channels(network, IMAGES, 0.0)
    assert shapes(pruned) == shapes(network)
    assert all(module.training for module in pruned.modules())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prune_channels(chain(), IMAGES, 1.0), "below 1, got 1.0"),
        (lambda: prune_channels(chain(), IMAGES, 0.5, scope="x"), "'global' or 'layer', got 'x'"),
        (lambda: prune_channels(chain(), IMAGES, 0.5, keep=["7"]), "called '7', only 0, 2, 6"),
        (lambda: prune_channels(chain(), IMAGES, 0.5, keep=["0", "2"]), "all lead to outputs"),
        (lambda: prune_channels(chain(), IMAGES, 0.01), "less than one channel of any layer"),
        (lambda: prune_channels(chain(), IMAGES, 0.5, keep="7"), "called '7', only 0, 2, 6"),
        (lambda: taylor_scores(chain(), [], lambda net, batch: net(batch).sum()), "no batches"),
        (lambda: taylor_scores(chain(), [IMAGES], lambda net, batch: net(batch)), "no finite num"),
        (lambda: taylor_scores(chain(), [IMAGES * torch.nan], square), "no finite number"),
    ],
)
def test_errors_of_channel_pruning(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


class ResidualInPlace(nn.Module):
    """The block of torchvision's residual networks, whose sums and ReLUs overwrite values."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.shortcut = nn.Conv2d(3, 4, 1)
        self.last = nn.Linear(4, 2)
        self.in_place = in_place

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = self.norm(self.conv(image))
        if self.in_place:
            values += self.shortcut(image)
            values = functional.leaky_relu(values, 0.5, inplace=True)
        else:
            values = functional.leaky_relu(values + self.shortcut(image), 0.5)
        return self.last(values.mean((2, 3)))


def square(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return network(batch).square().sum()


def test_taylor_scores_do_not_depend_on_what_works_in_place():
    torch.manual_seed(11)
    network = ResidualInPlace(in_place=True).eval()
    apart = ResidualInPlace(in_place=False).eval()
    apart.load_state_dict(network.state_dict())
    expected = taylor_scores(apart, [IMAGES], square)
    found = taylor_scores(network, [IMAGES], square)
    assert list(found) == list(expected)
    for name, score in expected.items():
        torch.testing.assert_close(found[name], score)


def test_frozen_layers_have_scores_and_stay_frozen():
    network = chain()
    expected = taylor_scores(network, [IMAGES], square)
    network[0].requires_grad_(False)
    network[6].bias.requires_grad_(False)
    found = taylor_scores(network, [IMAGES], square)
    for name, score in expected.items():
        torch.testing.assert_close(found[name], score)
    pruned = prune_channels(network, IMAGES, 0.5)
    assert {name for name, item in pruned.named_parameters() if not item.requires_grad} == {
        "0.weight", "0.bias", "6.bias"
    }  # fmt: skip
    assert not network[0].weight.requires_grad


def test_layers_that_share_a_parameter_may_lose_channels():
    network = chain()
    network.insert(2, nn.Conv2d(6, 6, 1).eval())
    network.insert(3, nn.Conv2d(6, 6, 1).eval())
    network[3].weight = network[2].weight
    pruned = prune_channels(network, IMAGES, 0.5)
    assert [pruned[place].out_channels for place in (0, 2, 3)] == [3, 3, 3]


def test_channels_of_a_linear_layer_are_the_last_axis():
    # Two features of two tokens; the loss is the sum of 3·a and b over both.
    network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        network[1].weight.copy_(torch.tensor([[3.0, 1.0]]))
    batch = torch.tensor([[[1.0], [2.0]]])
    scores = taylor_scores(network, [batch], lambda net, data: net(data).sum())
    torch.testing.assert_close(scores["0"], torch.tensor([9.0, 3.0]) / 90**0.5)


class Doubled(nn.Module):
    """Whether the sum is even is read from the weights, so that no channel can go."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(image)) * self.first.out_channels


def test_networks_that_torch_pruning_fails_on(monkeypatch: pytest.MonkeyPatch):
    def fails(*_arguments, **_options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("torch_pruning.DependencyGraph.build_dependency", fails)
    with pytest.raises(ArgumentError, match="channels of Sequential cannot be followed"):
        prune_channels(chain(), IMAGES, 0.5)


def test_why_no_channel_can_go():
    with pytest.raises(ArgumentError, match="it would compute something else on the example"):
        prune_channels(Doubled().eval(), IMAGES, 0.5)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"5": torch.ones(6)}, "the scores name '5', which is no layer with channels"),
        ({"x": torch.ones(6)}, "the scores name 'x'"),
        ({"0": torch.ones(5)}, "the scores of 0 must be 6 numbers, one a channel"),
        ({"0": [1.0] * 6}, "the scores of 0 must be 6 numbers"),
        ({"0": torch.full((6,), torch.nan)}, "the scores of 0 must be finite"),
    ],
)
def test_scores_that_do_not_fit(scores, message):
    with pytest.raises(ArgumentError, match=message):
        prune_channels(chain(), IMAGES, 0.5, scores=scores)
