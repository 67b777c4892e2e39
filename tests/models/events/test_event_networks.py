"""The networks that turn events into video: their size, their formulas, and fixed point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from equality import check_onnx, onnx_session
from torch import nn

import fxp
from fxp.executors import oracle, torch_forward
from fxp.formats import dequantize, quantize
from fxp.models.events.networks import (
    E2VID,
    NETWORKS,
    Cista,
    CistaD,
    CistaTC,
    ConvGRU,
    ConvLSTM,
    FireNet,
    SpadeE2VID,
    StepNetwork,
    soft_threshold,
)

HEIGHT, WIDTH = 8, 16


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (Cista(), 371_649),
        (CistaD(), 666_817),
        (CistaTC(), 669_251),
        # Untied iterations add four times 73,792 + 73,856 + 128, and 128 scales.
        (Cista(tied=False), 371_649 + 4 * 147_776),
        (CistaTC(tied=False), 1_260_867),
        (E2VID(), 10_710_401),
        (FireNet(), 37_777),
    ],
)
def test_parameters(network: nn.Module, count: int):
    assert parameters(network) == count


def test_spade_has_the_published_size():
    """Published are 45.9 MB; batch normalization keeps statistics besides the parameters."""
    stored = [value for value in SpadeE2VID().state_dict().values() if value.is_floating_point()]
    assert round(4 * sum(value.numel() for value in stored) / 1e6, 1) == 45.9


def test_soft_threshold_is_the_formula_itself():
    values = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    assert soft_threshold(values, torch.tensor(1.0)).tolist() == [-2, 0, 0, 0, 0, 0, 2]
    # A negative threshold of -1 gives relu(x + 1) - relu(1 - x).
    assert soft_threshold(values, torch.tensor(-1.0)).tolist() == [-4, -2, -1, 0, 1, 2, 4]


def test_lstm_gates_come_in_the_order_input_forget_output_cell():
    lstm = ConvLSTM(1)
    nn.init.zeros_(lstm.gates.weight)
    with torch.no_grad():
        lstm.gates.bias.copy_(torch.tensor([1.0, -1.0, 2.0, 0.5]))
    one = torch.ones(1, 1, 1, 1)
    hidden, cell = lstm(one, one, 3 * one)
    sigmoid = {x: 1 / (1 + np.exp(-x)) for x in (1.0, -1.0, 2.0)}
    expected = sigmoid[-1.0] * 3 + sigmoid[1.0] * np.tanh(0.5)
    assert cell.item() == pytest.approx(expected)
    assert hidden.item() == pytest.approx(sigmoid[2.0] * np.tanh(expected))


def test_gru_resets_the_state_that_the_new_value_reads():
    gru = ConvGRU(1)
    for gate, weight, bias in ((gru.reset_gate, 0, 1.0), (gru.update_gate, 0, -1.0),
                               (gru.out_gate, 1, 0.0)):  # fmt: skip
        nn.init.zeros_(gate.weight)
        with torch.no_grad():
            gate.weight[0, 1, 1, 1] = weight
            gate.bias.fill_(bias)
    reset, update = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))
    state = torch.full((1, 1, 1, 1), 2.0)
    expected = 2 * (1 - update) + np.tanh(2 * reset) * update
    assert gru(torch.zeros(1, 1, 1, 1), state).item() == pytest.approx(expected)


def test_cista_pads_by_reflection_everywhere():
    for network in (Cista(), CistaD(), CistaTC()):
        found = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        assert {module.padding_mode for module in found} == {"reflect"}


def test_consistency_changes_nothing_where_the_codes_agree():
    """With gates and thresholds known by hand: one iteration pulls halfway times alpha."""
    network = CistaTC(2, iterations=1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    (block,) = network.blocks
    nn.init.constant_(block.alpha, 0.5)
    nn.init.constant_(block.threshold, 0.25)
    states = network.initial_states(4, 4)
    states[1] = torch.full_like(states[1], 4.0)
    # The code starts at zero, the gate is sigmoid(0) = 1/2: 1/2 * 1/2 * 4 = 1, less 1/4.
    assert network(torch.zeros(1, 5, 4, 4), *states)[2].unique().tolist() == [0.75]


SMALL = {
    "cista": lambda: Cista(2, iterations=2),
    "cista-untied": lambda: Cista(2, iterations=2, tied=False),
    "cista-d": lambda: CistaD(2, iterations=2),
    "cista-tc": lambda: CistaTC(2, iterations=2),
    "cista-tc-untied": lambda: CistaTC(2, iterations=2, tied=False),
    "e2vid": lambda: E2VID(2),
    "firenet": lambda: FireNet(3),
    "spade-e2vid": lambda: SpadeE2VID(2, hidden=2),
}


def test_every_network_is_tried():
    assert {name.removesuffix("-untied") for name in SMALL} == set(NETWORKS)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
def test_fixed_point_in_every_executor(name: str, tmp_path: Path):
    torch.manual_seed(1)
    network: StepNetwork = SMALL[name]().eval()
    grids = torch.randn(4, 5, HEIGHT, WIDTH, generator=torch.manual_seed(2))
    model = fxp.quantize(
        network,
        [grids[:3]],
        states=network.state_pairs(),
        initial_states=network.initial_states(HEIGHT, WIDTH),
        effort="fast",
        hold_states=False,
    )
    (source,) = model.graph.inputs
    assert source.format is not None
    raw = quantize(grids.numpy(), source.format)
    whole = np.asarray(model.run_raw(raw))
    stream = model.stream()
    session = onnx_session(model.graph)
    by_oracle, by_torch, by_onnx = None, None, None
    for number, grid in enumerate(raw):
        expected = oracle.run(model.graph, [grid], by_oracle)
        real = torch.from_numpy(dequantize(grid[None], source.format))
        by_float = torch_forward.run(model.graph, [real], by_torch)
        by_onnx = check_onnx(model.graph, [expected], [[grid]], by_onnx, session)
        by_oracle, by_torch = expected.states, by_float.states
        step = np.asarray(stream.step_raw(grid[None]))[0]
        assert np.array_equal(whole[number], expected.outputs[0])
        assert np.array_equal(step, expected.outputs[0])
        given = model.graph.values[model.graph.outputs[0]].format
        assert given is not None
        result = by_float.outputs[0][0].numpy()
        assert np.array_equal(result, dequantize(expected.outputs[0], given))
        # The state goes through a file, and the sequence continues from there.
        stream.save_state(tmp_path / "state")
        stream = model.stream()
        stream.load_state(tmp_path / "state")
    assert by_oracle is not None
    assert all(np.array_equal(stream.state[key], by_oracle[key]) for key in by_oracle)
    assert whole.std() > 0


def test_a_size_that_the_network_cannot_halve_is_refused():
    with pytest.raises(ValueError, match="multiples of 8, not 12x16; pad the grid"):
        E2VID(2).initial_states(12, 16)
