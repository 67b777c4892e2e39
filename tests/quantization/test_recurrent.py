"""Recurrent cells of published networks in fixed point, step by step on every executor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_graphs import constant, node
from torch import nn

import fxp
from fxp import Extent
from fxp.executors import oracle, torch_forward
from fxp.export.onnx import to_onnx
from fxp.formats import Format, dequantize, quantize
from fxp.graph.ops import Add, Multiply, Relu, Sigmoid, Subtract, Tanh
from fxp.quantization.calibrate import Statistics
from fxp.quantization.lowering import lower
from fxp.quantization.settings import LoweringSettings


class ConvLSTM(nn.Module):
    """Convolutional LSTM of CISTA-TC and E2VID: gates in, forget, out, cell."""

    def __init__(self, inputs: int, hidden: int, padding_mode: str = "reflect") -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1, padding_mode=padding_mode)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor):
        into, forget, out, cell = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(cell)
        return torch.sigmoid(out) * torch.tanh(c), c


class ConvGRU(nn.Module):
    """Convolutional GRU of FireNet, with one convolution per gate."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        channels = inputs + hidden
        self.reset = nn.Conv2d(channels, hidden, 3, padding=1)
        self.update = nn.Conv2d(channels, hidden, 3, padding=1)
        self.proposal = nn.Conv2d(channels, hidden, 3, padding=1)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        both = torch.cat([x, h], 1)
        reset, update = torch.sigmoid(self.reset(both)), torch.sigmoid(self.update(both))
        proposal = torch.tanh(self.proposal(torch.cat([x, reset * h], 1)))
        return (1 - update) * h + update * proposal


class CistaTC(nn.Module):
    """CISTA-TC with so many base channels, events and tied iterations.

    The last result and the last sparse code are inputs too, beside the states of the cell.
    """

    shapes = ((1, 1, 10, 12), (1, 8, 5, 6), (1, 4, 5, 6), (1, 4, 5, 6))

    def __init__(self, base: int = 4, bins: int = 2, iterations: int = 2) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="reflect")

        code = 2 * base
        self.events, self.image = conv(bins, base // 2), conv(1, base // 2)
        self.start, self.code = conv(base, base, 2), conv(base, code)
        self.before, self.now = conv(code, 1), conv(code, 1)
        self.alpha = nn.Parameter(0.1 * torch.rand(1, code, 1, 1))
        self.threshold = nn.Parameter(0.1 * torch.rand(1, code, 1, 1))
        self.decode, self.encode = conv(code, base), conv(base, code)
        self.iterations = iterations
        self.features, self.cell = conv(code, base), ConvLSTM(base, base)
        self.up, self.tail = conv(base, base), conv(base, 1)

    def forward(self, events, last, old, h, c):
        x = self.start(torch.cat([self.events(events), self.image(last)], 1))
        code, before = self.code(x), self.before(old)
        for _ in range(self.iterations):
            gate = torch.sigmoid(before * self.now(code))
            change = gate * (self.alpha * (old - code))
            wide = code + self.encode(x - self.decode(code)) + change
            code = torch.relu(wide - self.threshold) - torch.relu(-wide - self.threshold)
        h, c = self.cell(torch.relu(self.features(code)), h, c)
        large = nn.functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
        image = torch.sigmoid(self.tail(self.up(large)))
        return image, image, code, h, c


class ResBlock(nn.Module):
    """Residual block of FireNet, with a ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class FireNet(nn.Module):
    """FireNet with so many channels; no activation at the end."""

    shapes = ((1, 16, 10, 12), (1, 16, 10, 12))

    def __init__(self, bins: int = 2, channels: int = 16) -> None:
        super().__init__()
        self.head = nn.Conv2d(bins, channels, 3, padding=1)
        self.first, self.second = ConvGRU(channels, channels), ConvGRU(channels, channels)
        self.blocks = nn.ModuleList([ResBlock(channels), ResBlock(channels)])
        self.tail = nn.Conv2d(channels, 1, 1)

    def forward(self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor):
        first = self.first(torch.relu(self.head(x)), first)
        second = self.second(self.blocks[0](first), second)
        return self.tail(self.blocks[1](second)), first, second


NETWORKS: dict[str, Any] = {"cista": CistaTC, "firenet": FireNet}


def fixed(network: Any, frames: torch.Tensor, **options: Any) -> fxp.FixedModel:
    """Quantize a network whose outputs from the second on are its inputs from the second on."""
    pairs = [(index + 1, index + 1) for index in range(len(network.shapes))]
    zeros = [torch.zeros(shape) for shape in network.shapes]
    return fxp.quantize(network, [frames], states=pairs, initial_states=zeros, **options)


@pytest.fixture(scope="module", params=NETWORKS)
def quantized(request: pytest.FixtureRequest) -> tuple[Any, fxp.FixedModel, torch.Tensor]:
    """A network, its fixed-point model, and calibration frames."""
    torch.manual_seed(7)
    network = NETWORKS[request.param]().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight *= 1.5  # so that gates and tables are used widely
    frames = torch.randn(8, 2, 10, 12)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the image sizes are fixed")
        return network, fixed(network, frames), frames


def floats(network: Any, frames: torch.Tensor) -> torch.Tensor:
    """Results of the float network, from states of zeros."""
    held = [torch.zeros(shape) for shape in network.shapes]
    results = []
    with torch.no_grad():
        for frame in frames:
            result, *held = network(frame[None], *held)
            results.append(result[0])
    return torch.stack(results)


def test_near_the_float_network(quantized):
    network, model, frames = quantized
    wanted, found = floats(network, frames), model(frames)
    assert torch.equal(found, model.oracle(frames))
    noise = float(((found - wanted) ** 2).mean() / wanted.var())
    assert 10 * np.log10(noise) < -40
    # It does remember: the same frame gives another result later.
    assert not torch.equal(model(frames[[0, 1, 0]])[2], found[0])


def test_all_executors_agree_over_steps(quantized):
    """Other frames of another size than those of the calibration, five steps."""
    _, model, _ = quantized
    graph = model.graph
    onnx = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString())
    form = graph.inputs[0].format
    assert form is not None
    frames = quantize(np.random.default_rng(2).normal(size=(5, 2, 6, 14)) * 3, form)
    stream = model.stream()
    slow, real = None, None
    names = [state.value.name for state in graph.states]
    zeros = oracle.run(graph, [frames[0]]).states
    fed = {name: np.zeros((1, *zeros[name].shape), np.int64) for name in names}
    for frame in frames:
        expected = oracle.run(graph, [frame], slow)
        slow = expected.states
        assert np.array_equal(stream.step_raw(frame), expected.outputs[0])
        assert all(np.array_equal(stream.state[name], slow[name]) for name in names)
        image = torch.from_numpy(dequantize(frame, form))[None]
        with torch.no_grad():
            tensors = torch_forward.run(graph, [image], real)
        real = tensors.states
        results = onnx.run(None, {graph.inputs[0].name: frame[None], **fed})
        fed = dict(zip(names, results[len(graph.outputs) :], strict=True))
        for name, value in {**slow, graph.outputs[0]: expected.outputs[0]}.items():
            step = graph.values[name].format.step
            tensor = real[name] if name in real else tensors.outputs[0]
            assert np.array_equal(tensor[0].numpy() / step, value)
            found = fed[name] if name in fed else results[0]
            assert np.array_equal(found[0], value)


def test_size_stays_free(quantized):
    _, model, _ = quantized
    (x,) = model.graph.inputs
    factor = 2 if len(model.graph.states) == 4 else 1
    assert x.shape == (2, Extent("H") * factor, Extent("W") * factor)


def test_gate_arithmetic_has_the_proved_widths():
    """Each product as wide as its factors together, each sum one bit more; one rounding each."""
    torch.manual_seed(0)

    class Cell(nn.Module):
        shapes = ((1, 4, 6, 6), (1, 4, 6, 6))

        def __init__(self) -> None:
            super().__init__()
            self.cell = ConvLSTM(2, 4)

        def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor):
            h, c = self.cell(x, h, c)
            return h, h, c

    graph = fixed(Cell().eval(), torch.randn(6, 2, 6, 6), hold_states=False).graph
    by_op: dict[str, list[fxp.Node]] = {}
    for item in graph.nodes:
        by_op.setdefault(item.op.name, []).append(item)
    # The gates leave the convolution exactly, and are rounded one by one, each in its own format.
    (gates,) = by_op["conv2d"]
    assert gates.quantization.format == gates.accumulator.exact_format
    assert [item.quantization.format.width for item in by_op["slice"]] == [14] * 4
    for item in by_op["multiply"]:
        left, right = (graph.values[name].format for name in item.inputs)
        low, high = min(item.accumulator.low), max(item.accumulator.high)
        corners = [
            a * b for a in (left.min_raw, left.max_raw) for b in (right.min_raw, right.max_raw)
        ]
        assert (low, high) == (min(corners), max(corners))
        assert item.accumulator.frac == left.frac + right.frac
        assert item.accumulator.bits <= left.width + right.width
    # Both products flow into the sum unrounded; c is rounded once.
    (cell,) = by_op["add"]
    products = [graph.node(name) for name in cell.inputs]
    assert all(p.quantization.format == p.accumulator.exact_format for p in products)
    assert cell.quantization.format.width == 14
    for table in (*by_op["sigmoid"], *by_op["tanh"]):
        form = table.quantization.format
        assert form == (
            Format(14, 14, signed=False) if table.op.name == "sigmoid" else Format(14, 13)
        )


@pytest.mark.parametrize("reset", [0.0, 0.5, -0.5])
def test_a_state_is_unsigned_only_if_that_is_proved(reset: float):
    """Calibration shows no negative value in any of these."""
    shape = (1, 2, 2)
    x, half = fxp.Value("x", shape), constant("half", [[[0.5]]])
    quarter = constant("quarter", [[[0.25]]])

    def state_format(*nodes: fxp.Node) -> Format:
        state = fxp.State(fxp.Value("s", shape), nodes[-1].name, reset)
        used = {name for item in nodes for name in item.inputs}
        constants = tuple(item for item in (half, quarter) if item.name in used)
        source = fxp.Graph("g", (x,), nodes, (nodes[-1].name,), constants, (state,))
        low = min(reset, 0.0) if reset < 0 else 0.0
        seen = {name: Statistics.of(np.array([low, 0.5, 1.0])) for name in source.values}
        seen["x"] = Statistics.of(np.array([-1.0, 0.5, 1.0]))
        return lower(source, seen, LoweringSettings()).states[0].value.format

    decay = node("decay", Multiply(), "s", "half")
    positive = node("positive", Relu(), "x")
    # A sum of what never is negative.
    unsigned = state_format(decay, positive, node("y", Add(), "decay", "positive"))
    assert unsigned.signed == (reset < 0)
    # Negative as soon as x is.
    assert state_format(decay, node("y", Add(), "decay", "x")).signed
    # The difference may be negative, although neither operand is.
    assert state_format(
        decay, node("more", Multiply(), "s", "quarter"), node("y", Subtract(), "decay", "more")
    ).signed


def test_a_lstm_that_saw_no_negative_state_still_holds_one():
    """The gap: with large positive inputs all states are positive; later inputs are not."""
    torch.manual_seed(3)

    class Cell(nn.Module):
        shapes = ((1, 1, 4, 4), (1, 1, 4, 4))

        def __init__(self) -> None:
            super().__init__()
            self.cell = ConvLSTM(1, 1)

        def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor):
            h, c = self.cell(x, h, c)
            return h, h, c

    network = Cell().eval()
    with torch.no_grad():
        network.cell.gates.weight.fill_(0.02)
        network.cell.gates.weight[3, 0] = 0.2
        network.cell.gates.bias.zero_()
    model = fixed(network, torch.rand(5, 1, 4, 4), input_format=Format(14, 12))
    assert all(state.value.format.signed for state in model.graph.states)
    frames = -torch.rand(5, 1, 4, 4)
    wanted, found = floats(network, frames), model(frames)
    assert float(wanted.max()) < 0
    assert torch.allclose(found, wanted, rtol=0, atol=0.005)


def test_states_that_feed_each_other():
    """One sign is not known before the other: both are found signed."""
    shape = (1, 2, 2)
    states = (
        fxp.State(fxp.Value("a", shape), "next_a"),
        fxp.State(fxp.Value("b", shape), "next_b"),
        fxp.State(fxp.Value("z", shape), "next_z"),
    )
    nodes = (
        node("next_a", Add(), "x", "a"),
        node("next_b", Add(), "a", "b"),
        node("next_z", Relu(), "z"),
        node("y", Add(), "next_b", "next_z"),
    )
    source = fxp.Graph("g", (fxp.Value("x", shape),), nodes, ("y",), (), states)
    seen = {name: Statistics.of(np.array([0.0, 1.0])) for name in source.values}
    seen["x"] = Statistics.of(np.array([-1.0, 1.0]))
    lowered = lower(source, seen, LoweringSettings())
    assert [state.value.format.signed for state in lowered.states] == [True, True, False]
    assert lowered.node("next_z").quantization.format == lowered.states[2].value.format


def test_a_state_fed_by_a_table_has_its_format():
    """The range of the function is known; what calibration saw of it does not matter."""
    shape = (1, 2, 2)
    for op, form in ((Sigmoid(), Format(14, 14, signed=False)), (Tanh(), Format(14, 13))):
        nodes = (node("sum", Add(), "x", "s"), node("y", op, "sum"))
        state = fxp.State(fxp.Value("s", shape), "y")
        source = fxp.Graph("g", (fxp.Value("x", shape),), nodes, ("y",), (), (state,))
        seen = {name: Statistics.of(np.array([0.0, 0.125])) for name in source.values}
        seen["sum"] = Statistics.of(np.array([-8.0, 8.0]))
        lowered = lower(source, seen, LoweringSettings())
        assert lowered.states[0].value.format == form
        assert [item.op for item in lowered.nodes] == [Add(), op]
