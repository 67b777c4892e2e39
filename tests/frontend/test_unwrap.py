"""Exported programs, wrapped modules and parametrized weights give the graph of the module."""

from __future__ import annotations

import io

import pytest
import torch
from frontend_checks import compare
from torch import nn
from torch.export import Dim
from torch.nn.utils import parametrizations, parametrize

import fxp
from fxp.frontend import FrontendError, from_torch, unwrapped
from fxp.graph.extents import Extent

IMAGES = (2, 3, 8, 12)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    return nn.Sequential(*layers).eval()


def exported(free: bool) -> torch.export.ExportedProgram:
    shapes = ({2: Dim.AUTO, 3: Dim.AUTO},) if free else None
    return torch.export.export(network(), (torch.randn(1, *IMAGES[1:]),), dynamic_shapes=shapes)


def loaded() -> torch.export.ExportedProgram:
    file = io.BytesIO()
    torch.export.save(exported(True), file)
    file.seek(0)
    return torch.export.load(file)


@pytest.mark.parametrize("make", [lambda: exported(True), loaded, lambda: exported(True).module()])
def test_exported_programs(make):
    graph = from_torch(make(), [torch.randn(IMAGES)])
    assert graph.name == "exported"
    assert graph.inputs[0].shape == (3, Extent("H"), Extent("W"))
    compare(graph, network(), [(IMAGES,), ((1, 3, 7, 9),)], 1e-6)
    assert "3.weight" in graph.constants_by_name


def test_program_of_one_size():
    graph = from_torch(exported(False), [torch.randn(IMAGES)])
    assert graph.inputs[0].shape == IMAGES[1:]
    compare(graph, network(), [(IMAGES,)], 1e-6)
    with pytest.raises(FrontendError, match=r"does not take one image of the examples' size"):
        from_torch(exported(False), [torch.randn(1, 3, 16, 16)])


def test_program_as_a_part():
    """Such a model cannot call eval(); its other modules can."""
    model = nn.Sequential(exported(True).module(), nn.ReLU().eval())
    model.training = False
    graph = from_torch(model, [torch.randn(IMAGES)])
    compare(graph, nn.Sequential(network(), nn.ReLU()), [(IMAGES,)], 1e-6)
    model[1].train()
    with pytest.raises(FrontendError, match=r"module '1' is in training mode; call"):
        from_torch(model, [torch.randn(IMAGES)])


def test_quantize_takes_a_program():
    images = torch.rand(IMAGES)
    assert fxp.quantize(exported(True), images).graph.nodes == (
        fxp.quantize(network(), images).graph.nodes
    )


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrapped_modules(wrap):
    """Names are those of the module, and the mode of the wrapper does not matter."""
    assert from_torch(wrap(network()), [torch.randn(IMAGES)]) == (
        from_torch(network(), [torch.randn(IMAGES)])
    )
    assert type(unwrapped(nn.DataParallel(wrap(network())))) is nn.Sequential


def test_a_wrapped_module_in_training_mode_is_refused():
    with pytest.raises(FrontendError, match=r"call model\.eval\(\) first"):
        from_torch(nn.DataParallel(network().train()), [torch.randn(IMAGES)])


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight + weight.flip(-1)


@pytest.mark.parametrize(
    "parametrization",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()),
    ],
)
def test_parametrized_weights(parametrization):
    model = network()
    parametrization(model[0])
    parametrization(model[3])
    graph = from_torch(model.eval(), [torch.randn(IMAGES)])
    compare(graph, model, [(IMAGES,)], 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    model = network().to(dtype)
    graph = from_torch(model, [torch.randn(IMAGES, dtype=dtype)])
    compare(graph, model, [(IMAGES,)], 1e-6)


class Sequences(nn.Module):
    """A model of sequences, as images of one row."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.squeeze(2)).unsqueeze(2)


def test_sequences_as_images_of_one_row():
    layers = (nn.Conv1d(3, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU(),
              nn.Conv1d(6, 6, 3, 2, padding=2, dilation=2, groups=3),
              nn.Conv1d(6, 2, 4, padding="same"))  # fmt: skip
    model = Sequences(nn.Sequential(*layers)).eval()
    graph = from_torch(model, [torch.randn(1, 3, 1, 20)])
    assert graph.inputs[0].shape == (3, 1, Extent("W"))
    assert {node.op.name for node in graph.nodes} == {"conv2d", "relu"}
    compare(graph, model, [((1, 3, 1, 20),), ((1, 3, 1, 33),)], 1e-5)


def test_sequences_are_told_so():
    model = nn.Sequential(nn.Conv1d(3, 4, 3)).eval()
    advice = r"layer Conv1d '0'; give them as images of one row, \(N, C, 1, L\)"
    with pytest.raises(FrontendError, match=advice):
        fxp.quantize(model, torch.rand(4, 3, 20))


@pytest.mark.parametrize(("layer", "name"), [(nn.LSTM, "lstm"), (nn.GRU, "gru")])
def test_recurrent_layers_are_refused_with_advice(layer, name):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = layer(3, 4, batch_first=True)

        def forward(self, x):
            return self.cell(x.flatten(2).transpose(1, 2))[0]

    with pytest.raises(FrontendError, match=rf"aten\.{name} .*name the pair in `states`"):
        from_torch(Recurrent().eval(), [torch.randn(1, 3, 4, 5)])


def test_attention_is_refused_by_name():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens)[0]

    with pytest.raises(FrontendError, match=r"module 'attention'.*attention is not supported"):
        from_torch(Attention().eval(), [torch.randn(1, 3, 4, 5)])


@pytest.mark.parametrize("layer", [nn.LSTM(4, 5), nn.GRU(4, 5), nn.RNN(4, 5)])
def test_a_layer_over_all_steps_is_told_to_become_one_step(layer):
    with pytest.raises(FrontendError, match=r"runs over all steps.*one step.*`states`"):
        fxp.quantize(layer.eval(), [torch.rand(1, 7, 4)])


def test_a_program_exported_in_training_mode_is_told_so():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    program = torch.export.export(network, (torch.rand(1, 1, 8, 8),))
    with pytest.raises(FrontendError, match=r"running_mean.*training mode.*export"):
        from_torch(program, [torch.rand(1, 1, 8, 8)])
