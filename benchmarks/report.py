"""Where published tables go: a Markdown file, and the README between two markers."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from pathlib import Path

from fxp.support.distribution import version
from fxp.support.files import replace_file

ROOT = Path(__file__).resolve().parent.parent


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def version_of(package: str) -> str:
    """Installed version of a package, and of this one by its import name."""
    return version() if package == "fxp" else distribution_version(package)


def environment(*packages: str) -> str:
    """One line on what the figures were taken with."""
    versions = ", ".join(f"{package} {version_of(package)}" for package in packages)
    return f"Python {platform.python_version()}, {platform.machine()}, {versions}."


def publish(
    name: str, title: str, body: str, *, details: str = "", data: object | None = None
) -> Path:
    """Write ``docs/benchmarks/NAME.md`` and the README's section of that name.

    Parameters
    ----------
    name, title
        Name of the module in `benchmarks`, and heading of the page.
    body
        Markdown of both.
    details
        Markdown that only the page has, after `body`.
    data
        What the figures were made from, to write as ``docs/benchmarks/NAME.json``.

    Raises
    ------
    ValueError
        If the README lacks the section, see `check_section`.
    """
    check_section(name)
    folder = ROOT / "docs" / "benchmarks"
    target = write_page(folder, name, title, f"{body}\n\n{details}" if details else body, data)
    readme = ROOT / "README.md"
    begin, end = _markers(name)
    head, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    replace_file(readme, f"{head}{begin}{body}\n{end}{rest.partition(end)[2]}".encode())
    return target


def write_page(folder: Path, name: str, title: str, body: str, data: object | None = None) -> Path:
    """Write ``NAME.md``, and ``NAME.json`` if there is data; returns the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.md"
    command = f"Written by `python -m benchmarks.{name}`."
    replace_file(target, f"# {title}\n\n{command}\n\n{body}\n".encode())
    if data is not None:
        replace_file(folder / f"{name}.json", f"{json.dumps(data, indent=1)}\n".encode())
    return target


def check_section(name: str) -> None:
    """Raise ValueError unless the README has ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = _markers(name)
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no section between {begin.strip()} and {end}")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
