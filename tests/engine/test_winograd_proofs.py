"""What is proved before a convolution may go through the transform, at the limits."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.engine.winograd_stages import _sums_fit_int32, _transformed_weights

ROWS = np.array([[1, 0], [1, 1], [1, -1]])
COLUMNS = np.array([[2], [-1]])


def test_transform_by_hand() -> None:
    """A column of two weights, 5 over 3: 5, 8 and 2, each doubled and negated."""
    weight = np.array([5, 3]).reshape(1, 1, 2, 1)
    found = _transformed_weights(weight, ROWS, COLUMNS)
    assert found is not None
    assert found.dtype == np.int16
    assert found[:, :, 0, 0].tolist() == [[10, -5], [16, -8], [4, -2]]


def test_axes_of_the_transform() -> None:
    weight = np.arange(24).reshape(3, 4, 2, 1)
    found = _transformed_weights(weight, ROWS, COLUMNS)
    assert found is not None
    assert found.shape == (3, 2, 4, 3)
    # Output channel 2 and input channel 1 have the weights 18 and 19.
    assert found[2, 1, 1, 2] == -(18 - 19)


@pytest.mark.parametrize(("upper", "lower"), [(8192, 8191), (-8192, -8192)])
def test_weights_at_the_ends_of_int16(upper: int, lower: int) -> None:
    """Doubled sums of 32766 and -32768 fit; one more does not."""
    for more, fits in ((0, True), (1 if upper > 0 else -1, False)):
        weight = np.array([upper + more, lower]).reshape(1, 1, 2, 1)
        assert (_transformed_weights(weight, ROWS, COLUMNS) is not None) == fits


def test_weights_whose_differences_float64_would_lose() -> None:
    weight = np.array([2**60 + 1, 2**60]).reshape(1, 1, 2, 1)
    assert _transformed_weights(weight, np.array([[1, -1]]), np.array([[1]])) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_at_the_ends_of_int32(sign: int) -> None:
    """65,536 times 32,767 and twice 32,767 and 1 once more are 2**31 - 1."""
    weights = (sign * np.array([32767, 2, 1])).astype(np.int16).reshape(1, 1, 3, 1)
    zeros = np.zeros((1, 1, 3), np.int64)
    for last, fits in ((1, True), (2, sign < 0), (3, False)):
        limit = np.array([65536, 32767, last]).reshape(1, 1, 3)
        assert _sums_fit_int32(weights, zeros, limit).tolist() == [[fits]]
        # The same sum of negative inputs.
        assert _sums_fit_int32(-weights, -limit, zeros).tolist() == [[fits]]


def test_one_product_of_several_is_too_large() -> None:
    weights = np.ones((1, 2, 4, 1), np.int16)
    limit = np.array([[[1, 1, 1, 1], [2**29] * 4]])
    assert _sums_fit_int32(weights, 0 * limit, limit).tolist() == [[True, False]]
