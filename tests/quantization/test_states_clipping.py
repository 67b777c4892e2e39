"""Clipped values counted while a sequence runs, and the warning."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fxp
from fxp.formats import Format, Quantization
from fxp.graph.ops import Add, Sigmoid
from fxp.model.clipping import harmless_clipping

SHAPE = (1, 3, 4)
SUM = Format(8, 4)
"""From -8 to 8 - 1/16."""


def accumulator() -> fxp.FixedModel:
    """Return y = s + x, of which the calibration clipped nothing."""
    state = fxp.State(fxp.Value("s", SHAPE, SUM), "y")
    add = fxp.Node("y", Add(), ("s", "x"), Quantization(SUM))
    graph = fxp.Graph("sums", (fxp.Value("x", SHAPE, Format(6, 4)),), (add,), ("y",), (), (state,))
    return fxp.FixedModel(graph, calibration_clipped={"x": 0.0, "y": 0.0})


def frame(level: float, elements: int = 12) -> np.ndarray:
    """Return a picture whose first elements have a level."""
    values = np.zeros(SHAPE)
    values.reshape(-1)[:elements] = level
    return values


def test_counts_add_up_and_begin_anew():
    stream = accumulator().stream()
    assert (stream.running_clipped.steps, stream.running_clipped.shares) == (0, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # After 1.75 four times, 7 of 7.9375 is full for three elements.
        for _ in range(4):
            stream.step(frame(1.75, 3))
        assert stream.running_clipped.counts == {"x": 0, "y": 0}
        stream.step(frame(1.75, 3))
        stream.step(frame(1.75, 3))
    found = stream.running_clipped
    assert found.steps == 6
    assert found.counts == {"x": 0, "y": 6}
    assert found.sizes == {"x": 72, "y": 72}
    assert found.shares == {"x": 0, "y": 6 / 72}
    stream.reset_state()
    assert (stream.running_clipped.steps, stream.running_clipped.counts) == (0, {})


def test_inputs_count_beyond_one_step():
    # The format goes from -2 to 2 - 1/16. 2 and -2 - 1/16 are one step outside.
    model = accumulator()
    levels = np.array([2, 2 + 1 / 32, 2 + 3 / 64, -2 - 1 / 16, -2 - 3 / 32, -2 - 7 / 64])
    values = np.zeros(SHAPE)
    values.reshape(-1)[:6] = levels
    # Rounded half up: 2 + 1/32 is two steps outside, and so are 2 + 3/64 and -2 - 7/64.
    model.step(values)
    assert model.running_clipped.counts["x"] == 3
    assert model.running_clipped.sizes["x"] == 12
    model.step_raw(np.zeros(SHAPE, np.int64))
    assert model.running_clipped.sizes == {"x": 12, "y": 24}
    model.reset_state()
    assert model.running_clipped.counts == {}


def test_one_warning_names_the_value_and_the_share():
    stream = accumulator().stream()
    for _ in range(4):
        stream.step(frame(1.75))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stream.step(frame(1.75))
        stream.step(frame(1.75))
        stream.reset_state()
        for _ in range(5):
            stream.step(frame(1.75))
    (warning,) = caught
    assert warning.category is fxp.ClippingWarning
    assert str(warning.message) == (
        "sums: after 5 steps, 20.00% of 'y' was clipped, 0.00% on the calibration data; calibrate "
        "on sequences that are like this one, or give the value more bits"
    )


@pytest.mark.parametrize(
    ("expected", "warned"), [({}, False), ({"y": 0.2}, False), ({"y": 0.198}, True)]
)
def test_compared_with_the_calibration(expected: dict, warned: bool):
    model = accumulator()
    model.calibration_clipped = expected
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            model.step(frame(1.75))
    assert [item.category for item in caught] == [fxp.ClippingWarning] * warned


def test_a_warning_as_an_error_leaves_the_state():
    stream = accumulator().stream()
    for _ in range(4):
        stream.step(frame(1.75))
    before = stream.state["s"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(fxp.ClippingWarning):
            stream.step(frame(1.75))
        assert np.array_equal(stream.state["s"], before)
        assert stream.running_clipped.steps == 4
        stream.step(frame(1.75))  # warned once
    assert stream.running_clipped.counts["y"] == 12


def test_counting_can_be_left_out():
    stream = accumulator().stream(count_clipped=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [stream.step(frame(1.75)) for _ in range(6)]
    assert (stream.running_clipped.steps, stream.running_clipped.counts) == (0, {})
    assert np.array_equal(results[-1], np.full(SHAPE, 8 - 1 / 16))


def test_threads_that_share_a_stream_lose_no_count():
    stream = accumulator().stream()
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("ignore")
        list(pool.map(lambda _: stream.step(frame(1.75, 2)), range(40)))
    # The first four of the steps clip nothing.
    assert stream.running_clipped.steps == 40
    assert stream.running_clipped.counts == {"x": 0, "y": 36 * 2}


@pytest.mark.parametrize(("integers", "harmless"), [(5, True), (4, False)])
def test_what_a_sigmoid_no_longer_tells_apart_is_harmless(integers: int, harmless: bool):
    """In 14 bits a sigmoid of 16 - 1/512 is that of infinity, that of 8 - 1/1024 is not."""
    source, result = Format(14, 14 - integers), Format(14, 14, signed=False)
    x = fxp.Value("x", SHAPE, Format(12, 2))
    table = fxp.Constant("table", Sigmoid().tabulate(source, result), (result,))
    nodes = (
        fxp.Node("sum", Add(), ("x", "x"), Quantization(source)),
        fxp.Node("y", Sigmoid(), ("sum", "table"), Quantization(result)),
    )
    graph = fxp.Graph("gate", (x,), nodes, ("y",), (table,))
    assert ("sum" in harmless_clipping(graph)) == harmless
    kept = fxp.Graph("gate", (x,), nodes, ("y", "sum"), (table,))
    assert "sum" not in harmless_clipping(kept)
