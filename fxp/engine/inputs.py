"""Checks of what a caller gives, for calls that last a few microseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.executors.execution import checked
from fxp.graph import Value
from fxp.kernels.layout import are_within


def checked_quickly(value: Value, array: NDArray, narrow: bool) -> NDArray:
    """Check integers as `fxp.executors.execution.checked` does, those of two bytes in less time.

    Parameters
    ----------
    value, array, narrow
        As there.
    """
    form = value.format
    if (
        form is not None
        and array.dtype == form.dtype == np.int16
        and array.flags.c_contiguous
        and are_within(array.reshape(-1), form.min_raw, form.max_raw)
    ):
        return array
    return checked(value, array, narrow)
