"""The scores of the benchmark of networks for events."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks.events.__main__ as benchmark
import fxp
from benchmarks.events import drift, quality, speed
from benchmarks.events.scores import Score, equalized, mean_score, nearest, score
from benchmarks.speed.timing import Settings
from fxp.models.events.networks import FireNet


def test_equalized_pixels_are_the_shares_of_darker_ones():
    frame = np.array([[5.0, 7.0], [7.0, 7.0]])
    # One of four pixels is as dark as the first: 255 / 4, rounded.
    assert equalized(frame).tolist() == [[64, 255], [255, 255]]
    assert np.array_equal(equalized(3 * frame - 8), equalized(frame))
    # The stretch ends at percentiles: of 101 values the second and the last but one.
    values = np.arange(101.0)[None]
    assert equalized(values, 1, 99)[0, :2].tolist() == [5, 5]


def test_a_picture_of_another_contrast_is_the_same():
    random = np.random.default_rng(0)
    frame = random.random((20, 30))
    same = score(0.3 + frame / 10, frame)
    assert same.mse < 1e-3
    assert same.ssim > 0.99
    other = score(random.random((20, 30)), frame)
    assert other.mse > 0.05
    assert other.psnr == pytest.approx(-10 * math.log10(other.mse))


def test_means_and_pairs():
    assert mean_score([Score(0, 10, 1), Score(1, 20, 0)]) == Score(0.5, 15, 0.5)
    assert nearest([10, 20, 30], [9, 10, 14, 16, 30, 31]) == [(0, 1), (0, 2), (1, 3), (2, 4)]


def test_a_network_is_measured_in_float_and_in_fixed_point(tmp_path: Path):
    random = np.random.default_rng(1)
    width, height, count = 120, 100, 6000
    np.savez(
        tmp_path / "small.npz",
        t_us=np.arange(count), x=random.integers(0, width, count),
        y=random.integers(0, height, count), p=random.integers(0, 2, count),
        frame=random.integers(0, 256, (3, height, width)).astype(np.uint8),
        frame_t_us=[-5, 2000, 5000],
    )  # fmt: skip
    recording = quality.Recording("small", "small.npz", (width, height), 1000)
    torch.manual_seed(0)
    first, second, frames = quality.measured(FireNet(2).eval(), recording, tmp_path, 5)
    assert frames == 1
    assert first.psnr == pytest.approx(second.psnr, abs=0.2)
    assert first.mse == pytest.approx(second.mse, rel=0.1)


def test_a_step_is_timed_and_its_memory_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "_apart", lambda work, *arguments: work(*arguments))
    torch.manual_seed(0)
    network = FireNet(2).eval()
    grids = torch.randn(2, 5, 12, 16)
    model = fxp.quantize(
        network,
        [grids],
        states=network.state_pairs(),
        initial_states=network.initial_states(12, 16),
        effort="fast",
        hold_states=False,
    )
    found = speed.measure(network, model, grids[0].numpy(), Settings(rounds=1, turn_seconds=0))
    assert set(found.seconds) == set(found.memory) == {"fxp", "onnxruntime", "torch"}
    assert all(seconds > 0 for seconds in found.seconds.values())
    known = speed.Speed(
        {"fxp": 0.002, "onnxruntime": 0.005, "torch": 0.01},
        {"fxp": 3 << 20, "onnxruntime": 5 << 20, "torch": 7 << 20},
    )
    cells = ["FireNet", "240×180", "2.0", "5.0", "10.0", "2.50×", "3", "5", "7"]
    assert speed.row("FireNet", (240, 180), known) == cells


def score_works(*titles: str):
    """Works that are done at once, and what was asked for."""
    done: list[str] = []

    def work(title: str) -> dict:
        done.append(title)
        scores = Score(0.5, 20, 0.25), Score(0.5, 19.5, 0.25)
        return {"row": quality.row(title, "cups", scores, 3), "figure": -0.5}

    return [(title, lambda title=title: work(title)) for title in titles], done


def test_what_is_missing_is_measured_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    works, done = score_works("a", "b")
    monkeypatch.setattr(benchmark, "quality_works", lambda data, windows: works)
    part = [benchmark.Part.QUALITY]
    benchmark.main(tmp_path, part, name="a", out=tmp_path)
    assert done == ["a"]
    stored = json.loads((tmp_path / "events.json").read_text())
    assert list(stored["quality"]) == ["a"]
    stored["quality"]["a"]["row"][0] = "kept"
    stored["speed"] = {}
    (tmp_path / "events.json").write_text(json.dumps(stored))
    benchmark.main(tmp_path, part, missing=True, out=tmp_path)
    assert done == ["a", "b"]
    page = (tmp_path / "events.md").read_text()
    figures = "cups | 3 | 0.5000 | 0.5000 | 20.00 | 19.50 | 0.250 | 0.250 | - | -0.500 |"
    assert f"| kept | {figures}\n| b | {figures}\n" in page
    assert "## Drift" not in page


def test_the_summary_leaves_shipped_networks_out():
    figures = {"A, cups": 1.0, "B, cups": -0.25, "shipped a, cups": -3.0}
    found = benchmark.summary({"quality": {name: {"figure": f} for name, f in figures.items()}})
    assert [figure for _, figure in found] == ["-0.250"]


def test_drift_is_measured_on_every_network_and_stream(tmp_path: Path):
    names = [name for name, _ in benchmark.drift_works(tmp_path, 500, None)]
    assert names[:2] == ["FireNet, video", "FireNet, recording"]
    assert len(names) == 2 * len(quality.titles())
    assert drift.SIDE % drift.GRANULE == 0
