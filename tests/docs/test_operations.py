"""The page of supported operations is made from the front end."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fxp.frontend.convert import CONVERTERS
from fxp.frontend.refusals import ADVICE

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_operation_is_listed() -> None:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.on_page_markdown((DOCS / "operations.md").read_text(encoding="utf-8"))
    assert "<!--" not in page
    assert "| `conv2d` | default, padding |\n" in page
    for target in map(str, CONVERTERS):
        _, name, form = target.split(".")
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` | ")
                  and form in line]  # fmt: skip
        assert row.endswith(" |")
    for name, advice in ADVICE.items():
        assert f"| `{name.removeprefix('aten.')}` | {advice} |" in page
