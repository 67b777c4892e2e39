"""Where published tables go: a Markdown file, and the README between two markers."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fxp.files import replace_file

ROOT = Path(__file__).resolve().parent.parent


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def environment(*packages: str) -> str:
    """One line on what the figures were taken with."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"Python {platform.python_version()}, {platform.machine()}, {versions}."


def publish(name: str, title: str, body: str) -> Path:
    """Write ``docs/benchmarks/NAME.md`` and the README's section of that name.

    Raises
    ------
    ValueError
        If the README lacks the markers ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.
    """
    folder = ROOT / "docs" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.md"
    command = f"Written by `python -m benchmarks.{name}`."
    replace_file(target, f"# {title}\n\n{command}\n\n{body}\n".encode())
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no section between {begin.strip()} and {end}")
    head, _, rest = text.partition(begin)
    replace_file(readme, f"{head}{begin}{body}\n{end}{rest.partition(end)[2]}".encode())
    return target
