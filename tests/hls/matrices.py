"""Constant matrices, and inputs for them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fxp.hls.rtl.adder_graph import Interval

Problem = tuple[np.ndarray, list[Interval], np.ndarray]
"""A matrix, the ranges of its inputs, and a bias."""

RANGES = ((-128, 127), (0, 255), (-7, 7), (0, 1), (-9, -3), (5, 5))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A matrix with weights of any width, input ranges, and a bias."""
    outputs = draw(st.integers(1, 6))
    inputs = draw(st.integers(1, 6))
    limit = 1 << draw(st.integers(0, 23))
    weights = st.one_of(st.just(0), st.integers(-limit, limit - 1))
    rows = st.lists(weights, min_size=inputs, max_size=inputs)
    matrix = draw(st.lists(rows, min_size=outputs, max_size=outputs))
    ranges = draw(st.lists(st.sampled_from(RANGES), min_size=inputs, max_size=inputs))
    bias = draw(st.lists(st.sampled_from((0, 0, 1, -37, 1 << 20)),
                         min_size=outputs, max_size=outputs))  # fmt: skip
    return np.array(matrix), ranges, np.array(bias)


def vectors(ranges: list[Interval], count: int, seed: int = 0) -> np.ndarray:
    """Random inputs, with the ends of the ranges among them."""
    generator = np.random.default_rng(seed)
    low, high = np.array(ranges).T
    inside = generator.integers(low[:, None], high[:, None] + 1, (len(ranges), count))
    ends = np.where(generator.random((len(ranges), count)) < 0.5, low[:, None], high[:, None])
    return np.concatenate([inside, ends], axis=1)


def normal_matrix(outputs: int, inputs: int) -> np.ndarray:
    """Weights of 10 bits, normally distributed."""
    generator = np.random.default_rng(1)
    return np.clip(generator.normal(0, 130, (outputs, inputs)).round(), -512, 511).astype(int)


def block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    rows, columns = np.sum([block.shape for block in blocks], axis=0)
    matrix = np.zeros((rows, columns), int)
    row = column = 0
    for block in blocks:
        matrix[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return matrix
