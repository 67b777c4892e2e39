"""Whole frames through the compiled model, and the command."""

from __future__ import annotations

import numpy as np
import pytest
import stage_graphs
from simulations import MAX_HEIGHT, MAX_WIDTH, SIMULATIONS, frames, graph

from fxp.cli import main
from fxp.hls import Core, emit_rtl
from fxp.imaging.files import write_image
from fxp.model import FixedModel
from fxp.rtl_sim import Stalls, full_frame

SIZE = MAX_WIDTH, MAX_HEIGHT


@pytest.mark.parametrize(("name", "raster"), [("kimsr_shaped", False), ("espcn_shaped", True)])
def test_whole_frames_back_to_back(name, raster, work_dir):
    model = FixedModel(graph(name))
    images = frames(model, [SIZE], ("random", "photo", "checkerboard"))
    result = full_frame(model, images, raster=raster, work_dir=work_dir)
    SIMULATIONS["verilator, compiled"] += 1
    assert result.bit_exact, str(result)
    assert result.frames == 3
    if not raster:
        # One pixel per clock, without a gap.
        assert result.input_cycles == result.pixels == SIZE[0] * SIZE[1]
        # Only the last frame has no other behind it, and is flushed in whole rows.
        assert 0 <= result.total_cycles - result.cycles - 2 * result.pixels <= 2 * SIZE[0]
    slow = full_frame(
        model, images, raster=raster, work_dir=work_dir, stalls=Stalls("random50", "random25")
    )
    SIMULATIONS["verilator, compiled"] += 1
    assert slow.bit_exact, str(slow)
    assert slow.cycles > 1.8 * result.pixels


def test_a_damaged_core_is_found(work_dir):
    model = FixedModel(graph("residual"))
    folder = work_dir / "damaged"
    emit_rtl(model, folder, max_width=SIZE[0], max_height=SIZE[1])
    core = Core.read(folder)
    top = next(folder / path for path in core.sources if core.top in path)
    text = top.read_text()
    begin = text.rindex(".Weights(")
    digit = text.index(")", begin) - 1
    # The results have 8 bits, which a smaller change of a weight may leave as they are.
    top.write_text(text[:digit] + f"{int(text[digit], 16) ^ 8:x}" + text[digit + 1 :])
    images = frames(model, [SIZE], ["random"])
    result = full_frame(model, images, core=folder, work_dir=work_dir)
    SIMULATIONS["verilator, compiled"] += 1
    assert not result.bit_exact
    assert result.difference is not None
    assert result.difference.layer == model.graph.outputs[0]
    assert "DIFFERENT: " in str(result)


def test_frames_of_several_sizes_are_refused():
    model = FixedModel(graph("kimsr_shaped"))
    with pytest.raises(ValueError, match="one size"):
        full_frame(model, frames(model, [(2, 3), (3, 3)], ["random"]))


@pytest.fixture
def files(tmp_path):
    model = FixedModel(graph("kimsr_shaped"), metadata={"divide_by": "256"})
    model.save(tmp_path / "model.fxp")
    image = frames(model, [(40, 30)], ["photo"])[0][0]
    write_image(tmp_path / "image.png", image.astype(np.uint8))
    return tmp_path


def test_command(files, work_dir, capsys):
    model, image = str(files / "model.fxp"), str(files / "image.png")
    options = ["--simulator", "icarus", "--crop", "6", "--max-width", "8"]
    target = files / "waves.fst"
    stalls = ["--stalls", "random25/bursts", "--waveform", str(target)]
    assert main(["cosim", model, image, image, *options, *stalls]) == 0
    SIMULATIONS["icarus"] += 1
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert printed.out.startswith("bit-exact: 2 frames, 72 pixels in ")
    assert target.stat().st_size > 1000


def test_command_compares_several_outputs_with_styles_by_layer(tmp_path, work_dir, capsys):
    FixedModel(stage_graphs.several(), metadata={"divide_by": "256"}).save(tmp_path / "model.fxp")
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((1, 6, 8)))
    command = ["cosim", str(tmp_path / "model.fxp"), str(tmp_path / "image.npy")]
    options = ["--simulator", "icarus", "--layer", "conv0=dsp:3", "--work-dir", str(work_dir)]
    assert main([*command, *options]) == 0
    SIMULATIONS["icarus"] += 1
    printed = capsys.readouterr().out
    assert printed.startswith("bit-exact: 1 frame, 48 pixels in ")
    # A pixel every three clocks at best.
    assert int(printed.split(" in ")[1].split()[0]) > 144


def test_command_fails_on_a_damaged_core(files, capsys):
    folder = files / "core"
    emit_rtl(FixedModel(graph("kimsr_shaped")), folder, max_width=8, max_height=8)
    top = next(folder.glob("rtl/kimsr_shaped_core.sv"))
    text = top.read_text()
    assert ".Rounding(fxp_pkg::HalfUp)" in text
    top.write_text(text.replace("Rounding(fxp_pkg::HalfUp)", "Rounding(fxp_pkg::Floor)", 1))
    arguments = [str(files / "model.fxp"), str(files / "image.png"), "--core", str(folder)]
    assert main(["cosim", *arguments, "--simulator", "icarus", "--crop", "8"]) == 1
    SIMULATIONS["icarus"] += 2
    assert "DIFFERENT: relu1: frame 0, channel " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stalls", "often"], "is no stall pattern"),
        (["--stalls", "random100"], "'random100' is no stall pattern: write none, bursts, or"),
        (["--work-dir", "missing/work"], "no folder missing to write work to"),
        (["--raster", "--pixels-per-beat", "1"], "leave one of them out"),
        (["--layer", "conv0=luts"], "--layer 'conv0=luts' must be NAME=STYLE"),
        (["--simulator", "compiled", "--waveform", "a.vcd"], "writes no waveform"),
        (["--max-width", "7"], "40x30 is larger than the core takes, 7x30"),
        (["--core", "nowhere"], "no emitted core"),
    ],
)
def test_bad_options_of_the_command_are_one_line(files, capsys, options, message):
    arguments = [str(files / "model.fxp"), str(files / "image.png"), *options]
    assert main(["cosim", *arguments]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1
