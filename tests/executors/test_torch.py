"""The fake-quantized torch forward in float64 equals the oracle, or refuses."""

from __future__ import annotations

import pytest
from cases import CASES, Case, Example, any_example, enumerated
from equality import check_torch, run_oracle, torch_refuses
from hypothesis import given, settings


def check(example: Example) -> None:
    expected = [] if torch_refuses(example.graph) else run_oracle(example.graph, example.inputs)
    check_torch(example.graph, expected, example.inputs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    exact = 0
    for example in enumerated(case):
        check(example)
        exact += not torch_refuses(example.graph)
    assert exact >= 5  # the averages of wide inputs need more than 52 bits


@settings(max_examples=150)
@given(example=any_example())
def test_any_example(example: Example) -> None:
    check(example)
