"""Activation functions in every spelling of PyTorch: module, function, method, in place."""

from __future__ import annotations

import pytest
import torch
from frontend_checks import OneInput, converted
from torch import nn
from torch.nn import functional

from fxp.graph.ops import (
    Clamp,
    Cos,
    Elu,
    Erf,
    Gelu,
    HardSigmoid,
    HardSwish,
    LogSigmoid,
    Mish,
    Multiply,
    Op,
    Prelu,
    Relu,
    Sigmoid,
    Silu,
    Sin,
    Softplus,
    Tanh,
)

IMAGE = (1, 4, 12, 16)
SELU = Elu(1.6732632423543772, 1.0507009873554805)

SPELLINGS: dict[Op, tuple] = {
    Relu(): (
        nn.ReLU(), nn.ReLU(inplace=True), functional.relu, torch.relu, lambda x: x.relu(),
        lambda x: x.relu_(), lambda x: x.clamp(min=0), lambda x: functional.relu_(x),
    ),
    Clamp(0.0, 6.0): (
        nn.ReLU6(), nn.ReLU6(inplace=True), functional.relu6, nn.Hardtanh(0.0, 6.0),
        lambda x: torch.clamp(x, 0, 6), lambda x: functional.hardtanh(x, 0.0, 6.0),
    ),
    Clamp(-1.0, 1.0): (
        nn.Hardtanh(), nn.Hardtanh(inplace=True), functional.hardtanh, lambda x: x.clip(-1, 1),
        lambda x: functional.hardtanh_(x), lambda x: x.clamp_(-1, 1),
    ),
    Prelu(): (
        nn.LeakyReLU(0.1), nn.PReLU(4), functional.leaky_relu, torch.abs, abs,
        lambda x: x.abs(), lambda x: x.absolute(), lambda x: x.abs_(), torch.absolute,
    ),
    Sigmoid(): (
        nn.Sigmoid(), torch.sigmoid, functional.sigmoid, lambda x: x.sigmoid(),
    ),
    Tanh(): (nn.Tanh(), torch.tanh, functional.tanh, lambda x: x.tanh()),
    HardSigmoid(): (nn.Hardsigmoid(), nn.Hardsigmoid(inplace=True), functional.hardsigmoid),
    HardSwish(): (nn.Hardswish(), nn.Hardswish(inplace=True), functional.hardswish),
    Silu(): (
        nn.SiLU(), nn.SiLU(inplace=True), functional.silu, lambda x: functional.silu(x, True),
    ),
    Mish(): (nn.Mish(), nn.Mish(inplace=True), functional.mish),
    Gelu(): (nn.GELU(), functional.gelu),
    Gelu("tanh"): (
        nn.GELU(approximate="tanh"), lambda x: functional.gelu(x, approximate="tanh"),
    ),
    Elu(): (nn.ELU(), nn.ELU(inplace=True), functional.elu),
    Elu(0.5): (
        nn.ELU(0.5), lambda x: functional.elu(x, 0.5), lambda x: functional.elu_(x, 0.5),
    ),
    SELU: (
        nn.SELU(), nn.SELU(inplace=True), functional.selu, torch.selu, lambda x: torch.selu_(x),
    ),
    Elu(0.5, input_scale=2.0): (nn.CELU(0.5), lambda x: torch.celu(x, 0.5)),
    Softplus(): (nn.Softplus(), functional.softplus),
    Softplus(2.0, 10.0): (nn.Softplus(2, 10), lambda x: functional.softplus(x, 2, 10)),
    LogSigmoid(): (nn.LogSigmoid(), functional.logsigmoid),
    Erf(): (torch.erf, lambda x: x.erf(), torch.special.erf),
    Sin(): (torch.sin, lambda x: x.sin()),
    Cos(): (torch.cos, lambda x: x.cos_()),
}  # fmt: skip
"""Ways to write an activation, by the op that it becomes."""


@pytest.mark.parametrize(
    ("op", "spelling"),
    [
        pytest.param(op, spelling, id=f"{op}-{number}")
        for op, spellings in SPELLINGS.items()
        for number, spelling in enumerate(spellings)
    ],
)
def test_spelling(op: Op, spelling) -> None:
    # The product is there for the spellings that overwrite what they are given.
    if isinstance(spelling, nn.Module):
        model = OneInput(lambda m, x: m.layer(2 * x), layer=spelling)
    else:
        model = OneInput(lambda m, x: spelling(2 * x))
    graph = converted(model, IMAGE, tolerance=1e-12)
    assert [node.op for node in graph.nodes] == [Multiply(), op]


def test_abs_is_exact() -> None:
    graph = converted(OneInput(lambda m, x: x.abs()), IMAGE)
    (slope,) = graph.constants
    assert slope.data.tolist() == [-1.0]


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.ELU(), nn.Hardswish()])
def test_layers_keep_their_names(activation: nn.Module) -> None:
    graph = converted(
        nn.Sequential(nn.Conv2d(4, 3, 1), activation, nn.Conv2d(3, 2, 1)), IMAGE, tolerance=1e-6
    )
    assert [node.name for node in graph.nodes] == ["0", "1", "2"]


def test_vectors() -> None:
    graph = converted(nn.Sequential(nn.Linear(6, 5), nn.SiLU()), (1, 6), tolerance=1e-6)
    assert graph.nodes[1].op == Silu()
