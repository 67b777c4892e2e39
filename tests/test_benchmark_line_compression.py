"""The benchmark of compressed line memories on small pieces of photographs."""

from __future__ import annotations

import re

import pytest

from benchmarks import line_compression


def test_the_page_has_memory_and_losses(capsys: pytest.CaptureFixture[str]) -> None:
    line_compression.main(quick=True)
    page = capsys.readouterr().out
    rows = {
        cells[0]: cells[1:]
        for line in page.splitlines()
        if line.startswith(("| as shipped", "| compressed", "| `"))
        for cells in [[cell.strip() for cell in line.strip("| ").split("|")]]
    }
    assert set(rows) == {"as shipped", "compressed", "`body.depthwise` compressed",
                         "`tail.depthwise` compressed"}  # fmt: skip
    lines, codecs, *_ = (float(cell) for cell in rows["compressed"])
    assert lines == 1.321
    assert lines + codecs <= 1.4
    assert float(rows["as shipped"][0]) == 2.611
    assert rows["as shipped"][4:] == ["0.0000", "0.0000"]
    psnr, loss, _ = (float(cell) for cell in rows["compressed"][3:])
    assert psnr > 25
    assert abs(loss) < 0.05
    assert re.search(r"^wrote", page, re.MULTILINE) is None
