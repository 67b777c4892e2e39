"""Where published figures go: a page of its own, and some rows of the table in the README."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from pathlib import Path

from fxp.support.distribution import version
from fxp.support.files import replace_file

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures:begin -->\n", "<!-- figures:end -->"

Summary = Sequence[tuple[str, str]]
"""What was measured and the figure, each as Markdown for a cell of a table."""


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
    name: str,
    title: str,
    body: str,
    *,
    summary: Summary,
    headlines: int = 1,
    details: str = "",
    data: object | None = None,
) -> Path:
    """Write ``docs/benchmarks/NAME.md`` and the rows of the README's table that come from it.

    The README has one table of all benchmarks, between ``<!-- figures:begin -->`` and
    ``<!-- figures:end -->``. The last cell of each row links to the page that the row comes from:
    the rows that link to this page are replaced, all others stay as they are.

    Parameters
    ----------
    name, title
        Name of the module in `benchmarks`, and heading of the page.
    body
        Markdown of the page.
    summary
        What was measured, and the figure, the most telling rows first. The page begins with them.
    headlines
        How many of these rows the README shows too.
    details
        Further Markdown of the page, after `body`.
    data
        What the figures were made from, to write as ``docs/benchmarks/NAME.json``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If the README has no such table, see `check_readme`.
    """
    check_readme()
    short = markdown_table(("In short", ""), summary) if summary else ""
    parts = filter(None, (short, body, details))
    target = write_page(ROOT / "docs" / "benchmarks", name, title, "\n\n".join(parts), data)
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    table, _, tail = rest.partition(END)
    link = f"[{name}](docs/benchmarks/{name}.md)"
    replaced = _replace_rows(
        table.splitlines(), link, [f"| {' | '.join((*row, link))} |" for row in summary[:headlines]]
    )
    replace_file(readme, f"{head}{BEGIN}{replaced}{END}{tail}".encode())
    return target


def _replace_rows(lines: list[str], link: str, rows: list[str]) -> str:
    """Put rows where those that end with the link stand, or at the end of the table."""
    own = [line for line in lines if line.endswith(f"{link} |")]
    kept = [line for line in lines if line not in own]
    place = lines.index(own[0]) if own else len(kept)
    return "".join(f"{line}\n" for line in [*kept[:place], *rows, *kept[place:]])


def write_page(folder: Path, name: str, title: str, body: str, data: object | None = None) -> Path:
    """Write ``NAME.md``, and ``NAME.json`` if there is data.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.
    name, title
        Name of the module in `benchmarks`, and heading of the page.
    body
        Markdown below the heading.
    data
        What the figures were made from; anything that JSON can hold.

    Returns
    -------
    Path
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.md"
    command = f"Written by `python -m benchmarks.{name}`."
    replace_file(target, f"# {title}\n\n{command}\n\n{body}\n".encode())
    if data is not None:
        replace_file(folder / f"{name}.json", f"{json.dumps(data, indent=1)}\n".encode())
    return target


def check_readme() -> None:
    """Raise ValueError unless the README has the table that `publish` writes to."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"README.md has no table between {BEGIN.strip()} and {END}")
