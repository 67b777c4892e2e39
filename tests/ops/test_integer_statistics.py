"""Statistics and normalization: integers by hand, the error bound, refusals, threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.engine import Engine
from fxp.executors import oracle
from fxp.formats import Format, Quantization, floor_sqrt
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    GlobalAveragePool,
    GraphError,
    GroupNorm,
    L2Norm,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    StandardDeviation,
    Variance,
)
from fxp.graph.ops.base import Op, Operand
from fxp.graph.strips import in_strips
from fxp.kernels import statistics

H, W = Extent("H"), Extent("W")


def exact(op: Op, values: list, form: Format) -> tuple[list, int]:
    """Accumulator of an image or vector, and its fraction bits."""
    array = np.array(values, np.int64)
    operand = Operand(array.shape, (form,))
    return op.oracle((operand,), array).tolist(), op.accumulator(operand).frac


def test_reductions_by_hand() -> None:
    image = [[[1, 2], [3, 4]], [[-5, 6], [7, -8]]]
    form = Format(8, 2)
    assert exact(ReduceSum(), image, form) == ([[[10]], [[0]]], 2)
    assert exact(ReduceSum(True, False, False), image, form) == ([[[-4, 8], [10, -4]]], 2)
    assert exact(ReduceMax(), image, form) == ([[[1, 6], [7, 4]]], 2)
    assert exact(ReduceMax(False, True, False), image, form) == ([[[3, 4]], [[7, 6]]], 2)
    # 10 times 2**34 / 4, and 0.
    assert exact(ReduceMean(), image, form) == ([[[10 << 32]], [[0]]], 36)
    assert exact(GlobalAveragePool(), image, form) == exact(ReduceMean(), image, form)


def test_normalization_by_hand() -> None:
    # Values 0 and 2 in one channel, no fraction bits: 14 bits have m = 5 and p = 22.
    # The mean is 1, deviations are -32 and 32, v = 2**22 * 1024, the root 2**16, and epsilon 0.
    op = GroupNorm(epsilon=0.0)
    found, frac = exact(op, [[[0, 2]]], Format(14, 0))
    assert (found, frac) == ([[[-32 << 31, 32 << 31]]], 36)
    assert found[0][0][1] * 2.0**-frac == 1.0
    deviation, frac = exact(StandardDeviation(), [[[0, 2]]], Format(14, 0))
    assert (deviation, frac) == ([[[1 << 16]]], 16)
    # v + epsilon: epsilon 3 is 3 * 4**5 * 2**22, so that the root is sqrt(1 + 3) = 2.
    assert exact(StandardDeviation(epsilon=3.0), [[[0, 2]]], Format(14, 0))[0] == [[[2 << 16]]]
    # Over n - 1: the variance is 2.
    variance, frac = exact(Variance(correction=1), [[[0, 2]]], Format(14, 0))
    assert variance[0][0][0] * 2.0**-frac == 2.0


def test_norm_by_hand() -> None:
    length, frac = exact(L2Norm(), [3, 4], Format(8, 0))
    assert length[0] * 2.0**-frac == 5.0
    found, frac = exact(GroupNorm(1, "pixel", "norm", 0.0), [3, -4], Format(8, 0))
    np.testing.assert_allclose(np.array(found) * 2.0**-frac, [0.6, -0.8], rtol=2**-17)
    # A lower bound of 10 takes the place of 5.
    found, frac = exact(GroupNorm(1, "pixel", "norm", 10.0), [3, -4], Format(8, 0))
    np.testing.assert_allclose(np.array(found) * 2.0**-frac, [0.3, -0.4], rtol=2**-17)


@pytest.mark.parametrize("value", [-8192, -1, 0, 1, 8191])
@pytest.mark.parametrize("epsilon", [0.0, 1e-12, 1e-5])
@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 3, 5)])
def test_constant_images_become_zero(value: int, epsilon: float, shape: tuple) -> None:
    image = np.full(shape, value).tolist()
    form = Format(14, 10)
    assert not np.any(exact(GroupNorm(2, epsilon=epsilon), image, form)[0])
    assert not np.any(exact(GroupNorm(1, "pixel", epsilon=epsilon), image, form)[0])
    assert not np.any(exact(StandardDeviation(2), image, form)[0])


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(2, 16),
    frac=st.integers(-4, 20),
    spread=st.integers(0, 16),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    scope=st.sampled_from(("image", "pixel")),
    epsilon=st.sampled_from((0.0, 1e-6, 1e-5, 0.1)),
    seed=st.integers(0, 1 << 32),
)
def test_the_error_bound(width, frac, spread, shape, scope, epsilon, seed) -> None:
    """Against real arithmetic in float64, from images of one step to extreme ones."""
    form, draw = Format(width, frac), np.random.default_rng(seed)
    center = draw.integers(form.min_raw, form.max_raw, endpoint=True)
    most = min(1 << spread, form.max_raw)
    raws = np.clip(center + draw.integers(-most, most, shape, endpoint=True), form.min_raw,
                   form.max_raw)  # fmt: skip
    operand, op = Operand(shape, (form,)), GroupNorm(1, scope, epsilon=epsilon)
    bits = op.precision(operand)
    accumulator = op.accumulator(operand)
    found = op.oracle((operand,), raws) * 2.0**-accumulator.frac
    axes = (0, 1, 2) if scope == "image" else (0,)
    deviations = raws - raws.mean(axis=axes, keepdims=True)
    # In steps of the operand; epsilon as it is rounded.
    rounded = bits.epsilon * 2.0 ** -(2 * bits.mean + bits.variance)
    variance = (deviations**2).mean(axis=axes, keepdims=True) + rounded
    steps = np.sqrt(variance)
    # The rounded mean adds up to a quarter of its step squared to the variance.
    mean_share = 2.0 ** -(2 * bits.mean + 3) / np.maximum(variance, 1e-300)
    steps = np.where(steps == 0, np.inf, steps)
    wanted = deviations / steps
    share = 2.0**-17 + 2.0 ** -(bits.mean + bits.variance // 2 - 1) / steps + mean_share
    bound = 2.0 ** -(bits.mean + 1) / steps * (1 + share) + np.abs(wanted) * share
    assert (np.abs(found - wanted) <= bound + 1e-12).all()


@settings(max_examples=300)
@given(root=st.integers(0, 2**31 - 2), offset=st.integers(-2, 2))
def test_integer_roots_are_exact(root: int, offset: int) -> None:
    value = max(root * root + offset, 0)
    assert floor_sqrt(np.array([value])).tolist() == [math.isqrt(value)]
    assert statistics.floor_sqrt(value) == math.isqrt(value)


def test_the_largest_number_has_a_root() -> None:
    assert floor_sqrt(np.array([2**62 - 1])).tolist() == [2**31 - 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReduceSum(False, False, False), "reduces no axis"),
        (lambda: ReduceSum().shape((4,)), "has no rows and columns"),
        (lambda: ReduceSum().shape((1, 2**14, 2**14)), "at most 67108864 are supported"),
        (lambda: GroupNorm().shape((2, 2**13, 2**13)), "at most 67108864 are supported"),
        (lambda: GroupNorm(4).shape((6, 8, 8)), "6 channels do not form 4 groups"),
        (lambda: GroupNorm().shape((6,)), "not an image; scope must be pixel"),
        (lambda: GroupNorm(0), "groups must be at least 1"),
        (lambda: GroupNorm(1, "row"), "scope must be image or pixel"),
        (lambda: GroupNorm(divisor="mean"), "divisor must be deviation"),
        (lambda: GroupNorm(epsilon=-1.0), "epsilon must be finite and from 0 on"),
        (lambda: Variance(correction=2), "correction must be 0 or 1"),
        (
            lambda: GroupNorm().accumulator(Operand((3, H, W), (Format(20, 0),))),
            "values of 20 bits, summed over up to 67108864 values, need more than 62 bits",
        ),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        make()


def test_accumulators_of_the_default_widths_are_exact_in_float64() -> None:
    for width in (8, 14, 16):
        for op in (GroupNorm(4), GroupNorm(4, epsilon=0.0), Variance(4), StandardDeviation(4)):
            assert op.accumulator(Operand((4, H, W), (Format(width, 10),))).bits <= 52


@pytest.mark.parametrize(
    "op", [GroupNorm(4), ReduceSum(), ReduceMax(False, True, False), GlobalAveragePool()]
)
def test_threads_share_a_large_image(op: Op) -> None:
    """The whole image is summarized by parts, once, however many bands there are."""
    node = Node("y", op, ("x",), Quantization(Format(24, 8)))
    graph = Graph("g", (Value("x", (8, H, W), Format(14, 10)),), (node,), ("y",))
    image = np.random.default_rng(2).integers(-(2**13), 2**13, (8, 301, 203))
    wanted = oracle.run(graph, [image]).outputs[0]
    for threads in (1, 2, 5):
        assert np.array_equal(Engine(graph).run([image], threads=threads).outputs[0], wanted)


def test_an_image_is_not_normalized_by_strips() -> None:
    """Strips of a large image have other statistics than the whole."""
    node = Node("y", GroupNorm(), ("x",), Quantization(Format(14, 8)))
    graph = Graph("g", (Value("x", (1, H, W), Format(8, 0)),), (node,), ("y",))
    image = np.arange(-120, 120).reshape(1, 40, 6)
    calls = []

    def run(part: np.ndarray) -> np.ndarray:
        calls.append(part.shape)
        return oracle.run(graph, [part]).outputs[0]

    found = in_strips(graph, image, run, strip_pixels=60, min_rows=1)
    assert calls == [(1, 40, 6)]
    assert np.array_equal(found, oracle.run(graph, [image]).outputs[0])
