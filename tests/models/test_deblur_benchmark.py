"""The benchmark of deblurring, on made-up pictures and for one step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks.deblur.quality as quality
from benchmarks.deblur import process
from benchmarks.deblur.__main__ import Page
from benchmarks.speed.peers import export
from fxp.imaging.files import write_image
from fxp.imaging.quality import Quality
from fxp.models.common.weights import save_weights
from fxp.models.deblur import fixed, train
from fxp.models.deblur.networks import Generator


def picture(path: Path, seed: int, side: int = 140) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    write_image(path, image)


def test_budgets_are_equal():
    assert [run.blocks for run in quality.RUNS] == [11, 5, 3, 3]
    steps = [run.settings(3000).steps for run in quality.RUNS]
    assert steps[2] == steps[3] == 3000
    for run, count in zip(quality.RUNS, steps, strict=True):
        assert count * quality.multiplications(run.scales) == pytest.approx(
            3000 * quality.multiplications(3), rel=1e-3
        )
    # 3 to 16 maps, 22 convolutions of 16, and 16 to 3, 25 taps each.
    assert quality.multiplications(1) == 25 * (48 + 22 * 256 + 48)


def test_a_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train, "SCORED", 1)
    for name in ("T91", "BSD200"):
        for number in range(2):
            picture(tmp_path / "data" / name / f"{number}.png", number)
    run = quality.RUNS[2]
    first = quality.trained(run, tmp_path / "data", tmp_path / "work", 1)
    again = quality.trained(run, tmp_path / "data", tmp_path / "work", 1)
    before, after = (item.state_dict()["scales.0.head.weight"] for item in (first, again))
    assert torch.equal(before, after)
    assert first.options()["blocks"] == [3, 3, 3]


def test_rows_of_a_network_and_the_page(tmp_path: Path):
    for number in range(2):
        picture(tmp_path / "deblur" / "gopro_pairs" / f"{number}_blur.png", number, 24)
        picture(tmp_path / "deblur" / "gopro_pairs" / f"{number}_sharp.png", number, 24)
    for name, count in quality.FILMS:
        for number in range(quality.WINDOWS * count):
            picture(tmp_path / "video" / name / f"{number:03d}.png", number, 12)
    sets = [make(tmp_path, 16) for make in (quality.gopro, quality.synthesized)]
    assert [len(pairs) for pairs in sets] == [2, 6]
    assert sets[0][0][0].shape == (16, 16, 3)
    blurred = quality.blurred_row(sets)
    assert blurred.gopro == Quality(float("inf"), 1.0)
    rows = list(quality.rows_of("tiny", Generator(1, 2, 0).eval(), sets, 1))
    assert [row.arithmetic for row in rows] == [
        "float32", "10/14 bits, calibration alone", "10/14 bits, refined",
    ]  # fmt: skip
    for row in rows[1:]:
        assert row.gopro.psnr == pytest.approx(rows[0].gopro.psnr, abs=0.3)
    page = Page()
    page.quality([blurred, *rows], rows)
    page.speed([["fxp", "4x4", "1 thread", "1.00", "2.50", "9"]], 0.0)
    assert "| tiny | float32 |" in page.parts[1]
    assert page.summary[-1] == ("times as fast as ONNX Runtime float32, DeepDeblur", "2.50")


def test_both_programs_are_timed_in_a_process(tmp_path: Path):
    network = Generator(1, 2, 0).eval()
    save_weights(tmp_path / "net.safetensors", network)
    fixed.main(tmp_path / "net.safetensors", tmp_path / "net.fxp", 10, 14, "fast")
    (tmp_path / "net.onnx").write_bytes(export(network, [np.zeros((1, 3, 8, 8), np.float32)]))
    for name in ("net.fxp", "net.onnx"):
        found = process.main(str(tmp_path / name), 8, 8, 1, 2)
        assert 0 < found["best"] <= found["first"]
        assert found["bytes"] > 1e7
        assert json.loads(json.dumps(found)) == found
    with pytest.raises(RuntimeError, match="a second process failed"):
        process.start(tmp_path / "none.onnx", 8, 8, 1, 1)
