"""What MkDocs does besides reading the pages: tables made from the code."""

from __future__ import annotations

from typing import Any

from fxp.frontend.convert import CONVERTERS
from fxp.frontend.refusals import ADVICE

_PREFIX = "aten."


def supported_table() -> str:
    """Return a table of all supported operations, by what they are called in PyTorch."""
    forms: dict[str, list[str]] = {}
    for target in sorted(map(str, CONVERTERS)):
        name, _, form = target.removeprefix(_PREFIX).partition(".")
        forms.setdefault(name, []).append(form)
    rows = [f"| `{name}` | {', '.join(found)} |" for name, found in forms.items()]
    return "\n".join(["| Operation | Forms |", "| --- | --- |", *rows])


def refused_table() -> str:
    """Return a table of refused operations, with what to use instead."""
    rows = [f"| `{name.removeprefix(_PREFIX)}` | {advice} |" for name, advice in ADVICE.items()]
    return "\n".join(["| Operation | Instead |", "| --- | --- |", *rows])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where a page asks for them."""
    for mark, table in (("supported", supported_table), ("refused", refused_table)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", table())
    return markdown


if __name__ == "__main__":
    print(supported_table(), refused_table(), sep="\n\n")
