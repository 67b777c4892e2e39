"""Accumulators at the bounds: 32 bits, the 52 bits of float64, the 62 of ONNX and 63."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import MODES, WIDE_CASES, Case, RandomChoices, build, product
from equality import check_engine, check_onnx, check_torch, onnx_refuses, run_oracle, torch_refuses

from fxp.engine import Engine, Options
from fxp.executors import oracle, torch_forward
from fxp.export.onnx import to_onnx
from fxp.formats import Format, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import (
    Add,
    Clamp,
    GraphError,
    Linear,
    Multiply,
    Op,
    Prelu,
    Requantize,
    SoftThreshold,
    Subtract,
)

WIDE = [(count, case) for count, cases in WIDE_CASES.items() for case in cases]


@pytest.mark.parametrize(("count", "case"), WIDE, ids=lambda item: getattr(item, "name", None))
def test_wide_case(count: int, case: Case) -> None:
    choices = RandomChoices(np.random.default_rng(count))
    seen = set()
    for index, modes in enumerate(MODES):
        pattern = ("largest", "smallest", "random")[index % 3]
        example = build(case, choices, modes=modes, pattern=pattern, constant_pattern=pattern)
        graph, batch = example.graph, example.inputs
        # The op decides, except where constants smaller than their format keep the sum narrower.
        assert example.accumulator.bits <= count
        if not graph.constants:
            assert example.accumulator.bits == count
        seen.add(example.accumulator.bits)
        plan = Engine(graph, Options("portable")).plan([array.shape for array in batch[0]])
        (stage,) = plan.program.stages
        dtype = stage.accumulator_dtype
        operands_fit = all(value.format.dtype.itemsize <= 4 for value in graph.inputs)
        assert dtype == (np.int32 if example.accumulator.bits <= 32 and operands_fit else np.int64)
        expected = run_oracle(graph, batch)
        check_engine(graph, expected[0], batch[0])
        check_engine(graph, expected[1], batch[1], options=((1, True),))
        check_onnx(graph, expected, batch)
        check_torch(graph, expected, batch)
        assert torch_refuses(graph) >= (example.accumulator.bits > 52)
        assert onnx_refuses(example.node) >= (example.accumulator.bits > 62)
    assert max(seen) == count


@pytest.mark.parametrize("case", [case for _, case in WIDE], ids=lambda case: case.name)
def test_ends_of_the_accumulator(case: Case) -> None:
    """The largest and smallest exact results go through the executors unchanged."""
    choices = RandomChoices(np.random.default_rng(7))
    example = build(case, choices, constant_pattern="largest", size=(2, 2))
    exact = Quantization(Format(63, example.accumulator.frac))
    graph = replace(example.graph, nodes=(replace(example.node, quantization=exact),))
    results = []
    for corner in itertools.product((False, True), repeat=len(graph.inputs)):
        arrays = [
            np.full_like(array, value.format.max_raw if top else value.format.min_raw)
            for top, value, array in zip(corner, graph.inputs, example.inputs[0], strict=True)
            if value.format is not None
        ]
        expected = oracle.run(graph, arrays)
        check_engine(graph, expected, arrays)
        check_onnx(graph, [expected], [arrays])
        results.append(expected.outputs[0])
    assert np.min(results) == min(example.accumulator.low)
    assert np.max(results) == max(example.accumulator.high)


@pytest.mark.parametrize(
    ("left", "right", "needed"), [(32, 32, 64), (33, 32, 65), (63, 63, 126), (40, 24, 64)]
)
def test_more_than_63_bits_are_refused(left: int, right: int, needed: int) -> None:
    low = min(-(2 ** (a - 1)) * (2 ** (b - 1) - 1) for a, b in ((left, right), (right, left)))
    high = 2 ** (left + right - 2)
    with pytest.raises(GraphError) as caught:
        build(product(left, right), RandomChoices(np.random.default_rng(0)))
    message = str(caught.value)
    assert f"needs {needed} bits for the range {low} to {high}; at most 63" in message
    assert "'result'" in message


def test_proof_beyond_64_bits_does_not_overflow() -> None:
    weight = Constant("weight", np.full((1, 4), 2**39 - 1), (Format(40, 0),))
    target = Quantization(Format(8, 0))
    with pytest.raises(
        GraphError, match=f"needs 81 bits for the range {-(2**39) * (2**39 - 1) * 4}"
    ):
        Graph("wide", (Value("x", (4,), Format(40, 0)),),
              (Node("sum", Linear(), ("x", "weight"), target),), ("sum",), (weight,))  # fmt: skip


def one_node(op: Op, source: Format, target: Quantization, *constants: Constant) -> Graph:
    """Graph of one node on a vector of two."""
    names = ("x", *(constant.name for constant in constants))
    return Graph(
        "g", (Value("x", (2,), source),), (Node("y", op, names, target),), ("y",), constants
    )


@pytest.mark.parametrize("width", [53, 54, 63])
@pytest.mark.parametrize("frac", [0, 50])
def test_torch_runs_or_refuses_wide_results(width: int, frac: int) -> None:
    """A result that float64 cannot hold must not be silently another one."""
    for rounding, overflow in MODES:
        target = Quantization(Format(width, frac), rounding, overflow)
        graph = one_node(Requantize(), Format(20, 0), target)
        batch = [[np.array([-1, 12345])], [np.array([-(2**19), 2**19 - 1])]]
        check_torch(graph, run_oracle(graph, batch), batch)
        assert torch_refuses(graph) == (width > 53)


@pytest.mark.parametrize("frac", [-960, -901, -900, 0, 900, 901, 960])
def test_torch_runs_or_refuses_extreme_exponents(frac: int) -> None:
    graph = one_node(
        Requantize(), Format(8, frac), Quantization(Format(8, frac), Rounding.HALF_EVEN)
    )
    batch = [[np.array([-5, 7])], [np.array([127, -128])]]
    if abs(frac) <= 900:
        check_torch(graph, run_oracle(graph, batch), batch)
    else:
        zeros = torch.zeros((1, 2), dtype=torch.float64)
        with pytest.raises(GraphError, match="fraction bits are not exact in float64"):
            torch_forward.run(graph, [zeros])


def test_slope_with_too_many_fraction_bits_is_refused() -> None:
    slope = Constant("slope", np.ones(1, np.int64), (Format(2, 63),))
    with pytest.raises(GraphError, match="0 to 62 fraction bits, got 63"):
        one_node(Prelu(), Format(1, 0), Quantization(Format(8, 0)), slope)


@pytest.mark.parametrize("op", [Add(), Subtract()])
def test_zeros_far_from_the_other_binary_point(op: Op) -> None:
    """A constant of zeros fits however far it is shifted."""
    zeros = Constant("zeros", np.zeros(2, np.int64), (Format(2, 0),))
    graph = one_node(op, Format(8, 100), Quantization(Format(8, 100)), zeros)
    batch = [[np.array([-5, 7])], [np.array([127, -128])]]
    expected = run_oracle(graph, batch)
    check_engine(graph, expected[0], batch[0])
    check_onnx(graph, expected, batch)
    check_torch(graph, expected, batch)


@pytest.mark.parametrize("value", [8, 16, 20])
@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (Prelu(), (2,)),
        (SoftThreshold(), (2,)),
        (Multiply(), (2,)),
        (Add(), (2,)),
        (Linear(), (2, 2)),
    ],
    ids=lambda item: getattr(item, "name", None),
)
def test_constants_of_more_than_32_bits(op: Op, shape: tuple[int, ...], value: int) -> None:
    """Fast kernels, which hold constants in 32 bits, must not take them."""
    raws = np.resize(np.array([-(2**32) - 5, 2**31 + 3]), shape)
    wide = Constant("wide", raws, (Format(34, 0),))
    ends = (1 << (value - 1)) - 1
    batch = [[np.array([-5, 7])], [np.array([ends, -ends - 1])], [np.array([-ends, -3])]]
    for target in (Format(56, 0), Format(16, -(value + 20))):
        graph = one_node(op, Format(value, 0), Quantization(target), wide)
        expected = run_oracle(graph, batch)
        for arrays, result in zip(batch, expected, strict=True):
            check_engine(graph, result, arrays)
        check_onnx(graph, expected, batch)
        check_torch(graph, expected, batch)


def test_a_wide_slope_by_hand() -> None:
    slope = Constant("slope", np.array([-(2**32) - 5, 2**31 + 3]), (Format(34, 0),))
    graph = one_node(Prelu(), Format(8, 0), Quantization(Format(45, 0)), slope)
    (result,) = Engine(graph).run([np.array([-2, -3])]).outputs
    assert result.tolist() == [8589934602, -6442450953]


def test_narrow_range_of_a_wide_operand() -> None:
    """A clamped 40-bit value needs few accumulator bits, but must be compared whole."""
    for op in (Clamp(-3.0, 5.0), Clamp(0.0, 0.0)):
        graph = one_node(op, Format(40, 0), Quantization(Format(5, 0)))
        batch = [[np.array([2**32 + 1, -(2**33) - 2])], [np.array([2**39 - 1, 4])]]
        expected = run_oracle(graph, batch)
        check_engine(graph, expected[0], batch[0])
        check_onnx(graph, expected, batch)
        check_torch(graph, expected, batch)


def test_onnx_refusal_names_the_numbers() -> None:
    example = build(product(32, 31), RandomChoices(np.random.default_rng(1)))
    with pytest.raises(GraphError, match=r"node 'result' \(multiply\): ONNX needs 64-bit.* 63 acc"):
        to_onnx(example.graph)
