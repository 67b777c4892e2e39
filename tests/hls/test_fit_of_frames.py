"""Sizes that a choice of multipliers counts with, and layers that are not worth a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stage_graphs
from streaming_graphs import GraphBuilder

from fxp.cli import main
from fxp.formats import Format
from fxp.graph import Graph, ops
from fxp.hls import StreamingError, emit_rtl, fit
from fxp.hls.rtl import sums
from fxp.hls.rtl.literals import packed
from fxp.hls.synth import SynthesisError
from fxp.store import save_graph


def mean_of_frame() -> Graph:
    b = GraphBuilder("mean_of_frame", 1, Format(8, 8, signed=False))
    b.conv(2, target=Format(8, 4))
    b.add(ops.GlobalAveragePool(), target=Format(12, 10))
    return b.graph()


def test_a_network_of_fixed_size_is_rated_at_its_own():
    # 11 x 12 pixels, 10,000 times a second, are 1.32 million: 113 clocks of 150 MHz for each.
    found = fit(stage_graphs.classifier(), "ecp5-25k", fps=10_000)
    assert found.clocks == 113
    # Weights for every pixel have multipliers in either style, which share nothing.
    assert found.multipliers["linear7"] == "dsp"
    assert "linear7" not in found.fold
    assert "linear7 shift_add" not in str(found)


def test_a_result_of_a_whole_frame_is_rated_at_the_frames_that_are_given(tmp_path: Path):
    with pytest.raises(StreamingError, match="for frames of 1920x1080 it needs multipliers of"):
        fit(mean_of_frame(), "ecp5-25k")
    with pytest.raises(StreamingError, match="depends on a whole frame: give the size of your fr"):
        fit(mean_of_frame(), "ecp5-25k", width=16)
    # 150 MHz for 100 pixels, 20,000 times a second.
    found = fit(mean_of_frame(), "ecp5-25k", fps=20_000, initial_size=(20, 5))
    assert found.clocks == 75
    assert fit(mean_of_frame(), "ecp5-25k", fps=20_000, width=20, height=5) == found
    core = emit_rtl(mean_of_frame(), tmp_path / "core", max_width=20, initial_size=(20, 5),
                    multipliers=found.multipliers, fold=found.fold)  # fmt: skip
    assert core.fold == max(found.fold.values(), default=1)


def test_adders_that_can_never_fit_are_not_searched(monkeypatch: pytest.MonkeyPatch):
    searched = []
    search = sums.constant_matrix_module

    def recorded(matrix: np.ndarray, *args: object, **options: object) -> object:
        searched.append(matrix.shape)
        return search(matrix, *args, **options)

    monkeypatch.setattr(sums, "constant_matrix_module", recorded)
    b = GraphBuilder("uneven", 1, Format(8, 8, signed=False))
    b.conv(2, target=Format(8, 4))
    weight = b.constant("large", b.random.integers(-32768, 32768, (64, 2, 9, 9)), Format(16, 15))
    b.add(ops.Conv2d(padding=(4,) * 4), b.last, weight, target=Format(8, 4))
    found = fit(b.graph(), "ecp5-85k", fps=1, width=320)
    assert set(searched) == {(2, 9)}
    assert list(found.multipliers.values())[1] == "dsp"
    # Nor is anything searched if the other layers alone are too large.
    searched.clear()
    with pytest.raises(SynthesisError, match=r"at least \d+ of 28 multipliers"):
        fit(b.graph(), "ecp5-25k", fps=2000, width=320)
    assert searched == []


def test_literals_of_many_words():
    assert packed([], 4) == "0'h0"
    assert packed([1, -1, 7], 4) == "12'h7f1"
    assert packed([2**5000], 5001) == f"5001'h1{'0' * 1250}"


def test_commands_count_with_the_frames_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model, core = tmp_path / "mean.fxp", str(tmp_path / "core")
    save_graph(mean_of_frame(), model)
    assert main(["synth", str(model)]) == 1
    message = capsys.readouterr().err
    assert "a result depends on a whole frame, and for frames of 1920x4096 it needs" in message
    assert message.endswith("give the size of your frames as --initial-size\n")
    start = ["export", "rtl", str(model), core]
    options = ["--fit", "ecp5-25k", "--fps", "20000", "--megahertz", "150"]
    assert main([*start, *options, "--initial-size", "20x5"]) == 0
    assert "LFE5U-25F, 75 clocks per pixel" in capsys.readouterr().out
    assert main([*start, *options, "--width", "20", "--max-height", "5"]) == 0
    assert "LFE5U-25F, 75 clocks per pixel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("synth --megahertz 0", "--megahertz must be a finite number above zero, not 0"),
        ("synth --megahertz nan --fit ecp5-25k", "--megahertz must be a finite number above zero"),
        ("synth --megahertz=-5 --place", "--megahertz must be a finite number above zero, not -5"),
        ("synth --fps 30", "--fps says what --fit is to reach; give --fit as well"),
        ("synth --fit ecp5-25k --target ecp5-85k", "--fit ecp5-25k and --target ecp5-85k name two"),
        ("synth --target gowin-18k --speed 7", "--speed 7 says where --place is to count"),
        ("synth --initial-size 0x0", "--initial-size 0x0 has no pixels"),
        ("synth --initial-size 8", "--initial-size must be written as WIDTHxHEIGHT, not '8'"),
        ("synth --raster --pixels-per-beat 1", "leave one of them out"),
        ("export rtl --raster --pixels-per-beat 1", "leave one of them out"),
        ("export rtl --megahertz 100", "--megahertz says what clock --fit counts with"),
        ("export rtl --fps 30", "--fps says what --fit is to reach; give --fit as well"),
        ("export rtl --fit ecp5-25k --megahertz inf", "--megahertz must be a finite number"),
    ],
)
def test_options_that_do_not_go_together(
    command: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model = tmp_path / "model.fxp"
    save_graph(mean_of_frame(), model)
    first, *options = command.split(" --")
    paths = [str(model)] + [str(tmp_path / "core")] * (first == "export rtl")
    flags = [word for option in options for word in f"--{option}".split(" ")]
    assert main([*first.split(" "), *paths, *flags]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "core").exists()
