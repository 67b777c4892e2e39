"""Signs: what they are at zero, their gradient, and the operations of PyTorch that become them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxp.executors.torch_forward import run
from fxp.formats import Format
from fxp.frontend import from_torch
from fxp.frontend.errors import FrontendError
from fxp.graph.ops import GraphError, Operand, Sign


@pytest.mark.parametrize("at_zero", [2, -2, True, 1.0, None])
def test_sign_of_zero_out_of_range(at_zero: object) -> None:
    with pytest.raises(GraphError, match="at_zero must be -1, 0 or 1"):
        Sign(at_zero)  # type: ignore[arg-type]


def test_gradient_is_straight_through() -> None:
    """As if it were clipped to -1 to 1."""
    x = torch.tensor([-2.0, -1.0, -0.3, 0.0, 0.7, 1.5], requires_grad=True)
    result = Sign(1).torch((Operand((6,)),), x)
    assert result.tolist() == [-1, -1, -1, 1, 1, 1]
    result.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_exact_sums_need_no_rounding_before_a_sign() -> None:
    accumulator = Sign(1).accumulator(Operand((3, 4, 4), (Format(40, 30),)))
    assert (accumulator.low, accumulator.high, accumulator.frac) == ((-1,) * 3, (1,) * 3, 0)
    assert str(accumulator.exact_format) == str(Format(2, 0))


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


POINTS = [-2.0, -0.5, 0.0, 0.5, 2.0]


@pytest.mark.parametrize(
    ("function", "expected", "nodes"),
    [
        (torch.sign, [-1, -1, 0, 1, 1], ["sign"]),
        (lambda x: torch.where(x >= 0, 1.0, -1.0), [-1, -1, 1, 1, 1], ["sign"]),
        (lambda x: torch.where(x > 0, 1.0, -1.0), [-1, -1, -1, 1, 1], ["sign"]),
        (lambda x: torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x)),
         [-1, -1, 1, 1, 1], ["sign"]),
        (lambda x: torch.where(x <= 0.5, 0.0, 3.0), [0, 0, 0, 0, 3],
         ["add", "sign", "multiply", "add"]),
        (lambda x: torch.where(x < 0, 1.0, -1.0), [1, 1, -1, -1, -1], ["sign", "multiply"]),
        (lambda x: (x >= 0).float(), [0, 0, 1, 1, 1], ["sign", "multiply", "add"]),
        (lambda x: x * (x > 0), [0, 0, 0, 0.5, 2], ["sign", "multiply", "add", "multiply"]),
        (lambda x: torch.where(x >= 0, x, 3.0), [3, 3, 0, 0.5, 2],
         ["sign", "multiply", "add", "multiply", "multiply", "add", "add"]),
        (lambda x: torch.where(x < 0, x * 2, x * x), [-4, -1, 0, 0.25, 4], None),
        (lambda x: torch.where(x * x > x, x, 0.0), [-2, -0.5, 0, 0, 2], None),
        (lambda x: torch.where(x > torch.tensor([0, -1, 0, 1, 0.0]), x, -x), [2, -0.5, 0, -0.5, 2],
         None),
    ],
    ids=["sign", "ge", "gt", "lt of ones", "le", "inverted", "number", "mask", "value or number",
         "two values", "compared values", "compared with a constant"],
)  # fmt: skip
def test_spellings(function, expected: list[float], nodes: list[str] | None) -> None:  # type: ignore[no-untyped-def]
    x = torch.tensor(POINTS).reshape(1, 1, 1, 5)
    graph = from_torch(Apply(function).eval(), [x])
    assert nodes is None or [node.op.name for node in graph.nodes] == nodes
    found = run(graph, [x.double()]).outputs[0]
    assert found.reshape(-1).tolist() == expected


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.where((x >= 0).bitwise_not(), 1.0, -1.0), "this op is not supported"),
        (lambda x: (x >= 0) + x, "reads the result of a comparison"),
        (lambda x: x >= 0, "holds the result of a comparison"),
    ],
)  # fmt: skip
def test_other_comparisons_are_refused(function, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FrontendError, match=message):
        from_torch(Apply(function).eval(), [torch.rand(1, 2, 4, 4)])
