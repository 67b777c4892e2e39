"""What the README shows: its Python examples run, its commands and files exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import fxp
from fxp.cli import main
from fxp.imaging.files import write_image

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert fxp.load("kimsr.fxp").parameters == 2560
    assert (tmp_path / "kimsr_core" / "core.json").exists()
    assert "accumulator" in capsys.readouterr().out

    (command,) = re.findall(r"\$ fxp (psnr .*)", README)
    (tmp_path / "photos").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (24, 26), np.uint8)
    write_image(tmp_path / "photos" / "noise.png", image)
    assert main(command.split()) == 0
    assert "fixed - float" in capsys.readouterr().out


def test_links_and_paths_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    targets += re.findall(r"`((?:fxp|models|hls|rtl_sim|docs)/[\w/.]*)`", README)
    assert len(targets) > 10
    for target in targets:
        assert (ROOT / target).exists(), target


def test_tables_are_those_the_benchmarks_wrote():
    for name in re.findall(r"<!-- (\w+):begin -->", README):
        section = README.partition(f"<!-- {name}:begin -->\n")[2].partition("<!-- ")[0]
        written = (ROOT / "docs" / "benchmarks" / f"{name}.md").read_text(encoding="utf-8")
        assert "|" in section
        assert section.strip() in written


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("**/*.md")), ids=lambda p: p.name)
def test_links_of_the_documentation_exist(page: Path):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
