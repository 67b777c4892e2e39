"""Every code block of the documentation runs as printed.

The blocks of a page run in order, in one namespace, in a directory that holds the user's files of
`pages.write_user_files`. A block that would take minutes has a comment above it, which says why it
is not run.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pages import PAGES, ROOT, Block, blocks, write_user_files

from fxp.cli import main

MAX_NOT_RUN = 10
"""Marks in all pages together."""
SHOWN_ONLY = {"text", "json"}
INSTALLERS = {"make", "pip", "apt-get", "git"}
"""Commands that would change the machine; continuous integration runs them."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(block: Block, page: Path, names: dict[str, object]) -> None:
    if block.language == "python":
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
            return
        # Blank lines in front, so that a traceback names the line of the page.
        code = "\n" * block.line + block.text
        exec(compile(code, name_of(page), "exec", dont_inherit=True), names)
        return
    for command in block.commands():
        program, *arguments = shlex.split(command)
        if program in INSTALLERS:
            continue
        assert program == "fxp", f"{name_of(page)}:{block.line}: {command} is not run; mark it"
        assert main(arguments) == 0, f"{name_of(page)}:{block.line}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_run_as_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as Python does for a script in that directory
    write_user_files(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language not in SHOWN_ONLY and block.reason is None:
            run(block, page, names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert text.count("```") == 2 * len(found)
    for block in found:
        assert block.language in {"python", "console", *SHOWN_ONLY}, block.line
        if block.language == "console":
            assert block.commands(), block.line
        assert block.reason is None or len(block.reason.split()) > 3, block.line


def test_few_blocks_are_not_run() -> None:
    marked = [
        (name_of(page), block.line)
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.reason is not None
    ]
    assert len(marked) <= MAX_NOT_RUN, marked


def test_the_runner_sees_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "README.md"
    first, second, third, fourth = blocks(
        "```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n"
        '```python title="kept.py"\ny = 3\n```\n'
        "<!-- not run: no such model -->\n```console\n$ fxp info \\\n    no.fxp  # comment\n```\n"
    )
    names: dict[str, object] = {}
    run(first, page, names)
    with pytest.raises(AssertionError):
        run(second, page, names)
    run(third, page, names)
    assert Path("kept.py").read_text() == "y = 3\n"
    assert fourth.reason == "no such model"
    assert fourth.commands() == ["fxp info no.fxp"]
    with pytest.raises(AssertionError, match="fxp info"):
        run(fourth, page, names)
