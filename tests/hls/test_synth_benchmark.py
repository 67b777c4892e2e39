"""The synthesis benchmark: what it measures can be built, and the page shows every figure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from benchmarks.synth import __main__ as synth
from fxp.hls.synth import SynthesisError
from fxp.hls.synth.harness import ports_of

TOTAL = {"luts": 1111, "registers": 2222, "carries": 3333, "multipliers": 4444, "block_rams": 5555}
PLACEMENT = {
    "megahertz": 151.5,
    "seed": 2,
    "logic_ns": 3.25,
    "routing_ns": 2.75,
    "cells": {"TRELLIS_COMB": 123, "TRELLIS_FF": 456, "MULT18X18D": 36, "DP16KD": 2},
}


@pytest.mark.parametrize("name", synth.STAGES)
def test_every_stage_can_be_built(name: str, tmp_path: Path):
    sources, top, parameters = synth.STAGES[name].build(tmp_path)
    text = "\n".join((tmp_path / source).read_text() for source in sources)
    ports = ports_of(text, top, parameters)
    assert {"clk_i", "aclk"} & {port.name for port in ports}
    assert any(port.output for port in ports)


def test_adders_are_counted_and_published(tmp_path: Path):
    synth.main(only=["adders"], timeout=1, folder=tmp_path)
    layers = json.loads((tmp_path / "synth.json").read_text())["adders"]["layers"]
    network = [layer["adders"] for layer in layers if "random" not in layer["layer"]]
    assert len(network) == 9
    # da4ml 0.6 needs 4143 with one level more than the fewest, as here.
    assert 3600 < sum(network) < 4400
    page = (tmp_path / "synth.md").read_text()
    assert all(f"| {layer['layer']} |" in page for layer in layers)
    assert f"| KimSR |  | {sum(network)} |" in page


def test_page_shows_figures_and_reasons():
    record: synth.Record = {name: {"placement": PLACEMENT} for name in synth.STAGES}
    record |= {name: {"synthesis": {"total": TOTAL}, "device": "X", "lacking": []}
               for name in synth.WHOLE}  # fmt: skip
    estimate = {**PLACEMENT, "megahertz": 171.5, "routed": False}
    record |= {
        name: {
            "estimate": estimate,
            "latency": 72,
            "clocks": 4,
            "placement": {**PLACEMENT, "bitstream": 98765},
        }
        for name in synth.PLACED
    }
    unfinished, unplaced, *_ = synth.PLACED
    record[unfinished] = {"estimate": estimate, "latency": 72, "clocks": 4,
                          "reason": "nextpnr did not finish"}  # fmt: skip
    record[unplaced] = {"reason": "nextpnr is not there"}
    first, *_, last = synth.WHOLE
    record[first]["lacking"] = ["4444 of 156 multipliers"]
    record[last] = {"reason": "yosys did not finish"}
    page = synth.page(record)
    assert page.count("| 151.5 | 2 | 3.25 | 2.75 | 123 | 456 | 36 | 2 |") == len(synth.STAGES)
    assert page.count("| 1111 | 2222 | 3333 | 4444 | 5555 |") == len(synth.WHOLE) - 1
    routed = re.findall(
        r"\| 123 \| 456 \| 36 \| 2 \| 72 \| 4 \| 171\.5 \| 151\.5 \| (\S+) \| 3\.25 \| 2\.75 "
        r"\| 98765 \|",
        page,
    )
    # 960x540 and 1920x1080 pixels, or 32x32, at 151.5 million clocks, four for a pixel.
    assert len(routed) == len(synth.PLACED) - 2
    assert set(routed) == {"73", "18", "36,987"}
    # 1920x1080 pixels at 171.5 million clocks.
    assert "| 72 | 4 | 171.5 | nextpnr did not finish | 21 |  |  |  |" in page
    assert f"| {unplaced} | 8 | 150 |  |  |  |  |  |  | nextpnr is not there |  |  |  |" in page
    assert "| no: 4444 of 156 multipliers |" in page
    assert "| yosys did not finish |" in page


def test_summary_names_what_is_routed():
    routed = {"placement": {**PLACEMENT, "megahertz": 160.14}}
    record: synth.Record = {
        "KimSR, 8 maps 8/10": routed,
        "KimSR, 16 maps 8/10": {"placement": PLACEMENT},
        "KimSR, fewer digits 9/13": {"estimate": PLACEMENT, "reason": "not routed"},
        "ResNet-8 for CIFAR, 4 maps": routed,
    }
    [(text, figure)] = synth.summary(record)
    assert "one pixel per clock: KimSR, 8 maps 8/10; KimSR, 16 maps 8/10 bits" in text
    assert figure == "160.1, 151.5 MHz"
    assert synth.summary({}) == []


def test_a_failure_is_recorded_and_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> synth.Record:
        raise SynthesisError("no tool")

    first, second = list(synth.STAGES)[:2]
    monkeypatch.setitem(synth.WORKS, first, lambda *_: {"placement": PLACEMENT})
    monkeypatch.setitem(synth.WORKS, second, fails)
    synth.main(only=[first], timeout=1, folder=tmp_path)
    synth.main(only=[second], timeout=1, folder=tmp_path)
    record = json.loads((tmp_path / "synth.json").read_text())
    assert record[first]["placement"] == PLACEMENT
    assert record[second]["reason"] == "no tool"
    with pytest.raises(typer.BadParameter, match="'nothing' is none of adders"):
        synth.main(only=["nothing"], timeout=1, folder=tmp_path)


def test_placements_of_whole_networks_continue_in_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders: list[Path] = []

    def placed(name: str, folder: Path, timeout_s: float) -> synth.Record:
        folders.append(folder)
        assert folder.is_dir()
        return {"reason": "nothing"}

    first = next(iter(synth.PLACED))
    for name in synth.PLACED:
        monkeypatch.setitem(synth.WORKS, name, placed)
    synth.main(part="placed", timeout=1, folder=tmp_path, work=tmp_path / "work")
    assert len(set(folders)) == len(synth.PLACED)
    assert all(folder.parent == tmp_path / "work" and folder.is_dir() for folder in folders)
    synth.main(only=[first], timeout=1, folder=tmp_path)
    assert not folders[-1].exists()  # only for the time of the run
