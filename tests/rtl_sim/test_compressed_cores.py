"""Cores whose line memories store codes, against the engine that runs the codec as an op."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from simulations import SIMULATIONS, bench_of, check, frame, frames, graph
from streaming_graphs import GraphBuilder

from fxp import hls
from fxp.formats import Format
from fxp.graph import ops
from fxp.hls.line_compression import lines_of
from fxp.model import FixedModel
from fxp.models import sr
from fxp.rtl_sim import SIMULATORS, Stalls, find_simulator
from fxp.rtl_sim.build import build_bench
from fxp.rtl_sim.comparison import compare, emit

SMALL = ((1, 1), (2, 3), (5, 1), (7, 9), (17, 16))
OPTIONS = {"max_width": 20, "max_height": 16}
PATTERNS = ("none", "random25", "random50", "random90", "bursts")


def compressed(name: str) -> FixedModel:
    """Return a small network with a codec before every window of several lines."""
    plain = graph(name)
    nodes = [node.name for node in plain.nodes if lines_of(plain, node)]
    model = hls.compress_lines(FixedModel(plain), nodes)
    assert sum(node.op.name == "line_codec" for node in model.graph.nodes) >= 2
    return model


def small() -> FixedModel:
    """Return one compressed convolution of signed values."""
    builder = GraphBuilder("small", 1, Format(12, 8), seed=5)
    builder.conv(1, target=Format(10, 6))
    return hls.compress_lines(FixedModel(builder.graph()), ["conv0"])


@pytest.mark.parametrize("name", ["branches", "fsrcnn_shaped"])
def test_all_sizes_back_to_back_on_icarus(name, work_dir):
    model, bench = bench_of(compressed(name), "icarus", work_dir, **OPTIONS)
    check(bench, model, frames(model, SMALL, ["random"]))


def test_stalls_on_icarus(work_dir):
    model, bench = bench_of(small(), "icarus", work_dir, **OPTIONS)
    pairs = [("none", "random90"), ("bursts", "bursts"), ("random50", "random25")]
    changes = [Stalls(*pair, seed=1) for pair in pairs for _ in range(4)]
    images = frames(model, [(9, 4), (2, 3), (1, 1), (20, 2)] * len(pairs), ["random"])
    check(bench, model, images, changes=changes)


def test_the_first_row_after_reset_lies_where_the_second_looks_for_it(work_dir):
    # A path that is late in pixels alone begins with beats that belong to no row.
    builder = GraphBuilder("sideways", 1, Format(6, 4), seed=5)
    builder.conv(1, (1, 5), target=Format(8, 5))
    builder.conv(1, (3, 1), target=Format(8, 4))
    for simulator in SIMULATORS:
        model, bench = bench_of(builder.graph(), simulator, work_dir, **OPTIONS)
        check(bench, model, frames(model, [(11, 4), (3, 2)], ["random"]))


def test_every_pair_of_stall_patterns_on_verilator(work_dir):
    model, bench = bench_of(compressed("kimsr_shaped"), "verilator", work_dir, **OPTIONS)
    check(bench, model, frames(model, SMALL))
    pairs = [Stalls(*pair, seed=seed) for seed, pair in enumerate(product(PATTERNS, PATTERNS))]
    sizes = ((7, 9), (5, 1), (17, 16), (17, 16), (1, 1))
    images = [frame(model, size, "random", number) for number, size in enumerate(sizes * 25)]
    check(bench, model, images, changes=[stalls for stalls in pairs for _ in sizes])


def test_no_clock_is_lost_between_frames(work_dir):
    model, bench = bench_of(compressed("kimsr_shaped"), "verilator", work_dir, **OPTIONS)
    images = frames(model, [(17, 16)])
    one = check(bench, model, images[:1])
    five = check(bench, model, images)
    assert five.cycles - one.cycles == 4 * 17 * 16


def test_the_shipped_network_with_half_the_line_memory(work_dir):
    model = hls.compress_lines(sr.load("kimsr_x2"))
    model, bench = bench_of(model, "verilator", work_dir, **OPTIONS)
    check(bench, model, frames(model, SMALL, ("photo", "random")), Stalls("random25", "bursts"))


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        # The low bit of the first stored delta and of the first base, and a shift too far.
        ("fxp_window", (".data_i(incoming),", ".data_i(incoming ^ 1),")),
        ("fxp_window", (".data_i(incoming_header),", ".data_i(incoming_header ^ 1),")),
        ("fxp_line_codec", ("4'(b - DeltaBits + 1)", "4'(b - DeltaBits + 2)")),
        # Headers of rows that are shorter than a group.
        ("fxp_line_codec", ("place == 3'd7 || tags_i[fxp_pkg::LastColumn]", "place == 3'd7")),
        ("fxp_line_codec", ("half && !(&truncated)", "half")),
    ],
)  # fmt: skip
def test_a_fault_in_a_code_is_noticed(module, fault, tmp_path):
    model = small()
    folder = Path(emit(model, [], tmp_path, **OPTIONS))
    source = folder / "rtl" / f"{module}.sv"
    text = source.read_text()
    assert text.count(fault[0]) == 1
    source.write_text(text.replace(*fault))
    bench = build_bench(folder, find_simulator("icarus"), tmp_path)
    result = compare(bench, model, frames(model, [(11, 6), (3, 4)], ["random"]), Stalls())
    SIMULATIONS["icarus"] += 1
    assert not result.bit_exact
    # A wrong code in memory shows behind the window, a wrong encoder at once.
    assert re.match(r"DIFFERENT: (image.stored|conv0)", str(result)) is not None


def test_a_codec_without_a_window_behind_it_is_lossy_all_the_same(work_dir):
    builder = GraphBuilder("alone", 2, Format(9, 4), seed=3)
    stored = builder.add(ops.LineCodec(), "image", target=Format(9, 4))
    builder.add(ops.Subtract(), stored, "image")
    for simulator in SIMULATORS:
        model, bench = bench_of(builder.graph(), simulator, work_dir, **OPTIONS)
        check(bench, model, frames(model, SMALL, ("random", "photo")))
