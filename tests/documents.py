"""Tables of the documentation, as the tests read them."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def page(name: str) -> str:
    """Text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def table(text: str, first_heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has that heading."""
    found = re.search(rf"^\| {first_heading} \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    assert found is not None, first_heading
    rows = [line.strip("| ").split(" | ") for line in found[0].splitlines()]
    assert len({len(row) for row in rows[:1] + rows[2:]}) == 1, first_heading
    return rows[:1] + rows[2:]


def op_rows() -> dict[str, list[str]]:
    """Rows of the ops in docs/graph.md by name."""
    return {row[0].strip("`"): row for row in table(page("graph.md"), "Op")[1:]}


def attribute_rows() -> dict[str, str]:
    """What docs/file-format.md says of the attributes, by the name of the op."""
    return {
        name: attributes
        for names, attributes in table(page("file-format.md"), "Op")[1:]
        for name in re.findall(r"`(\w+)`", names)
    }
