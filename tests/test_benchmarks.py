"""The benchmark scripts: their tables, and that publishing touches the right place only."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks.quantization as quantization
from benchmarks import report


def test_markdown_table():
    table = report.markdown_table(("name", "dB"), [["one", "1.5"]])
    assert table == "| name | dB |\n| :-- | --: |\n| one | 1.5 |"


def test_publish_replaces_one_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nafter\n")
    target = report.publish("speed", "Speed", "| new |")
    assert readme.read_text() == (
        "before\n<!-- speed:begin -->\n| new |\n<!-- speed:end -->\nafter\n"
    )
    assert "# Speed" in target.read_text()
    with pytest.raises(ValueError, match="no section"):
        report.publish("size", "Size", "")


def test_quantization_benchmark_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    marks = "<!-- quantization:begin -->\n<!-- quantization:end -->\n"
    (tmp_path / "README.md").write_text(marks)
    monkeypatch.setattr(quantization, "VARIANTS", quantization.VARIANTS[:1])
    photographs = quantization.photographs()
    small = [quantization.Photograph(p.small[:40, :40], p.truth[:80, :80]) for p in photographs]
    monkeypatch.setattr(quantization, "photographs", lambda: small)
    calibration = [image[..., :48, :48] for image in quantization.calibration_images()]
    monkeypatch.setattr(quantization, "calibration_images", lambda: calibration)
    quantization.main()
    output = capsys.readouterr().out
    assert "| 10/14, mse |" in output
    assert "| bicubic |" in (tmp_path / "README.md").read_text()
