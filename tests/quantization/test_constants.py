"""Formats of constants, by hand, and extremes of sequences."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.formats import MAX_FRAC_MAGNITUDE, Format
from fxp.quantization.constants import (
    bias_frac,
    constant_fracs,
    most_frac,
    quantized_rows,
)
from fxp.quantization.statistics import Statistics


def test_formats_of_constants_are_signed() -> None:
    """1.9 times 2**6 is 121.6 of at most 127; of unsigned numbers up to 255 there would be more."""
    rows = np.array([[0.5, 1.9], [1.9, -2.1], [-2.0, 0.0]])
    assert constant_fracs(rows, 8, "minmax").tolist() == [6, 5, 6]


@pytest.mark.parametrize(("frac", "most"), [(10, 37), (0, 47), (-3, 50)])
def test_a_bias_keeps_its_width(frac: int, most: int) -> None:
    """3 needs two integer bits and a sign of 50; the products have the fraction bits of both."""
    assert most_frac(np.array([0.25, 3.0]), Format(14, frac)) == most


def test_without_biases_the_products_are_the_bound() -> None:
    assert most_frac(np.zeros(1), Format(14, 10)) == MAX_FRAC_MAGNITUDE - 10
    assert most_frac(np.zeros(1), Format(14, -10)) == MAX_FRAC_MAGNITUDE


def test_a_bias_of_zero_weights_is_finer_than_the_result() -> None:
    """Four bits finer: 16 fraction bits of 12 wanted, of which the values give some."""
    assert bias_frac(12, Format(14, 10)) == 6
    assert bias_frac(12, Format(14, 13)) == 3


def test_rows_in_formats_of_their_own() -> None:
    values = np.array([[0.75, -0.25], [0.75, -0.25], [3.0, 1.0]])
    formats = [Format(4, 2), Format(4, 1), Format(4, 2)]
    # 0.75 in halves is a tie, which goes up; so does -0.25; 3.0 saturates at 7 quarters.
    assert quantized_rows(values, formats).tolist() == [[3, -1], [2, 0], [7, 4]]
    assert quantized_rows(values, formats[:1]).tolist() == [[3, -1], [3, -1], [7, 4]]


def test_steps_of_a_sequence_belong_to_the_last_image() -> None:
    statistics = Statistics()
    statistics.update(np.array([[1.0, 2.0], [3.0, 5.0]]))
    statistics.update(np.array([[4.0, 4.5]]), continues=True)
    assert (statistics.lows, statistics.highs) == ([1.0, 3.0], [2.0, 5.0])
    statistics.update(np.array([[-4.0, 9.0]]), continues=True)
    assert (statistics.lows, statistics.highs) == ([1.0, -4.0], [2.0, 9.0])
    statistics.update(np.array([[0.0, 0.5]]))
    assert (statistics.lows, statistics.highs) == ([1.0, -4.0, 0.0], [2.0, 9.0, 0.5])
