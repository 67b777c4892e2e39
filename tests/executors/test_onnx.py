"""ONNX Runtime equals the oracle on a batch of two, or the export refuses."""

from __future__ import annotations

import pytest
from cases import CASES, Case, Example, any_example, enumerated
from equality import check_onnx, onnx_refuses, run_oracle
from hypothesis import given, settings


def check(example: Example) -> None:
    check_onnx(example.graph, run_oracle(example.graph, example.inputs), example.inputs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    exported = 0
    for example in enumerated(case):
        check(example)
        exported += not onnx_refuses(example.node)
    assert exported >= 20


@settings(max_examples=150)
@given(example=any_example())
def test_any_example(example: Example) -> None:
    check(example)
