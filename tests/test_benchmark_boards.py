"""The page on the bitstream of a board says what was built."""

from __future__ import annotations

from pathlib import Path

from benchmarks import boards
from fxp.hls.boards import Bitstream
from fxp.hls.synth.targets import Resources


def test_the_page_has_the_figures_of_the_tools(tmp_path: Path, monkeypatch):
    made = Bitstream(
        tmp_path / "small.bit", "ulx3s-25f", Resources(luts=1234, registers=800, block_rams=3),
        Resources(luts=24288, registers=24288, multipliers=28, block_rams=56),
        {"pixel_clk": (25.0, 60.04), "fast_clk": (125.0, 300.0)}, 7, 12.5,
    )  # fmt: skip

    def build(folder: Path, *, seed: int, progress) -> Bitstream:
        assert (folder, seed) == (tmp_path / "design", 7)
        for done, tool in enumerate(("yosys", "nextpnr")):
            progress(done, 2, tool)
        return made

    monkeypatch.setattr(boards, "small_network", lambda: None)
    monkeypatch.setattr(boards, "emit_board", lambda *_, **__: None)
    monkeypatch.setattr(boards, "build_bitstream", build)
    result, seconds = boards.build(tmp_path / "design", "ulx3s-25f", 7)
    assert list(seconds) == ["yosys", "nextpnr"]
    text = boards.page(result, {"yosys": 61.4, "nextpnr": 600.0}, 351800)
    assert "`ulx3s-25f` (LFE5U-25F, CABGA381, speed grade 6): shared adders, seed 7" in text
    assert "| Look-up tables | 1,234 | 24,288 |" in text
    assert "| Multipliers | 0 | 28 |" in text
    assert "| Block memories | 3 | 56 |" in text
    assert "| `pixel_clk` | 25.0 MHz | 60.0 MHz |" in text
    assert "The bitstream has 351,800 bytes." in text
    assert "| yosys | 61 |\n| nextpnr | 600 |" in text
