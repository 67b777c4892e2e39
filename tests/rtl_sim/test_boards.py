"""Designs of boards: what suits, the whole design in a simulator, the modules around the core."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lint import slang_findings

import fxp
from fxp.cli import main
from fxp.hls.boards import BOARDS, MODES, BoardDesign, VideoMode, build_bitstream, emit_board, flow
from fxp.hls.boards.boards import pll_dividers
from fxp.hls.boards.design import CORE_OPTIONS, DECIDED, board_frame
from fxp.hls.rtl.core import Core
from fxp.hls.rtl.emit import emit_rtl
from fxp.hls.rtl.streams import StreamingError
from fxp.hls.rtl.styles import weighted_layers
from fxp.hls.synth.synthesis import Synthesis
from fxp.hls.synth.targets import Resources
from fxp.hls.synth.tools import SynthesisError
from fxp.imaging.files import write_image
from fxp.rtl_sim import board as board_module
from fxp.rtl_sim.board import MODELS, simulate_board
from fxp.rtl_sim.simulators import find_simulator
from fxp.support.errors import ArgumentError

TINY = VideoMode("tiny", 24, 16, 4, 6, 10, 2, 2, 4, 25.0, True)
PIXEL = fxp.Format(8, 8, signed=False)


def model_of(scale: int, channels: int = 1) -> fxp.FixedModel:
    torch.manual_seed(scale)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, channels * scale**2, 3, padding=1, groups=channels),
        torch.nn.ReLU(),
        torch.nn.PixelShuffle(scale),
    ).eval()
    with torch.no_grad():
        network[0].bias.fill_(0.2)
    images = [torch.rand(1, channels, 16, 16)]
    return fxp.quantize(network, images, input_format=PIXEL, output_format=PIXEL, weight_bits=6)


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    return model_of(2)


def test_a_monitor_shows_what_the_engine_computes(work_dir, tmp_path):
    model = model_of(2, channels=3)
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 7))
    emit_board(
        model, tmp_path / "design", board="ulx3s-25f", mode=TINY, picture=picture, baud=2_500_000,
        multipliers="shift_add",
    )  # fmt: skip
    result = simulate_board(
        model, tmp_path / "design", picture=picture, frames=2, work_dir=work_dir
    )
    assert result.bit_exact, str(result)
    assert result.faults == ()
    assert result.pictures.shape == (2, 16, 24, 3)
    # The three channels differ, so none can have taken the place of another.
    assert len({channel.tobytes() for channel in np.moveaxis(result.pictures[0], 2, 0)}) == 3
    other = picture.copy()
    other[1, 2, 3] ^= 0x40
    wrong = simulate_board(model, tmp_path / "design", picture=other, work_dir=work_dir)
    assert not wrong.bit_exact
    assert wrong.different > 0
    assert "bytes differ" in str(wrong)


def test_linters_have_nothing_to_say_of_a_design(model, tmp_path):
    for number, picture in enumerate((None, np.zeros((1, 3, 4), int))):
        folder = tmp_path / str(number)
        design = emit_board(model, folder, picture=picture)
        verilator = find_simulator("verilator")
        command = [verilator.program, "--lint-only", "-Wall", "--top-module", design.top]
        # The models of the primitives have parameters and pins that they do not use.
        models = folder / "models.sv"
        off = "/* verilator lint_off DECLFILENAME */ /* verilator lint_off UNUSEDPARAM */\n"
        off += "/* verilator lint_off UNUSEDSIGNAL */\n"
        on = off.replace("lint_off", "lint_on")
        models.write_text(off + MODELS.read_text() + on)
        result = subprocess.run(
            [*map(str, command), "models.sv", *design.sources],
            cwd=folder, env=verilator.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        assert slang_findings(folder, ("models.sv", *design.sources), design.top) == ""


def test_every_pin_has_a_place(model, tmp_path):
    design = emit_board(model, tmp_path / "design", board="ulx3s-25f")
    top = (tmp_path / "design" / design.sources[-1]).read_text()
    head = top[top.index(f"module {design.top}") : top.index(");")]
    ports = []
    for high, name in re.findall(r"(?:input|output) +logic *(?:\[(\d+):0\])? *(\w+)", head):
        ports += [f"{name}[{bit}]" for bit in range(int(high) + 1)] if high else [name]
    text = (tmp_path / "design" / "ulx3s-25f.lpf").read_text()
    assert sorted(re.findall(r'LOCATE COMP "(\S+)"', text)) == sorted(ports)
    sites = re.findall(r'SITE "(\w+)"', text)
    assert len(set(sites)) == len(sites) == len(ports)
    assert 'FREQUENCY PORT "clk_i" 25.0 MHZ;' in text
    assert re.search(r"@\w+@", top) is None


def test_clocks_of_the_modes():
    # 25 MHz times 5 is the fast clock; 6 times that is the fastest the oscillator may be.
    assert pll_dividers(25.0, 25.0) == (5, 6, 30)
    assert pll_dividers(25.0, 40.0) == (8, 4, 20)
    with pytest.raises(ArgumentError, match=r"no pixel clock of 74\.25 MHz"):
        pll_dividers(25.0, 74.25)
    for mode in MODES.values():
        assert 59 < mode.hertz < 61
        for board in BOARDS.values():
            feedback, _, _ = pll_dividers(board.megahertz, mode.megahertz)
            assert feedback * board.megahertz == 5 * mode.megahertz


def test_what_does_not_suit_is_refused_before_anything_is_written(model, tmp_path):
    target = tmp_path / "design"
    cases = [
        ({"board": "ulx4"}, "unknown board 'ulx4'; there are ulx3s-12f"),
        ({"mode": "4k"}, "unknown video mode '4k'"),
        ({"fold": 6}, "fold can be at most 5"),
        ({"mode": replace(TINY, width=25)}, "both sides must be multiples of 2"),
        ({"picture": np.zeros((3, 4, 4), int)}, r"must have the shape \(1, H, W\)"),
        ({"picture": np.zeros((1, 4, 400), int)}, "larger than the frames that the core takes"),
        ({"picture": np.full((1, 4, 4), 256)}, "from 0 to 255, .*: raw 256 at index"),
        ({"picture": np.full((1, 4, 4), 0.5)}, "raw integers of .* must be integers, got dtype"),
        ({"picture": np.full((1, 4, 4), np.nan)}, "raw integers of .*fxp.formats.quantize"),
        ({"picture": np.zeros((1, 0, 4), int)}, r"no pixels: its shape is \(1, 0, 4\)"),
        ({"picture": [[[1, 2], [3]]]}, r"must have the shape \(1, H, W\)"),
        ({"baud": 0}, "integer from 1 to 3125000 at a pixel clock of 25 MHz, not 0"),
        ({"baud": 3_125_001}, "integer from 1 to 3125000"),
        ({"baud": 2_900_000}, r"takes 8\.62 clocks of 25 MHz"),
        ({"packing": "ug934"}, "packing follows from the picture and the monitor.* multipliers,"),
        ({"subsampled": True}, "subsampled follows from"),
        ({"initial_size": (8, 8)}, "initial_size follows from"),
        ({"max_width": 100}, "max_width follows from"),
        ({"pixels_per_beat": 4}, "pixels_per_beat follows from"),
        ({"foo": 1}, "no option 'foo'; options of the core are multipliers, fold, levels"),
    ]
    for options, message in cases:
        with pytest.raises(ArgumentError, match=message):
            emit_board(model, target, **options)
    wide = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1)).eval()
    two = fxp.quantize(wide, [torch.rand(1, 1, 8, 8)], input_format=PIXEL)
    with pytest.raises(ArgumentError, match="one or three channels of 8 unsigned bits, not 2"):
        emit_board(two, target)
    half = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, stride=2, padding=1)).eval()
    small = fxp.quantize(
        half, [torch.rand(1, 1, 8, 8)], input_format=PIXEL, output_format=PIXEL
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="leaves rows and columns of its input out"):
        emit_board(small, target)
    net = torch.nn.Sequential(half[0], torch.nn.ReLU(), torch.nn.ConvTranspose2d(1, 1, 2, 2)).eval()
    back = fxp.quantize(net, [torch.rand(1, 1, 8, 8)], input_format=PIXEL, output_format=PIXEL)
    with pytest.raises(ArgumentError, match="enlarges the rest again, so blocks of 2x2"):
        emit_board(back, target)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError, match="holds no design of a board"):
        BoardDesign.read(tmp_path)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="is not empty and holds no design"):
        emit_board(model, tmp_path)


def test_every_option_of_a_core_is_free_on_a_board_or_decided_by_it():
    options = set(inspect.signature(emit_rtl).parameters) - {"model", "out_dir"}
    assert sorted(options) == sorted(CORE_OPTIONS + DECIDED)


def test_a_design_replaces_an_earlier_one_with_all_that_was_built_of_it(model, tmp_path):
    folder = tmp_path / "design"
    first = emit_board(model, folder, mode=TINY, picture=np.ones((1, 3, 4), int), name="one")
    assert (folder / "picture.hex").read_text() == "1\n" * 12
    for name in (f"{first.top}.bit", "placement.json", "netlist.json"):
        (folder / name).write_text("old")
    before = sorted(folder.rglob("*"))
    with pytest.raises(StreamingError, match="no name for a core"):
        emit_board(model, folder, mode=TINY, name="2")
    assert sorted(folder.rglob("*")) == before
    emit_board(
        model, folder, mode=TINY, board="ulx3s-25f", name="two", bypass=True, bus_errors=True,
        register_shared=True, levels_per_register=2, multipliers="shift_add",
    )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == [
        "board.json", "core", "rtl", "ulx3s-25f.lpf",
    ]  # fmt: skip
    assert [path.name for path in (folder / "rtl").glob("*_board.sv")] == ["two_board.sv"]
    assert [path.name for path in tmp_path.iterdir()] == ["design"]


def test_a_damaged_description_is_named(model, tmp_path):
    emit_board(model, tmp_path / "design", mode=TINY)
    path = tmp_path / "design" / "board.json"
    content = json.loads(path.read_text())
    cases = [
        ("{}", "'mode' is missing"),
        ("[1", "Expecting"),
        ("[]", "list indices"),
        (json.dumps({**content, "target": "ecp6"}), "not 'ecp6'"),
        (json.dumps({**content, "baud": "fast"}), "not 'fast'"),
        (json.dumps({**content, "top": 1}), "no text"),
        (json.dumps({**content, "sources": 1}), "not iterable"),
        (json.dumps({**content, "mode": {**content["mode"], "width": 0}}), "above zero, not 0"),
        (json.dumps({name: content[name] for name in content if name != "speed"}), "'speed'"),
    ]
    for text, message in cases:
        path.write_text(text)
        with pytest.raises(ArgumentError, match=f"board.json is damaged: .*{message}.*again"):
            build_bitstream(tmp_path / "design")


def test_boards_and_modes_that_cannot_be():
    board = BOARDS["ulx3s-25f"]
    for change, message in (
        ({"name": "a/b"}, "no name for a board"),
        ({"target": "gowin-18k"}, "one of ecp5-12k, ecp5-25k, ecp5-45k, ecp5-85k, not 'gowin-18k'"),
        ({"package": "CABGA1"}, "packages .*CABGA381.*, not 'CABGA1'"),
        ({"speed": 9}, "speed grades 6, 7, 8, not 9"),
        ({"megahertz": 0}, "more than 0 MHz"),
        ({"pins": board.pins[1:]}, "look at clk_i"),
        ({"pins": (*board.pins, board.pins[3])}, r"look at tmds_o\[0\]"),
    ):
        with pytest.raises(ArgumentError, match=message):
            replace(board, **change)
    with pytest.raises(ArgumentError, match="h_sync of the video mode tiny must be an integer"):
        replace(TINY, h_sync=0)
    with pytest.raises(ArgumentError, match="more than 0 MHz"):
        replace(TINY, megahertz=float("nan"))


def test_the_frame_of_a_picture_and_of_the_pattern(model, tmp_path):
    emit_board(model, tmp_path / "design", mode=TINY)
    core = Core.read(tmp_path / "design" / "core")
    pattern = board_frame(core, None)
    assert pattern.shape == (1, 8, 12)
    assert pattern[0, 5, 3] == 5 ^ 3
    picture = np.array([[[1, 2, 3], [4, 5, 6]]])
    repeated = board_frame(core, picture)
    assert repeated[0, 2].tolist() == [1, 2, 3] * 4
    assert repeated[0, 3].tolist() == [4, 5, 6] * 4


def test_a_bitstream_is_built_from_what_the_tools_say(model, tmp_path, monkeypatch):
    folder = tmp_path / "design"
    # Not one of those that are known by name.
    board = replace(BOARDS["ulx3s-25f"], name="mine", package="CABGA256", speed=7)
    design = emit_board(model, folder, board=board, mode=TINY)
    used = Resources(luts=900, registers=800, block_rams=3)
    calls = []

    def synthesize(place: Path, sources, top, device, **options) -> Synthesis:
        assert (sources, top, device.name) == (design.sources, design.top, "ecp5-25k")
        empty = {"modules": {top: {"ports": {}, "cells": {}, "netnames": {}}}}
        (place / options["netlist"]).write_text(json.dumps(empty))
        return Synthesis(top, device.name, (), used, 1.0)

    def run(tool: str, arguments, place: Path, timeout_s: float) -> str:
        calls.append((tool, arguments))
        clocks = '{"$glbnet$pixel": {"constraint": 25, "achieved": 60.04}, '
        clocks += '"fast": {"constraint": 125, "achieved": 124.9}}'
        (place / "placement.json").write_text(f'{{"fmax": {clocks}}}')
        return ""

    monkeypatch.setattr(flow, "synthesize", synthesize)
    monkeypatch.setattr(flow, "run_synthesis_tool", run)
    made = build_bitstream(folder, seed=7)
    assert made.path == folder / f"{design.top}.bit"
    assert made.clocks == {"pixel": (25, 60.0), "fast": (125, 124.9)}
    assert not made.met
    assert [tool for tool, _ in calls] == ["nextpnr-ecp5", "ecppack"]
    placed = calls[0][1]
    assert placed[:5] == ["--25k", "--package", "CABGA256", "--speed", "7"]
    assert placed[placed.index("--seed") + 1] == "7"
    assert placed[placed.index("--lpf") + 1] == "mine.lpf"
    assert (made.board, (folder / "mine.lpf").is_file()) == ("mine", True)
    used = Resources(luts=25_000)
    with pytest.raises(SynthesisError, match="does not fit mine: 25000 of 24288 luts"):
        build_bitstream(folder)


def test_what_a_monitor_finds_wrong_is_said():
    answer = {"recorded": 1, "broken": 2, "odd_lines": 0, "dark": 1, "slips": 3, "leds": 2,
              "received": ""}  # fmt: skip
    said = board_module._faults(answer, 2)
    assert "1 of 2 frames were shown" in said
    assert "2 words are no TMDS" in said
    assert "a pixel came too late" in said
    assert "the serial port gave nothing for the register ID" in said
    assert len(said) == 6


def test_the_command_writes_a_design(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("small.fxp")
    write_image("photo.png", np.arange(40 * 30, dtype=np.uint8).reshape(30, 40))
    arguments = ["bitstream", "small.fxp", "design", "--board", "ulx3s-25f", "--no-build"]
    assert main([*arguments, "--picture", "photo.png", "--crop", "20"]) == 0
    assert capsys.readouterr().out == "wrote design\n"
    design = BoardDesign.read("design")
    assert (design.board, design.picture, design.mode.name) == ("ulx3s-25f", (20, 20), "640x480")
    words = Path("design/picture.hex").read_text().split()
    # The middle of the photo, from row 5 and column 10 on: 210 of 255 is 211 of 256.
    assert int(words[0], 16) == 211
    assert main([*arguments, "--fold", "2"]) != 0
    assert "--multipliers dsp" in capsys.readouterr().err
    # Five clocks for each pixel: a line of 320 is shown in two lines of 800 clocks.
    assert main([*arguments, "--fit"]) == 0
    assert "LFE5U-25F, 5 clocks per pixel" in capsys.readouterr().out
    (layer,) = weighted_layers(model.graph)
    options = ["--layer", f"{layer}=dsp:5", "--levels-per-register", "3", "--register-shared"]
    assert main([*arguments, *options]) == 0
    core = Core.read("design/core")
    assert (core.fold, core.levels_per_register, core.register_shared) == (5, 3, True)
    (Path("design") / "photo.png").write_bytes(Path("photo.png").read_bytes())
    assert main([*arguments, "--picture", "design/photo.png"]) != 0
    assert "which is read, lies in design" in capsys.readouterr().err
    assert Path("design/photo.png").is_file()
