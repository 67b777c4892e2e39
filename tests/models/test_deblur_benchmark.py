"""The benchmark of deblurring, on made-up pictures and for one step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks.deblur.__main__ as page
import benchmarks.deblur.quality as quality
from benchmarks.deblur import process
from benchmarks.speed.peers import export
from benchmarks.trainings import trained
from fxp.imaging.files import write_image
from fxp.models.common.weights import save_weights
from fxp.models.deblur import fixed, train
from fxp.models.deblur.networks import Generator, load_float


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
    made = train.recipe(quality.RUNS[2].settings(1), tmp_path / "data")
    first, again = (load_float(trained(made, tmp_path / "work", "k3")) for _ in range(2))
    before, after = (item.state_dict()["scales.0.head.weight"] for item in (first, again))
    assert torch.equal(before, after)
    assert first.options()["blocks"] == [3, 3, 3]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for number in range(2):
        picture(folder / "deblur" / "gopro_pairs" / f"{number}_blur.png", number, 24)
        picture(folder / "deblur" / "gopro_pairs" / f"{number}_sharp.png", number, 24)
    for name, count in quality.FILMS:
        for number in range(quality.WINDOWS * count):
            picture(folder / "video" / name / f"{number:03d}.png", number, 12)
    return folder


def test_rows_of_a_network(data: Path):
    sets = [make(data, 16) for make in (quality.gopro, quality.synthesized)]
    assert [len(pairs) for pairs in sets] == [2, 6]
    assert sets[0][0][0].shape == (16, 16, 3)
    assert quality.blurred_row(sets)["gopro"] == [float("inf"), 1.0]
    rows = list(quality.rows_of("tiny", Generator(1, 2, 0).eval(), sets, 1))
    assert [row["arithmetic"] for row in rows] == [
        "float32", "10/14 bits, calibration alone", "10/14 bits, refined",
    ]  # fmt: skip
    for row in rows[1:]:
        assert row["gopro"][0] == pytest.approx(rows[0]["gopro"][0], abs=0.3)


def test_the_page_says_what_is_missing_and_a_later_run_adds_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    page.main(data=data, only=[page.BLURRED], crop=16, steps=9, threads=[1], out=out)
    text = (out / "deblur.md").read_text()
    assert "on the middle 16x16 pixels of each" in text
    assert "| blurred photograph |  | inf | 1.0000 |" in text
    assert "Not measured yet: small, k1, k2, k3, k3_adversarial, speed." in text
    row = {"arithmetic": "float32", "gopro": [24.5, 0.7], "films": [25.0, 0.8], "seconds": 0.5}
    fixed_row = row | {"arithmetic": "10/14 bits", "gopro": [24.48, 0.7]}
    monkeypatch.setattr(page, "load_float", lambda name: name)
    monkeypatch.setattr(page, "rows_of", lambda *given: [row, fixed_row])
    with pytest.raises(ValueError, match="was measured with --crop 16 --steps 9"):
        page.main(data=data, only=["small"], crop=8, steps=9, threads=[1], out=out)
    page.main(
        data=data, only=["small", page.BLURRED], missing=True, crop=16, steps=9, threads=[1],
        out=out,
    )  # fmt: skip
    text = (out / "deblur.md").read_text()
    assert "| small | float32 | 24.50 | 0.7000 | 25.00 | 0.8000 | 0.50 |" in text
    assert "Not measured yet: k1, k2, k3, k3_adversarial, speed." in text
    with pytest.raises(ValueError, match="--only large is none of blurred photograph, small, k1"):
        page.main(data=data, only=["large"], out=out)


def test_what_the_readme_gets():
    row = {"arithmetic": "float32", "gopro": [24.5, 0.7], "films": [25.0, 0.8], "seconds": 0.5}
    record = {
        "crop": 0, "steps": 9, page.BLURRED: [row | {"gopro": [23.0, 0.6]}],
        "small": [row, row | {"arithmetic": "10/14 bits", "gopro": [24.48, 0.7]}],
        "speed": {"network": "paper", "load": 0.0,
                  "rows": [["fxp", "4x4", "1 thread", "1.00", "2.50", "9"]]},
    }  # fmt: skip
    assert page.summary(record) == [
        ("dB above the blurred photograph on GOPRO, small", "+1.50"),
        ("dB of deblurring, 10/14 bits, minus float", "-0.020"),
        ("times as fast as ONNX Runtime float32, DeepDeblur", "2.50"),
    ]
    assert "| fxp | 4x4 | 1 thread | 1.00 | 2.50 | 9 |" in page.page(record)
    assert page.summary({}) == []


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
