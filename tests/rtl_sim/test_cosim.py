"""Emitted cores against the engine: sizes, contents, stalls, both simulators."""

from __future__ import annotations

from itertools import product

import pytest
from simulations import (
    CONTENTS,
    MAX_WIDTH,
    SIMULATIONS,
    SIZES,
    bench_of,
    check,
    frame,
    frames,
    graph,
)

from fxp.models import sr
from fxp.rtl_sim import SIMULATORS, Stalls
from fxp.rtl_sim.comparison import patience_of
from fxp.rtl_sim.differences import output_difference
from fxp.rtl_sim.packing import input_beats
from fxp.rtl_sim.script import FRAMES, HEIGHT, STATUS, WIDTH, Script, StreamLog

GRAPHS = ("kimsr_shaped", "espcn_shaped", "srcnn_shaped", "fsrcnn_shaped", "branches")
PATTERNS = ("none", "random25", "random50", "random90", "bursts")
SMALL = SIZES[:-1]


@pytest.mark.parametrize("name", GRAPHS)
def test_all_sizes_and_contents_on_verilator(name, work_dir):
    model, bench = bench_of(graph(name), "verilator", work_dir)
    check(bench, model, frames(model, SIZES))


@pytest.mark.parametrize("name", GRAPHS)
def test_small_sizes_on_icarus(name, work_dir):
    model, bench = bench_of(graph(name), "icarus", work_dir)
    images = frames(model, SMALL[:-1], ("random", "checkerboard"))
    images += [frame(model, SMALL[-1], "photo"), frame(model, (MAX_WIDTH, 2), "random")]
    check(bench, model, images)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_whole_photo_on_both_simulators(simulator, work_dir):
    model, bench = bench_of(graph("kimsr_shaped"), simulator, work_dir)
    result = check(bench, model, frames(model, [(MAX_WIDTH, 48)], ["photo"]))
    # A pixel per clock; then what the windows hold back leaves, row by row.
    core = result.core
    lag = core.lag_lines * MAX_WIDTH + core.lag_pixels
    assert result.latency_cycles <= lag + core.latency_clocks + 12
    assert result.cycles <= 48 * MAX_WIDTH + lag + core.latency_clocks + 2 * MAX_WIDTH


def test_frames_follow_each_other_without_a_lost_clock(work_dir):
    model, bench = bench_of(graph("kimsr_shaped"), "verilator", work_dir)
    images = frames(model, [(17, 16)], CONTENTS)
    one = check(bench, model, images[:1])
    five = check(bench, model, images)
    assert five.cycles - one.cycles == 4 * 17 * 16


def test_every_pair_of_stall_patterns_on_verilator(work_dir):
    model, bench = bench_of(graph("kimsr_shaped"), "verilator", work_dir)
    pairs = [Stalls(*pair, seed=seed) for seed, pair in enumerate(product(PATTERNS, PATTERNS))]
    sizes = ((7, 9), (5, 1), (17, 16), (17, 16), (3, 3))
    changes = [stalls for stalls in pairs for _ in sizes]
    images = [
        frame(model, size, "random", number) for number, size in enumerate(sizes * len(pairs))
    ]  # fmt: skip
    check(bench, model, images, changes=changes)


@pytest.mark.parametrize("name", ["branches", "fsrcnn_shaped"])
def test_stall_patterns_on_icarus(name, work_dir):
    model, bench = bench_of(graph(name), "icarus", work_dir)
    pairs = [("none", "random90"), ("random90", "none"), ("bursts", "bursts"),
             ("random50", "random25")]  # fmt: skip
    changes = [Stalls(*pair, seed=1) for pair in pairs for _ in range(3)]
    images = frames(model, [(5, 4), (2, 3), (1, 1)] * len(pairs), ["random"])
    check(bench, model, images, changes=changes)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"fold": 3}, "branches"),
        ({"fold": 20}, "kimsr_shaped"),
        ({"multipliers": "shift_add"}, "kimsr_shaped"),
        ({"multipliers": "shift_add"}, "fsrcnn_shaped"),
        ({"multipliers": "shift_add", "register_shared": True}, "kimsr_shaped"),
        ({"multipliers": "shift_add", "raster": True}, "shuffled"),
        ({"multipliers": "shift_add"}, "residual"),
        ({"multipliers": {"head": "shift_add"}, "fold": {"wide": 3}}, "residual"),
        ({"multipliers": "shift_add", "levels_per_register": 3}, "clipped_shuffle"),
        ({"raster": True}, "kimsr_shaped"),
        ({"raster": True}, "espcn_shaped"),
        ({"raster": True}, "srcnn_shaped"),
    ],
)
def test_options_of_the_core(options, name, work_dir):
    model, bench = bench_of(graph(name), "icarus", work_dir, **options)
    images = frames(model, [(7, 9), (1, 1), (2, 3), (5, 1)], ("random", "checkerboard"))
    check(bench, model, images)
    check(bench, model, images[:4], Stalls("random50", "bursts", seed=2))


def test_the_shipped_network_on_verilator(work_dir):
    model, bench = bench_of(sr.load("kimsr_x2"), "verilator", work_dir)
    check(bench, model, frames(model, SIZES))
    images = frames(model, [(17, 16), (64, 5)], ("photo", "random"))
    pairs = [("random25", "bursts"), ("bursts", "none"), ("none", "random90"), ("bursts", "bursts")]
    check(bench, model, images, changes=[Stalls(*pair) for pair in pairs])


def test_the_shipped_network_on_icarus(work_dir):
    model, bench = bench_of(sr.load("kimsr_x2"), "icarus", work_dir)
    check(bench, model, frames(model, [(3, 3), (1, 1)], ("photo", "random")))


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_reset_in_mid_frame_forgets_everything(simulator, work_dir):
    model, bench = bench_of(graph("kimsr_shaped"), simulator, work_dir)
    core = bench.core
    stalls = Stalls("random25", "random50", seed=5)
    images = frames(model, [(7, 9)], ("random", "photo", "checkerboard"))
    beats = [input_beats(image, core.input) for image in images]
    script = Script(stalls, patience_of(core, stalls, MAX_WIDTH))
    script.reset()
    script.write(WIDTH, 7)
    script.write(HEIGHT, 9)
    script.send(*beats[0])
    data, flags = beats[1]
    script.send(data[:30], flags[:30])
    script.reset()
    script.read(WIDTH)
    script.write(WIDTH, 7)
    script.write(HEIGHT, 9)
    # The source knows nothing of the reset: the rest of its frame has no start.
    script.send(data[30:], flags[30:])
    script.send(*beats[2])
    script.send(*beats[1])
    script.drain(2 * 63)
    script.read(STATUS)
    script.read(FRAMES)
    log, _ = bench.run(script)
    SIMULATIONS[simulator] += 1
    assert log.violations == ()
    assert log.values == [MAX_WIDTH, 1 << 3, 2]
    before = log.steps[5]["outputs"]
    after = StreamLog(log.data[before:], None, log.flags[before:], log.output_clocks[before:])
    expected = [model.run(images[index]).outputs[0] for index in (2, 1)]
    assert output_difference(core, after, [images[2], images[1]], expected) is None


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_registers(simulator, work_dir):
    _, bench = bench_of(graph("kimsr_shaped"), simulator, work_dir)
    script = Script(Stalls(), patience=5000)
    script.reset()
    for address in (0x00, 0x04, WIDTH, HEIGHT, STATUS, 0x1C):
        script.read(address)
    for address, value in ((WIDTH, 0), (WIDTH, MAX_WIDTH + 1), (HEIGHT, 49), (HEIGHT, 1 << 16)):
        script.write(address, value)
        script.read(STATUS)
        script.write(STATUS, 0x1F)
        script.read(STATUS)
    script.read(WIDTH)
    script.read(HEIGHT)
    log, _ = bench.run(script)
    SIMULATIONS[simulator] += 1
    assert log.violations == ()
    start = [0x66787031, bench.core.version, MAX_WIDTH, 48, 0, 48 << 16 | MAX_WIDTH]
    assert log.values == [*start, *[1 << 4, 0] * 4, MAX_WIDTH, 48]


def test_a_core_as_wide_as_a_pixel(work_dir):
    model, bench = bench_of(graph("kimsr_shaped"), "icarus", work_dir, max_width=1, max_height=4)
    check(bench, model, frames(model, [(1, 4), (1, 1)], ("random", "highest")))


def test_taps_can_be_compared_though_outputs_agree(work_dir):
    model, bench = bench_of(graph("espcn_shaped"), "icarus", work_dir)
    images = frames(model, [(3, 2), (4, 4)], ["random"])
    result = check(bench, model, images, taps=True)
    assert {tap.value for tap in result.core.taps} == set(model.graph.values)
