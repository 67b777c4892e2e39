"""``fxp search``: a model, a picture and figures of mixed widths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_checks import error_of

import fxp
from fxp.cli import main

NETWORK = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_network_to_search.py").write_text(NETWORK)
    generator = np.random.default_rng(0)
    np.save(tmp_path / "values.npy", generator.uniform(0, 255, (1, 1, 8, 8)).astype(np.float32))
    return tmp_path


ARGUMENTS = (
    "search", "a_network_to_search:net", "--calibration", "values.npy", "--out", "net.fxp",
    "--weight-widths", "4-7", "--activation-widths", "6-9",
)  # fmt: skip


def test_a_model_a_picture_and_figures(home: Path, capsys: pytest.CaptureFixture[str]):
    cost = ("--floor", "25", "--cost", "adders")
    assert main([*ARGUMENTS, *cost, "--picture", "front.svg", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["quality"]["dB SQNR"] >= 25
    assert set(figures["cost"]) == {"adders"}
    model = fxp.load(home / "net.fxp")
    width = model.graph.constants_by_name["0.weight"].formats[0].width
    assert width == figures["bits"]["0.weight"]
    assert 4 <= width <= 7
    assert "<svg" in (home / "front.svg").read_text()
    assert main([*ARGUMENTS, "--floor", "25", "--strategy", "greedy", "--max-trials", "30"]) == 0
    assert "dB SQNR, floor 25; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--floor", "25", "--weight-widths", "7-4"),
         "--weight-widths must be written as FROM-TO, such as 4-10, not '7-4'"),
        (("--floor", "25", "--weight-widths", "few"),
         "--weight-widths must be written as FROM-TO, such as 4-10, not 'few'"),
        (("--floor", "25", "--picture", "values.npy"), "values.npy must end in .pdf, .png or .svg"),
        (("--floor", "200"), "the floor of 200 is out of reach: with the widest widths, 7"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("home")
def test_what_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
):
    assert error_of(capsys, *ARGUMENTS, *arguments).startswith(message)
    assert not Path("net.fxp").exists()
