"""Functions that become tables: values, ranges, entries by hand, and the gradient of training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fxp.executors import torch_forward
from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import (
    REGISTRY,
    Cos,
    Elu,
    Erf,
    Exp,
    FunctionTable,
    Gelu,
    GraphError,
    HardSigmoid,
    HardSwish,
    Log,
    LogSigmoid,
    Mish,
    Power,
    Sigmoid,
    Silu,
    Sin,
    Softplus,
    Tanh,
)

OPS = (
    *(op() for op in REGISTRY.values() if issubclass(op, FunctionTable)),
    Gelu("tanh"),
    Elu(0.5),
    Elu(1.5, 0.5, 2.0),
    Softplus(2.0, 10.0),
    Softplus(0.5, 0.0),
    Power(-0.5),
    Power(-1.0),
    Power(3.0),
)
SWEEP = np.linspace(-30, 30, 12001)


def sweep(op: FunctionTable) -> np.ndarray:
    """Numbers for which the function has results."""
    return SWEEP[op.has_result(SWEEP)] if isinstance(op, Log | Power) else SWEEP


VALUES = [
    # Computed with 30 digits outside of NumPy and PyTorch.
    (Sigmoid(), 1.0, 0.731058578630004879),
    (Tanh(), 0.5, 0.462117157260009758),
    (HardSigmoid(), 1.0, 4 / 6),
    (HardSigmoid(), 3.5, 1.0),
    (HardSwish(), -1.5, -0.375),
    (HardSwish(), 1.0, 4 / 6),
    (HardSwish(), 4.0, 4.0),
    (Silu(), 1.0, 0.731058578630004879),
    (Silu(), -2.0, -0.238405844044235112),
    (Mish(), 1.0, 0.865098388267310337),
    (Gelu(), 1.0, 0.841344746068542949),
    (Gelu(), -1.0, -0.158655253931457051),
    (Gelu("tanh"), 1.0, 0.841191990608276480),
    (Elu(), -1.0, math.exp(-1) - 1),
    (Elu(0.5), -1.0, 0.5 * (math.exp(-1) - 1)),
    (Elu(1.5, 0.5, 2.0), -1.0, 0.75 * (math.exp(-2) - 1)),
    (Elu(1.5, 0.5, 2.0), 3.0, 1.5),
    (Softplus(), 0.0, math.log(2)),
    (Softplus(2.0, 10.0), 0.0, math.log(2) / 2),
    (Softplus(2.0, 10.0), 5.5, 5.5),
    (LogSigmoid(), 0.0, -math.log(2)),
    (LogSigmoid(), -40.0, -40.0),
    (Exp(), 1.0, 2.71828182845904524),
    (Exp(), -3.0, 0.0497870683678639430),
    (Log(), 2.0, 0.693147180559945309),
    (Log(), 0.25, -1.38629436111989062),
    (Erf(), 0.5, 0.520499877813046538),
    (Erf(), -1.0, -0.842700792949714869),
    (Sin(), 1.0, 0.841470984807896507),
    (Sin(), -2.5, -0.598472144103956494),
    (Cos(), 1.0, 0.540302305868139717),
    (Power(), 2.0, 1.41421356237309505),
    (Power(-0.5), 2.0, 0.707106781186547524),
    (Power(-1.0), -8.0, -0.125),
    (Power(3.0), -1.5, -3.375),
]


@pytest.mark.parametrize(("op", "x", "wanted"), VALUES, ids=str)
def test_values(op: FunctionTable, x: float, wanted: float) -> None:
    assert op.evaluate(np.array([x])) == pytest.approx([wanted], rel=1e-14)


def test_every_function_has_values() -> None:
    assert {type(op) for op, *_ in VALUES} == {type(op) for op in OPS}


@pytest.mark.parametrize("op", OPS, ids=str)
def test_numpy_and_torch_agree(op: FunctionTable) -> None:
    x = sweep(op)
    wanted = op.evaluate_torch(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(op.evaluate(x), wanted, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_results_are_in_the_range(op: FunctionTable) -> None:
    assert op.output_range is not None
    low, high = op.output_range
    found = op.evaluate(sweep(op))
    assert low <= found.min()
    assert found.max() <= high
    # A bound is no wider than it must be.
    if math.isfinite(low):
        assert found.min() < low + 1e-3
    if math.isfinite(high):
        assert found.max() > high - 1e-3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("frac", [-900, -20, 0, 900])
@pytest.mark.parametrize("op", OPS, ids=str)
def test_results_are_finite(op: FunctionTable, frac: int) -> None:
    source = Format(16, frac)
    codes = np.ldexp(np.arange(-(2.0**15), 2.0**15), -frac)
    assert np.isfinite(op.evaluate(codes)).all()
    assert op.tabulate(source, Format(14, 10)).shape == (2**16,)


ENTRIES = [
    # Codes -8 to 7 of whole numbers; results in quarters, rounded half up.
    (HardSwish(), Format(4, 0), Format(8, 2),
     [0, 0, 0, 0, 0, 0, -1, -1, 0, 3, 7, 12, 16, 20, 24, 28]),
    # Codes 0 to 7 of halves: log(2), then x itself, until the format ends at 1.75.
    (Softplus(1.0, 0.0), Format(3, 1, False), Format(4, 2), [3, 2, 4, 6, 7, 7, 7, 7]),
    # Codes -4 to 3: exp(x) - 1 in eighths is -7.85, -7.60, -6.92, -5.06.
    (Elu(), Format(3, 0), Format(6, 3), [-8, -8, -7, -5, 0, 8, 16, 24]),
    # Codes -4 to 3: (x + 3) / 6 in sixteenths is 0, 0, 2.67, 5.33, 8, 10.67, 13.33, 16.
    (HardSigmoid(), Format(3, 0), Format(4, 4, False), [0, 0, 3, 5, 8, 11, 13, 15]),
    # Codes -4 to 3: below zero the root of 0, then 0, 1, 1.414, 1.732 in eighths.
    (Power(), Format(3, 0), Format(6, 3), [0, 0, 0, 0, 0, 8, 11, 14]),
    # Codes -4 to 3: 1/x in eighths; that of 0 is that of 1.
    (Power(-1.0), Format(3, 0), Format(6, 3), [-2, -3, -4, -8, 8, 8, 4, 3]),
    # Codes -4 to 3 of halves: below zero and at zero the result of one half, 1.414 in eighths.
    (Power(-0.5), Format(3, 1), Format(6, 3), [11, 11, 11, 11, 11, 11, 8, 7]),
    # Codes 0 to 3 of halves: log of 0.5 twice, of 1 and of 1.5, in eighths -5.5, -5.5, 0, 3.2.
    (Log(), Format(2, 1, False), Format(6, 3), [-6, -6, 0, 3]),
    # Codes -2 to 1: exp is 0.135, 0.368, 1, 2.718; in eighths 1.08, 2.94, 8, 21.7.
    (Exp(), Format(2, 0), Format(6, 3), [1, 3, 8, 22]),
]  # fmt: skip


@pytest.mark.parametrize(("op", "source", "result", "entries"), ENTRIES, ids=str)
def test_entries_by_hand(
    op: FunctionTable, source: Format, result: Format, entries: list[int]
) -> None:
    assert op.tabulate(source, result).tolist() == entries


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gelu("erf"), "approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: Elu(math.inf), "needs a finite alpha"),
        (lambda: Elu(input_scale=-1.0), "input_scale from 0 on"),
        (lambda: Softplus(0.0), "a finite beta above 0"),
        (lambda: Softplus(1.0, -1.0), "a finite threshold from 0 on"),
        (lambda: Power(17.0), "exponent must be from -16 to 16, got 17"),
    ],
)
def test_wrong_parameters_are_refused(make, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        make()


def test_17_bits_are_refused() -> None:
    with pytest.raises(GraphError, match=r"2\*\*17 entries; at most 16 input bits"):
        Silu().tabulate(Format(17, 8), Format(8, 4))


@pytest.mark.parametrize("op", OPS, ids=str)
def test_training_has_the_gradient_of_the_function(op: FunctionTable) -> None:
    source, result = Format(10, 6), Format(16, 10)
    table = Constant("t", op.tabulate(source, result), (result,))
    node = Node("y", op, ("x", "t"), Quantization(result))
    graph = Graph("g", (Value("x", (1, 1, 4), source),), (node,), ("y",), (table,))
    numbers = [0.25, 0.5, 1.0, 1.5] if isinstance(op, Log | Power) else [-1.75, -0.5, 0.25, 1.5]
    x = torch.tensor([[[numbers]]], dtype=torch.float64, requires_grad=True)
    torch_forward.run(graph, [x]).outputs[0].sum().backward()
    step = 1e-6
    ends = (op.evaluate(x.detach().numpy() + side * step) for side in (1, -1))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.subtract(*ends) / (2 * step), atol=1e-5)
