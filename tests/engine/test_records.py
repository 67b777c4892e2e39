"""Parameter records: both sides of a kernel's parameters go by the same names."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from fxp.formats import Rounding
from fxp.kernels.commands import pointer
from fxp.kernels.compiler import carray
from fxp.kernels.records import COPY, PAD, filled
from fxp.kernels.requantize import finish_one, half_step, shift_right


def test_compiled_code_reads_the_fields_that_were_filled() -> None:
    record = PAD

    @njit
    def read(address: int) -> tuple[int, int, int]:
        fields = carray(pointer(address), 1, record)[0]
        return fields.pixel, fields.rows, fields.columns

    block = filled(PAD, columns=5, pixel=2**40, rows=-3)
    assert read(block.ctypes.data) == (2**40, -3, 5)


def test_fields_are_neighbouring_int64() -> None:
    block = filled(COPY, input_step=7, result_step=9)
    assert block.view(np.int64).tolist() == [9, 7]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"result_step": 1}, "input_step"),
        ({"result_step": 1, "input_step": 2, "pitch": 3}, "pitch"),
    ],
)
def test_a_missing_or_unknown_field_is_refused_by_name(given: dict[str, int], named: str) -> None:
    with pytest.raises(TypeError, match=f": {named}$"):
        filled(COPY, **given)


@pytest.mark.parametrize(
    ("rounding", "half"), [(Rounding.HALF_UP, [0, 1, 2, 4]), (Rounding.FLOOR, [0, 0, 0, 0])]
)
def test_half_a_step(rounding: Rounding, half: list[int]) -> None:
    assert [half_step(shift, rounding) for shift in range(4)] == half


def test_the_fast_form_of_rounding_half_up() -> None:
    values = [-7, -6, -5, -3, -2, -1, 1, 2, 3, 5, 6, 7]
    rounded = [-2, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2]
    start = half_step(2, Rounding.HALF_UP)
    low, high = np.int32(-8), np.int32(7)
    assert [finish_one(np.int32(v + start), np.int32(2), low, high) for v in values] == rounded
    code = list(Rounding).index(Rounding.HALF_UP)
    assert [shift_right(np.int64(v), np.int64(2), code) for v in values] == rounded
