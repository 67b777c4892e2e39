"""Transposed convolution: torch's definition, its phases, its proved range, its refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import CASES, Case, RandomChoices, build
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.formats import Format, IntArray
from fxp.graph.ops import ConvTranspose2d, GraphError
from fxp.graph.ops.base import Operand
from fxp.graph.ops.transposed import exchange_channels, phases

TRANSPOSED = [case for case in CASES if isinstance(case.op, ConvTranspose2d)]


def torch_result(
    op: ConvTranspose2d, image: IntArray, weight: IntArray, bias: IntArray | None = None
) -> IntArray:
    """Integers by PyTorch's int64 kernel."""
    tensor = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(image)[None],
        torch.from_numpy(exchange_channels(weight, op.groups).copy()),
        None if bias is None else torch.from_numpy(bias),
        op.stride,
        op.padding,
        op.output_padding,
        op.groups,
        op.dilation,
    )
    return tensor[0].numpy()


@st.composite
def geometries(draw: st.DrawFn) -> tuple[ConvTranspose2d, tuple[int, ...], tuple[int, int]]:
    """An op, the shape of its weight, and an image size that gives a result."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    stride, dilation, kernel, size = pair(1, 5), pair(1, 4), pair(1, 5), pair(1, 5)
    output_padding = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    padding = tuple(
        draw(st.integers(0, (s * (n - 1) + d * (k - 1) + more) // 2))
        for s, d, k, n, more in zip(stride, dilation, kernel, size, output_padding, strict=True)
    )
    groups = draw(st.integers(1, 3))
    op = ConvTranspose2d(stride, padding, output_padding, dilation, groups)  # type: ignore[arg-type]
    outputs, inputs = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return op, (groups * outputs, inputs, *kernel), size


@settings(max_examples=300)
@given(geometry=geometries(), seed=st.integers(0, 1 << 32))
def test_oracle_equals_the_integer_kernel_of_torch(geometry, seed: int) -> None:
    op, weight_shape, size = geometry
    draw = np.random.default_rng(seed)
    image = draw.integers(-(1 << 13), 1 << 13, (weight_shape[1] * op.groups, *size))
    weight = draw.integers(-(1 << 9), 1 << 9, weight_shape)
    bias = draw.integers(-(1 << 20), 1 << 20, weight_shape[0])
    assert np.array_equal(op.oracle((), image, weight, bias), torch_result(op, image, weight, bias))
    assert np.array_equal(op.oracle((), image, weight), torch_result(op, image, weight))


@settings(max_examples=200)
@given(geometry=geometries(), seed=st.integers(0, 1 << 32))
def test_phases_are_convolutions(geometry, seed: int) -> None:
    """Every output is that of its phase by the plain formula; outputs without a phase are zero."""
    op, weight_shape, size = geometry
    draw = np.random.default_rng(seed)
    image = draw.integers(-100, 100, (weight_shape[1] * op.groups, *size))
    weight = draw.integers(-100, 100, weight_shape)
    expected = op.oracle((), image, weight)
    found = np.zeros_like(expected)
    parts = phases(weight, op.stride, op.padding, op.dilation)
    assert sum(part.weight.size for part in parts) == weight.size
    assert len({(part.row, part.column) for part in parts}) == len(parts)
    for part in parts:
        assert part.weight.flags.c_contiguous
        assert part.weight.size
        for row in range(part.row, expected.shape[1], op.stride[0]):
            for column in range(part.column, expected.shape[2], op.stride[1]):
                for y, x in np.ndindex(part.weight.shape[:2]):
                    source_y = row // op.stride[0] + part.first_row + y * part.row_step
                    source_x = column // op.stride[1] + part.first_column + x * part.column_step
                    if not (0 <= source_y < size[0] and 0 <= source_x < size[1]):
                        continue
                    pixel = image[:, source_y, source_x].reshape(op.groups, -1, 1)
                    taps = part.weight[y, x].reshape(len(weight[0]), op.groups, -1).swapaxes(0, 1)
                    found[:, row, column] += (pixel * taps).sum(axis=1).reshape(-1)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("case", TRANSPOSED, ids=lambda case: case.name)
def test_the_range_is_reached(case: Case) -> None:
    """The best input for every output position reaches the proved range, and none passes it."""
    size = tuple(max(8, smallest) for smallest in case.smallest)
    for seed in range(3):
        example = build(
            case, RandomChoices(np.random.default_rng(seed)), constant_pattern="random",
            size=size,  # type: ignore[arg-type]
        )  # fmt: skip
        op, graph = case.op, example.graph
        operands = graph.operands["result"]
        source, weight = operands[:2]
        assert weight.constant is not None
        low, high = source.format.min_raw, source.format.max_raw
        bias = operands[2].constant if len(operands) > 2 else np.zeros(len(weight.constant), int)
        assert bias is not None
        shape = example.inputs[0][0].shape
        ones = np.ones(shape, np.int64)
        # Sums of positive and of negative weights that each output sees.
        positive = op.oracle((), ones, np.maximum(weight.constant, 0)).reshape(len(bias), -1)
        negative = op.oracle((), ones, np.minimum(weight.constant, 0)).reshape(len(bias), -1)
        highs = (high * positive + low * negative).max(axis=1) + bias
        lows = (low * positive + high * negative).min(axis=1) + bias
        assert lows.tolist() == [*example.accumulator.low]
        assert highs.tolist() == [*example.accumulator.high]


def test_the_range_counts_the_taps_of_one_phase_only() -> None:
    weight = np.ones((1, 3, 3, 3), np.int64)
    operands = (
        Operand((3, 4, 4), (Format(8, 0, signed=False),)),
        Operand(weight.shape, (Format(2, 0),), weight),
    )
    for stride, taps in ((1, 9), (2, 4), (3, 1)):
        accumulator = ConvTranspose2d((stride, stride)).accumulator(*operands)
        assert accumulator.high == (255 * 3 * taps,)
    assert ConvTranspose2d((2, 2), dilation=(2, 2)).accumulator(*operands).high == (255 * 3 * 9,)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_exchanging_channels_twice_changes_nothing(groups: int) -> None:
    weight = np.arange(6 * 4 * 2).reshape(6, 4, 2, 1)
    exchanged = exchange_channels(weight, groups)
    assert exchanged.shape == (4 * groups, 6 // groups, 2, 1)
    assert np.array_equal(exchange_channels(exchanged, groups), weight)
    tensor = exchange_channels(torch.from_numpy(weight), groups)
    assert np.array_equal(tensor.numpy(), exchanged)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"stride": (0, 1)}, "stride must be two integers from 1 on"),
        ({"stride": (1 << 20, 1)}, "below 1048576"),
        ({"stride": (1, 1, 1)}, "stride must be two integers"),
        ({"dilation": (1, 0)}, "dilation must be two integers from 1 on"),
        ({"padding": (-1, 0)}, "padding must be two integers from 0 on"),
        ({"output_padding": (0, -1)}, "output_padding must be two integers from 0 on"),
        ({"output_padding": (0, 1)}, "must be smaller than stride or dilation"),
        ({"output_padding": (2, 2), "stride": (2, 3)}, "must be smaller than stride or dilation"),
        ({"groups": 0}, "groups must be at least 1"),
    ],
)
def test_attributes_are_refused(attributes: dict, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ConvTranspose2d(**attributes)


@pytest.mark.parametrize(
    ("shapes", "groups", "message"),
    [
        (((3,), (2, 3, 1, 1)), 1, r"needs an image \(C, H, W\)"),
        (((3, 4, 4), (2, 3, 1)), 1, "four axes"),
        (((3, 4, 4), (2, 4, 1, 1)), 1, "takes 4 channels, the image has 3"),
        (((4, 4, 4), (3, 2, 1, 1)), 2, "2 groups do not divide 3"),
        (((3, 4, 4), (2, 3, 1, 1), (3,)), 1, r"bias must have shape \(2,\)"),
    ],
)
def test_shapes_are_refused(shapes: tuple, groups: int, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ConvTranspose2d(groups=groups).shape(*shapes)


def test_a_large_stride_costs_nothing() -> None:
    """Only phases with taps exist, however large the stride."""
    weight = np.ones((1, 1, 2, 2), np.int64)
    stride = (1 << 19, 1 << 19)
    assert len(phases(weight, stride, (0, 0), (1, 1))) == 4
    assert math.prod(stride) > 1 << 30
