"""Training with roundings: the forward in float64 is the engine, before and after steps."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_graphs import BYTE, constant, format_of, graph, image, node
from test_random_graphs import SIZE, graphs
from torch import nn

import fxp
from fxp.executors.torch_forward import fake_quantize, run
from fxp.formats import Format, Overflow, Quantization, Rounding, dequantize, quantize
from fxp.frontend.derivation import Parameter
from fxp.graph import Graph
from fxp.graph.ops import Sigmoid
from fxp.quantization.options import QuantizeOptions, merged
from fxp.quantization.qat import Preparation, QatModel
from fxp.quantization.quantize import choose_formats


class Everything(nn.Module):
    """Batch normalization, shared modules, residuals, PReLU, transposed convolution and shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.slope = nn.PReLU(6)
        self.shared = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.lone = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.weighted = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1))
        self.gain = nn.Parameter(torch.full((1, 4, 1, 1), 0.7))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.slope(self.norm(self.first(x)))
        x = x + self.shared(self.slope(self.shared(x)))
        x = self.up(self.lone(torch.relu(x)))
        return self.shuffle(self.weighted(x * torch.sigmoid(x)) * self.gain / 2)


def network(seed: int = 0) -> Everything:
    torch.manual_seed(seed)
    model = Everything()
    for norm in (model.norm, model.lone):
        norm.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        nn.init.uniform_(norm.weight, 0.5, 2)
    return model.eval()


def data(seed: int = 1) -> torch.Tensor:
    return torch.rand(2, 1, 10, 10, generator=torch.Generator().manual_seed(seed))


def prepared(model: nn.Module | None = None, **options: Any) -> QatModel:
    options = {"weight_bits": 8, "activation_bits": 10, **options}
    if model is None:
        base = converted_network()
        chosen = merged(None, options, "fxp.prepare_qat")
        lowered = choose_formats(base.source, base.calls, chosen)
        return QatModel(network(), replace(base, lowered=lowered, options=chosen))
    return fxp.prepare_qat(model, [data()], **options)


@cache
def converted_network() -> Preparation:
    """Preparation of the network, which takes long to trace."""
    return fxp.prepare_qat(network(), [data()])._preparation


def step(model: nn.Module, inputs: Sequence[torch.Tensor], rate: float, count: int = 1) -> None:
    """Train towards zero, with Adam so that every parameter moves."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(count):
        optimizer.zero_grad()
        outputs = model(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum((output**2).mean() for output in outputs).backward()  # type: ignore[union-attr]
        optimizer.step()


def check_exact(model: QatModel, *inputs: torch.Tensor) -> None:
    """Compare every value of the forward in float64 with the engine's integers."""
    fixed = fxp.convert(model)
    assert fixed.graph.states == ()
    double = copy.deepcopy(model).double()
    with torch.no_grad():
        values = double.values(*(tensor.double() for tensor in inputs))
        outputs = double(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for index in range(len(inputs[0])):
        raw = [
            quantize(tensor[index].double().numpy(), format_of(fixed.graph, value.name))
            for tensor, value in zip(inputs, fixed.graph.inputs, strict=True)
        ]
        result = fixed.run(*raw, keep_values=True)
        for name, want in result.values.items():
            form = format_of(fixed.graph, name)
            found = values[name][index].numpy()
            assert np.array_equal(dequantize(want, form), found), name
            assert np.array_equal(want, np.ldexp(found, form.frac)), name
    real = fixed(*(tensor.double().numpy() for tensor in inputs))
    for want, found in zip(real if isinstance(real, tuple) else (real,), outputs, strict=True):
        assert np.array_equal(want, found.numpy())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_channel": True, "weight_bits": 6, "activation_bits": 8},
        {"wide_bits": 0, "rounding": Rounding.HALF_EVEN, "method": "minmax"},
        {"overflow": Overflow.SATURATE_TO_ZERO, "method": "percentile", "percentile": 99.0},
        {"overflow": Overflow.WRAP, "rounding": Rounding.FLOOR, "input_format": BYTE},
    ],
    ids=["default", "channels", "narrow", "zero", "wrap"],
)
def test_forward_is_the_engine_while_training(options):
    model = prepared(**options)
    # Beyond the calibration data, so that values clip.
    wide = 1.6 * data(2) - 0.3
    check_exact(model, wide)
    step(model, [data()], 0.003, 3)
    check_exact(model, wide)
    model.requantize([data(3)])
    check_exact(model, wide)


def test_untrained_equals_quantize():
    wanted = fxp.quantize(network(), [data()], weight_bits=8, activation_bits=10, effort="fast")
    model = fxp.prepare_qat(network(), [data()], weight_bits=8, activation_bits=10)
    found = fxp.convert(model)
    assert found.graph == wanted.graph
    assert found.calibration_clipped == wanted.calibration_clipped


def test_requantize_equals_quantize_of_the_trained_model():
    model = prepared(per_channel=True)
    step(model, [data()], 0.01, 3)
    trained = network(5)
    trained.load_state_dict(model.state_dict())
    model.requantize([data(4)])
    settings = {"weight_bits": 8, "activation_bits": 10, "per_channel": True, "effort": "fast"}
    assert fxp.convert(model).graph == fxp.quantize(trained, [data(4)], **settings).graph


def trainable(source: Graph, call: torch.Tensor, **options: Any) -> QatModel:
    """Model of a graph written by hand, whose constants are its parameters."""
    parameters = nn.ParameterDict(
        {item.name: nn.Parameter(torch.tensor(item.data)) for item in source.constants}
    )
    constants = tuple(
        replace(item, derivation=Parameter(item.name, torch.tensor(item.data)))
        for item in source.constants
    )
    source = Graph(source.name, source.inputs, source.nodes, source.outputs, constants)
    lowered = choose_formats(source, [[call]], QuantizeOptions(**options))
    return QatModel(parameters, Preparation(source, lowered, [[call]], QuantizeOptions(**options)))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    graphs().filter(lambda source: not source.states),
    st.fixed_dictionaries(
        {
            "weight_bits": st.integers(3, 10),
            "activation_bits": st.integers(4, 14),
            "per_channel": st.booleans(),
            "rounding": st.sampled_from(Rounding),
            "wide_bits": st.sampled_from([0, 20, 32]),
        }
    ),
    st.integers(0, 1000),
)
def test_random_networks(source, options, seed):
    generator = np.random.default_rng(seed)
    shape = (1, source.inputs[0].shape[0], SIZE, SIZE)
    call = torch.from_numpy(generator.uniform(-0.2, 1, shape))
    model = trainable(source, call, **options)
    wide = 1.5 * call - 0.2
    check_exact(model, wide)
    if source.constants:
        step(model, [call], 0.02, 2)
        check_exact(model, wide)


def test_state_dict_goes_both_ways():
    original = network()
    model = prepared(original)
    assert list(model.state_dict()) == list(original.state_dict())
    model.load_state_dict(network(7).state_dict())
    check_exact(model, data(2))
    step(model, [data()], 0.01)
    other = network(9)
    other.load_state_dict(model.state_dict())
    for key, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key])
    # The float graph of the trained parameters computes what the trained float model does.
    (found,) = run(model.float_graph(), [data(2)]).outputs
    assert torch.allclose(found, other(data(2)).double(), atol=1e-5)
    # The original has not moved.
    assert all(torch.equal(a, b) for a, b in zip(
        original.parameters(), network().parameters(), strict=True))  # fmt: skip


def test_every_parameter_learns_what_the_float_model_would():
    reference = network().double()
    model = prepared(weight_bits=16, activation_bits=16, method="minmax", headroom=0).double()
    inputs = data().double()
    for net in (reference, model):
        ((net(inputs) - 0.5) ** 2).mean().backward()
    gradients = dict(model.named_parameters())
    for name, parameter in reference.named_parameters():
        found = gradients[name].grad
        assert found is not None
        assert parameter.grad is not None
        assert (found - parameter.grad).norm() < 0.001 * parameter.grad.norm(), name


def test_training_lowers_the_loss():
    model = prepared(weight_bits=4, activation_bits=6)
    wanted = network()(data()).detach()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = ((model(data()) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.7 * losses[0]
    check_exact(model, data(2))


@pytest.mark.parametrize("overflow", list(Overflow))
def test_gradient_is_zero_where_a_value_overflows(overflow):
    values = torch.tensor([-3.0, -1.0, 0.3, 0.99, 1.0, 5.0], requires_grad=True)
    fake_quantize(values, Quantization(Format(4, 3), overflow=overflow)).sum().backward()
    low = 0.0 if overflow is Overflow.SATURATE_SYMMETRIC else 1.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, low, 1.0, 0.0, 0.0, 0.0]


def test_clipped_weights_get_no_gradient():
    model = prepared()
    with torch.no_grad():
        model.get_parameter("shared.weight")[0, 0, 0, 0] = 100.0
    model(data()).square().mean().backward()
    gradient = model.get_parameter("shared.weight").grad
    assert gradient is not None
    assert gradient[0, 0, 0, 0] == 0
    assert gradient.count_nonzero() > 0
    # The bias is never clipped: its width follows.
    with torch.no_grad():
        model.get_parameter("shared.bias")[0] = 100.0
    check_exact(model, data())


def test_tables_have_the_gradient_of_their_function():
    source = graph(
        image(),
        [node("moved", fxp.graph.ops.Add(), "x", "offset"), node("y", Sigmoid(), "moved")],
        constants=[constant("offset", [[[0.25]]])],
    )
    call = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    model = trainable(source, call, activation_bits=14)
    model(call).sum().backward()
    exact = torch.sigmoid(call + 0.25)
    found = next(model.parameters()).grad
    assert found is not None
    assert torch.allclose(found.sum(), (exact * (1 - exact)).sum(), rtol=1e-3)


class Recurrent(nn.Module):
    """Moving average with a trained weight."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = torch.tanh(self.mix(torch.cat([x, state], 1)))
        return 2 * state, state


def test_states_are_inputs_and_outputs():
    torch.manual_seed(0)
    frames = torch.rand(4, 1, 6, 6)
    zeros = torch.zeros(1, 1, 6, 6)
    model = fxp.prepare_qat(Recurrent().eval(), [frames], states=[(1, 1)], initial_states=[zeros])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        state, loss = zeros, torch.zeros(())
        for frame in frames:
            output, state = model(frame[None], state)
            loss = loss + output.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fixed = fxp.convert(model)
    double = model.double()
    state = zeros.double()
    for frame, want in zip(frames, fixed(frames.double().numpy()), strict=True):
        with torch.no_grad():
            output, state = double(frame[None].double(), state)
        assert np.array_equal(want, output[0].numpy())
    model.requantize([frames])
    with pytest.raises(TypeError, match="takes 2 inputs, got 1"):
        model(zeros)


def test_modes_types_copies_and_files():
    model = prepared()
    wanted = model(data())
    assert wanted.dtype == torch.float32
    assert torch.equal(model.train()(data()), wanted)
    assert torch.equal(copy.deepcopy(model)(data()), wanted)
    twin = copy.deepcopy(model)
    step(twin, [data()], 0.01)
    twin.requantize()
    assert torch.equal(model(data()), wanted)
    plain = prepared(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU()).eval())
    assert torch.equal(pickle.loads(pickle.dumps(plain))(data()), plain(data()))
    # Narrow formats are exact in float32 too.
    narrow = prepared(weight_bits=6, activation_bits=6)
    assert torch.equal(narrow(data()).double(), copy.deepcopy(narrow).double()(data()))


def test_compiled_model():
    model = prepared(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU()).eval())
    wanted = model(data())
    wanted.square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]  # type: ignore[union-attr]
    model.zero_grad()
    found = torch.compile(model, backend="aot_eager")(data())
    found.square().mean().backward()
    assert torch.equal(found, wanted)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient)


def test_refusals():
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        fxp.prepare_qat(3, [data()])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prepare_qat"):
        fxp.convert(network())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bits_of_weights"):
        prepared(bits_of_weights=3)
    with pytest.raises(fxp.frontend.FrontendError, match="training mode"):
        prepared(network().train())
