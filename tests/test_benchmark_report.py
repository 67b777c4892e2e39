"""What benchmarks publish: their pages, and rows in the right place of the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report


def test_markdown_table():
    table = report.markdown_table(("name", "dB"), [["one", "1.5"]])
    assert table == "| name | dB |\n| :-- | --: |\n| one | 1.5 |"


def test_publish_replaces_its_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    head = "before\n<!-- figures:begin -->\n| what | figure | page |\n| :-- | --: | :-- |\n"
    tail = "| size | 1 | [size](docs/benchmarks/size.md) |\n<!-- figures:end -->\nafter\n"
    speed_link = "[speed](docs/benchmarks/speed.md)"
    old = f"| old | 1× | {speed_link} |\n| older | 2× | {speed_link} |\n"
    readme.write_text(head + old + tail)
    target = report.publish("speed", "Speed", "| new |", summary=[("one thread", "3×")])
    assert readme.read_text() == f"{head}| one thread | 3× | {speed_link} |\n{tail}"
    page = target.read_text()
    assert page.startswith("# Speed\n\nWritten by `python -m benchmarks.speed`.\n")
    assert "| In short |  |\n| :-- | --: |\n| one thread | 3× |\n\n| new |\n" in page
    record = {"seconds": 0.5}
    report.publish("speed", "Speed", "| body |", summary=[], details="| more |", data=record)
    assert "| body |\n\n| more |" in target.read_text()
    assert readme.read_text() == head + tail
    assert json.loads(target.with_suffix(".json").read_text()) == record
    report.publish("speed", "Speed", "", summary=[("again", "4×")])
    added = f"| again | 4× | {speed_link} |\n<!-- figures:end -->"
    assert readme.read_text() == head + tail.replace("<!-- figures:end -->", added)
    both = [("again", "4×"), ("more", "5×")]
    page = report.publish("speed", "Speed", "", summary=both)
    assert readme.read_text() == head + tail.replace("<!-- figures:end -->", added)
    assert "| again | 4× |\n| more | 5× |\n" in page.read_text()
    report.publish("speed", "Speed", "", summary=both, headlines=2)
    assert f"| more | 5× | {speed_link} |\n<!-- figures:end -->" in readme.read_text()
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="no table"):
        report.publish("size", "Size", "", summary=[])
