"""Weights with fraction bits per output channel, the default of `fxp.quantize`, in cores."""

from __future__ import annotations

from typing import Any

import pytest
from quantized_networks import uneven
from simulations import bench_of, check, frames

import fxp
from fxp import hls
from fxp.graph.ops import LineCodec
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import ModuleInstance

SIZES = ((7, 6), (2, 3))


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    made = uneven()
    fracs = {item.name: {form.frac for form in item.formats} for item in made.graph.constants}
    layers = ("first", "depthwise", "middle", "enlarge")
    assert all(len(fracs[f"{layer}.weight"]) > 1 for layer in layers)
    return made


@pytest.mark.parametrize(
    ("simulator", "options"),
    [
        ("icarus", {}),
        ("icarus", {"fold": 3}),
        ("icarus", {"multipliers": "shift_add"}),
        ("verilator", {"multipliers": "shift_add", "raster": True}),
    ],
)
def test_cores_are_exact(simulator, options, model, work_dir):
    model, bench = bench_of(model, simulator, work_dir, **options)
    check(bench, model, frames(model, SIZES, ("random", "highest")))


def test_compressed_lines_are_exact(model, work_dir):
    compressed = hls.compress_lines(model)
    assert any(isinstance(node.op, LineCodec) for node in compressed.graph.nodes)
    compressed, bench = bench_of(compressed, "icarus", work_dir)
    check(bench, compressed, frames(compressed, SIZES, ("random",)))


def test_multipliers_and_line_memories_are_those_of_weights_per_tensor(model):
    """Only sums and what is added to them have more bits; no weight, and no stored line, does."""

    def parts(model: fxp.FixedModel) -> list[dict[str, Any]]:
        plan, _ = plan_graph(model.graph, max_width=64)
        return [
            {key: item.parameters.get(key) for key in ("DataWidth", "WeightWidth", "Taps")}
            | {"memory": item.cost.memory_bits}
            for item in plan.items
            if isinstance(item, ModuleInstance) and item.module in ("fxp_dot", "fxp_window")
        ]

    # A layer of which no weight needs all eight bits may have narrower multipliers.
    assert parts(model) == parts(uneven(per_channel=False))
