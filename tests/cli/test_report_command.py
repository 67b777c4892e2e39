"""``fxp report``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_checks import error_of
from PIL import Image

import fxp
from fxp.cli import main

NETWORK = """
import torch
from torch import nn

def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, a model of it, and two photographs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_report_net.py").write_text(NETWORK)
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = random.integers(0, 256, (16, 20), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    assert main([
        "quantize", "own_report_net:network", "--calibration", "photos", "--out", "net.fxp",
    ]) == 0  # fmt: skip
    return tmp_path


def test_a_page_and_figures_are_written(folder: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["report", "net.fxp", "--float", "own_report_net:network", "--images", "photos"]
    assert main([*arguments, "--out", "report.html", "--measure"]) == 0
    printed = capsys.readouterr().out
    assert "What to change:" in printed
    assert "measured" in printed
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main([*arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [value["name"] for value in figures["values"]] == ["input", "0", "1", "2"]
    assert figures["images"] == 2


def test_nothing_that_is_read_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]):
    model = (folder / "net.fxp").read_bytes()
    known = ["report", "net.fxp", "--float", "own_report_net:network", "--images", "photos"]
    assert "must end in .html or .json" in error_of(capsys, *known, "--out", "net.fxp")
    assert "must end in" in error_of(capsys, *known, "--out", "photos/a.png")
    assert (folder / "net.fxp").read_bytes() == model
    assert "no folder" in error_of(capsys, *known, "--out", "nowhere/report.html")
    assert "INPUT:OUTPUT" in error_of(capsys, *known, "--states", "one")
    assert "no such file" in error_of(capsys, *known[:-1], "nothing")


def test_a_network_of_other_weights_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    text = NETWORK.replace("manual_seed(2)", "manual_seed(77)")
    (folder / "other_report_net.py").write_text(text)
    error = error_of(
        capsys, "report", "net.fxp", "--float", "other_report_net:network", "--images", "photos"
    )
    assert "are not those of the model" in error
    assert fxp.load("net.fxp").origin is None
