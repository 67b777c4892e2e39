"""The engine equals the oracle: values and counts of clipped elements."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from cases import (
    CASES,
    MODES,
    PATTERNS,
    Case,
    Example,
    RandomChoices,
    any_example,
    build,
    enumerated,
)
from equality import check_engine, run_oracle
from hypothesis import given, settings

from fxp.engine import Engine, Options
from fxp.graph.ops import GraphError


def check(example: Example, options: Options | None = None) -> int:
    """Run both batch elements; returns how many elements were clipped."""
    engine = Engine(example.graph, options)
    expected = run_oracle(example.graph, example.inputs)
    check_engine(example.graph, expected[0], example.inputs[0], engine=engine)
    check_engine(example.graph, expected[1], example.inputs[1], options=((1, True),), engine=engine)
    return sum(item.clipped["result"] for item in expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    seen: Counter[object] = Counter()
    for example in enumerated(case):
        clipped = check(example)
        target = example.quantization
        seen["clipped" if clipped else "not clipped"] += 1
        seen[target.rounding, target.overflow] += 1
        seen[example.patterns[0]] += 1
        seen["smallest size"] += example.size == case.smallest
    missing = {*MODES, *PATTERNS, "smallest size", "clipped", "not clipped"} - {*seen}
    assert not missing


@settings(max_examples=150)
@given(example=any_example())
def test_any_example(example: Example) -> None:
    check(example)


@pytest.mark.parametrize(("band_bytes", "band_rows"), [(1, 1), (150, 3)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_row_bands(case: Case, band_bytes: int, band_rows: int) -> None:
    """One row per band, and a few rows per band."""
    choices = RandomChoices(np.random.default_rng(band_bytes))
    size = (24, case.multiple * max(2, case.smallest[1] // case.multiple))
    example = build(case, choices, pattern="random", constant_pattern="random", size=size)
    for kernels in ("portable", "fast"):
        check(example, Options(kernels, band_bytes=band_bytes, band_rows=band_rows))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sizes_below_the_smallest_are_refused(case: Case) -> None:
    example = build(case, RandomChoices(np.random.default_rng(0)), size=case.smallest)
    names = [value.name for value in example.graph.inputs]
    refused = 0
    for axis in (0, 1):
        size = list(case.smallest)
        size[axis] -= 1
        sizes = dict(zip("HW", size, strict=True))
        shapes = [
            tuple(sizes.get(str(part), part) for part in example.graph.values[name].shape)
            for name in names
        ]
        if all(
            shape == array.shape for shape, array in zip(shapes, example.inputs[0], strict=True)
        ):
            continue  # the axis is not free
        with pytest.raises(GraphError):
            Engine(example.graph).run([np.zeros(shape, np.int64) for shape in shapes])
        refused += 1
    assert refused == len({p for item in case.operands for p in item.shape if p in ("H", "W")})
