"""The proved range of an accumulator is reached, and a narrower one is found out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, Case, RandomChoices, build, constant, image, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.executors import oracle
from fxp.formats import IntArray
from fxp.graph import Graph
from fxp.graph.ops import Accumulator, AveragePool, Conv2d, GraphError, Interpolate, Linear, Op

BY_NAME = {case.name: case for case in CASES}


def exact_result(graph: Graph, inputs: list[IntArray]) -> IntArray:
    """The exact accumulators of the only node."""
    operands = graph.operands["result"]
    values = iter(inputs)
    arrays = [next(values) if op.constant is None else op.constant for op in operands]
    return graph.nodes[0].op.oracle(operands, *arrays)


def weighted_sum_case(kind: str, kernel: tuple[int, int], groups: int, bias: bool) -> Case:
    """A linear op, or a convolution whose kernel covers the image."""
    per_channel = len(kernel) % 2 == 0
    if kind == "linear":
        operands = [vector(5), constant("weight", 3, 5, per_channel=per_channel)]
        op: Op = Linear()
    else:
        operands = [
            image(2 * groups, *kernel),
            constant("weight", 3 * groups, 2, *kernel, per_channel=per_channel),
        ]
        op = Conv2d(groups=groups)
    if bias:
        operands.append(constant("bias", operands[1].shape[0], widths=(2, 30)))  # type: ignore[arg-type]
    return Case("weighted_sum", op, tuple(operands))


@settings(max_examples=80)
@given(
    kind=st.sampled_from(("conv2d", "linear")),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 2),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_weighted_sums_reach_both_ends(
    kind: str, kernel: tuple[int, int], groups: int, bias: bool, seed: int
) -> None:
    """Largest inputs where the weight is positive and smallest elsewhere, and the reverse."""
    case = weighted_sum_case(kind, kernel, groups, bias)
    example = build(case, RandomChoices(np.random.default_rng(seed)), constant_pattern="random")
    graph, accumulator = example.graph, example.accumulator
    source, weight = graph.operands["result"][:2]
    assert weight.constant is not None
    low, high = source.format.min_raw, source.format.max_raw
    channels = weight.channels
    group_out = channels // (groups if kind == "conv2d" else 1)
    for channel in range(channels):
        taps = weight.constant[channel]
        for ends, expected in (((low, high), accumulator.high), ((high, low), accumulator.low)):
            part = np.where(taps > 0, ends[1], ends[0])
            data = np.zeros(source.shape, np.int64)  # type: ignore[call-overload]
            first = channel // group_out * len(part)
            data[first : first + len(part)] = part
            assert exact_result(graph, [data]).reshape(channels, -1)[channel] == expected[channel]
    width = accumulator.bits
    lows, highs = min(accumulator.low), max(accumulator.high)
    assert -(2 ** (width - 1)) <= lows
    assert highs < 2 ** (width - 1)
    assert width == 1 or lows < -(2 ** (width - 2)) or highs >= 2 ** (width - 2)


REACHED = [
    case.name
    for case in CASES
    if case.op.name in ("add", "subtract", "concat", "relu", "clamp", "requantize", "slice",
                        "flatten", "pixel_shuffle", "pixel_unshuffle", "nearest", "max_pool",
                        "global_max_pool", "bilinear_upsample", "prelu", "multiply", "pad",
                        "soft_threshold", "sum_pool", "dilated_max_pool", "adaptive_max_pool",
                        "constant_pad")
    or (isinstance(case.op, Interpolate) and case.op.mode != "bicubic")
    or (isinstance(case.op, AveragePool) and case.op.count_padding)
]  # fmt: skip


@pytest.mark.parametrize("name", REACHED)
def test_other_ops_reach_both_ends(name: str) -> None:
    """All corners of the operands' ranges together reach the proved range."""
    case = BY_NAME[name]
    for seed in range(4):
        example = build(case, RandomChoices(np.random.default_rng(seed)), size=(6, 6))
        lows, highs = [], []
        count = len(example.graph.inputs)
        for corner in range(3**count):
            inputs = []
            for position, (value, array) in enumerate(
                zip(example.graph.inputs, example.inputs[0], strict=True)
            ):
                assert value.format is not None
                levels = (value.format.min_raw, value.format.max_raw, 0)
                inputs.append(np.full_like(array, levels[corner // 3**position % 3]))
            exact = exact_result(example.graph, inputs)
            per_channel = exact.reshape(len(exact), -1)
            lows.append(per_channel.min(axis=1))
            highs.append(per_channel.max(axis=1))
        accumulator = example.accumulator
        if accumulator.low == accumulator.low[:1] * len(accumulator.low) and case.op.name in (
            "add", "subtract", "multiply",
        ):  # fmt: skip
            # One interval for all channels, though constants may differ from channel to channel.
            assert np.min(lows) == min(accumulator.low)
            assert np.max(highs) == max(accumulator.high)
        else:
            assert np.min(lows, axis=0).tolist() == [*accumulator.low]
            assert np.max(highs, axis=0).tolist() == [*accumulator.high]


@pytest.mark.parametrize("name", ["bicubic_upsample", "bicubic_upsample_interpolate"])
def test_bicubic_reaches_both_ends(name: str) -> None:
    example = build(BY_NAME[name], RandomChoices(np.random.default_rng(3)), size=(8, 8))
    source = example.graph.operands["result"][0]
    reached = {"low": 0, "high": 0}
    # The phase (1, 1) at pixel (3, 3) reads pixels 2 to 5; its outer taps are negative.
    signs = np.outer((-1, 1, 1, -1), (-1, 1, 1, -1))
    for end in reached:
        ends = (source.format.min_raw, source.format.max_raw)[:: 1 if end == "high" else -1]
        data = np.zeros(example.inputs[0][0].shape, np.int64)
        data[:, 2:6, 2:6] = np.where(signs > 0, ends[1], ends[0])
        exact = exact_result(example.graph, [data])
        assert exact[0, 7, 7] == getattr(example.accumulator, end)[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_narrower_range_is_found_out(case: Case) -> None:
    """An oracle that is given a range without the exact result must raise."""
    example = build(
        case, RandomChoices(np.random.default_rng(0)), pattern="random", constant_pattern="random",
        size=tuple(max(6, size) for size in case.smallest),  # type: ignore[arg-type]
    )  # fmt: skip
    graph, inputs = example.graph, [*example.inputs[0]]
    exact = exact_result(graph, inputs)
    channels = len(exact)
    extremes = exact.reshape(channels, -1)
    lows, highs = extremes.min(axis=1), extremes.max(axis=1)
    fracs = example.accumulator.fracs
    tight = Accumulator(tuple(lows.tolist()), tuple(highs.tolist()), fracs)
    oracle.run(tampered(graph, tight), inputs)
    for channel in range(channels):
        one = np.arange(channels) == channel
        for accumulator in (
            Accumulator(tuple((lows + one).tolist()), tuple(highs.tolist()), fracs),
            Accumulator(tuple(lows.tolist()), tuple((highs - one).tolist()), fracs),
        ):
            with pytest.raises(GraphError, match="'result': the exact result leaves its proved"):
                oracle.run(tampered(graph, accumulator), inputs)


def tampered(graph: Graph, accumulator: Accumulator) -> Graph:
    """A copy whose node has another range than the proved one."""
    copy = replace(graph)
    object.__setattr__(copy, "nodes", (replace(copy.nodes[0], accumulator=accumulator),))
    return copy
