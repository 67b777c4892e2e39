"""Networks with hostile weights and data: the formats explain every error of the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_graphs import constant, format_of, graph, node, vector

from fxp.executors import oracle
from fxp.formats import Format, dequantize, quantize
from fxp.graph import Graph
from fxp.graph.ops import Linear, Relu
from fxp.quantization.calibrate import COARSER_FRACS, observe
from fxp.quantization.lowering import lower
from fxp.quantization.settings import LoweringSettings

FEATURES = 4
SPECIAL = st.sampled_from([0.0, 5e-324, 2.0**-1022, 1e-9, 1e-3, 1.0, 10.7, 1e3, 1e6])


@dataclass(frozen=True)
class Known:
    """Real values of the float network, and how far the fixed-point network may be from each."""

    values: NDArray[np.float64]
    error: NDArray[np.float64]

    def rounded(self, form: Format) -> Known:
        """Half a step, and what may lie beyond the format."""
        beyond = np.maximum(self.values + self.error - form.max, 0)
        beyond += np.maximum(form.min - self.values + self.error, 0)
        return Known(self.values, self.error + form.step / 2 + beyond)

    def times(self, real: NDArray, stored: NDArray, biases: NDArray, added: NDArray) -> Known:
        """Weighted sums: what the stored weights make of the error, and their own error."""
        error = self.error @ np.abs(stored).T + np.abs(self.values) @ np.abs(stored - real).T
        return Known(self.values @ real.T + biases, error + np.abs(added - biases))


def network(draw: st.DrawFn) -> Graph:
    """Two layers of weights that are far apart, dead, constant or have outliers."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    constants = []
    for name in ("1", "2"):
        scales = np.array(draw(st.lists(SPECIAL, min_size=FEATURES, max_size=FEATURES)))
        weight = generator.normal(size=(FEATURES, FEATURES)) * scales[:, None]
        if draw(st.booleans()):
            weight[generator.integers(FEATURES), generator.integers(FEATURES)] *= 30
        bias = generator.normal(size=FEATURES) * draw(SPECIAL)
        constants += [constant(f"w{name}", weight), constant(f"b{name}", bias)]
    nodes = [
        node("first", Linear(), "x", "w1", "b1"),
        node("relu", Relu(), "first"),
        node("second", Linear(), "relu", "w2", "b2"),
    ]
    return graph(vector("x", FEATURES), nodes, constants=constants)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Graph, NDArray, LoweringSettings]:
    """A network, one to nine vectors of data, and how to quantize."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(1, 9))
    data = generator.normal(size=(count, FEATURES)) * draw(SPECIAL)
    if draw(st.booleans()):
        data[0, 0] *= 1e6
    if draw(st.booleans()):
        data[:] = data[0, 0]
    chosen = LoweringSettings(
        weight_bits=draw(st.sampled_from([4, 8, 10])),
        activation_bits=draw(st.sampled_from([6, 12, 14])),
        method=draw(st.sampled_from(["mse", "minmax"])),
        headroom=draw(st.sampled_from([None, 0, 1])),
        per_channel=draw(st.booleans()),
    )
    return network(draw), data, chosen


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_error_of_the_output_is_that_of_the_formats(case):
    source, data, chosen = case
    integer = lower(source, observe(source, [[torch.from_numpy(data)]]), chosen)
    stored = {name: item.values for name, item in integer.constants_by_name.items()}
    real = {name: item.data for name, item in source.constants_by_name.items()}
    known = Known(data, np.zeros_like(data)).rounded(format_of(integer, "x"))
    known = known.times(real["w1"], stored["w1"], real["b1"], stored["b1"])
    known = known.rounded(format_of(integer, "first"))
    known = Known(np.maximum(known.values, 0), known.error).rounded(format_of(integer, "relu"))
    known = known.times(real["w2"], stored["w2"], real["b2"], stored["b2"])
    known = known.rounded(format_of(integer, "second"))
    for row, wanted, error in zip(data, known.values, known.error, strict=True):
        raws = oracle.run(integer, [quantize(row, format_of(integer, "x"))]).outputs[0]
        found = dequantize(raws, format_of(integer, "second"))
        assert np.all(np.abs(found - wanted) <= error * (1 + 1e-9) + 1e-300)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_formats_fit_their_values(case):
    """No format is much coarser than its values need, and minmax clips nothing that was seen."""
    source, data, chosen = case
    statistics = observe(source, [[torch.from_numpy(data)]])
    integer = lower(source, statistics, chosen)
    for name in ("x", "first", "relu", "second"):
        form, seen = format_of(integer, name), statistics[name]
        # The ReLU gets a rounded sum where an exact one would be too wide.
        ranges = [seen, statistics["first"]] if name == "relu" else [seen]
        largest = max(max(item.high, -item.low) for item in ranges)
        if form.width > chosen.activation_bits or largest < 2.0**-900:
            continue
        assert form.step <= largest * 2.0 ** (2 + COARSER_FRACS - form.width)
        if chosen.method == "minmax":
            assert seen.high <= form.max + form.step
            assert seen.low >= form.min - form.step or not form.signed
    for name in ("w1", "w2"):
        item = integer.constants_by_name[name]
        rows = source.constants_by_name[name].data
        assert np.all(np.isfinite(item.values))
        assert len(item.formats) == (FEATURES if chosen.per_channel else 1)
        if not chosen.per_channel:
            rows = rows.reshape(1, -1)
        for row, form in zip(rows, item.formats, strict=True):
            if chosen.method == "minmax" and row.any():
                assert np.abs(row).max() <= form.max + 2 * form.step


def test_an_accumulator_of_channels_far_apart_fits_32_bits():
    """Six decades between channels, one of them dead: the sum that flows into the ReLU is int32."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(8, 16)) * np.logspace(-3, 3, 8)[:, None]
    weight[3] = 0
    bias = generator.normal(size=8)
    nodes = [node("sum", Linear(), "x", "w", "b"), node("relu", Relu(), "sum")]
    source = graph(vector("x", 16), nodes, constants=[constant("w", weight), constant("b", bias)])
    data = torch.from_numpy(generator.uniform(size=(50, 16)))
    integer = lower(source, observe(source, [[data]]), LoweringSettings())
    accumulator = integer.node("sum").accumulator
    assert accumulator is not None
    assert accumulator.bits <= 32
    assert format_of(integer, "sum") == accumulator.exact_format
    assert format_of(integer, "sum").width <= 32
    fracs = [form.frac for form in integer.constants_by_name["w"].formats]
    assert max(fracs) - min(fracs) >= 4
