"""Choice of multipliers for a device and a frame rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import streaming_graphs as graphs

from fxp.cli import main
from fxp.formats import Format
from fxp.hls import fit
from fxp.hls.rtl.emit import emit_rtl
from fxp.hls.synth import SynthesisError, synthesize
from fxp.hls.synth.targets import TARGETS, Resources
from fxp.store import save_graph


def test_as_many_clocks_as_the_rate_leaves():
    # 150 MHz for 480 x 270 pixels, 60 times a second, are 19.3 clocks for each.
    found = fit(graphs.kimsr_shaped(), "ecp5-25k", width=480)
    assert found.clocks == 19
    assert set(found.multipliers) == {f"conv{number}" for number in (0, 2, 3, 5, 6, 9, 10, 12, 13)}
    assert found.estimate.multipliers <= 28
    assert all(found.multipliers[name] == "dsp" and fold == 19
               for name, fold in found.fold.items())  # fmt: skip
    text = str(found)
    assert text.startswith("LFE5U-25F, 19 clocks per pixel: about ")
    assert "conv0 " in text


def test_what_was_chosen_is_what_is_built(tmp_path: Path):
    found = fit(graphs.kimsr_shaped(), "ecp5-25k", width=480)
    core = emit_rtl(graphs.kimsr_shaped(), tmp_path / "core", max_width=480,
                    multipliers=found.multipliers, fold=found.fold)  # fmt: skip
    assert core.fold == (19 if found.fold else 1)
    total = next(line for line in (tmp_path / "core" / "README.md").read_text().splitlines()
                 if line.startswith("| **Sum**"))  # fmt: skip
    assert int(total.split("|")[2].replace(",", "")) == found.estimate.multipliers


def test_estimates_are_near_what_yosys_counts(tmp_path: Path):
    # 16 outputs share the choice of their operands, and their weights lie in block memories.
    builder = graphs.GraphBuilder("wide", 8)
    builder.conv(16, bits=8, target=Format(10, 7))
    graph = builder.graph()
    found = fit(graph, "ecp5-12k", fps=100, width=100, height=100, megahertz=72)
    assert found.fold == {"conv0": 72}
    core = emit_rtl(graph, tmp_path, max_width=100, multipliers=found.multipliers, fold=found.fold)
    counted = synthesize(tmp_path, core.sources, core.top, TARGETS["ecp5-12k"]).total
    assert counted.multipliers == found.estimate.multipliers == 16
    for name in ("luts", "registers", "block_rams"):
        assert getattr(found.estimate, name) == pytest.approx(getattr(counted, name), rel=0.2)


def test_refusals():
    with pytest.raises(SynthesisError, match=r"1920x1080 at 60 frames per second are 124\.4 mill"):
        fit(graphs.kimsr_shaped(), megahertz=100)
    with pytest.raises(SynthesisError, match=r"'kimsr_shaped' does not fit LFE5U-12F: at least "):
        fit(graphs.kimsr_shaped(24), "ecp5-12k", width=1920)
    with pytest.raises(ValueError, match="unknown target 'ice40'; choose one of ecp5-12k, "):
        fit(graphs.kimsr_shaped(), "ice40")
    with pytest.raises(ValueError, match="must be finite and above zero"):
        fit(graphs.kimsr_shaped(), fps=0)


def test_the_fullest_kind_counts():
    needed = Resources(luts=8364, registers=0, multipliers=78, block_rams=20)
    assert TARGETS["ecp5-85k"].fullest(needed) == 0.5


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = tmp_path / "model.fxp"
    save_graph(graphs.kimsr_shaped(), model)
    start = ["export", "rtl", str(model), str(tmp_path / "core")]
    assert main([*start, "--fit", "ecp5-25k", "--fps", "60", "--width", "480"]) == 0
    assert "LFE5U-25F, 19 clocks per pixel" in capsys.readouterr().out
    assert main([*start, "--layer", "conv0=shift_add", "--layer", "conv9=dsp:3"]) == 0
    assert main([*start, "--fit", "ecp5-25k", "--fold", "2"]) == 1
    assert "--fit chooses multipliers and fold itself" in capsys.readouterr().err
    assert main([*start, "--layer", "conv0=luts"]) == 1
    assert "--layer 'conv0=luts' must be NAME=STYLE" in capsys.readouterr().err
    assert main([*start, "--layer", "conv0=dsp", "--multipliers", "shift_add"]) == 1
    assert "leave out --multipliers and --fold" in capsys.readouterr().err
