"""What the README shows exists: its links, its folders, and the figures of the benchmarks.

`tests/docs` runs its examples.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.report import BEGIN, END

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_SCREEN = 60


def test_links_and_paths_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    targets += re.findall(r"`((?:fxp|models|hls|rtl_sim|benchmarks|tests|docs)/[\w/.]*)`", README)
    assert len(targets) > 40
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_first_screen_shows_the_picture_the_commands_and_the_three_uses():
    screen = "\n".join(README.splitlines()[:FIRST_SCREEN])
    for shown in ("side_by_side.png", "$ make demo", "$ make test", "fxp.quantize(", "emit_rtl(",
                  "$ fxp psnr"):  # fmt: skip
        assert shown in screen, shown


def test_every_room_of_the_package_is_in_the_table():
    rooms = {path.name for path in (ROOT / "fxp").iterdir()
             if path.is_dir() and not path.name.startswith("__")}  # fmt: skip
    named = set(re.findall(r"`fxp[/.](\w+)/?`", README))
    # Helpers of the other rooms, of no interest to a user.
    assert rooms - {"support"} <= named


def test_figures_are_those_the_benchmarks_wrote():
    table = README.partition(BEGIN)[2].partition(END)[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) > 5
    for what, figure, link in rows:
        found = re.fullmatch(r"\[(\w+)\]\((docs/benchmarks/\1\.md)\)", link)
        assert found is not None, link
        assert f"| {what} | {figure} |" in (ROOT / found[2]).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("**/*.md")), ids=lambda p: p.name)
def test_links_of_the_documentation_exist(page: Path):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
