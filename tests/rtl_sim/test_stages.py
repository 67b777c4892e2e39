"""Cores of ops that change the size, repeat borders or look at whole frames, against the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import stage_graphs
from simulations import SIMULATIONS, bench_of, check, frame

import fxp
from fxp.filters import gamma_table, sobel
from fxp.filters.colour import rgb_to_ycbcr_graph
from fxp.filters.tables import table_graph
from fxp.formats import IntArray
from fxp.hls import emit_rtl
from fxp.hls.rtl.emit import plan_graph
from fxp.model import FixedModel
from fxp.rtl_sim import Stalls, cosim

STALLED = Stalls("random50", "bursts", seed=3)
SIZES = {"crops": [(7, 8), (9, 6)], "borders": [(7, 6), (6, 8)], "pools": [(8, 9), (9, 8)],
         "reduced": [(6, 4), (4, 8)], "recurrent": [(6, 5)] * 2,
         "enlarged_state": [(2, 2)] * 2}  # fmt: skip


def images(model: FixedModel, sizes: list[tuple[int, int]] | None = None) -> list[IntArray]:
    """Return two frames of each size, or of the only size of the graph."""
    _, height, width = model.graph.inputs[0].shape
    if isinstance(height, int) and isinstance(width, int):
        sizes = [(width, height)]
    assert sizes is not None
    return [
        frame(model, size, content, number)
        for size in sizes
        for number, content in enumerate(("random", "photo"))
    ]  # fmt: skip


@pytest.mark.parametrize("shape", sorted(stage_graphs.SHAPES.keys() - {"unet", "interpolations"}))
def test_every_layer_on_icarus(shape, work_dir):
    model, bench = bench_of(stage_graphs.SHAPES[shape](), "icarus", work_dir, max_width=16)
    frames = images(model, SIZES.get(shape, [(5, 4), (3, 5)]))
    check(bench, model, frames, STALLED, taps=True)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ("interpolations", {"raster": True}),
        ("residual_classifier", {"multipliers": "shift_add"}),
        ("pools", {"fold": 3}),
    ],
)
def test_options_of_the_core(shape, options, work_dir):
    model, bench = bench_of(
        stage_graphs.SHAPES[shape](), "icarus", work_dir, max_width=16, **options
    )
    check(bench, model, images(model, SIZES.get(shape, [(3, 4)])), STALLED)


@pytest.mark.parametrize("shape", ["borders", "residual_classifier", "unet"])
def test_frames_in_a_row_on_verilator(shape, work_dir):
    model, bench = bench_of(stage_graphs.SHAPES[shape](), "verilator", work_dir, max_width=16)
    frames = images(model, [(7, 6), (6, 5), (16, 9)])
    check(bench, model, frames * 2, taps=True)
    check(bench, model, frames, STALLED)


@pytest.mark.parametrize("seed", range(5))
def test_networks_drawn_by_chance(seed, work_dir):
    style = {"multipliers": "shift_add"} if seed % 2 else {}
    model, bench = bench_of(
        stage_graphs.random_network(seed), "icarus", work_dir, max_width=16, **style
    )
    check(bench, model, images(model), Stalls("random25", "random50", seed=seed), taps=True)


def test_a_core_of_two_levels_of_reduction_in_frames_without_a_gap(work_dir):
    model, bench = bench_of(stage_graphs.pools(), "icarus", work_dir, max_width=16)
    odd = [frame(model, (9, 9), "random", number) for number in range(3)]
    check(bench, model, odd)


def test_filters_stream_with_their_default_border(work_dir):
    edges = fxp.filter_graph(sobel("x"))
    model, bench = bench_of(edges, "icarus", work_dir, max_width=16)
    check(bench, model, images(model, [(6, 5), (2, 2)]), STALLED)
    for graph in (rgb_to_ycbcr_graph(), table_graph(gamma_table("2.2"))):
        plan_graph(graph, max_width=16)


# What is damaged, where, and the first layer that must differ.
DAMAGES = {
    "another border": (
        "borders", "borders_core.sv", ".Border(fxp_pkg::Symmetric)",
        ".Border(fxp_pkg::Replicate)", "conv2d0",
    ),
    "one column too late": (
        "pools", "pools_core.sv", ".FirstColumn(0)", ".FirstColumn(1)", "max_pool1",
    ),
    "the smaller value": ("pools", "fxp_maximum.sv", "? right : left", "? left : right",
                          "max_pool1"),
    "a total of other values": (
        "residual_classifier", "fxp_frame_total.sv", "total + value", "total + total",
        "global_average_pool7",
    ),
    "what a frame left is not read": (
        "recurrent", "fxp_state.sv", "first ? Initial : data", "Initial", "hidden",
    ),
    "another state at first": (
        "recurrent", "recurrent_core.sv", ".Initial(16'hf7f7)", ".Initial(16'hf7f6)", "hidden",
    ),
    "weights of the pixel before": (
        "classifier", "fxp_linear.sv", "'0 : next_address", "'1 : next_address", "linear7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_placed(damage, tmp_path):
    shape, file, sound, damaged, layer = DAMAGES[damage]
    model = FixedModel(stage_graphs.SHAPES[shape]())
    frames = images(model, SIZES.get(shape))
    height, width = frames[0].shape[1:]
    folder = tmp_path / "core"
    emit_rtl(model, folder, max_width=max(width, 9), max_height=9 if height <= 9 else height)
    path: Path = folder / "rtl" / file
    text = path.read_text()
    assert sound in text
    path.write_text(text.replace(sound, damaged, 1))
    result = cosim(model, frames, simulator="icarus", core=folder, taps=True)
    SIMULATIONS["icarus"] += 1
    assert not result.bit_exact
    assert result.difference is not None
    assert result.difference.layer == layer, str(result)
