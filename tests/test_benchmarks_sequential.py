"""The benchmark of recognition by features: its tables, its methods, and what it merges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import benchmarks.sequential.__main__ as command
from benchmarks.sequential import growth, methods
from benchmarks.sequential.sets import FeatureSet, every_other
from benchmarks.speed.timing import Settings

QUICK = Settings(rounds=1, turn_seconds=0.001)
SET = {
    "classes": 40, "gallery": 200, "queries": 200, "features": 256, "load": 1.0,
    "differ": {"10/14": 0.5, "16/16": 0.25},
    "methods": {
        "SVM": {"error": 4.0, "ms": 0.1}, "NN 256": {"error": 2.5, "ms": 0.02},
        "proposed m = 32": {"error": 2.25, "ms": 0.01},
    },
}  # fmt: skip
GROWTH = {
    "load": 1.0,
    "sizes": [
        {"classes": 1000, "rows": 10_000, "components": 256, "share": 0.125,
         "ms": {"proposed": 0.1, "brute force": 0.6, "faiss flat": 0.9},
         "differ": {"proposed": 0}}
    ],
}  # fmt: skip


def test_page():
    lines = command.page({"faces": SET, "growth": GROWTH}).splitlines()
    assert "| error % / ms | faces |" in lines
    assert "| proposed m = 32 | 2.25 / 0.010 |" in lines
    assert "| faces | 40 | 200 | 200 | 256 | 0.50 | - | 0.25 |" in lines
    assert "| 1,000 | 10,000 | 256 | 0.100 | 0.600 | 0.900 | 12.5% | 6.0× | 1.5× | 0 |" in lines


def test_summary():
    rows = command.summary({"faces": SET, "growth": GROWTH})
    assert [figure for _, figure in rows] == ["-0.25 points", "6.0 times as fast"]
    assert command.summary({}) == []


def test_division_of_a_set():
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    # Of two pictures of a class, the first is known.
    assert np.flatnonzero(every_other(labels, 1, 2)).tolist() == [1, 3, 6, 7]


@pytest.fixture(scope="module")
def blobs() -> FeatureSet:
    found, labels = make_blobs(120, 12, centers=4, random_state=0)[:2]
    real = found.astype(np.float32)
    return FeatureSet("blobs", {"10/14": found}, real, labels, np.arange(120) >= 90)


def test_methods_find_blobs_that_lie_apart(blobs: FeatureSet, monkeypatch: pytest.MonkeyPatch):
    # NN-descent compiles for half a minute, so that it is left to the benchmark.
    monkeypatch.setattr(methods, "_descent", lambda rows: lambda query: 0)
    found = command.measured(blobs, QUICK)
    assert (found["gallery"], found["queries"], found["classes"]) == (90, 30, 4)
    assert found["differ"] == {"10/14": 0}
    for name in ("SVM", "NN all", "NN 256", "NN 64 PCA", "TWD posteriors", "TWD BF", "TWD DF",
                 "proposed m = 32", "proposed m = 64", "faiss flat", "FLANN KD trees"):  # fmt: skip
        assert found["methods"][name]["error"] == 0, name
        assert found["methods"][name]["ms"] > 0


def test_quickest_threshold_that_is_as_good(blobs: FeatureSet):
    rule = methods.tuned("classes", blobs.fixed["10/14"], blobs.labels, 12, 8)
    assert rule.threshold == methods.THRESHOLDS["classes"][0]


def test_growth():
    (found,) = growth.measured([(30, 64)], QUICK)
    assert (found["rows"], found["components"]) == (300, 64)
    assert 0.5 <= found["share"] <= 1
    assert found["differ"] == {"proposed": 0, "brute force": 0, "faiss flat": 0}


def test_runs_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(growth, "measured", lambda sizes, settings: iter(GROWTH["sizes"]))
    (tmp_path / "sequential.json").write_text(json.dumps({"CIFAR-10": SET}), "utf-8")
    command.main(only=["growth"], out=tmp_path)
    record = json.loads((tmp_path / "sequential.json").read_text("utf-8"))
    assert list(record) == ["CIFAR-10", "growth"]
    with pytest.raises(ValueError, match="--only birds is none of faces"):
        command.main(only=["birds"], out=tmp_path)


def test_an_index_that_finds_no_row_is_wrong(monkeypatch: pytest.MonkeyPatch):
    """Rows without any structure share few of their nearest pivots with a query."""
    random = np.random.default_rng(0)
    rows, queries = (methods.unit(random.normal(size=(count, 64))) for count in (300, 50))
    monkeypatch.setattr(methods, "SHARED_PIVOTS", 14)
    find = methods.permutation_index(rows)
    found = [find(query[None]) for query in queries]
    assert methods.NOTHING in found
    assert all(methods.NOTHING <= row < 300 for row in found)
    labels = np.arange(300) // 150
    answers = [methods.by_row(find, labels, query) for query in queries]
    assert [answer == methods.NOTHING for answer in answers] == [
        row == methods.NOTHING for row in found
    ]
