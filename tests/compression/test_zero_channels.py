"""Channels without effect leave integer graphs, and the integers stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import graphs
from small_networks import Branches, chain, integer_graph
from torch import nn

import fxp
from fxp.compression.zero_channels import remove_zero_channels
from fxp.executors import oracle
from fxp.frontend import from_torch
from fxp.graph import Constant, Graph
from fxp.support.errors import ArgumentError, ArgumentTypeError

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def reduced(network: nn.Module, images: torch.Tensor = IMAGES) -> tuple[Graph, dict[str, int]]:
    """Return the smaller graph, checked against the larger one, and its changed channels."""
    graph = integer_graph(network, images)
    smaller = remove_zero_channels(graph)
    form = graph.inputs[0].format
    assert form is not None
    random = np.random.default_rng(4)
    for _ in range(3):
        raw = [random.integers(form.min_raw, form.max_raw + 1, images.shape[1:])]
        expected, found = oracle.run(graph, raw), oracle.run(smaller, raw)
        for one, other in zip(expected.outputs, found.outputs, strict=True):
            assert np.array_equal(one, other)
    return smaller, {
        name: int(value.shape[0])  # type: ignore[arg-type]
        for name, value in smaller.values.items()
        if value.shape != graph.values[name].shape
    }


def test_filters_of_zeros_go_and_a_constant_moves_into_the_bias():
    network = chain()
    with torch.no_grad():
        network[0].weight[1:3] = 0
        network[0].bias[1] = -1.0  # zero behind the ReLU
        network[0].bias[2] = 0.5  # padded with zeros by the next layer, so it must stay
        network[2].weight[4] = 0
        network[2].bias[4] = 0.25
    graph, changed = reduced(network)
    # Of the second layer's constant the average pooling is not followed.
    assert changed == {"0": 5, "1": 5}
    assert graph.constants_by_name["2.weight"].data.shape == (8, 5, 3, 3)


def test_a_layer_that_pads_nothing_takes_a_constant_over():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False)).eval()
    with torch.no_grad():
        network[0].weight[1] = 0
        network[0].bias[1] = 0.5
    graph, changed = reduced(network)
    assert changed == {"0": 3, "1": 3}
    assert len(graph.nodes[-1].inputs) == 3  # it has a bias now


def test_channels_that_nothing_multiplies_are_not_computed():
    network = chain()
    with torch.no_grad():
        network[2].weight[:, 5] = 0
        network[6].weight[:, 4:8] = 0  # the four pixels of channel 1
        network[6].weight[:, 9:12] = 0  # three of four pixels
    graph, changed = reduced(network)
    assert changed == {"0": 5, "1": 5, "2": 7, "3": 7, "4": 7, "5": 28}
    assert graph.constants_by_name["6.weight"].data.shape == (4, 28)


def test_residual_depthwise_and_concatenated_channels_go_together():
    torch.manual_seed(0)
    network = Branches().eval()
    with torch.no_grad():
        network.first[0].weight[5] = 0
        network.first[0].bias[5] = 0
        network.back.weight[5] = 0
        network.back.bias[5] = 0
        network.depthwise.bias[5] = 0
        network.right.weight[1] = 0
        network.joint.weight[:, 2] = 0
    graph, changed = reduced(network)
    assert changed == {
        **dict.fromkeys(["first.0", "first.2", "back", "add", "relu", "depthwise", "relu_1"], 7),
        **dict.fromkeys(["left", "relu_2", "right"], 3),
        "concat": 6,
    }
    assert graph.node("depthwise").op.groups == 7


def test_a_residual_channel_that_one_branch_needs_stays():
    torch.manual_seed(0)
    network = Branches().eval()
    with torch.no_grad():
        network.first[0].weight[5] = 0
        network.first[0].bias[5] = 0
    assert reduced(network)[1] == {}


class Shared(nn.Module):
    """One layer twice, of whose channels the second use needs other ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Conv2d(3, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(torch.relu(self.layer(image))))


def test_a_shared_constant_is_cut_for_each_reader():
    torch.manual_seed(0)
    network = Shared().eval()
    with torch.no_grad():
        network.last.weight[:, 1] = 0
    _, changed = reduced(network)
    assert sum(changed.values()) == 2


def test_graphs_without_such_channels_stay_as_they_are():
    graph = integer_graph(chain(), IMAGES)
    assert remove_zero_channels(graph) is graph


def test_a_network_of_zeros_keeps_one_channel_everywhere():
    network = chain()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    graph, changed = reduced(network)
    assert changed == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "5": 4}
    assert graph.outputs == ("6",)


def test_a_model_runs_in_the_engine_with_the_same_results(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3)).eval()
    with torch.no_grad():
        network[0].weight[::2] = 0
        network[0].bias[::2] = 0
    model = fxp.quantize(network, [IMAGES], effort="fast")
    model.metadata["weights"] = "own"
    smaller = remove_zero_channels(model)
    assert (model.parameters, smaller.parameters) == (8 * 28 + 2 * 73, 4 * 28 + 2 * 37)
    assert smaller.metadata == model.metadata
    assert np.array_equal(smaller(IMAGES.numpy()), model(IMAGES.numpy()))
    smaller.save(tmp_path / "smaller.fxp")
    assert fxp.load(tmp_path / "smaller.fxp").graph == smaller.graph


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(example=graphs(), seed=st.integers(0, 2**32 - 1))
def test_random_graphs_with_zeros_keep_their_results(example, seed):
    random = np.random.default_rng(seed)
    roles = {
        name: node.op.constant_roles.get(place)
        for node in example.graph.nodes
        for place, name in enumerate(node.inputs)
    }
    constants = []
    for constant in example.graph.constants:
        data = constant.data.copy()
        if roles[constant.name] == "weight":
            for axis in (0, 1):
                np.moveaxis(data, axis, 0)[random.random(data.shape[axis]) < 0.4] = 0
        elif roles[constant.name] == "bias":
            data[random.random(len(data)) < 0.5] = 0
        constants.append(Constant(constant.name, data, constant.formats))
    graph = example.graph.with_nodes(example.graph.nodes, constants)
    smaller = remove_zero_channels(graph)
    for call in example.calls[:2]:
        expected, found = oracle.run(graph, call[0]), oracle.run(smaller, call[0])
        for one, other in zip(expected.outputs, found.outputs, strict=True):
            assert np.array_equal(one, other)
        for name, state in expected.states.items():
            assert np.array_equal(state, found.states[name])


def test_what_is_no_integer_graph_is_refused():
    with pytest.raises(ArgumentError, match="is a float graph; quantize it first"):
        remove_zero_channels(from_torch(chain(), (IMAGES,)))
    with pytest.raises(ArgumentTypeError, match="loses channels, not a Sequential"):
        remove_zero_channels(chain())  # type: ignore[type-var]
