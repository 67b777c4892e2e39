"""The benchmark of the ingredients of training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from benchmarks import training
from fxp.models.common.weights import save_weights
from fxp.models.sr.networks import KimSR, load_float


def test_mean_of_the_weights_of_runs(tmp_path: Path):
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "mean.safetensors")]
    for value, path in zip((1.0, 4.0), files, strict=False):
        network = KimSR(2, features=8)
        for parameter in network.parameters():
            nn.init.constant_(parameter, value)
        save_weights(path, network)
    images = training.Images([], [], [], [], {})
    name, seconds = training.averaged("mean", files[:2], images, files[2])
    assert (name, seconds) == ("mean", "")
    assert {float(item) for p in load_float(files[2]).parameters() for item in p.unique()} == {2.5}


def test_rows_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 104, 3), dtype=np.uint8)
    for name in ("T91", "BSD200", "Set5", "Set14", "B100"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(pixels[number:]).save(tmp_path / name / f"{number}.png")
    rows = {name: ["1.000"] * 5 for name in ("Adam", "**SOAP**", training.TEACHER)}
    (tmp_path / "training.json").write_text(json.dumps({"steps": 2, "threads": 1, "rows": rows}))
    training.main(tmp_path, steps=2, only="twice", missing=True, compiled=False, out=tmp_path)
    page = (tmp_path / "training.md").read_text()
    names = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if "|" in line]
    pupil = "SOAP, half the target from "
    first, both = f"{pupil}a network of twice the width", f"{pupil}both of twice the width"
    expected = ["Adam", "**SOAP**", training.TEACHER, first, training.OTHER_TEACHER, both]
    assert names[2:] == expected
    # The rows that were missing need another run of their teacher, and no other.
    assert page.count(" | ".join(["1.000"] * 5)) == 2
    assert "wrote" in capsys.readouterr().out
