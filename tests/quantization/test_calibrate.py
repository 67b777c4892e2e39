"""Statistics and the rules for fraction bits, against brute force."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import constant, graph, image, node, random_image

from fxp.formats import MAX_FRAC_MAGNITUDE, FormatError
from fxp.graph import State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, GraphError, Multiply
from fxp.quantization.calibrate import (
    EXTRA_FRACS,
    METHODS,
    SAMPLE_SIZE,
    Statistics,
    choose_frac,
    observe,
)

SIZES = st.floats(-1e30, 1e30, allow_subnormal=False)
MODERATE = st.floats(-300, 300, width=32) | st.sampled_from([0.0, 1.0, -1.0, 2.0, -4.0, 0.5])
VALUES = st.lists(SIZES | MODERATE, min_size=1, max_size=40)
WIDTHS = st.integers(2, 32)


def statistics_of(values) -> Statistics:
    return Statistics.of(np.array(values, np.float64))


def exceeds(value: float, frac: int, width: int, signed: bool) -> bool:
    """Whether a value lies beyond the format by more than one step; below zero needs a sign."""
    scaled = Fraction(value) * Fraction(2) ** frac
    high = 2 ** (width - signed)
    return scaled > high or (signed and scaled < -high - 1)


@given(st.lists(st.lists(SIZES | MODERATE, min_size=1, max_size=9), min_size=1, max_size=5))
def test_batches_add_up(batches):
    gathered = Statistics()
    for batch in batches:
        gathered.update(np.array(batch))
    everything = [value for batch in batches for value in batch]
    assert gathered == statistics_of(everything)
    assert (gathered.low, gathered.high) == (min(everything), max(everything))
    assert gathered.count == len(everything)
    exponents = Counter(math.frexp(value)[1] for value in everything if value)
    assert gathered.exponents == dict(exponents)
    assert gathered.sample.tolist() == everything


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        statistics_of([1.0, bad])


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        statistics_of(np.empty((1, 0, 3)))


def test_zeros_and_extreme_magnitudes():
    zeros = statistics_of(np.zeros((2, 3)))
    assert (zeros.low, zeros.high, zeros.count, zeros.exponents) == (0, 0, 6, {})
    extreme = statistics_of([5e-324, 1e308, -0.75])
    assert extreme.exponents == {-1073: 1, 1024: 1, 0: 1}


def test_sample_is_bounded_repeatable_and_fair():
    batches = [np.full(size, float(size)) for size in (150_000, 1_000, 400_000, 7)] * 3

    def gathered() -> Statistics:
        statistics = Statistics()
        for batch in batches:
            statistics.update(batch)
        return statistics

    sample = gathered().sample
    assert SAMPLE_SIZE / 2 < sample.size <= 2 * SAMPLE_SIZE
    assert np.array_equal(sample, gathered().sample)
    share = float(np.mean(sample == 150_000))
    assert share == pytest.approx(150_000 / 551_007, abs=0.01)


@given(VALUES, WIDTHS, st.booleans())
def test_minmax_is_the_finest_that_clips_nothing(values, width, signed):
    frac = choose_frac(statistics_of(values), width, signed, "minmax")
    assert not any(exceeds(value, frac, width, signed) for value in values)
    if max(values) > 0 or (signed and min(values) < 0):
        finer = frac + 1
        assert finer > MAX_FRAC_MAGNITUDE or any(
            exceeds(value, finer, width, signed) for value in values
        )


@given(VALUES, WIDTHS, st.booleans(), st.floats(50.01, 100))
def test_percentile_is_the_finest_within_the_allowance(values, width, signed, percentile):
    frac = choose_frac(statistics_of(values), width, signed, "percentile", percentile)
    allowed = len(values) * (100 - percentile) / 100
    exponents = [math.frexp(value)[1] for value in values if value]
    smallest = choose_frac(statistics_of(values), width, signed, "minmax")

    def allows(candidate: int) -> bool:
        top = width - signed - candidate
        return sum(e > top for e in exponents) <= allowed and top >= min(exponents)

    if exponents:
        finest = max(f for f in range(-140, 961) if f == smallest or allows(f))
        assert frac == max(finest, smallest)
    else:
        assert frac == smallest
    kept = [e for e in exponents if e <= width - signed - frac]
    clipped = sum(exceeds(value, frac, width, signed) for value in values)
    assert clipped <= allowed or frac == smallest or not kept or min(exponents) in kept


@pytest.mark.parametrize("percentile", [60, 99, 99.99])
def test_percentile_of_a_tensor_of_almost_only_zeros(percentile):
    values = np.zeros(100_000)
    values[:2] = 1.5, 3.0
    assert choose_frac(statistics_of(values), 8, True, "percentile", percentile) == 6


def test_percentile_100_clips_no_exponent():
    values = [*np.full(100_000, 0.3), 5.0]
    assert choose_frac(statistics_of(values), 8, True, "percentile", 100) == 4
    assert choose_frac(statistics_of(values), 8, True, "percentile", 99.99) == 8


@given(st.lists(MODERATE, min_size=1, max_size=40), st.integers(2, 16), st.booleans())
def test_mse_is_the_least_error_among_the_candidates(values, width, signed):
    statistics = statistics_of(values)
    frac = choose_frac(statistics, width, signed, "mse")
    smallest = choose_frac(statistics, width, signed, "minmax")
    assert smallest - 1 <= frac < smallest + EXTRA_FRACS
    lowest, highest = (-(2 ** (width - 1)) if signed else 0), 2 ** (width - signed) - 1
    array = np.array(values)

    def error(candidate: int) -> float:
        raw = np.clip(np.floor(np.ldexp(array, candidate) + 0.5), lowest, highest)
        return float(np.mean((np.ldexp(raw, -candidate) - array) ** 2))

    errors = [error(smallest + extra) for extra in range(-1, EXTRA_FRACS)]
    assert error(frac) <= min(errors) * (1 + 1e-9)


def test_mse_clips_a_lonely_outlier():
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 50_000), 4.0)
    assert choose_frac(statistics_of(values), 4, True, "minmax") == 1
    assert choose_frac(statistics_of(values), 4, True, "mse") == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [2, 9, 32])
def test_zeros_get_no_integer_bits(method, signed, width):
    assert choose_frac(statistics_of(np.zeros(4)), width, signed, method) == width - signed


def test_unsigned_formats_ignore_negative_values():
    assert choose_frac(statistics_of([-100.0, 1.0]), 8, False, "minmax") == 8
    assert choose_frac(statistics_of([-100.0, -3.0]), 8, False, "minmax") == 8


@pytest.mark.parametrize("method", METHODS)
def test_tiny_and_huge_values_stay_in_the_range_of_formats(method):
    subnormal = statistics_of([5e-324, 1e-310])
    assert choose_frac(subnormal, 8, True, method) == MAX_FRAC_MAGNITUDE
    assert choose_frac(statistics_of([3e38, -1.0]), 8, True, method) == -121
    with pytest.raises(FormatError, match="960"):
        choose_frac(statistics_of([1e308]), 8, True, method)


def test_unknown_method():
    with pytest.raises(ValueError, match="unknown calibration method 'max'"):
        choose_frac(statistics_of([1.0]), 8, True, "max")  # type: ignore[arg-type]


PRODUCT = graph([image("x"), image("y")], [node("product", Multiply(), "x", "y")])


def test_observe_takes_several_inputs_and_calls():
    calls = [(random_image(seed=i), -3 * random_image(seed=9 + i)) for i in range(3)]
    statistics = observe(PRODUCT, calls)
    assert statistics.keys() == {"x", "y", "product"}
    products = np.concatenate([(x * y).numpy().reshape(-1) for x, y in calls])
    assert statistics["product"] == statistics_of(products)
    assert statistics["y"].high < 0


def test_observe_takes_generators_and_batches():
    single = [(random_image(seed=i), random_image(seed=i)) for i in range(2)]
    batch = [tuple(torch.cat(parts) for parts in zip(*single, strict=True))]
    assert observe(PRODUCT, (call for call in single)) == observe(PRODUCT, batch)


def test_observe_needs_data():
    with pytest.raises(ValueError, match="calibration data is empty"):
        observe(PRODUCT, [])


def test_observe_names_the_value_and_item_that_overflow():
    ones = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="item 1: value 'product' holds NaN or infinity"):
        observe(PRODUCT, [(ones, ones), (ones * 1e200, ones * 1e200)])
    with pytest.raises(ValueError, match="item 0: value 'y' holds NaN or infinity"):
        observe(PRODUCT, [(ones, ones * math.nan)])


def test_observe_refuses_wrong_channels():
    with pytest.raises(GraphError, match="input 'y' needs shape"):
        observe(PRODUCT, [(random_image(), random_image(2))])


def test_observe_carries_states_over():
    running = State(Value("before", (1, Extent("H"), Extent("W"))), "total")
    summed = graph(image(), [node("total", Add(), "x", "before")], states=[running])
    ones = torch.ones(1, 1, 2, 3, dtype=torch.float64)
    statistics = observe(summed, [(ones,)] * 4)
    assert statistics["before"].high == 3
    assert statistics["total"].high == 4
    assert statistics["total"].count == 24


def test_observe_with_constants():
    shifted = graph(
        image(), [node("sum", Add(), "x", "offset")], constants=[constant("offset", [[[2.5]]])]
    )
    statistics = observe(shifted, [(torch.zeros(1, 1, 2, 2),)])
    assert (statistics["sum"].low, statistics["sum"].high) == (2.5, 2.5)
    assert "offset" not in statistics
