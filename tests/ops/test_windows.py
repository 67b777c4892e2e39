"""Kernels read only what `Op.reach` names, and compute any region of their result."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from cases import CASES, WIDE_CASES, Case, Example, RandomChoices, assert_same, build

from fxp.formats import IntArray
from fxp.graph.ops import Op
from fxp.graph.ops.padding import TapPositions
from fxp.graph.ops.windows import Window

Range = tuple[int, int]
ALL_CASES = (*CASES, *(case for cases in WIDE_CASES.values() for case in cases))


def rows_columns_channels(array: IntArray) -> IntArray:
    """Layout of the kernels."""
    return array.reshape(1, 1, -1) if array.ndim == 1 else array.transpose(1, 2, 0)


def regions(height: int, width: int, generator: np.random.Generator) -> Iterator[list[Range]]:
    """Everything, borders, a single row, column and pixel, and some rectangles."""
    whole = [(0, height), (0, width)]
    row, column = int(generator.integers(height)), int(generator.integers(width))
    yield whole
    yield [(0, 1), whole[1]]
    yield [(height - 1, height), whole[1]]
    yield [whole[0], (0, 1)]
    yield [whole[0], (width - 1, width)]
    yield [(row, row + 1), whole[1]]
    yield [whole[0], (column, column + 1)]
    yield [(row, row + 1), (column, column + 1)]
    for _ in range(4):
        ends = [sorted(generator.integers(0, size, 2).tolist()) for size in (height, width)]
        yield [(first, last + 1) for first, last in ends]


def window(
    image: IntArray,
    dtype: np.dtype,
    reach: list[Range],
    margin: int,
    generator: np.random.Generator,
) -> Window:
    """Window over the reach and a margin, with zeros outside the image and garbage in the margin.

    Garbage also precedes and follows the array in memory.
    """
    rows, columns = ((first - margin, last + margin) for first, last in reach)
    shape = (rows[1] - rows[0], columns[1] - columns[0], image.shape[2])
    limits = np.iinfo(dtype)
    memory = generator.integers(limits.min, limits.max, (shape[0] + 4, *shape[1:]), dtype, True)
    array = memory[2:-2]
    inner = array[margin : shape[0] - margin, margin : shape[1] - margin]
    inner[:] = 0
    part = [
        (max(first, 0), min(last, size))
        for (first, last), size in zip(reach, image.shape, strict=False)
    ]
    if all(last > first for first, last in part):
        here = [slice(*ends) for ends in part]
        there = [
            slice(first - start, last - start)
            for (first, last), (start, _) in zip(part, reach, strict=True)
        ]
        inner[tuple(there)] = image[tuple(here)]
    assert array.flags.c_contiguous
    return Window(array, rows[0], columns[0], *image.shape[:2])


def windows(
    example: Example, op: Op, region: list[Range], margin: int, generator: np.random.Generator
) -> list[Window]:
    """Windows over what the op says that a region reads."""
    operands = example.graph.operands["result"]
    result = []
    for position, (array, operand) in enumerate(zip(arrays(example), operands, strict=True)):
        if position in op.constant_roles:
            continue
        image = rows_columns_channels(array)
        reach = [
            op.reach(operands, axis, position, *ends, image.shape[axis])
            for axis, ends in enumerate(region)
        ]
        assert all(last > first for first, last in reach)
        result.append(window(image, operand.format.dtype, reach, margin, generator))
    return result


def arrays(example: Example) -> list[IntArray]:
    """Inputs and constants in the order of the operands."""
    values = iter(example.inputs[0])
    return [
        next(values) if operand.constant is None else operand.constant
        for operand in example.graph.operands["result"]
    ]


def check(example: Example, op: Op, margins: tuple[int, ...] = (0, 2)) -> None:
    """Compare every region with the oracle."""
    generator = np.random.default_rng(5)
    operands = example.graph.operands["result"]
    expected = rows_columns_channels(op.oracle(operands, *arrays(example)))
    narrow = example.accumulator.bits <= 32 and all(
        form.dtype.itemsize <= 4 for operand in operands for form in operand.formats
    )
    height, width, _ = expected.shape
    for dtype in (np.int32, np.int64) if narrow else (np.int64,):
        kernel = op.kernel(operands, np.dtype(dtype))
        for region in regions(height, width, generator):
            for margin in margins:
                want = expected[tuple(slice(first, last) for first, last in region)]
                got = generator.integers(-(2**31), 2**31, want.shape).astype(dtype)
                inputs = windows(example, op, region, margin, generator)
                kernel(got, region[0][0], region[1][0], inputs)
                name = f"{example.graph.name} at {region}, {np.dtype(dtype)}, margin {margin}"
                assert_same("kernel", name, want, got)


def random_example(case: Case, seed: int, size: tuple[int, int] | None = None) -> Example:
    """Random data and constants."""
    choices = RandomChoices(np.random.default_rng(zlib.crc32(case.name.encode()) + seed))
    return build(case, choices, pattern="random", constant_pattern="random", size=size)


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_any_region_from_its_reach(case: Case) -> None:
    large = 12 // case.multiple * case.multiple
    for seed, size in enumerate((case.smallest, None, (large, large))):
        example = random_example(case, seed, size)
        check(example, example.node.op)


def test_only_ops_that_read_zeros_leave_the_image() -> None:
    leaving = set()
    for case in ALL_CASES:
        example = random_example(case, 0, case.smallest)
        op, image = example.node.op, rows_columns_channels(example.inputs[0][0])
        operands = example.graph.operands["result"]
        result = rows_columns_channels(op.oracle(operands, *arrays(example)))
        position = next(i for i, operand in enumerate(operands) if operand.constant is None)
        for axis in (0, 1):
            size = image.shape[axis]
            first, last = op.reach(operands, axis, position, 0, result.shape[axis], size)
            if first < 0 or last > size:
                leaving.add(op.name)
    assert leaving == {"conv2d", "conv_transpose2d", "pad", "average_pool", "sum_pool"}


REACHING = [
    case
    for case in CASES
    if case.name in ("conv2d_3x3_zero", "conv2d_3x3_reflect", "conv2d_3x3_dilation_3_stride_2",
                     "bilinear_upsample", "bicubic_upsample", "max_pool", "max_pool_3x3_padded",
                     "average_pool_3x3_counted", "pixel_shuffle", "nearest", "slice_rows",
                     "pixel_unshuffle", "add", "pad_reflect", "concat_two",
                     "conv_transpose2d_3x3_stride_2", "conv_transpose2d_9x9_stride_2")
]  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("case", REACHING, ids=lambda case: case.name)
def test_reach_too_small_by_one_is_noticed(
    case: Case, end: int, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = random_example(case, 0, (12, 12))
    op = example.node.op
    right = type(op).reach

    def wrong(self: Op, operands, at: int, position: int, first: int, last: int, size: int):
        ends = list(right(self, operands, at, position, first, last, size))
        # A reach of one would become empty; it has no pixel to spare in any case.
        if at == axis and ends[1] - ends[0] > 1:
            ends[end] += 1 - 2 * end
        return tuple(ends)

    check(example, op, margins=(2,))
    monkeypatch.setattr(type(op), "reach", wrong)
    with pytest.raises(AssertionError, match=r"kernel, .* differ, first at"):
        check(example, op, margins=(2,))


@pytest.mark.parametrize(
    ("first", "last", "reach"),
    [
        (0, 1, (0, 3)),  # positions -2, 0, 2, of which the first repeats pixel 0
        (0, 9, (0, 5)),
        (4, 6, (2, 5)),  # the last position is 7
        (8, 9, (4, 5)),  # positions 6, 8 and 10: nothing but the last pixel
        (2, 3, (0, 5)),
    ],
)
def test_reach_of_repeated_edges(first: int, last: int, reach: tuple[int, int]) -> None:
    """Three taps, two apart, around five pixels."""
    taps = TapPositions(count=3, stride=1, dilation=2, before=2, mode="replicate")
    assert taps.reach(first, last, size=5) == reach
