"""Statistics and the rules for fraction bits, against brute force."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import constant, graph, image, node, random_image

from fxp.formats import MAX_FRAC_MAGNITUDE, Format, FormatError
from fxp.graph import State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, GraphError, Multiply
from fxp.quantization.calibrate import (
    COARSER_FRACS,
    EXTRA_FRACS,
    METHODS,
    choose_frac,
    excess_of_extremes,
    mean_squared_errors,
    observe,
    tail_of_extremes,
)
from fxp.quantization.statistics import Statistics

SIZES = st.floats(-1e30, 1e30, allow_subnormal=False)
MODERATE = st.floats(-300, 300, width=32) | st.sampled_from([0.0, 1.0, -1.0, 2.0, -4.0, 0.5])
TINY = st.sampled_from([5e-324, -1e-310, 2.0**-1022, 1e-300])
VALUES = st.lists(SIZES | MODERATE | TINY, min_size=1, max_size=40)
WIDTHS = st.integers(2, 32)


def statistics_of(values) -> Statistics:
    return Statistics.of(np.array(values, np.float64))


def of_images(*images) -> Statistics:
    """Statistics of images of one size."""
    statistics = Statistics()
    statistics.update(np.array(images, np.float64))
    return statistics


def exceeds(value: float, frac: int, width: int, signed: bool) -> bool:
    """Whether a value lies beyond the format by more than one step; below zero needs a sign."""
    scaled = Fraction(value) * Fraction(2) ** frac
    high = 2 ** (width - signed)
    return scaled > high or (signed and scaled < -high - 1)


def bin_of(value: float) -> tuple[float, float]:
    """Edges of the bin of a value: a 64th of the octave, or below 2**-1022 of that one."""
    _, exponent = math.frexp(abs(value) or 5e-324)
    unit = math.ldexp(1.0, max(exponent - 1, -1022) - 6)
    near = math.floor(abs(value) / unit) * unit
    return (near, near + unit) if value >= 0 else (-near - unit, -near)


@given(
    st.lists(st.lists(SIZES | MODERATE | TINY, min_size=4, max_size=4), min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_batches_add_up_however_they_are_cut(images, size):
    gathered = Statistics()
    merged = Statistics()
    for first in range(0, len(images), size):
        batch = np.array(images[first : first + size])
        gathered.update(batch)
        merged.merge(of_images(*batch))
    assert gathered == merged == of_images(*images)
    assert gathered.lows == [min(values) for values in images]
    assert gathered.highs == [max(values) for values in images]
    everything = [value for values in images for value in values]
    assert (gathered.low, gathered.high) == (min(everything), max(everything))
    assert gathered.count == len(everything)
    smallest = 2.0**-1022
    exponents = Counter(
        max(math.frexp(value)[1], -1021) for value in everything if abs(value) >= smallest / 64
    )
    assert gathered.exponents == dict(exponents)


@given(VALUES)
def test_every_value_is_counted_in_its_bin(values):
    lower, upper, counts = statistics_of(values).histogram()
    expected = Counter(bin_of(value) for value in values)
    bins = sorted(expected)
    assert counts.tolist() == [expected[edges] for edges in bins]
    assert lower.tolist() == [max(near, min(values)) for near, _ in bins]
    assert upper.tolist() == [min(far, max(values)) for _, far in bins]


def test_many_values_are_counted_as_few_are():
    values = np.random.default_rng(0).standard_t(2, 20_000)
    whole = Statistics.of(values)
    pieces = Statistics()
    for piece in np.split(values, 40):
        pieces.update(piece[None], continues=True)
    assert whole == pieces
    assert len(pieces.highs) == 1
    assert len(whole.histogram()[2]) < 3000


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        statistics_of([1.0, bad])


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        statistics_of(np.empty((1, 0, 3)))


def test_zeros_and_extreme_magnitudes():
    zeros = statistics_of(np.array([[0.0, -0.0, 0.0]]))
    assert (zeros.low, zeros.high, zeros.count, zeros.exponents) == (0, 0, 3, {})
    assert [part.tolist() for part in zeros.histogram()] == [[0], [0], [3]]
    extreme = statistics_of([2.0**-1022, 1e308, -0.75])
    assert extreme.exponents == {-1021: 1, 1024: 1, 0: 1}


PLAIN = st.lists(SIZES | MODERATE, min_size=1, max_size=40)


@given(PLAIN, WIDTHS, st.booleans())
def test_minmax_is_the_finest_that_clips_nothing(values, width, signed):
    frac = choose_frac(statistics_of(values), width, signed, "minmax")
    assert not any(exceeds(value, frac, width, signed) for value in values)
    if max(values) > 0 or (signed and min(values) < 0):
        finer = frac + 1
        assert finer > MAX_FRAC_MAGNITUDE or any(
            exceeds(value, finer, width, signed) for value in values
        )


@given(PLAIN, WIDTHS, st.booleans(), st.floats(50.01, 100))
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


def error_and_bound(values, form: Format) -> tuple[float, float]:
    """Mean squared error of values in a format, and how far a bin may leave it open.

    Within a bin the error of a clipped value, or of one in a cell of the grid, changes by at most
    the width; that of a value in a wider bin lies between 0 and half a step.
    """
    errors, bounds = [], []
    for value in values:
        raw = min(max(math.floor(value / form.step + 0.5), form.min_raw), form.max_raw)
        error = abs(raw * form.step - value)
        near, far = bin_of(value)
        width = far - near
        clipped = not form.min - form.step / 2 <= value <= form.max + form.step / 2
        errors.append(error**2)
        wide = width > form.step / 2 and not clipped
        bounds.append(form.step**2 / 4 if wide else (2 * error + width) * width)
    return sum(errors) / len(errors), sum(bounds) / len(bounds)


@given(st.lists(MODERATE, min_size=1, max_size=40), st.integers(2, 16), st.booleans())
def test_errors_of_the_histogram_are_those_of_the_values(values, width, signed):
    statistics = statistics_of(values)
    smallest = choose_frac(statistics, width, signed, "minmax")
    forms = [Format(width, smallest + extra, signed) for extra in range(-3, 5)]
    found = mean_squared_errors(statistics, forms)
    for form, error in zip(forms, found, strict=True):
        wanted, bound = error_and_bound(values, form)
        # A bin that the largest step cuts is clipped in part.
        assert abs(error - wanted) <= 2 * bound + form.step**2 + 1e-12 * wanted


@given(st.lists(MODERATE, min_size=1, max_size=40), st.integers(2, 16), st.booleans())
def test_mse_is_the_least_error_among_the_candidates(values, width, signed):
    statistics = statistics_of(values)
    frac = choose_frac(statistics, width, signed, "mse")
    smallest = choose_frac(statistics, width, signed, "minmax")
    fracs = range(smallest - COARSER_FRACS, smallest + EXTRA_FRACS)
    assert frac in fracs
    found = mean_squared_errors(statistics, [Format(width, item, signed) for item in fracs])
    assert found[fracs.index(frac)] == found.min()


@pytest.mark.parametrize("value", [0.75, -3.0, 1e-9, 0.0])
def test_the_error_of_a_constant_is_exact(value):
    # Bins of one value: 0.75 and -3 have no error from two fraction bits on; 1e-9 rounds to 0.
    (error,) = mean_squared_errors(statistics_of([value] * 7), [Format(8, 2)])
    assert error == pytest.approx(1e-18 if value == 1e-9 else 0, rel=1e-12)
    (error,) = mean_squared_errors(statistics_of([value] * 7), [Format(2, 0)])
    # From -2 to 1: 0.75 becomes 1, and -3 becomes -2.
    assert error == pytest.approx({0.75: 1 / 16, -3.0: 1.0, 1e-9: 1e-18, 0.0: 0.0}[value])


def test_clipping_of_rare_values_is_seen():
    """One of a million values passes 1.0, by 0.13: a sample would miss it."""
    values = np.linspace(-0.4, 0.4, 1_000_000)
    values[123_456] = 1.13
    # At 14 bits, 0.13^2 / 10^6 = 1.7e-8 is more than a twelfth of (2^-12)^2, 5e-9; at 10 bits it is
    # less than the 1e-6 that the step of 2^-8 costs.
    assert choose_frac(statistics_of(values), 14, True, "mse") == 12
    assert choose_frac(statistics_of(values), 10, True, "mse") == 9


def test_mse_clips_a_lonely_outlier():
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 50_000), 4.0)
    assert choose_frac(statistics_of(values), 4, True, "minmax") == 1
    assert choose_frac(statistics_of(values), 4, True, "mse") == 3


@pytest.mark.parametrize(
    ("extremes", "scale", "shape"),
    [
        # Two images that had a spread of one half before any was seen.
        ([3.0], 2 * 0.5, 2),
        # Mean 3/4 of the largest: 1 + (1/4) / (1/2).
        ([2.0, 1.0], 1.5, 3),
        # Mean 7/10: 1 + 2 * (3/10) / (1/2 + 1/3).
        ([1.0, 0.5, 0.6], 1.72, 4),
        # What is below zero counts as zero on this side: 1 + (1/2) / (1/2).
        ([1.0, -5.0], 2.0, 3),
        ([7.0] * 100, 1.0, 101),
    ],
)
def test_the_tail_of_extremes_by_hand(extremes, scale, shape):
    for unit in (1, 1e-5):
        found = tail_of_extremes([unit * extreme for extreme in extremes])
        assert found == (pytest.approx(scale), shape)


def test_excesses_by_hand():
    # (1 + x) ** -2 is 1/4 at 1 and 1/100 at 9.
    assert excess_of_extremes([3.0], [1.0, 0.25, 0.01]).tolist() == pytest.approx([0, 1, 9])
    # (1 + x / 1.5) ** -3 is 1/8 at 1.5.
    assert excess_of_extremes([2.0, 1.0], 0.125) == pytest.approx(1.5)


def test_a_sample_of_exponential_extremes_has_their_tail():
    """The largest of 100 numbers 20 + Exp(1) is 25.2 on average, of which 1 is a share of 1/25."""
    generator = np.random.default_rng(1)
    medians = [
        float(excess_of_extremes((20 + generator.exponential(size=100)).tolist(), 0.5))
        for _ in range(300)
    ]
    assert np.mean(medians) == pytest.approx(math.log(2) * (1 / 25.2 + 0.01), rel=0.05)


RAMP = np.linspace(-0.97, 0.97, 1001)


@pytest.mark.parametrize(
    ("images", "width", "headroom", "known", "frac"),
    [
        ([1.0], 14, 0, 9, 13),
        # One image says little: one in fifty of the next passes 1 + (sqrt(50) - 1) = 7.
        ([1.0], 14, None, 9, 10),
        ([1.0], 14, None, 1, 13),
        ([1.0] * 1000, 14, None, 9, 13),
        # Scale 1 + 3 * (3/20) / (13/12) = 1.42 and shape 5: one in twenty passes 2.2.
        ([1.0, 0.8, 0.7, 0.9], 14, None, 9, 11),
        # Scale 2.18: one in twenty passes 2.8.
        ([1.0, 0.4, 0.3, 0.6], 14, None, 9, 11),
        ([1.0], 14, 1, 9, 12),
        ([1.0], 14, 2.5, 9, 10),
        ([1.0], 14, 2.5, 1.5, 12),
    ],
)
def test_headroom(images, width, headroom, known, frac):
    statistics = of_images(*(share * RAMP for share in images))
    for method in ("mse", "minmax"):
        found = choose_frac(
            statistics, width, True, method, headroom=headroom, known=(-known, known)
        )
        assert found == frac, method


def test_headroom_is_weighed_against_rounding():
    """A tail of one value in 10^4 is worth a bit of 14; at 4 bits it is clipped."""
    values = np.linspace(0.01, 0.4, 10_000)
    values[0] = 0.97
    fracs = [choose_frac(of_images(*[values] * 8), bits, False, "mse", headroom=None) - bits
             for bits in (4, 8, 14, 18)]  # fmt: skip
    assert fracs == sorted(fracs, reverse=True)
    assert (fracs[0], fracs[-1]) == (1, -1)


def test_percentile_takes_headroom_only_where_it_is_asked_for():
    values = [0.3] * 100
    found = [choose_frac(statistics_of(values), 8, True, "percentile", headroom=headroom)
             for headroom in (None, 0, 1, 2)]  # fmt: skip
    assert found == [8, 8, 7, 6]


@settings(max_examples=50)
@given(PLAIN, WIDTHS, st.booleans(), st.sampled_from([0.5, 1, 3]))
def test_minmax_with_headroom_holds_values_that_are_so_much_larger(values, width, signed, bits):
    frac = choose_frac(statistics_of(values), width, signed, "minmax", headroom=bits)
    assert not any(exceeds(value * 2**bits, frac, width, signed) for value in values)


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
    subnormal = statistics_of([5e-324, 1e-310, 2.0**-1022])
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
    assert statistics["product"] == of_images(*products.reshape(3, -1))
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
    # Steps of one sequence are no independent images.
    assert statistics["total"].highs == [4]


def test_observe_with_constants():
    shifted = graph(
        image(), [node("sum", Add(), "x", "offset")], constants=[constant("offset", [[[2.5]]])]
    )
    statistics = observe(shifted, [(torch.zeros(1, 1, 2, 2),)])
    assert (statistics["sum"].low, statistics["sum"].high) == (2.5, 2.5)
    assert "offset" not in statistics


@pytest.mark.parametrize(
    ("method", "seen", "rare", "frac"),
    [
        # Pictures of rare kinds get what they need, without headroom of their own.
        ("mse", 0.97, 1.9, 12),
        ("minmax", 0.97, 1.9, 12),
        ("percentile", 0.97, 1.9, 12),
        # At most two bits are spent on them.
        ("mse", 0.97, 60.0, 11),
        ("minmax", 0.97, 60.0, 11),
        # Where they are smaller, nothing changes.
        ("mse", 0.97, 0.1, 13),
        ("mse", 1.9, 0.97, 12),
    ],
)
def test_rare_pictures_widen_the_range(method, seen, rare, frac):
    statistics = of_images(*[seen * RAMP / 0.97] * 1000)
    statistics.rare = of_images(rare * RAMP / 0.97)
    assert choose_frac(statistics, 14, True, method, headroom=None) == frac
    largest = pytest.approx(max(seen, rare))
    assert (-statistics.low, statistics.high) == (largest, largest)


@pytest.mark.parametrize(("bits", "frac"), [(14, 12), (13, 11), (12, 11), (11, 10)])
def test_the_range_is_widened_where_that_outweighs_coarser_rounding(bits: int, frac: int):
    """Rare pictures pass 1 by up to 0.02, at both sides, with 2 % of their values.

    One in a hundred is one, so clipping costs 0.01 * 0.02 / 1.02 * 0.02**2 / 3 = 2.6e-8. A step
    twice as large costs 3 / 12 of the square of 2**-13 = 3.7e-9 at 14 bits, 1.5e-8 at 13 bits, and
    6.0e-8 at 12 bits.
    """
    statistics = of_images(RAMP)
    statistics.rare = of_images(1.02 * np.linspace(-1, 1, 100_001))
    assert choose_frac(statistics, bits, True, "mse", headroom=0) == frac


def test_a_bin_that_a_limit_cuts_is_rounded_on_one_side_and_clipped_on_the_other():
    """One bin, of two steps: 255/256 is its middle. Half of it is rounded, half is clipped.

    In squared steps that is 1/2 * 1/12 and 1/2 * 1/3.
    """
    statistics = statistics_of(np.linspace(127 / 128, 1, 4097)[:-1])
    (error,) = mean_squared_errors(statistics, [Format(8, 8, False)])
    assert error * 256**2 == pytest.approx(5 / 24, rel=1e-2)
