"""Bias correction and learned rounding: smaller errors, equal executors, nothing else changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_quantize import Cell, RandomNetwork, agree
from torch import nn

import fxp
from fxp.engine import Engine
from fxp.executors import oracle, torch_forward
from fxp.formats import Rounding, dequantize, quantize
from fxp.frontend import from_torch
from fxp.graph.ops import Conv2d, ConvTranspose2d, Linear
from fxp.graph.readers import read_by_prelus_alone
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.quantize import choose_formats
from fxp.quantization.refinement import rounding
from fxp.quantization.refinement.layers import (
    SAMPLES,
    channel_means,
    layer_inputs,
    sample_positions,
)
from fxp.quantization.refinement.rounding import best_choice

ALL = {"equalization": True, "bias_correction": True, "weight_rounding": "learned"}


def as_asked(*arguments: Any, **options: Any) -> fxp.FixedModel:
    """Make the refinements that are asked for, and no others."""
    return fxp.quantize(*arguments, effort="fast", **options)


def small_network(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=bias), nn.ReLU(), nn.Conv2d(6, 6, 3, bias=bias), nn.ReLU(),
        nn.Conv2d(6, 2, 3, bias=bias),
    ).eval()  # fmt: skip


def pictures(count: int, seed: int, size: int = 24) -> torch.Tensor:
    """Smooth images, as layers with correlated inputs gain most."""
    noise = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(noise, 5, 1, 2).double()


def float_values(network: nn.Module, data: torch.Tensor) -> dict[str, np.ndarray]:
    source = from_torch(network.double(), [data])
    with torch.no_grad():
        values = torch_forward.run(source, [data]).values
    return {name: tensor.numpy() for name, tensor in values.items()}


def mean_errors(model: fxp.FixedModel, network: nn.Module, data: torch.Tensor) -> dict:
    """Mean error of every channel of every convolution."""
    wanted = float_values(network, data)
    names = [node.name for node in model.graph.nodes if isinstance(node.op, Conv2d)]
    sums = {name: np.zeros(()) for name in names}
    for image in data.numpy():
        form = model.graph.inputs[0].format
        assert form is not None
        values = model.run(quantize(image, form), keep_values=True).values
        for name in names:
            form = model.graph.values[name].format
            assert form is not None
            real = dequantize(values[name], form)
            sums[name] = sums[name] + channel_means(real) / len(data)
    return {name: sums[name] - wanted[name].mean(axis=(0, 2, 3)) for name in names}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mode", [Rounding.HALF_UP, Rounding.FLOOR])
def test_bias_correction_takes_off_the_mean_error(bias: bool, mode: Rounding):
    network, data = small_network(bias), pictures(3, 0)
    options = {"weight_bits": 4, "activation_bits": 8, "rounding": mode}
    before, after = (
        as_asked(network, [data], bias_correction=given, **options) for given in (False, True)
    )
    errors = [mean_errors(model, network, data) for model in (before, after)]
    for name in errors[0]:
        assert np.abs(errors[1][name]).max() < 0.2 * np.abs(errors[0][name]).max()
    held_out = [mean_errors(model, network, pictures(3, 1)) for model in (before, after)]
    last = list(errors[0])[-1]
    assert np.abs(held_out[1][last]).max() < 0.5 * np.abs(held_out[0][last]).max()
    assert ("0.bias" in before.graph.constants_by_name) == bias
    assert "0.bias" in after.graph.constants_by_name


def test_biases_are_added_only_where_that_is_wanted():
    network, data = small_network(bias=False), pictures(2, 0)
    plain = as_asked(network, [data], weight_bits=4)
    assert as_asked(
        network, [data], weight_bits=4, bias_correction=True, add_biases=False
    ).graph == plain.graph  # fmt: skip


class Tied(nn.Module):
    """One layer that is applied twice, weights and bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.relu(self.conv(x)))


def test_shared_constants():
    data = pictures(2, 0)
    network = Tied().eval()
    model = as_asked(network, [data], weight_bits=4, activation_bits=8, **ALL)
    first, second = (node for node in model.graph.nodes if isinstance(node.op, Conv2d))
    assert first.inputs[1] == second.inputs[1]
    assert first.inputs[2] != second.inputs[2]
    errors = mean_errors(model, network, data)
    plain = mean_errors(as_asked(network, [data], weight_bits=4, activation_bits=8), network, data)
    assert all(np.abs(errors[name]).max() < np.abs(plain[name]).max() for name in errors)
    agree(model, data[0].numpy())


LAYERS = {
    "conv": nn.Conv2d(4, 6, (3, 2), padding=1),
    "strided": nn.Conv2d(4, 6, 3, stride=(2, 1), padding=2, dilation=(1, 2), groups=2),
    "reflect": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=4, bias=False),
    "replicate": nn.Conv2d(4, 2, 5, padding=2, padding_mode="replicate"),
    "transposed": nn.ConvTranspose2d(4, 6, (3, 4), stride=(2, 3), padding=1, output_padding=(1, 2)),
    "transposed groups": nn.ConvTranspose2d(4, 6, 3, dilation=2, groups=2, padding=(0, 3)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_gathered_inputs_times_weights_are_the_layer(kind: str):
    data = torch.randn(1, 4, 9, 8, generator=torch.Generator().manual_seed(0)).double()
    source = from_torch(LAYERS[kind].double().eval(), [data])
    (node,) = (n for n in source.nodes if isinstance(n.op, Conv2d | ConvTranspose2d))
    values = torch_forward.run(source, [data]).values
    weight, *bias = (source.constants_by_name[name].data for name in node.inputs[1:])
    result = values[node.name][0].numpy()
    positions = sample_positions(result.shape[1:], 0, SAMPLES // 40)
    assert len(positions[0]) == 40
    read = layer_inputs(node.op, values[node.inputs[0]][0].numpy(), weight.shape, positions)
    rows = weight.reshape(len(read), -1, read.shape[2])
    found = (read @ rows.transpose(0, 2, 1)).transpose(0, 2, 1).reshape(len(weight), -1)
    found += bias[0][:, None] if bias else 0
    assert np.abs(found - result[:, positions[0], positions[1]]).max() < 1e-12


@pytest.mark.parametrize("bits", [4, 5])
def test_learned_rounding_beats_nearest_on_unseen_data(bits: int):
    """Layer error: the layer's own weights rounded, on its float input."""
    network = small_network()
    options = {"weight_bits": bits, "activation_bits": 16}
    nearest, learned = (
        as_asked(network, [pictures(4, 0)], weight_rounding=given, **options).graph
        for given in ("nearest", "learned")
    )
    unseen = float_values(network, pictures(4, 9))
    for node in nearest.nodes:
        if not isinstance(node.op, Conv2d):
            continue
        source = torch.from_numpy(unseen[node.inputs[0]])
        errors = []
        for graph in (nearest, learned):
            weight, bias = (torch.tensor(graph.constants_by_name[n].values) for n in
                            node.inputs[1:])  # fmt: skip
            given = node.op.torch(graph.operands[node.name], source, weight, bias).numpy()
            errors.append(np.mean((given - unseen[node.name]) ** 2))
        assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("per_channel", [False, True])
def test_learned_weights_are_the_float_ones_rounded_up_or_down(per_channel: bool):
    network, data = small_network(), [pictures(2, 0)]
    options = {"weight_bits": 4, "activation_bits": 10, "per_channel": per_channel}
    nearest = as_asked(network, data, **options).graph
    learned = as_asked(network, data, weight_rounding="learned", **options).graph
    moved = 0
    for name in ("0.weight", "2.weight", "4.weight"):
        before, after = nearest.constants_by_name[name], learned.constants_by_name[name]
        assert before.formats == after.formats
        exact = network.get_parameter(name).detach().numpy()
        steps = np.array([form.step for form in after.formats]).reshape(-1, 1, 1, 1)
        inside = (exact / steps >= -8) & (exact / steps <= 7)
        assert (np.abs(after.data - exact / steps) < 1)[inside].all()
        assert np.array_equal(after.data[~inside], before.data[~inside])
        assert np.abs(after.data - before.data).max() == 1
        moved += np.count_nonzero(after.data != before.data)
    assert moved > 10


def test_no_flip_and_no_pair_is_better():
    draw = np.random.default_rng(0)
    samples = draw.normal(0, 1, (40, 3)) @ draw.normal(0, 1, (3, 9)) + draw.normal(0, 0.1, (40, 9))
    moments = samples.T @ samples
    errors = draw.uniform(-0.5, 0.5, (5, 9))
    changes = -np.sign(errors)
    changes[:, 4] = 0
    residuals = draw.normal(0, 1, (5, 9))
    chosen = best_choice(moments, residuals, errors, changes)

    def loss(flips: np.ndarray) -> np.ndarray:
        rows = errors + flips * changes
        return ((rows @ moments) * rows - 2 * rows * residuals).sum(axis=1)

    assert not chosen[:, 4].any()
    assert np.count_nonzero(loss(chosen) < loss(np.zeros_like(chosen))) == 4
    for one in range(9):
        for other in range(9):
            flips = chosen.copy()
            flips[:, one] ^= True
            if other != one:
                flips[:, other] ^= True
            assert (loss(flips) >= loss(chosen) - 1e-9).all()
    every = np.array(list(np.ndindex(*[2] * 9)), bool)
    best = np.min([loss(np.broadcast_to(flips, chosen.shape)) for flips in every], axis=0)
    start = loss(np.zeros_like(chosen))
    assert (start - loss(chosen)).sum() >= 0.8 * (start - best).sum()


def test_layers_too_large_for_moments_keep_the_nearest(monkeypatch: pytest.MonkeyPatch):
    network, data = small_network(), [pictures(1, 0)]
    wanted = as_asked(network, data, weight_bits=4).graph.constants_by_name
    monkeypatch.setattr(rounding, "MAX_COLUMNS", 9)
    found = as_asked(network, data, weight_bits=4, weight_rounding="learned").graph
    assert found.constants_by_name["2.weight"] == wanted["2.weight"]
    assert found.constants_by_name["0.weight"] != wanted["0.weight"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("wide_bits", [0, 32])
def test_executors_agree_on_refined_networks(seed: int, wide_bits: int):
    network = RandomNetwork(seed).eval()
    draw = np.random.default_rng(seed)
    data = draw.normal(0, 1, (2, network.channels, 12, 12))
    model = as_asked(
        network, [data], weight_bits=5, activation_bits=8, wide_bits=wide_bits,
        per_channel=seed % 2 == 0, **ALL,
    )  # fmt: skip
    agree(model, draw.normal(0, 2, (network.channels, 10, 14)))
    sloped = read_by_prelus_alone(model.graph) if wide_bits else frozenset()
    for node in model.graph.nodes:
        width = node.quantization.format.width
        if width > 8 and not (node.name in sloped and width == 14):
            assert node.quantization.format == node.accumulator.exact_format


def test_recurrent_networks_are_refined_too():
    torch.manual_seed(0)
    frames = torch.randn(6, 1, 8, 9)
    options = {"states": [(1, 1)], "initial_states": [torch.zeros(1, 1, 8, 9)],
               "weight_bits": 4, "activation_bits": 8}  # fmt: skip
    plain = as_asked(Cell().eval(), [frames], **options).graph
    torch.manual_seed(0)
    model = as_asked(Cell().eval(), [frames], **options, **ALL)
    assert model.graph != plain
    states = None
    for frame in frames.numpy():
        raw = [quantize(frame, model.graph.inputs[0].format)]
        slow, fast = oracle.run(model.graph, raw, states), Engine(model.graph).run(raw, states)
        assert np.array_equal(slow.outputs[0], fast.outputs[0])
        assert slow.states.keys() == fast.states.keys()
        assert all(np.array_equal(slow.states[name], fast.states[name]) for name in slow.states)
        states = slow.states


def test_vectors_and_several_methods_of_choosing_formats():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    data = [torch.rand(40, 6)]
    for method in ("minmax", "search"):
        model = as_asked(network, data, weight_bits=4, method=method, **ALL)
        plain = as_asked(network, data, weight_bits=4, method=method)
        assert {type(node.op) for node in model.graph.nodes} >= {Linear}
        wanted = network(data[0]).detach().numpy()
        losses = [np.mean((m(data[0].numpy()) - wanted) ** 2) for m in (model, plain)]
        assert losses[0] < losses[1]
        agree(model, data[0][0].double().numpy())


def test_results_repeat_and_global_generators_are_left_alone():
    network, data = small_network(), [pictures(2, 0)]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    numbers = np.random.get_state()[1].copy()
    one = as_asked(network, data, weight_bits=4, **ALL).graph
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert as_asked(network, data, weight_bits=4, **ALL).graph == one


def test_without_refinements_nothing_changes():
    network, data = small_network(), pictures(2, 0)
    source = from_torch(network.double(), [data])
    plain = choose_formats(source, [[data]], QuantizeOptions(weight_bits=4))
    assert as_asked(source, [data], weight_bits=4, add_biases=False).graph == plain


def test_refusals():
    network, data = small_network(), [pictures(1, 0)]
    with pytest.raises(ValueError, match=r"unknown weight rounding 'up'.*learned"):
        as_asked(network, data, weight_rounding="up")  # type: ignore[arg-type]
    for option, value in {**ALL, "add_biases": False}.items():
        with pytest.raises(TypeError, match=f"prepare_qat takes no {option}"):
            fxp.prepare_qat(network, data, **{option: value})
