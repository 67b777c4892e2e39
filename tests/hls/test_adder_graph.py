"""Adder graphs: exact for every matrix, as deep and as wide as they say."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import Problem, block_diagonal, normal_matrix, problems, vectors

from fxp.hls.rtl.adder_graph import AdderGraph, adder_graph, range_bits
from fxp.hls.rtl.adder_graph_search import signed_digits


def longest_row(matrix: np.ndarray) -> int:
    return max(sum(len(list(signed_digits(int(w)))) for w in row) for row in matrix)


@given(st.integers(-(1 << 40), 1 << 40))
def test_signed_digits(number: int):
    digits = list(signed_digits(number))
    assert sum(sign << shift for shift, sign in digits) == number
    shifts = [shift for shift, _ in digits]
    assert all(after - before > 1 for before, after in pairwise(shifts))
    assert {sign for _, sign in digits} <= {-1, 1}


@settings(max_examples=300)
@given(problems(), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_every_graph_is_exact(problem: Problem, extra: int, levels: int, register_shared: bool):
    matrix, ranges, bias = problem
    graph = adder_graph(matrix, ranges, bias, extra_depth=extra, levels_per_register=levels,
                        register_shared=register_shared)  # fmt: skip
    inputs = vectors(ranges, 50)
    assert np.array_equal(graph.evaluate(inputs), matrix @ inputs + bias[:, None])
    check_structure(graph)
    if register_shared:
        assert max(_readers_before_registers(graph).values(), default=1) == 1


def _readers_before_registers(graph: AdderGraph) -> dict[int, int]:
    """Count all readers of every sum that one reads before its register."""
    outputs = [output.value for output in graph.outputs]
    return {
        operand: sum(operand in (adder.left, adder.right) for adder in graph.adders)
        + outputs.count(operand)
        for adder in graph.adders
        for operand in (adder.left, adder.right)
        if graph.times[operand] == adder.time
    }


def check_structure(graph: AdderGraph) -> None:
    """Check depths, times, and that delays and widths follow from the adders."""
    sources = len(graph.inputs) + len(graph.constants)
    depths, chains = [0] * sources, [0] * sources
    for number, adder in enumerate(graph.adders, sources):
        assert max(adder.left, adder.right) < number
        depths.append(1 + max(depths[adder.left], depths[adder.right]))
        assert adder.depth == depths[number] <= adder.time * graph.levels_per_register
        assert adder.time <= graph.latency
        before = 0
        for operand in (adder.left, adder.right):
            assert graph.times[operand] <= adder.time
            if graph.times[operand] == adder.time:  # read before its register
                assert graph.chained[operand] > 0
                before = max(before, chains[operand])
        chains.append(before + 1)
        assert chains[number] <= graph.levels_per_register
        bits = range_bits(adder.low, adder.high, signed=adder.low < 0)
        assert graph.stages[number] == tuple(sorted(graph.stages[number], reverse=True))
        assert max(graph.stages[number], default=0) <= bits
    assert graph.depth == max(depths)


@settings(max_examples=100)
@given(problems())
def test_ranges_are_reached(problem: Problem):
    matrix, ranges, bias = problem
    graph = adder_graph(matrix, ranges, bias)
    low, high = np.array(ranges).T
    for row, added, bounds in zip(matrix, bias, graph.output_ranges, strict=True):
        worst = (np.where(row < 0, high, low), np.where(row < 0, low, high))
        assert bounds == tuple(row @ corner + added for corner in worst)


@pytest.mark.parametrize(
    ("weights", "adders"),
    [
        ([[1]], 0),
        ([[64]], 0),
        ([[0]], 0),
        ([[-1]], 1),
        ([[3]], 1),
        ([[7]], 1),
        ([[5, 3]], 3),
        ([[-5, -3]], 3),
        ([[-5, -1]], 3),
        ([[3], [6], [12]], 1),
        ([[5], [-5]], 2),
        ([[45]], 2),  # 5 * 9
        ([[1, 1], [1, -1]], 2),
        ([[1, 1, 1], [1, 1, -1]], 3),
        ([[7, 7, 1], [14, 14, 5]], 5),
    ],
)
def test_adders_of_small_matrices(weights: list[list[int]], adders: int):
    graph = adder_graph(weights, (-128, 127))
    assert graph.counts.adders == adders


@pytest.mark.parametrize(
    ("outputs", "inputs", "most", "seconds"),
    [(32, 9, 430, 5), (16, 32, 790, 10), (32, 16, 760, 10), (4, 144, 850, 60), (32, 32, 1480, 20)],
)
def test_adders_of_large_matrices(outputs: int, inputs: int, most: int, seconds: float):
    matrix = normal_matrix(outputs, inputs)
    start = time.process_time()
    graph = adder_graph(matrix, (-8192, 8191), levels_per_register=1)
    assert time.process_time() - start < seconds
    assert graph.counts.adders <= most
    assert graph == adder_graph(matrix, (-8192, 8191), levels_per_register=1)
    fewest = adder_graph(matrix, (-8192, 8191), extra_depth=0, levels_per_register=1)
    assert fewest.latency == (longest_row(matrix) - 1).bit_length() <= graph.latency
    for result in (graph, fewest):
        check_structure(result)
        data = vectors([(-8192, 8191)] * inputs, 200)
        assert np.array_equal(result.evaluate(data), matrix @ data)


def test_blocks_of_a_depthwise_layer_share_nothing():
    kernels = [normal_matrix(1, 5) + shift for shift in (0, 3, -8)]
    graph = adder_graph(block_diagonal(kernels), (0, 255))
    alone = [adder_graph(kernel, (0, 255)).counts.adders for kernel in kernels]
    assert graph.counts.adders == sum(alone)


def test_delays_move_to_where_fewer_bits_wait():
    # The sum of eight inputs is deep; a ninth of one bit waits as it is, not as a sum.
    matrix, ranges = [[1] * 8 + [0, 0], [0] * 8 + [1, 1]], [(0, 255)] * 8 + [(0, 1)] * 2
    graph = adder_graph(matrix, ranges, levels_per_register=1)
    assert graph.latency == 3
    pair = next(adder for adder in graph.adders if adder.high == 2)
    assert pair.time in (1, 2, 3)
    waiting = 2 * 3  # two bits, of the operands or of their sum, in each of three clocks
    assert graph.counts.registers == 4 * 9 + 2 * 10 + 11 + waiting


def test_a_register_every_second_level_holds_half_of_the_sums():
    matrix, ranges = [[1] * 8 + [0, 0], [0] * 8 + [1, 1]], [(0, 255)] * 8 + [(0, 1)] * 2
    graph = adder_graph(matrix, ranges, levels_per_register=2)
    # Three levels of adders: 4 sums of 9 bits, 2 of 10 in one clock, 1 of 11 in the next.
    assert graph.latency == 2
    first, second = (sorted(a.high for a in graph.adders if a.time == time) for time in (1, 2))
    assert first[-2:] == [1020, 1020]
    assert 2040 in second
    # Kept are both sums of four, their sum, and for two clocks the sum of two bits, or the bits.
    assert graph.counts.registers == 2 * 10 + 11 + 2 * 2
    once = adder_graph(matrix, ranges, levels_per_register=1)
    assert [(a.low, a.high) for a in once.adders] == [(a.low, a.high) for a in graph.adders]
    with pytest.raises(ValueError, match="levels_per_register must be at least 1, got 0"):
        adder_graph(matrix, ranges, levels_per_register=0)


def test_shared_sums_are_read_from_registers_on_demand():
    # x0 + x1 is in both outputs.
    matrix, ranges = [[1, 1, 1, 0], [1, 1, 0, 1]], [(0, 255)] * 4
    graph = adder_graph(matrix, ranges, levels_per_register=2)
    assert (graph.latency, graph.counts.registers) == (1, 2 * 10)
    assert _readers_before_registers(graph) == {5: 2}
    graph = adder_graph(matrix, ranges, levels_per_register=2, register_shared=True)
    # Kept are the sum of 9 bits, the other two inputs, and the outputs.
    assert (graph.latency, graph.counts.registers) == (2, 9 + 2 * 8 + 2 * 10)
    assert _readers_before_registers(graph) == {}


def test_zeros_at_the_end_of_a_bias_need_no_adder_bits():
    # 2048 and an input of eight bits have no bit in common.
    graph = adder_graph([[1]], (0, 255), [2048])
    assert graph.counts.adders == 1
    assert graph.counts.luts == 1
    assert graph.evaluate([[0, 200]]).tolist() == [[2048, 2248]]


@pytest.mark.parametrize(
    ("matrix", "inputs", "bias", "message"),
    [
        ([[1 << 23]], (0, 1), None, "24 bits"),
        ([[0.5]], (0, 1), None, "integers"),
        ([1, 2], (0, 1), None, "matrix of integers"),
        (np.zeros((0, 3), int), (0, 1), None, "matrix of integers"),
        ([[1, 2]], [(0, 1)] * 3, None, "2 inputs"),
        ([[1]], (1, 0), None, "range"),
        ([[1]], (0, 1), [1, 2], "bias"),
        ([[1]], (0, 1), [0.5], "bias"),
        ([[1 << 16]], (0, 1 << 60), None, "62 bits"),
    ],
)
def test_refusals(matrix, inputs, bias, message: str):
    with pytest.raises(ValueError, match=message):
        adder_graph(matrix, inputs, bias)


def test_inputs_out_of_range_are_refused():
    graph = adder_graph([[3, 4]], (0, 7))
    with pytest.raises(ValueError, match="input 1 must be within 0 to 7"):
        graph.evaluate([[1], [8]])
    with pytest.raises(ValueError, match="2 inputs"):
        graph.evaluate([1])
